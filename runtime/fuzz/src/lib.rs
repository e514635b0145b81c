//! What must hold for every input: one target for each thing that reads what strangers send.
//!
//! A target takes bytes and panics when something does not hold. Fuzzers run them for hours (`fuzz_targets/`, for
//! cargo-fuzz and libFuzzer); `tests/short` runs each for a moment, on inputs that were right before something in them
//! was changed.

mod calls;
mod formats;
pub mod modules;
mod seeds;
mod state;
mod store;
#[cfg(target_os = "linux")]
mod tree;

/// Something that must hold for every input.
pub struct Target {
    /// Its name, which is that of the program in `fuzz_targets/` too.
    pub name: &'static str,
    /// Panics when it does not hold. Tells whether the input was let through, or refused.
    pub run: fn(&[u8]) -> bool,
    /// Inputs to begin with, most of which are let through.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "manifest", run: formats::manifest, seeds: formats::manifests },
    Target { name: "receipt", run: formats::receipt, seeds: formats::receipts },
    Target { name: "capsule", run: formats::capsule, seeds: formats::capsules },
    Target { name: "state_image", run: state::state_image, seeds: state::state_images },
    Target { name: "car", run: store::car, seeds: store::archives },
    Target { name: "unixfs", run: store::unixfs, seeds: store::dags },
    Target { name: "admission", run: modules::admission, seeds: modules::modules },
    Target { name: "nan", run: modules::nan, seeds: modules::choices },
    Target { name: "wasi", run: calls::wasi, seeds: seeds::bytes },
    #[cfg(target_os = "linux")]
    Target { name: "tree", run: tree::tree, seeds: seeds::bytes },
];

/// The target of this name.
///
/// # Panics
/// When there is none.
pub fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name:?} on this system"))
}

/// Runs the target of this name on an input, for a fuzzer.
///
/// # Panics
/// When there is none, or something does not hold.
pub fn run(name: &str, input: &[u8]) {
    let _ = (target(name).run)(input);
}
