//! CIDs of files as IPFS gives them under the `unixfs-v1-2025` profile (IPIP-499): CIDv1, sha2-256, raw leaves,
//! chunks of 1 MiB, at most 1,024 links in a node, balanced.
//!
//! [`FileBuilder`] takes a file as a stream and passes on each block, leaves before the nodes above them.
//! [`FileCid`] computes the CID alone.

use alloc::vec::Vec;

use cid::Cid;
use cid::multihash::Multihash;
use sha2::{Digest, Sha256};

/// Bytes of a leaf, but for the last.
pub const CHUNK_BYTES: usize = 1 << 20;

/// The most links of a node.
pub const MAX_LINKS: usize = 1024;

/// The multicodec of raw leaves.
pub const RAW: u64 = 0x55;

/// The multicodec of dag-pb nodes.
pub const DAG_PB: u64 = 0x70;

const SHA2_256: u64 = 0x12;

/// The CID of a block.
pub fn block_cid(codec: u64, block: &[u8]) -> Cid {
    let digest = Multihash::wrap(SHA2_256, &Sha256::digest(block)).expect("32 bytes fit a multihash");
    Cid::new_v1(codec, digest)
}

/// A link from a node to a block below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The block.
    pub cid: Cid,
    /// The name, in directories.
    pub name: alloc::string::String,
    /// Bytes of the block and all blocks below it.
    pub tree_bytes: u64,
}

/// A UnixFS node in the dag-pb form, links and the fields of its data.
fn encode_node(links: &[Link], kind: u64, file_sizes: Option<(u64, &[u64])>) -> Vec<u8> {
    let mut data = Vec::new();
    put_number(&mut data, 1, kind);
    if let Some((bytes, parts)) = file_sizes {
        put_number(&mut data, 3, bytes);
        parts.iter().for_each(|&part| put_number(&mut data, 4, part));
    }
    let mut node = Vec::new();
    for link in links {
        let mut encoded = Vec::new();
        put_bytes(&mut encoded, 1, &link.cid.to_bytes());
        put_bytes(&mut encoded, 2, link.name.as_bytes());
        put_number(&mut encoded, 3, link.tree_bytes);
        put_bytes(&mut node, 2, &encoded);
    }
    put_bytes(&mut node, 1, &data);
    node
}

/// The block of a directory with these entries, sorted here by the bytes of their names.
pub fn directory_block(mut entries: Vec<Link>) -> Vec<u8> {
    const DIRECTORY: u64 = 1;
    entries.sort_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
    encode_node(&entries, DIRECTORY, None)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3);
    put_varint(out, number);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Cuts a stream into the blocks of a file.
pub struct FileBuilder<F> {
    emit: F,
    chunk: Vec<u8>,
    /// Children that have no parent yet, lowest level first.
    levels: Vec<Vec<Child>>,
}

#[derive(Clone)]
struct Child {
    link: Link,
    file_bytes: u64,
}

impl<E, F: FnMut(&Cid, &[u8]) -> Result<(), E>> FileBuilder<F> {
    /// An empty file; `emit` gets each block.
    pub fn new(emit: F) -> Self {
        Self { emit, chunk: Vec::new(), levels: Vec::new() }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// What `emit` returns.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), E> {
        while !bytes.is_empty() {
            // A full chunk stays until it is known that it is not the whole file.
            if self.chunk.len() == CHUNK_BYTES {
                self.end_chunk()?;
            }
            let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
            self.chunk.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), E> {
        let chunk = core::mem::take(&mut self.chunk);
        let cid = block_cid(RAW, &chunk);
        (self.emit)(&cid, &chunk)?;
        let bytes = chunk.len() as u64;
        let link = Link { cid, name: Default::default(), tree_bytes: bytes };
        self.chunk = chunk;
        self.chunk.clear();
        self.add(0, Child { link, file_bytes: bytes })
    }

    fn add(&mut self, level: usize, child: Child) -> Result<(), E> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        if self.levels[level].len() == MAX_LINKS {
            let full = core::mem::take(&mut self.levels[level]);
            let parent = self.end_node(full)?;
            self.add(level + 1, parent)?;
        }
        self.levels[level].push(child);
        Ok(())
    }

    fn end_node(&mut self, children: Vec<Child>) -> Result<Child, E> {
        const FILE: u64 = 2;
        let parts: Vec<u64> = children.iter().map(|child| child.file_bytes).collect();
        let file_bytes = parts.iter().sum();
        let links: Vec<Link> = children.into_iter().map(|child| child.link).collect();
        let block = encode_node(&links, FILE, Some((file_bytes, &parts)));
        let cid = block_cid(DAG_PB, &block);
        (self.emit)(&cid, &block)?;
        let tree_bytes = block.len() as u64 + links.iter().map(|link| link.tree_bytes).sum::<u64>();
        Ok(Child { link: Link { cid, name: Default::default(), tree_bytes }, file_bytes })
    }

    /// The link to the file: its CID and the bytes of all its blocks.
    ///
    /// # Errors
    /// What `emit` returns.
    pub fn finish(mut self) -> Result<Link, E> {
        self.end_chunk()?;
        let mut level = 0;
        loop {
            let children = core::mem::take(&mut self.levels[level]);
            let is_top = level + 1 == self.levels.len();
            if is_top && children.len() == 1 {
                let [root] = <[Child; 1]>::try_from(children).unwrap_or_else(|_| unreachable!("there is one child"));
                return Ok(root.link);
            }
            let parent = self.end_node(children)?;
            self.add(level + 1, parent)?;
            level += 1;
        }
    }
}

type Discard = fn(&Cid, &[u8]) -> Result<(), core::convert::Infallible>;

/// Computes the CID of a file.
pub struct FileCid(FileBuilder<Discard>);

impl Default for FileCid {
    fn default() -> Self {
        Self::new()
    }
}

impl FileCid {
    /// An empty file.
    pub fn new() -> Self {
        Self(FileBuilder::new(|_, _| Ok(())))
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        match self.0.push(bytes) {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }

    /// The CID.
    pub fn finish(self) -> Cid {
        match self.0.finish() {
            Ok(link) => link.cid,
            Err(never) => match never {},
        }
    }
}
