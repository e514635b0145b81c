//! Hash trees: the Keccak-256 Merkle roots that the Cartesi Machine computes for its drives.
//!
//! An image of 2^n bytes is cut into leaves of 32 bytes. The node over a leaf is its Keccak-256; the node over two
//! nodes is the Keccak-256 of the two, left first. An image that is shorter than 2^n bytes counts as zero-padded.
//!
//! - The whole image at hand, once: [`bytes_root`].
//! - The image as a stream: [`RootBuilder`].
//! - An image that changes page by page: [`HashTree`].
//! - Showing one part of an image to somebody who knows the root: [`Proof`].

use alloc::vec::Vec;
use core::fmt;

pub use crate::keccak::keccak256;
use crate::keccak::{hash_leaves, hash_pairs};
use crate::roots::Hash;

/// Bytes of a page, the unit in which images change.
pub const PAGE_BYTES: usize = 4096;

/// Binary logarithm of [`PAGE_BYTES`].
pub const LOG2_PAGE: u32 = 12;

/// Binary logarithm of the bytes of a leaf.
pub const LOG2_LEAF: u32 = 5;

/// Binary logarithm of the bytes of the largest image.
pub const LOG2_MAX: u32 = 63;

const LEAVES: usize = PAGE_BYTES >> LOG2_LEAF;

/// How many pages are hashed together. With four, every level of the tree fills the lanes of an AVX2 register.
const BATCH: usize = 4;

/// The smallest n of at least 12 with 2^n >= `bytes`.
pub fn log2_size_for(bytes: u64) -> u32 {
    bytes.max(PAGE_BYTES as u64).next_power_of_two().trailing_zeros()
}

/// The node over two nodes.
pub fn pair(left: &Hash, right: &Hash) -> Hash {
    let mut nodes = [*left, *right];
    hash_pairs(&mut nodes);
    nodes[0]
}

/// The node over a leaf.
pub fn leaf(bytes: &[u8; 32]) -> Hash {
    let mut node = [Hash::default()];
    hash_leaves(&[*bytes], &mut node);
    node[0]
}

/// Roots of images that are all zero: element n is the root over 2^n bytes, for n of at least 5.
pub fn zero_roots() -> [Hash; LOG2_MAX as usize + 1] {
    let mut roots = [Hash::default(); LOG2_MAX as usize + 1];
    roots[LOG2_LEAF as usize] = leaf(&[0; 32]);
    for size in LOG2_LEAF as usize + 1..roots.len() {
        roots[size] = pair(&roots[size - 1], &roots[size - 1]);
    }
    roots
}

/// The nodes of one page, leaves first, then each level above, the page's root last.
fn page_nodes(page: &[u8; PAGE_BYTES]) -> Vec<Hash> {
    let mut nodes: Vec<Hash> = page.as_chunks::<32>().0.iter().map(leaf).collect();
    let mut from = 0;
    for width in (1..=LEAVES.ilog2()).map(|level| LEAVES >> level) {
        for index in 0..width {
            let parent = pair(&nodes[from + 2 * index], &nodes[from + 2 * index + 1]);
            nodes.push(parent);
        }
        from += 2 * width;
    }
    nodes
}

/// The roots of at most [`BATCH`] pages.
fn page_roots(pages: &[&[u8; PAGE_BYTES]]) -> [Hash; BATCH] {
    let mut nodes = [Hash::default(); LEAVES * BATCH];
    for (page, nodes) in pages.iter().zip(nodes.chunks_exact_mut(LEAVES)) {
        hash_leaves(page.as_chunks().0, nodes);
    }
    for width in (1..=LEAVES.ilog2()).map(|level| (2 * LEAVES) >> level) {
        hash_pairs(&mut nodes[..width * pages.len()]);
    }
    *nodes.first_chunk().expect("a batch has fewer pages than leaves")
}

fn is_zero(page: &[u8; PAGE_BYTES]) -> bool {
    page.as_chunks::<64>().0.iter().all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The root of `bytes`, zero-padded to 2^`log2_size` bytes.
///
/// # Panics
/// When `bytes` is longer, or `log2_size` is less than 12 or more than 63.
pub fn bytes_root(bytes: &[u8], log2_size: u32) -> Hash {
    let mut builder = RootBuilder::new();
    builder.push(bytes);
    builder.finish(log2_size).root
}

/// The root over 2^`to` bytes whose first 2^`from` bytes have the root `root`, all others being zero.
///
/// # Panics
/// When `to` is less than `from` or more than 63.
pub fn padded_root(root: Hash, from: u32, to: u32) -> Hash {
    assert!(from <= to);
    zero_roots()[from as usize..to as usize].iter().fold(root, |root, zero| pair(&root, zero))
}

/// The hash tree over an image that changes page by page.
///
/// Memory is 64 bytes for each page up to the last that was ever non-zero; the zero rest of the image costs nothing.
#[derive(Clone)]
pub struct HashTree {
    log2_size: u32,
    zeros: [Hash; LOG2_MAX as usize + 1],
    /// `levels[k]` has the nodes over 2^(12 + k) bytes, as far as they are not over zeros only.
    levels: Vec<Vec<Hash>>,
}

impl fmt::Debug for HashTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashTree(2^{} bytes, {})", self.log2_size, self.root())
    }
}

impl HashTree {
    /// The tree over an image of 2^`log2_size` zero bytes.
    ///
    /// # Panics
    /// When `log2_size` is less than 12 or more than 63.
    pub fn new(log2_size: u32) -> Self {
        assert!((LOG2_PAGE..=LOG2_MAX).contains(&log2_size));
        let levels = (LOG2_PAGE..=log2_size).map(|_| Vec::new()).collect();
        Self { log2_size, zeros: zero_roots(), levels }
    }

    /// Puts in new pages, given with their numbers in rising order, and computes the nodes above them.
    ///
    /// # Panics
    /// When a page lies outside of the image, or the order is not rising.
    pub fn update(&mut self, pages: &[(u64, &[u8; PAGE_BYTES])]) {
        let Some(&(last, _)) = pages.last() else { return };
        assert!(last < 1 << (self.log2_size - LOG2_PAGE), "page {last} lies outside of the image");
        assert!(pages.is_sorted_by(|(one, _), (other, _)| one < other), "pages are not in rising order");
        let zero = self.zeros[LOG2_PAGE as usize];
        let roots = &mut self.levels[0];
        // A zero page after the last one known is known already: the rest of the image counts as zero.
        let known = roots.len() as u64;
        let (zeros, others): (Vec<_>, Vec<_>) = pages.iter().partition(|(_, page)| is_zero(page));
        let zeros = zeros.into_iter().map(|(index, _)| index).filter(|&index| index < known);
        let mut dirty: Vec<u64> = zeros.inspect(|&index| roots[index as usize] = zero).collect();
        if let Some(&(last, _)) = others.last()
            && last >= known
        {
            roots.resize(last as usize + 1, zero);
        }
        for batch in others.chunks(BATCH) {
            let mut pages = [batch[0].1; BATCH];
            pages.iter_mut().zip(batch).for_each(|(place, (_, page))| *place = page);
            let found = page_roots(&pages[..batch.len()]);
            batch.iter().zip(found).for_each(|(&(index, _), root)| roots[index as usize] = root);
        }
        dirty.extend(others.iter().map(|(index, _)| index));
        dirty.sort_unstable();
        for level in 1..self.levels.len() {
            dirty.iter_mut().for_each(|index| *index /= 2);
            dirty.dedup();
            self.update_level(level, &dirty);
        }
    }

    /// Computes these nodes of a level, given in rising order, from those of the level below.
    fn update_level(&mut self, level: usize, dirty: &[u64]) {
        let Some(&last) = dirty.last() else { return };
        let zero = self.zeros[LOG2_PAGE as usize + level];
        let zero_child = self.zeros[LOG2_PAGE as usize + level - 1];
        let (below, above) = self.levels.split_at_mut(level);
        let (children, nodes) = (&below[level - 1], &mut above[0]);
        if nodes.len() <= last as usize {
            nodes.resize(last as usize + 1, zero);
        }
        for batch in dirty.chunks(BATCH) {
            let mut found = [zero_child; 2 * BATCH];
            for (pair, &index) in found.chunks_exact_mut(2).zip(batch) {
                // The right child of the last node may lie in the zero rest of the image.
                let known = children[2 * index as usize..].iter().take(2);
                pair.iter_mut().zip(known).for_each(|(place, child)| *place = *child);
            }
            hash_pairs(&mut found[..2 * batch.len()]);
            batch.iter().zip(found).for_each(|(&index, node)| nodes[index as usize] = node);
        }
    }

    /// The root over the whole image.
    pub fn root(&self) -> Hash {
        self.node(0, self.log2_size)
    }

    /// Binary logarithm of the image's bytes.
    pub fn log2_size(&self) -> u32 {
        self.log2_size
    }

    /// The root over the 2^`log2_size` bytes that begin at `address`.
    ///
    /// # Panics
    /// When that is less than a page, not aligned, or outside of the image.
    pub fn node(&self, address: u64, log2_size: u32) -> Hash {
        self.check(address, log2_size, LOG2_PAGE);
        let level = &self.levels[(log2_size - LOG2_PAGE) as usize];
        let index = if log2_size == LOG2_MAX { 0 } else { address >> log2_size };
        level.get(index as usize).copied().unwrap_or(self.zeros[log2_size as usize])
    }

    fn check(&self, address: u64, log2_size: u32, least: u32) {
        assert!((least..=self.log2_size).contains(&log2_size), "2^{log2_size} bytes is no node of this tree");
        assert!(address.trailing_zeros() >= log2_size, "{address:#x} is not aligned to 2^{log2_size} bytes");
        assert!(address >> self.log2_size == 0, "{address:#x} lies outside of the image");
    }

    /// Shows the 2^`log2_size` bytes that begin at `address`.
    ///
    /// # Panics
    /// As [`Self::node`].
    pub fn proof(&self, address: u64, log2_size: u32) -> Proof {
        let siblings = (log2_size..self.log2_size).map(|size| self.node((address >> size ^ 1) << size, size)).collect();
        Proof {
            address,
            log2_target_size: log2_size,
            log2_root_size: self.log2_size,
            target: self.node(address, log2_size),
            siblings,
        }
    }

    /// Shows the 2^`log2_size` bytes that begin at `address`, from a leaf to a page; `page` is the page around them.
    ///
    /// # Panics
    /// When the part is not aligned or is outside of the image, or `page` is not what the tree knows.
    pub fn proof_in_page(&self, address: u64, log2_size: u32, page: &[u8; PAGE_BYTES]) -> Proof {
        self.check(address, log2_size, LOG2_LEAF);
        assert!(log2_size <= LOG2_PAGE);
        let page_address = address & !(PAGE_BYTES as u64 - 1);
        let mut proof = self.proof(page_address, LOG2_PAGE);
        let nodes = page_nodes(page);
        assert_eq!(nodes.last(), Some(&proof.target), "the page is not the one in the tree");
        let mut from = 0;
        let mut inner = Vec::new();
        for size in LOG2_LEAF..=LOG2_PAGE {
            let index = ((address - page_address) >> size) as usize;
            if size == log2_size {
                proof.target = nodes[from + index];
            }
            if size >= log2_size && size < LOG2_PAGE {
                inner.push(nodes[from + (index ^ 1)]);
            }
            from += PAGE_BYTES >> size;
        }
        inner.append(&mut proof.siblings);
        Proof { address, log2_target_size: log2_size, siblings: inner, ..proof }
    }
}

/// Shows that a part of an image lies under a root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// Where the part begins.
    pub address: u64,
    /// Binary logarithm of the part's bytes.
    pub log2_target_size: u32,
    /// Binary logarithm of the image's bytes.
    pub log2_root_size: u32,
    /// The part's root.
    pub target: Hash,
    /// The nodes beside the path from the part to the root, lowest first.
    pub siblings: Vec<Hash>,
}

impl Proof {
    /// Whether the proof is of the right form and ends in `root`.
    ///
    /// It then shows what is at *its* address: whether that is the part that was asked for is for the caller to compare.
    pub fn verify(&self, root: &Hash) -> bool {
        let sizes = LOG2_LEAF <= self.log2_target_size
            && self.log2_target_size <= self.log2_root_size
            && self.log2_root_size <= LOG2_MAX;
        sizes
            && self.siblings.len() == (self.log2_root_size - self.log2_target_size) as usize
            && self.address >> self.log2_root_size == 0
            && self.address.trailing_zeros() >= self.log2_target_size
            && self.root_with(&self.target) == *root
    }

    /// The root of the image in which the part has the root `target`, and all else is as it is. It means something only
    /// when the proof was verified.
    pub fn root_with(&self, target: &Hash) -> Hash {
        let sizes = u64::from(self.log2_target_size)..;
        sizes.zip(&self.siblings).fold(*target, |node, (size, sibling)| {
            let is_right = size < 64 && self.address >> size & 1 == 1;
            if is_right { pair(sibling, &node) } else { pair(&node, sibling) }
        })
    }
}

/// The root of an image that comes as a stream.
pub struct RootBuilder {
    zeros: [Hash; LOG2_MAX as usize + 1],
    /// Bytes that make no full batch of pages yet.
    buffer: Vec<u8>,
    /// `complete[k]` is the root of the last 2^(12 + k) bytes that have no sibling yet.
    complete: Vec<Option<Hash>>,
    /// The root of the first page.
    first: Hash,
    /// `beside_first[k]` is the sibling of the node of that size over the image's beginning.
    beside_first: Vec<Hash>,
    pages: u64,
}

/// The root of a stream, and what is needed to change its first page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamRoot {
    /// The root.
    pub root: Hash,
    /// Proves the first page.
    pub first_page: Proof,
}

impl Default for RootBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl RootBuilder {
    /// An empty stream.
    pub fn new() -> Self {
        Self {
            zeros: zero_roots(),
            buffer: Vec::new(),
            complete: Vec::new(),
            first: Hash::default(),
            beside_first: Vec::new(),
            pages: 0,
        }
    }

    /// Appends bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        const BATCH_BYTES: usize = PAGE_BYTES * BATCH;
        if !self.buffer.is_empty() {
            let taken = bytes.len().min(BATCH_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.buffer.len() < BATCH_BYTES {
                return;
            }
            let mut buffer = core::mem::take(&mut self.buffer);
            self.push_pages(buffer.as_chunks().0);
            buffer.clear();
            self.buffer = buffer;
        }
        let (batches, rest) = bytes.as_chunks::<BATCH_BYTES>();
        batches.iter().for_each(|batch| self.push_pages(batch.as_chunks().0));
        self.buffer.extend_from_slice(rest);
    }

    /// Appends at most [`BATCH`] pages.
    fn push_pages(&mut self, pages: &[[u8; PAGE_BYTES]]) {
        let mut others = [&[0; PAGE_BYTES]; BATCH];
        let mut count = 0;
        for page in pages.iter().filter(|page| !is_zero(page)) {
            others[count] = page;
            count += 1;
        }
        let mut found = page_roots(&others[..count]).into_iter();
        for page in pages {
            let root = if is_zero(page) { None } else { found.next() };
            self.push_root(root.unwrap_or(self.zeros[LOG2_PAGE as usize]));
        }
    }

    fn push_root(&mut self, mut node: Hash) {
        let mut index = self.pages;
        self.pages += 1;
        if index == 0 {
            self.first = node;
        }
        for level in 0.. {
            if level == self.complete.len() {
                self.complete.push(None);
            }
            if index == 1 {
                self.beside_first.push(node);
            }
            match self.complete[level].take() {
                Some(left) => node = pair(&left, &node),
                None => {
                    self.complete[level] = Some(node);
                    return;
                }
            }
            index /= 2;
        }
    }

    /// The root of the stream, zero-padded to 2^`log2_size` bytes.
    ///
    /// # Panics
    /// When the stream is longer than that, or `log2_size` is less than 12 or more than 63.
    pub fn finish(mut self, log2_size: u32) -> StreamRoot {
        assert!((LOG2_PAGE..=LOG2_MAX).contains(&log2_size));
        let mut rest = core::mem::take(&mut self.buffer);
        if !rest.is_empty() || self.pages == 0 {
            rest.resize(rest.len().max(1).next_multiple_of(PAGE_BYTES), 0);
            self.push_pages(rest.as_chunks().0);
        }
        assert!(self.pages <= 1 << (log2_size - LOG2_PAGE), "the stream is longer than 2^{log2_size} bytes");
        // `open` is the node of the present level that ends with the stream's last page and zeros after it.
        let mut open: Option<Hash> = None;
        for level in 0..(log2_size - LOG2_PAGE) as usize {
            let zero = self.zeros[LOG2_PAGE as usize + level];
            let complete = self.complete.get(level).copied().flatten();
            let is_first = self.beside_first.len() == level;
            let (left, right) = match (complete, open) {
                (Some(left), open) => (left, open.unwrap_or(zero)),
                (None, Some(open)) => (open, zero),
                (None, None) => continue,
            };
            if is_first {
                self.beside_first.push(right);
            }
            open = Some(pair(&left, &right));
        }
        let top = self.complete.get((log2_size - LOG2_PAGE) as usize).copied().flatten();
        let root = open.or(top).expect("the stream has at least one page");
        let mut first_page = Proof {
            address: 0,
            log2_target_size: LOG2_PAGE,
            log2_root_size: log2_size,
            target: self.first,
            siblings: self.beside_first,
        };
        first_page.siblings.truncate((log2_size - LOG2_PAGE) as usize);
        StreamRoot { root, first_page }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;
    use sha3::{Digest, Keccak256};

    use super::*;

    /// The definition, as plainly as it can be written.
    fn reference(bytes: &[u8], log2_size: u32) -> Hash {
        if log2_size == LOG2_LEAF {
            let mut leaf = [0; 32];
            leaf[..bytes.len()].copy_from_slice(bytes);
            return Hash(Keccak256::digest(leaf).into());
        }
        let (left, right) = bytes.split_at(bytes.len().min(1 << (log2_size - 1)));
        let halves = [reference(left, log2_size - 1).0, reference(right, log2_size - 1).0];
        Hash(Keccak256::digest(halves.concat()).into())
    }

    fn noise(length: usize, seed: u8) -> Vec<u8> {
        (0..length).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ seed).collect()
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        for (length, log2_size) in [(0, 12), (1, 12), (4096, 12), (4097, 13), (5 * 4096 + 7, 15), (40_000, 17)] {
            let bytes = noise(length, 1);
            assert_eq!(bytes_root(&bytes, log2_size), reference(&bytes, log2_size), "{length} bytes");
        }
    }

    #[test]
    fn zero_roots_are_the_roots_of_zeros() {
        for log2_size in [12, 13, 16] {
            assert_eq!(zero_roots()[log2_size as usize], reference(&[], log2_size));
        }
        assert_eq!(HashTree::new(63).root(), zero_roots()[63]);
        // As in every EVM: the place of the elements of an array in slot 0.
        let word = "0x290decd9548b62a8d60345a988386fc84ba6bc95484008f6362f93160ef3e563";
        assert_eq!(Ok(zero_roots()[LOG2_LEAF as usize]), word.parse());
        assert_eq!(padded_root(bytes_root(&[7], 12), 12, 15), bytes_root(&[7], 15));
    }

    #[test]
    fn pages_alone_and_in_batches_have_the_same_roots() {
        let bytes = noise(BATCH * PAGE_BYTES, 3);
        let pages: Vec<_> = bytes.as_chunks::<PAGE_BYTES>().0.iter().collect();
        for count in 0..=BATCH {
            for (page, root) in pages[..count].iter().zip(page_roots(&pages[..count])) {
                assert_eq!(root, reference(*page, 12), "{count} pages");
            }
        }
    }

    #[test]
    fn zero_pages_at_the_end_cost_nothing() {
        let mut tree = HashTree::new(63);
        tree.update(&[(3, &[0; PAGE_BYTES]), ((1 << 51) - 1, &[0; PAGE_BYTES])]);
        assert_eq!(tree.root(), zero_roots()[63]);
        assert!(tree.levels.iter().all(Vec::is_empty));
    }

    #[test]
    fn a_malformed_proof_has_no_root_but_does_no_harm() {
        let proof = Proof {
            address: u64::MAX,
            log2_target_size: u32::MAX,
            log2_root_size: 0,
            target: Hash::default(),
            siblings: vec![Hash::default(); 3],
        };
        assert!(!proof.verify(&proof.root_with(&proof.target)));
    }

    #[test]
    fn a_first_page_can_be_replaced_after_the_stream() {
        for pages in [1, 2, 3, 4, 5, 8, 9, 31] {
            let mut bytes = noise(pages * PAGE_BYTES - 100, 9);
            let log2_size = log2_size_for(bytes.len() as u64) + 2;
            let mut builder = RootBuilder::new();
            bytes.chunks(1000).for_each(|part| builder.push(part));
            let stream = builder.finish(log2_size);
            assert_eq!(stream.root, reference(&bytes, log2_size));
            assert!(stream.first_page.verify(&stream.root), "{pages} pages");
            bytes[17] ^= 255;
            let first = reference(&bytes[..bytes.len().min(PAGE_BYTES)], LOG2_PAGE);
            assert_eq!(stream.first_page.root_with(&first), reference(&bytes, log2_size), "{pages} pages");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn updates_end_in_the_root_of_the_image(
            updates in prop::collection::vec(prop::collection::btree_map(0u64..37, 0u8..5, 0..9), 0..6),
        ) {
            let log2_size = 18;
            let mut image = vec![0; 37 * PAGE_BYTES];
            let mut tree = HashTree::new(log2_size);
            for update in updates {
                for (&page, &seed) in &update {
                    let content = if seed == 0 { vec![0; PAGE_BYTES] } else { noise(PAGE_BYTES, seed) };
                    image[page as usize * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(&content);
                }
                let pages: Vec<_> = update
                    .keys()
                    .map(|&page| (page, &image.as_chunks::<PAGE_BYTES>().0[page as usize]))
                    .collect();
                tree.update(&pages);
                prop_assert_eq!(tree.root(), bytes_root(&image, log2_size));
            }
        }

        #[test]
        fn proofs_hold_and_corrupted_ones_do_not(page in 0u64..11, size in LOG2_LEAF..16, corrupt in 0usize..40) {
            let image = noise(11 * PAGE_BYTES, 5);
            let mut tree = HashTree::new(17);
            let pages: Vec<_> = (0..).zip(image.as_chunks::<PAGE_BYTES>().0).collect();
            tree.update(&pages);
            let address = (page * PAGE_BYTES as u64 + 1056) >> size << size;
            let proof = if size < LOG2_PAGE {
                tree.proof_in_page(address, size, pages[page as usize].1)
            } else {
                tree.proof(address, size)
            };
            let target: Vec<u8> = image.iter().copied().skip(address as usize).take(1 << size).collect();
            prop_assert_eq!(proof.target, reference(&target, size));
            prop_assert!(proof.verify(&tree.root()));
            let mut bad = proof.clone();
            match corrupt % 5 {
                0 => bad.address ^= 1 << size,
                1 => bad.target.0[corrupt % 32] ^= 1,
                2 => drop(bad.siblings.pop()),
                3 => bad.log2_target_size += 1,
                _ => {
                    let index = corrupt % bad.siblings.len();
                    bad.siblings[index].0[corrupt % 32] ^= 0x80;
                }
            }
            prop_assert!(!bad.verify(&tree.root()), "{:?}", bad);
            let mut root = tree.root();
            root.0[corrupt % 32] ^= 1;
            prop_assert!(!proof.verify(&root));
        }
    }
}
