//! Keccak-256 with the original padding, as the EVM has it, one message at a time or several in the lanes of a vector.
//!
//! The permutation is written over [`Lane`], a vector of 64-bit words: in place for `u64`, and by [`rows`] for four words in
//! AVX2 (x86-64, found at run time). Constants are those of FIPS 202. Messages of a hash tree are short: a leaf of 32 bytes or a
//! pair of nodes, one permutation each. Most of the first round works on known zeros and most of the last on words that are not part
//! of the digest; both are unrolled, so that the compiler leaves that work out.

mod rows;

use crate::roots::Hash;

const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// How many messages the widest lane has.
const MOST: usize = 4;

/// One 64-bit word of each of several messages.
///
/// All methods are inlined into loops without closures: what is not inlined there is compiled without vectors.
trait Lane: Copy {
    /// How many messages there are.
    const COUNT: usize;

    /// The same word in all messages.
    fn splat(word: u64) -> Self;
    /// The four little-endian words in a row of each message. Rows after the first `COUNT` are ignored.
    fn load(rows: [&[u8; 32]; MOST]) -> [Self; 4];
    /// The inverse of [`Self::load`]. Rows after the first `COUNT` mean nothing.
    fn store(words: [Self; 4]) -> [[u8; 32]; MOST];
    fn xor(self, other: Self) -> Self;
    /// `!self & other`
    fn and_not(self, other: Self) -> Self;
    /// Rotates left by `LEFT`; `RIGHT` is 64 - `LEFT`.
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self;
}

impl Lane for u64 {
    const COUNT: usize = 1;

    #[inline(always)]
    fn splat(word: u64) -> Self {
        word
    }

    #[inline(always)]
    fn load(rows: [&[u8; 32]; MOST]) -> [Self; 4] {
        let [a, b, c, d] = *rows[0].as_chunks().0 else { unreachable!("32 bytes are four words") };
        [u64::from_le_bytes(a), u64::from_le_bytes(b), u64::from_le_bytes(c), u64::from_le_bytes(d)]
    }

    #[inline(always)]
    fn store(words: [Self; 4]) -> [[u8; 32]; MOST] {
        [row(words); MOST]
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    fn and_not(self, other: Self) -> Self {
        !self & other
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        self.rotate_left(LEFT as u32)
    }
}

/// The words of four messages in an AVX2 register.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use core::arch::x86_64::{
        __m256i, _mm256_andnot_si256, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set1_epi64x,
        _mm256_slli_epi64, _mm256_srli_epi64, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm256_xor_si256,
    };

    use super::{Lane, MOST};
    use crate::roots::Hash;

    cpufeatures::new!(avx2, "avx2");

    /// Whether this processor has AVX2.
    pub(super) fn available() -> bool {
        avx2::get()
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn hash_leaves(leaves: &[[u8; 32]], nodes: &mut [Hash]) {
        super::hash_leaves_in::<Four>(leaves, nodes);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn hash_pairs(nodes: &mut [Hash]) {
        super::hash_pairs_in::<Four>(nodes);
    }

    /// Four words. Only the two functions above use it.
    #[derive(Clone, Copy)]
    struct Four(__m256i);

    /// Exchanges rows and columns of four by four words.
    #[inline(always)]
    fn transpose([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
        // SAFETY: as for `Four`, which alone uses it.
        unsafe {
            let [ab_02, ab_13] = [_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)];
            let [cd_02, cd_13] = [_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d)];
            [
                _mm256_permute2x128_si256::<0x20>(ab_02, cd_02),
                _mm256_permute2x128_si256::<0x20>(ab_13, cd_13),
                _mm256_permute2x128_si256::<0x31>(ab_02, cd_02),
                _mm256_permute2x128_si256::<0x31>(ab_13, cd_13),
            ]
        }
    }

    // SAFETY of all blocks: values of this type only exist within the two functions above, which are compiled for AVX2
    // and can only be called where it is available.
    impl Lane for Four {
        const COUNT: usize = 4;

        #[inline(always)]
        fn splat(word: u64) -> Self {
            Self(unsafe { _mm256_set1_epi64x(word as i64) })
        }

        #[inline(always)]
        fn load(rows: [&[u8; 32]; MOST]) -> [Self; 4] {
            // SAFETY: a register of 256 bits is 32 bytes, and x86-64 is little-endian.
            let [a, b, c, d] = transpose(unsafe {
                core::mem::transmute::<[[u8; 32]; MOST], [__m256i; MOST]>([*rows[0], *rows[1], *rows[2], *rows[3]])
            });
            [Self(a), Self(b), Self(c), Self(d)]
        }

        #[inline(always)]
        fn store(words: [Self; 4]) -> [[u8; 32]; MOST] {
            let [a, b, c, d] = words;
            // SAFETY: as in `load`.
            unsafe { core::mem::transmute(transpose([a.0, b.0, c.0, d.0])) }
        }

        #[inline(always)]
        fn xor(self, other: Self) -> Self {
            Self(unsafe { _mm256_xor_si256(self.0, other.0) })
        }

        #[inline(always)]
        fn and_not(self, other: Self) -> Self {
            Self(unsafe { _mm256_andnot_si256(self.0, other.0) })
        }

        #[inline(always)]
        fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
            Self(unsafe { _mm256_or_si256(_mm256_slli_epi64::<LEFT>(self.0), _mm256_srli_epi64::<RIGHT>(self.0)) })
        }
    }
}

/// One round of Keccak-f\[1600\] on the states of all messages.
#[inline(always)]
fn round<L: Lane>(a: &mut [L; 25], constant: u64) {
    macro_rules! rho_and_pi {
        ($($to:literal <- $left:literal $right:literal;)*) => {
            let mut moved = a[1];
            $(
                let next = a[$to];
                a[$to] = moved.rotate::<$left, $right>();
                moved = next;
            )*
            let _ = moved;
        };
    }
    let mut parity = [a[0]; 5];
    for x in 0..5 {
        parity[x] = a[x].xor(a[x + 5]).xor(a[x + 10]).xor(a[x + 15]).xor(a[x + 20]);
    }
    for x in 0..5 {
        let theta = parity[(x + 4) % 5].xor(parity[(x + 1) % 5].rotate::<1, 63>());
        for y in 0..5 {
            a[x + 5 * y] = a[x + 5 * y].xor(theta);
        }
    }
    rho_and_pi! {
        10 <- 1 63; 7 <- 3 61; 11 <- 6 58; 17 <- 10 54; 18 <- 15 49; 3 <- 21 43; 5 <- 28 36; 16 <- 36 28;
        8 <- 45 19; 21 <- 55 9; 24 <- 2 62; 4 <- 14 50; 15 <- 27 37; 23 <- 41 23; 19 <- 56 8; 13 <- 8 56;
        12 <- 25 39; 2 <- 43 21; 20 <- 62 2; 14 <- 18 46; 22 <- 39 25; 9 <- 61 3; 6 <- 20 44; 1 <- 44 20;
    }
    for y in 0..5 {
        let row = [a[5 * y], a[5 * y + 1], a[5 * y + 2], a[5 * y + 3], a[5 * y + 4]];
        for x in 0..5 {
            a[5 * y + x] = row[x].xor(row[(x + 1) % 5].and_not(row[(x + 2) % 5]));
        }
    }
    a[0] = a[0].xor(L::splat(constant));
}

/// Keccak-f\[1600\] on the states of all messages.
#[inline(always)]
fn permute<L: Lane>(a: &mut [L; 25]) {
    if L::COUNT > 1 {
        return rows::permute(a);
    }
    let [first, middle @ .., last] = ROUND_CONSTANTS;
    round(a, first);
    for constant in middle {
        round(a, constant);
    }
    round(a, last);
}

/// The digests of messages of fewer than 17 words, all equally long.
#[inline(always)]
fn digest<L: Lane>(message: &[[L; 4]]) -> [[u8; 32]; MOST] {
    let mut state = [L::splat(0); 25];
    let words = message.as_flattened();
    state[..words.len()].copy_from_slice(words);
    state[words.len()] = L::splat(1);
    state[16] = L::splat(1 << 63);
    permute(&mut state);
    L::store([state[0], state[1], state[2], state[3]])
}

#[inline(always)]
fn hash_leaves_in<L: Lane>(leaves: &[[u8; 32]], nodes: &mut [Hash]) {
    for (leaves, nodes) in leaves.chunks(L::COUNT).zip(nodes.chunks_mut(L::COUNT)) {
        // The last chunk may be shorter: its last leaf is then hashed more than once.
        let last = leaves.len() - 1;
        let rows = [&leaves[0], &leaves[last.min(1)], &leaves[last.min(2)], &leaves[last.min(3)]];
        let digests = digest(&[L::load(rows)]);
        for (node, digest) in nodes.iter_mut().zip(digests) {
            *node = Hash(digest);
        }
    }
}

#[inline(always)]
fn hash_pairs_in<L: Lane>(nodes: &mut [Hash]) {
    let pairs = nodes.len() / 2;
    let mut start = 0;
    while start < pairs {
        let end = pairs.min(start + L::COUNT);
        let pair = |lane: usize| 2 * (end - 1).min(start + lane);
        let at = [pair(0), pair(1), pair(2), pair(3)];
        let left = [&nodes[at[0]].0, &nodes[at[1]].0, &nodes[at[2]].0, &nodes[at[3]].0];
        let right = [&nodes[at[0] + 1].0, &nodes[at[1] + 1].0, &nodes[at[2] + 1].0, &nodes[at[3] + 1].0];
        let digests = digest(&[L::load(left), L::load(right)]);
        for (node, digest) in nodes[start..end].iter_mut().zip(digests) {
            *node = Hash(digest);
        }
        start = end;
    }
}

/// Hashes leaves; each node is the Keccak-256 of the leaf in the same place.
pub(crate) fn hash_leaves(leaves: &[[u8; 32]], nodes: &mut [Hash]) {
    assert_eq!(leaves.len(), nodes.len());
    #[cfg(target_arch = "x86_64")]
    if leaves.len() > 1 && avx2::available() {
        // SAFETY: the processor has AVX2.
        return unsafe { avx2::hash_leaves(leaves, nodes) };
    }
    hash_leaves_in::<u64>(leaves, nodes);
}

/// Hashes nodes two by two and leaves the digests in the first half of the slice. The number of nodes is even.
pub(crate) fn hash_pairs(nodes: &mut [Hash]) {
    assert!(nodes.len().is_multiple_of(2));
    #[cfg(target_arch = "x86_64")]
    if nodes.len() > 2 && avx2::available() {
        // SAFETY: the processor has AVX2.
        return unsafe { avx2::hash_pairs(nodes) };
    }
    hash_pairs_in::<u64>(nodes);
}

/// Keccak-256 of a message.
pub fn keccak256(message: &[u8]) -> Hash {
    let mut state = [0u64; 25];
    let mut blocks = message.chunks_exact(RATE);
    for block in &mut blocks {
        absorb(&mut state, block);
        permute(&mut state);
    }
    let rest = blocks.remainder();
    let mut last = [0; RATE];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] |= 0x01;
    last[RATE - 1] |= 0x80;
    absorb(&mut state, &last);
    permute(&mut state);
    Hash(row([state[0], state[1], state[2], state[3]]))
}

/// Bytes that one permutation absorbs.
const RATE: usize = 136;

fn absorb(state: &mut [u64; 25], block: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(block.as_chunks::<8>().0) {
        *word ^= u64::from_le_bytes(*bytes);
    }
}

/// The bytes of four little-endian words.
#[inline(always)]
fn row(words: [u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (part, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *part = word.to_le_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use sha3::{Digest, Keccak256};

    use super::*;

    #[test]
    fn messages_of_every_length_around_the_rate_have_the_known_digest() {
        let message: Vec<u8> = (0..500u32).map(|i| (i * 7 + 3) as u8).collect();
        for length in (0..20).chain(RATE - 2..RATE + 3).chain(2 * RATE - 2..2 * RATE + 3) {
            let expected: [u8; 32] = Keccak256::digest(&message[..length]).into();
            assert_eq!(keccak256(&message[..length]), Hash(expected), "{length} bytes");
        }
    }

    fn noise(count: usize) -> Vec<Hash> {
        (0..count as u32).map(|i| keccak256(&i.to_le_bytes())).collect()
    }

    #[test]
    fn leaves_and_pairs_in_any_number_have_the_known_digests_in_every_implementation() {
        type Leaves = fn(&[[u8; 32]], &mut [Hash]);
        type Pairs = fn(&mut [Hash]);
        let implementations: [(Leaves, Pairs); 2] =
            [(hash_leaves, hash_pairs), (hash_leaves_in::<u64>, hash_pairs_in::<u64>)];
        for (hash_leaves, hash_pairs) in implementations {
            for count in 0..14 {
                let leaves: Vec<_> = noise(count).into_iter().map(|hash| hash.0).collect();
                let mut nodes = noise(count);
                hash_leaves(&leaves, &mut nodes);
                let expected: Vec<_> = leaves.iter().map(|leaf| Hash(Keccak256::digest(leaf).into())).collect();
                assert_eq!(nodes, expected, "{count} leaves");

                let mut nodes = noise(2 * count);
                hash_pairs(&mut nodes);
                let digest = |pair: &[Hash]| Hash(Keccak256::digest([pair[0].0, pair[1].0].as_flattened()).into());
                let expected: Vec<_> = noise(2 * count).chunks(2).map(digest).collect();
                assert_eq!(nodes[..count], expected, "{count} pairs");
            }
        }
    }
}
