//! Piece commitments, by which a Filecoin storage deal names a file such as an archive.
//!
//! The file is filled up with zeros to 127 x 2^n bytes. Each 127 bytes become four leaves of 32 bytes: 254 bits each, the
//! first bit the lowest, and two zero bits. The commitment is the root of the binary tree over the leaves; a node is the
//! SHA-256 of its two children without the two highest bits of the last byte. (Filecoin's specification, "Piece" and
//! "Data padding".)

use std::io::{self, Write};

use cid::Cid;
use cid::multihash::Multihash;
use sha2::{Digest, Sha256};

/// The multicodec of an unsealed commitment.
const UNSEALED: u64 = 0xf101;

/// The multicodec of the hash of its tree.
const SHA2_256_TRUNC254_PADDED: u64 = 0x1012;

/// Bytes that are stored as 128.
const CHUNK: usize = 127;

/// The largest piece, that of a sector of 64 GiB.
pub const MAX_PIECE_BYTES: u64 = 64 << 30;

type Hash = [u8; 32];

/// The commitment to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The commitment, `baga6ea4seaq...`.
    pub cid: Cid,
    /// Bytes of the piece, a power of two.
    pub piece_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Computes the commitment to what is written to it.
pub struct PieceWriter {
    chunk: [u8; CHUNK],
    filled: usize,
    bytes: u64,
    /// Nodes that wait for their right neighbours, leaves first.
    levels: Vec<Option<Hash>>,
}

impl Default for PieceWriter {
    fn default() -> Self {
        Self { chunk: [0; CHUNK], filled: 0, bytes: 0, levels: Vec::new() }
    }
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    let mut hash: Hash = Sha256::new().chain_update(left).chain_update(right).finalize().into();
    hash[31] &= 0x3f;
    hash
}

/// 254 bits of a chunk.
fn leaf(chunk: &[u8; CHUNK], index: usize) -> Hash {
    let mut leaf: Hash = std::array::from_fn(|at| {
        let bit = 254 * index + 8 * at;
        let next = chunk.get(bit / 8 + 1).copied().unwrap_or(0);
        (u16::from_le_bytes([chunk[bit / 8], next]) >> (bit % 8)) as u8
    });
    leaf[31] &= 0x3f;
    leaf
}

impl PieceWriter {
    /// Nothing is written yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn push_chunk(&mut self) {
        self.filled = 0;
        for index in 0..4 {
            let mut node = leaf(&self.chunk, index);
            let mut level = 0;
            while let Some(left) = self.levels.get_mut(level).and_then(Option::take) {
                node = parent(&left, &node);
                level += 1;
            }
            if level == self.levels.len() {
                self.levels.push(None);
            }
            self.levels[level] = Some(node);
        }
    }

    /// The commitment; an empty file has that of one zero byte.
    pub fn finish(mut self) -> Piece {
        let chunks = self.bytes.div_ceil(CHUNK as u64).max(1).next_power_of_two();
        if self.filled > 0 || self.bytes == 0 {
            self.chunk[self.filled..].fill(0);
            self.push_chunk();
        }
        // Each chunk has four leaves. What is missing on the right is zeros.
        let top = chunks.trailing_zeros() as usize + 2;
        let (mut zeros, mut node) = ([0; 32], None);
        for level in 0..top {
            node = match (self.levels.get(level).copied().flatten(), node) {
                (Some(left), right) => Some(parent(&left, &right.unwrap_or(zeros))),
                (None, Some(left)) => Some(parent(&left, &zeros)),
                (None, None) => None,
            };
            zeros = parent(&zeros, &zeros);
        }
        let root = node.or_else(|| self.levels.get(top).copied().flatten()).expect("there is a chunk");
        let hash = Multihash::wrap(SHA2_256_TRUNC254_PADDED, &root).expect("32 bytes fit");
        Piece { cid: Cid::new_v1(UNSEALED, hash), piece_bytes: 128 * chunks, file_bytes: self.bytes }
    }
}

impl Write for PieceWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if (self.bytes + buffer.len() as u64).div_ceil(CHUNK as u64) * 128 > MAX_PIECE_BYTES {
            return Err(io::Error::other("no Filecoin piece holds more than 63.5 GiB: export less at once"));
        }
        let mut rest = buffer;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(CHUNK - self.filled));
            self.chunk[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            if self.filled == CHUNK {
                self.push_chunk();
            }
            rest = later;
        }
        self.bytes += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the file, bytes of the piece, and the commitment that go-fil-commp-hashhash 0.2.0 gives. Byte i of each
    /// file is i modulo 251.
    const VECTORS: &[(u64, u64, &str)] = &[
        (65, 128, "baga6ea4seaqf6367oipoivsx6vr7ozaogsas7r6zaf22o4egyyy4jkcazlnyona"),
        (126, 128, "baga6ea4seaqjqxueozfakxcrrzwg5c5eiwox2xy75olpgrxnum44cvkti5tlsay"),
        (127, 128, "baga6ea4seaqlqfyjsvd3rrmqmd7n4f7i73ybzuxfq4p4za6lft2jeaaaaguxefq"),
        (128, 256, "baga6ea4seaqaj7qkb57afev2spxmfdh2s3arntdku6yeeipwuhmsv4pnfgbewmy"),
        (254, 256, "baga6ea4seaqpghqm27x44irg4malohy6q3dbidvuvcfqmxciserl6wjuhk7h4ki"),
        (255, 512, "baga6ea4seaqle47bgdrxeym2u6bxf7l3xzczanitcfzpdqwy3zrn44yxtucoyhy"),
        (508, 512, "baga6ea4seaqn3754ulapgpsug6pm3vg2krgnda2pc7hujdu3iwoa24uxfll5qmq"),
        (509, 1024, "baga6ea4seaqjykvcyjutttmrv6776yt7ouwgyllqlinxhxdsn7lpnsiopvhqkai"),
        (1016, 1024, "baga6ea4seaqchny7nxirb7epwls6lfakfskgamv5o7tzzyjx3cviq7r2fe32ejq"),
        (4096, 8192, "baga6ea4seaqcdwmnxbramnpdi7u4mcraa4sbh6oxpednik64t5zzzkhgwztmidi"),
        (100000, 131072, "baga6ea4seaqd6ruu4iwjbly6v2jx5gybjuwayfyiuewpyxip2hxf6g3viunxmha"),
        (1048576, 2097152, "baga6ea4seaqf6dw7bhx3c65s4nepiic2qtgzdfyywllbkmiz6vbchd2m3oboshi"),
        (1040384, 1048576, "baga6ea4seaqhxp2tl7pa5rxlex7sokor6a5rgzfo43hhqsuqr6nbwg2kqw7ouny"),
        (1040385, 2097152, "baga6ea4seaqhpp4ktg5t6zimeonndejw6r5emkh2lrozxahx3ncnoefyev6g6da"),
    ];

    fn piece(content: &[u8]) -> Piece {
        let mut writer = PieceWriter::new();
        writer.write_all(content).expect("there is room");
        writer.finish()
    }

    #[test]
    fn commitments_are_those_of_filecoins_own_library() {
        for &(file_bytes, piece_bytes, cid) in VECTORS {
            let content: Vec<u8> = (0..file_bytes).map(|at| (at % 251) as u8).collect();
            let found = piece(&content);
            assert_eq!(found, Piece { cid: cid.parse().expect("a CID"), piece_bytes, file_bytes });
        }
    }

    #[test]
    fn how_it_is_cut_into_writes_does_not_matter() {
        let content: Vec<u8> = (0..10_000u32).map(|at| (at % 251) as u8).collect();
        for length in [1, 126, 127, 128, 1000] {
            let mut writer = PieceWriter::new();
            content.chunks(length).for_each(|part| writer.write_all(part).expect("there is room"));
            assert_eq!(writer.finish(), piece(&content), "{length}");
        }
    }

    #[test]
    fn zeros_at_the_end_change_the_size_alone() {
        let (short, long) = (piece(&[1; 200]), piece(&[vec![1; 200], vec![0; 54]].concat()));
        assert_eq!((short.cid, short.piece_bytes), (long.cid, long.piece_bytes));
        assert_ne!(short.file_bytes, long.file_bytes);
        assert_ne!(piece(&[1; 200]).cid, piece(&[1; 201]).cid);
        assert_eq!(piece(&[]).piece_bytes, 128);
    }

    #[test]
    fn what_no_sector_holds_is_refused() {
        let mut writer = PieceWriter::new();
        writer.bytes = MAX_PIECE_BYTES / 128 * 127 - 1;
        assert!(writer.write_all(&[0]).is_ok());
        assert!(writer.write_all(&[0]).is_err());
    }
}
