//! How fast the index of a pack is read and searched.
//!
//! `cargo bench -p fedmkt-core --bench pack`

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use fedmkt_core::pack::{Kind, Layout, Pack};

fn main() {
    divan::main();
}

/// Empty files, a hundred to a directory.
fn pack(files: u32) -> Vec<u8> {
    let path = |number| format!("images/class {:05}/picture {number:07}.png", number / 100);
    let layout = Layout::new((0..files).map(|number| (path(number), Kind::File(0)))).expect("a tree");
    let mut bytes = layout.front().to_vec();
    bytes.resize(layout.total_bytes() as usize, 0);
    bytes
}

const FILES: [u32; 3] = [100, 10_000, 1_000_000];

#[divan::bench(args = FILES, sample_count = 10)]
fn open(bencher: Bencher, files: u32) {
    let bytes = Arc::new(pack(files));
    bencher.counter(ItemsCount::new(files)).bench_local(|| Pack::open(black_box(bytes.clone())));
}

#[divan::bench(args = FILES, sample_count = 10)]
fn find(bencher: Bencher, files: u32) {
    let pack = Pack::open(Arc::new(pack(files))).expect("a pack");
    let paths: Vec<_> = pack.entries().step_by(97).map(|entry| entry.path).collect();
    bencher
        .counter(ItemsCount::new(paths.len()))
        .bench_local(|| paths.iter().filter(|path| pack.find(black_box(path)).is_some()).count());
}
