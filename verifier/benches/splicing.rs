//! How long it takes to know a machine's hash from a template and the roots of its drives.
//!
//! `cargo bench -p fedmkt-verifier --bench splicing`

use divan::{Bencher, black_box};
use fedmkt_core::manifest::SizeClass;
use fedmkt_core::roots::{DataRoot, Hash, JobRoot, StateRoot};
use fedmkt_verifier::template::Template;

fn main() {
    divan::main();
}

#[divan::bench(args = SizeClass::ALL)]
fn initial_hash(bencher: Bencher<'_, '_>, class: SizeClass) {
    let template = Template { class, low: Hash([1; 32]) };
    let (job, data, state) = (JobRoot([2; 32]), DataRoot([3; 32]), StateRoot([4; 32]));
    bencher.bench(|| black_box(&template).initial_hash(black_box(job), black_box(data), black_box(state)));
}
