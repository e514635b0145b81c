//! How fast images are hashed: our lanes beside the `sha3` crate in the same run, and updates by their dirty pages.
//!
//! `cargo bench -p fedmkt-core --bench tree`

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use fedmkt_core::roots::Hash;
use fedmkt_core::tree::{HashTree, LOG2_LEAF, PAGE_BYTES, bytes_root, keccak256, log2_size_for};
use sha3::{Digest, Keccak256};

fn main() {
    divan::main();
}

const IMAGE_BYTES: usize = 1 << 20;

fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3] | 1).collect()
}

/// The tree over an image of a power of two, one hash after the other.
fn sha3_root(image: &[u8]) -> [u8; 32] {
    let mut nodes: Vec<[u8; 32]> = image.chunks(1 << LOG2_LEAF).map(|leaf| Keccak256::digest(leaf).into()).collect();
    while nodes.len() > 1 {
        nodes = nodes.as_chunks::<2>().0.iter().map(|pair| Keccak256::digest(pair.as_flattened()).into()).collect();
    }
    nodes[0]
}

#[divan::bench]
fn image_in_lanes(bencher: Bencher) {
    let image = noise(IMAGE_BYTES);
    assert_eq!(bytes_root(&image, log2_size_for(IMAGE_BYTES as u64)), Hash(sha3_root(&image)));
    bencher
        .counter(BytesCount::new(IMAGE_BYTES))
        .bench_local(|| bytes_root(black_box(&image), log2_size_for(IMAGE_BYTES as u64)));
}

#[divan::bench]
fn image_by_sha3_crate(bencher: Bencher) {
    let image = noise(IMAGE_BYTES);
    bencher.counter(BytesCount::new(IMAGE_BYTES)).bench_local(|| sha3_root(black_box(&image)));
}

#[divan::bench]
fn message(bencher: Bencher) {
    let message = noise(IMAGE_BYTES);
    bencher.counter(BytesCount::new(IMAGE_BYTES)).bench_local(|| keccak256(black_box(&message)));
}

#[divan::bench]
fn message_by_sha3_crate(bencher: Bencher) {
    let message = noise(IMAGE_BYTES);
    bencher.counter(BytesCount::new(IMAGE_BYTES)).bench_local(|| Keccak256::digest(black_box(&message)));
}

#[divan::bench]
fn zero_image(bencher: Bencher) {
    let image = vec![0; IMAGE_BYTES];
    bencher
        .counter(BytesCount::new(IMAGE_BYTES))
        .bench_local(|| bytes_root(black_box(&image), log2_size_for(IMAGE_BYTES as u64)));
}

/// Dirty pages spread over an image of 64 MiB.
#[divan::bench(args = [1, 16, 256, 4096])]
fn update(bencher: Bencher, dirty: u64) {
    const PAGES: u64 = 1 << 14;
    let image = noise(dirty as usize * PAGE_BYTES);
    let pages: Vec<_> = (0..).map(|page| page * (PAGES / dirty)).zip(image.as_chunks::<PAGE_BYTES>().0).collect();
    let mut tree = HashTree::new(26);
    bencher.counter(ItemsCount::new(dirty)).bench_local(|| {
        tree.update(black_box(&pages));
        tree.root()
    });
}
