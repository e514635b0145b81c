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

#[cfg(target_arch = "x86_64")]
use crate::keccak::avx2;
pub use crate::keccak::keccak256;
use crate::keccak::{Lane, Words, from_words, hash_leaf, hash_pair, word};
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

/// How many hashes are computed at once, at most.
const MOST_LANES: usize = 4;

/// The smallest n of at least 12 with 2^n >= `bytes`.
pub fn log2_size_for(bytes: u64) -> u32 {
    bytes.max(PAGE_BYTES as u64).next_power_of_two().trailing_zeros()
}

/// The node over two nodes.
pub fn pair(left: &Hash, right: &Hash) -> Hash {
    from_words(hash_pair(core::array::from_fn(|w| word(&left.0, w)), core::array::from_fn(|w| word(&right.0, w))))
}

/// The node over a leaf.
pub fn leaf(bytes: &[u8; 32]) -> Hash {
    from_words(hash_leaf(core::array::from_fn(|w| word(bytes, w))))
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

/// The roots of as many pages as `L` has lanes.
#[inline(always)]
fn page_roots_in_lanes<L: Lane>(pages: &[&[u8; PAGE_BYTES]], roots: &mut [Hash]) {
    debug_assert_eq!(pages.len(), L::COUNT);
    let mut nodes = [[L::splat(0); 4]; LEAVES];
    for (index, node) in nodes.iter_mut().enumerate() {
        *node = hash_leaf(core::array::from_fn(|w| L::gather(|lane| word(&pages[lane].as_chunks().0[index], w))));
    }
    for width in (1..=LEAVES.ilog2()).map(|level| LEAVES >> level) {
        for index in 0..width {
            nodes[index] = hash_pair(nodes[2 * index], nodes[2 * index + 1]);
        }
    }
    scatter(nodes[0], roots);
}

/// As many parents as `L` has lanes.
#[inline(always)]
fn parents_in_lanes<L: Lane>(children: &[[Hash; 2]], parents: &mut [Hash]) {
    let side =
        |side: usize| -> Words<L> { core::array::from_fn(|w| L::gather(|lane| word(&children[lane][side].0, w))) };
    scatter(hash_pair(side(0), side(1)), parents);
}

#[inline(always)]
fn scatter<L: Lane>(digest: Words<L>, hashes: &mut [Hash]) {
    for (lane, hash) in hashes.iter_mut().enumerate() {
        *hash = from_words(digest.map(|word| word.extract(lane)));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn four_page_roots(pages: &[&[u8; PAGE_BYTES]], roots: &mut [Hash]) {
    page_roots_in_lanes::<avx2::Four>(pages, roots);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn four_parents(children: &[[Hash; 2]], parents: &mut [Hash]) {
    parents_in_lanes::<avx2::Four>(children, parents);
}

/// The roots of pages, each equal to [`bytes_root`] of the page.
///
/// # Panics
/// When `roots` is not as long as `pages`.
pub fn page_roots(pages: &[&[u8; PAGE_BYTES]], roots: &mut [Hash]) {
    assert_eq!(pages.len(), roots.len());
    #[cfg(target_arch = "x86_64")]
    if avx2::available() {
        for (pages, roots) in pages.chunks(4).zip(roots.chunks_mut(4)) {
            // Three pages in four lanes are still cheaper than one after the other.
            if pages.len() >= 2 {
                let four: [_; 4] = core::array::from_fn(|lane| pages[lane.min(pages.len() - 1)]);
                let mut found = [Hash::default(); 4];
                // SAFETY: the processor has AVX2.
                unsafe { four_page_roots(&four, &mut found) };
                roots.copy_from_slice(&found[..roots.len()]);
            } else {
                page_roots_in_lanes::<u64>(pages, roots);
            }
        }
        return;
    }
    for (page, root) in pages.chunks(1).zip(roots.chunks_mut(1)) {
        page_roots_in_lanes::<u64>(page, root);
    }
}

/// The nodes over pairs of nodes.
fn parents(children: &[[Hash; 2]], parents: &mut [Hash]) {
    #[cfg(target_arch = "x86_64")]
    if avx2::available() {
        for (children, parents) in children.chunks(4).zip(parents.chunks_mut(4)) {
            if children.len() >= 2 {
                let four: [_; 4] = core::array::from_fn(|lane| children[lane.min(children.len() - 1)]);
                let mut found = [Hash::default(); 4];
                // SAFETY: the processor has AVX2.
                unsafe { four_parents(&four, &mut found) };
                parents.copy_from_slice(&found[..parents.len()]);
            } else {
                parents_in_lanes::<u64>(children, parents);
            }
        }
        return;
    }
    for (children, parent) in children.chunks(1).zip(parents.chunks_mut(1)) {
        parents_in_lanes::<u64>(children, parent);
    }
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
        if self.levels[0].len() <= last as usize {
            self.levels[0].resize(last as usize + 1, zero);
        }
        let mut batch: [&[u8; PAGE_BYTES]; MOST_LANES] = [&[0; PAGE_BYTES]; MOST_LANES];
        let mut places = [0; MOST_LANES];
        let mut waiting = 0;
        let flush = |level: &mut Vec<Hash>, batch: &[&[u8; PAGE_BYTES]], places: &[usize]| {
            let mut roots = [zero; MOST_LANES];
            page_roots(batch, &mut roots[..batch.len()]);
            places.iter().zip(roots).for_each(|(&place, root)| level[place] = root);
        };
        for &(index, page) in pages {
            if is_zero(page) {
                self.levels[0][index as usize] = zero;
                continue;
            }
            batch[waiting] = page;
            places[waiting] = index as usize;
            waiting += 1;
            if waiting == MOST_LANES {
                flush(&mut self.levels[0], &batch, &places);
                waiting = 0;
            }
        }
        flush(&mut self.levels[0], &batch[..waiting], &places[..waiting]);

        let mut dirty: Vec<u64> = pages.iter().map(|&(index, _)| index / 2).collect();
        for level in 1..self.levels.len() {
            dirty.dedup();
            self.update_level(level, &dirty);
            dirty.iter_mut().for_each(|index| *index /= 2);
        }
    }

    fn update_level(&mut self, level: usize, dirty: &[u64]) {
        let zero = self.zeros[LOG2_PAGE as usize + level];
        let zero_child = self.zeros[LOG2_PAGE as usize + level - 1];
        let (below, above) = self.levels.split_at_mut(level);
        let (children, nodes) = (&below[level - 1], &mut above[0]);
        if let Some(&last) = dirty.last()
            && nodes.len() <= last as usize
        {
            nodes.resize(last as usize + 1, zero);
        }
        let child = |index: usize| children.get(index).copied().unwrap_or(zero_child);
        for batch in dirty.chunks(MOST_LANES) {
            let mut pairs = [[zero_child; 2]; MOST_LANES];
            let mut found = [zero; MOST_LANES];
            for (pair, &index) in pairs.iter_mut().zip(batch) {
                *pair = [child(2 * index as usize), child(2 * index as usize + 1)];
            }
            parents(&pairs[..batch.len()], &mut found[..batch.len()]);
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

    /// The root of the image in which the part has the root `target`, and all else is as it is.
    pub fn root_with(&self, target: &Hash) -> Hash {
        (self.log2_target_size..).zip(&self.siblings).fold(*target, |node, (size, sibling)| {
            if self.address >> size & 1 == 0 { pair(&node, sibling) } else { pair(sibling, &node) }
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
        Self { zeros: zero_roots(), buffer: Vec::new(), complete: Vec::new(), beside_first: Vec::new(), pages: 0 }
    }

    /// Appends bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        const BATCH: usize = PAGE_BYTES * MOST_LANES;
        if !self.buffer.is_empty() {
            let taken = bytes.len().min(BATCH - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.buffer.len() < BATCH {
                return;
            }
            let buffer = core::mem::take(&mut self.buffer);
            self.push_pages(&buffer);
        }
        let whole = bytes.len() / BATCH * BATCH;
        bytes[..whole].chunks_exact(BATCH).for_each(|batch| self.push_pages(batch));
        self.buffer.extend_from_slice(&bytes[whole..]);
    }

    fn push_pages(&mut self, bytes: &[u8]) {
        let mut pages: [&[u8; PAGE_BYTES]; MOST_LANES] = [&[0; PAGE_BYTES]; MOST_LANES];
        let found = bytes.as_chunks::<PAGE_BYTES>().0;
        pages.iter_mut().zip(found).for_each(|(page, found)| *page = found);
        let mut roots = [self.zeros[LOG2_PAGE as usize]; MOST_LANES];
        if !found.iter().all(is_zero) {
            page_roots(&pages[..found.len()], &mut roots[..found.len()]);
        }
        roots[..found.len()].iter().for_each(|root| self.push_root(*root));
    }

    fn push_root(&mut self, mut node: Hash) {
        let mut index = self.pages;
        self.pages += 1;
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
            self.push_pages(&rest);
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
            target: Hash::default(),
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
    }

    #[test]
    fn pages_alone_and_in_lanes_have_the_same_roots() {
        let bytes = noise(9 * PAGE_BYTES, 3);
        let pages: Vec<_> = bytes.as_chunks::<PAGE_BYTES>().0.iter().collect();
        for count in 0..=pages.len() {
            let mut roots = vec![Hash::default(); count];
            page_roots(&pages[..count], &mut roots);
            for (page, root) in pages.iter().zip(roots) {
                assert_eq!(root, reference(*page, 12));
            }
        }
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
