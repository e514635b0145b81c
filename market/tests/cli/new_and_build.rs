//! `fedmkt new` and `fedmkt build`: a crate that compiles, passes its tests, and becomes the same module everywhere.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::{Done, Sandbox};

fn sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk").canonicalize().expect("the guest SDK")
}

fn new(sandbox: &Sandbox, folder: &str) {
    let sdk = sdk();
    sandbox.run(&["new", folder, "--name", "my-trainer", "--sdk", sdk.to_str().expect("a path")]).line();
    // The versions that this workspace is tested with.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    fs::copy(lock, sandbox.path(folder).join("Cargo.lock")).expect("the lock file");
}

/// Whether modules can be built here; says so loudly when not.
fn can_build(test: &str) -> bool {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--print", "target-libdir", "--target", "wasm32-wasip1"])
        .output()
        .expect("a compiler");
    let folder = String::from_utf8(output.stdout).expect("a path");
    if Path::new(folder.trim()).is_dir() {
        return true;
    }
    // Not `eprintln!`, which the test harness keeps to itself.
    let message = format!("\nSKIPPED {test}: no standard library for wasm32-wasip1 (`cargo xtask setup` makes one)\n");
    io::stderr().write_all(message.as_bytes()).expect("standard error");
    false
}

#[test]
fn a_new_trainer_is_tested_built_published_and_the_same_in_every_folder() {
    if !can_build("a_new_trainer_is_tested_built_published_and_the_same_in_every_folder") {
        return;
    }
    let sandbox = Sandbox::new();
    let mut modules = Vec::new();
    for (folder, target) in [("one", target("one")), ("some/other folder", target("two"))] {
        fs::create_dir_all(sandbox.path(folder).parent().expect("a parent")).expect("a folder");
        new(&sandbox, folder);
        let mut build = sandbox.command(&["build", folder, "--json", "--memory", "4MiB"]);
        let built = Done::from(build.env("CARGO_TARGET_DIR", &target).output().expect("fedmkt runs")).json();
        assert_eq!(built["check"]["form"], "stepper");
        assert_eq!(built["check"]["warnings"], serde_json::json!([]));
        let note = built["notes"][0].as_str().expect("a note");
        assert!(
            note.starts_with("fedmkt-guest comes from") && note.contains(sdk().to_str().expect("a path")),
            "{note}"
        );
        let module = target.join("wasm32-wasip1/trainer/my-trainer.wasm");
        assert_eq!(built["module"], module.to_str().expect("a path"));
        modules.push((fs::read(&module).expect("the module"), built["cid"].clone()));
    }
    assert!(modules[0] == modules[1], "the module depends on where it is built");
    let text = String::from_utf8_lossy(&modules[0].0);
    for place in [sandbox.path(""), sdk(), target("")] {
        assert!(!text.contains(place.to_str().expect("a path")), "the module names {}", place.display());
    }
    sandbox.write("one/target/wasm32-wasip1/trainer/my-trainer.wasm", &modules[0].0);
    let job = sandbox.run(&["publish", "one/job.toml", "--json"]);
    assert_eq!(job.json()["trainer"], modules[0].1);

    for command in [&["test", "--quiet"][..], &["fmt", "--check"]] {
        let mut cargo = Command::new("cargo");
        cargo.args(command).current_dir(sandbox.path("one")).env("CARGO_TARGET_DIR", target("one"));
        let output = cargo.output().expect("cargo runs");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

/// A target folder that stays, so that dependencies are compiled once.
fn target(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-and-build").join(name)
}

#[test]
fn a_trainer_that_does_not_compile_or_is_refused_is_told() {
    if !can_build("a_trainer_that_does_not_compile_or_is_refused_is_told") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("bad/Cargo.toml", "[package]\nname = \"bad\"\nedition = \"2024\"\n[workspace]\n");
    sandbox.write("bad/src/main.rs", "fn main() { nonsense }");
    let done = sandbox.run(&["build", "bad"]);
    done.fails(3, "nonsense");
    done.fails(3, "does not build");
    let unknown = "unsafe extern \"C\" { fn unknown(); }\nfn main() { unsafe { unknown() } }";
    sandbox.write("bad/src/main.rs", format!("#[link(wasm_import_module = \"env\")]\n{unknown}"));
    let done = sandbox.run(&["build", "bad"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(String::from_utf8_lossy(&done.stdout).contains("unknown"));
}

#[test]
fn a_new_trainer_writes_over_nothing_and_needs_a_plain_name() {
    let sandbox = Sandbox::new();
    let sdk = sdk();
    let sdk = sdk.to_str().expect("a path");
    let made = sandbox.run(&["new", "my-trainer", "--sdk", sdk]);
    assert_eq!(made.line(), "my-trainer");
    for file in ["Cargo.toml", ".gitignore", "README.md", "job.toml", "src/lib.rs", "model/initial.safetensors"] {
        assert!(sandbox.path("my-trainer").join(file).is_file(), "{file}");
    }
    sandbox.run(&["new", "my-trainer", "--sdk", sdk]).fails(3, "my-trainer exists already");
    sandbox.run(&["new", "My Trainer"]).fails(3, "cannot name a trainer");
    sandbox.run(&["new", "std"]).fails(3, "is the name of another crate");
    sandbox.run(&["new", "other", "--sdk", "."]).fails(3, "is not the guest SDK");
    assert!(!sandbox.path("other").exists());
    sandbox.run(&["new", "other"]).line();
    let manifest = fs::read_to_string(sandbox.path("other/Cargo.toml")).expect("a manifest");
    assert!(manifest.contains("fedmkt-guest = { git = "), "{manifest}");
}

#[test]
fn what_is_no_trainer_crate_is_refused() {
    let sandbox = Sandbox::new();
    if !can_build("what_is_no_trainer_crate_is_refused") {
        return;
    }
    sandbox.run(&["build"]).fails(3, "has no Cargo.toml");
    sandbox.write("library/Cargo.toml", "[package]\nname = \"library\"\nedition = \"2024\"\n[workspace]\n");
    sandbox.write("library/src/lib.rs", "");
    sandbox.run(&["build", "library"]).fails(3, "makes 0 programs");
    sandbox.write("workspace/Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"member\"]\n");
    sandbox.write("workspace/member/Cargo.toml", "[package]\nname = \"member\"\nedition = \"2024\"\n");
    sandbox.write("workspace/member/src/lib.rs", "");
    sandbox.run(&["build", "workspace"]).fails(3, "is no package, but a workspace");
    sandbox.write("broken/Cargo.toml", "nonsense");
    sandbox.run(&["build", "broken"]).fails(3, "nonsense");
    let done = sandbox.command(&["build", "library"]).env("RUSTC", "/nowhere/rustc").output().expect("fedmkt runs");
    Done::from(done).fails(3, "there is no Rust compiler");
}
