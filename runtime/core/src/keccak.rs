//! Keccak-256 with the original padding, as the EVM has it, one message at a time or several in the lanes of a vector.
//!
//! The permutation is written once over [`Lane`], a vector of 64-bit words, and compiled for `u64` and, on x86-64 with
//! AVX2 (found at run time), for four words. Constants are those of FIPS 202.
//!
//! Messages of a hash tree are short: a leaf of 32 bytes or a pair of nodes, one permutation each. Most of the first
//! round works on known zeros and most of the last on words that are not part of the digest; both are unrolled, so that
//! the compiler leaves that work out.

use crate::roots::Hash;

/// Bytes that one permutation absorbs.
const RATE: usize = 136;

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

/// One 64-bit word of each of several messages.
trait Lane: Copy {
    /// How many messages there are.
    const COUNT: usize;

    /// The same word in all messages.
    fn splat(word: u64) -> Self;
    /// The word that `word_of` gives for each message.
    fn gather(word_of: impl Fn(usize) -> u64) -> Self;
    /// The word of one message.
    fn extract(self, message: usize) -> u64;
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
    fn gather(word_of: impl Fn(usize) -> u64) -> Self {
        word_of(0)
    }

    #[inline(always)]
    fn extract(self, _: usize) -> u64 {
        self
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
        __m256i, _mm256_andnot_si256, _mm256_or_si256, _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_slli_epi64,
        _mm256_srli_epi64, _mm256_xor_si256,
    };

    use super::Lane;
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

    // SAFETY of all blocks: values of this type only exist within the two functions above, which are compiled for AVX2
    // and can only be called where it is available.
    impl Lane for Four {
        const COUNT: usize = 4;

        #[inline(always)]
        fn splat(word: u64) -> Self {
            Self(unsafe { _mm256_set1_epi64x(word as i64) })
        }

        #[inline(always)]
        fn gather(word_of: impl Fn(usize) -> u64) -> Self {
            let [a, b, c, d] = [word_of(0), word_of(1), word_of(2), word_of(3)];
            Self(unsafe { _mm256_set_epi64x(d as i64, c as i64, b as i64, a as i64) })
        }

        #[inline(always)]
        fn extract(self, message: usize) -> u64 {
            // SAFETY: a register of 256 bits is four words, the first message's lowest, and x86-64 is little-endian.
            let words: [u64; 4] = unsafe { core::mem::transmute(self.0) };
            words[message]
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
    let [first, middle @ .., last] = ROUND_CONSTANTS;
    round(a, first);
    for constant in middle {
        round(a, constant);
    }
    round(a, last);
}

/// The digests of messages of fewer than 17 words, all equally long.
#[inline(always)]
fn digest<L: Lane, const WORDS: usize>(messages: [L; WORDS]) -> [L; 4] {
    let mut state = [L::splat(0); 25];
    state[..WORDS].copy_from_slice(&messages);
    state[WORDS] = L::splat(1);
    state[16] = L::splat(1 << 63);
    permute(&mut state);
    [state[0], state[1], state[2], state[3]]
}

/// Writes the digest of each message to the hash in the same place.
#[inline(always)]
fn scatter<L: Lane>(digests: [L; 4], hashes: &mut [Hash]) {
    for (message, hash) in hashes.iter_mut().enumerate() {
        *hash = from_words(digests.map(|word| word.extract(message)));
    }
}

#[inline(always)]
fn hash_leaves_in<L: Lane>(leaves: &[[u8; 32]], nodes: &mut [Hash]) {
    for (leaves, nodes) in leaves.chunks(L::COUNT).zip(nodes.chunks_mut(L::COUNT)) {
        // The last chunk may be shorter: its last leaf is then hashed more than once.
        let last = leaves.len() - 1;
        let words = core::array::from_fn(|w| L::gather(|lane| word(&leaves[lane.min(last)], w)));
        scatter(digest::<L, 4>(words), nodes);
    }
}

#[inline(always)]
fn hash_pairs_in<L: Lane>(nodes: &mut [Hash]) {
    let pairs = nodes.len() / 2;
    for start in (0..pairs).step_by(L::COUNT) {
        let end = pairs.min(start + L::COUNT);
        let left = |lane: usize| 2 * (start + lane).min(end - 1);
        let words = core::array::from_fn(|w| L::gather(|lane| word(&nodes[left(lane) + w / 4].0, w % 4)));
        scatter(digest::<L, 8>(words), &mut nodes[start..end]);
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
    from_words([state[0], state[1], state[2], state[3]])
}

fn absorb(state: &mut [u64; 25], block: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(block.as_chunks::<8>().0) {
        *word ^= u64::from_le_bytes(*bytes);
    }
}

/// The bytes of four little-endian words.
#[inline(always)]
fn from_words(words: [u64; 4]) -> Hash {
    let mut bytes = [0; 32];
    for (part, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *part = word.to_le_bytes();
    }
    Hash(bytes)
}

/// Word `index` of 32 bytes.
#[inline(always)]
fn word(bytes: &[u8; 32], index: usize) -> u64 {
    u64::from_le_bytes(bytes.as_chunks::<8>().0[index])
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
