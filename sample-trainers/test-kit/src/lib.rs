//! What the tests of the sample trainers share: data sets, folders to train in, and the module under another runtime.
//!
//! What a machine lacks (the WebAssembly target, Node, a way to the data) skips a test with a line that begins with
//! `SKIPPED`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fedmkt_core::admission::{Admitted, ModuleLimits, admit};
use fedmkt_guest::{Error, Job, Run, Trainer};

/// Result files by name.
pub type Results = BTreeMap<String, Vec<u8>>;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// The folder that `datasets.py` writes for this name; `None` when it cannot be had.
pub fn dataset(name: &str) -> Option<PathBuf> {
    let folders = workspace().join("target/datasets");
    let folder = folders.join(name);
    let complete = folder.join("complete");
    std::fs::create_dir_all(&folders).expect("the target folder can be written");
    let lock = File::create(folders.join("making")).expect("the target folder can be written");
    lock.lock().expect("one at a time, until it is made");
    if !complete.exists() {
        let script = workspace().join("sample-trainers/datasets.py");
        let made = Command::new("python3").arg(script).arg(name).arg(&folder).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: sample-trainers/datasets.py could not make the data set {name}");
            return None;
        }
        std::fs::write(complete, "").expect("the data set's folder can be written");
    }
    Some(folder)
}

/// A folder in which a trainer can run.
pub struct Root(tempfile::TempDir);

impl Root {
    /// A folder with this model and no data.
    pub fn new(model: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["job", "data", "out", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        std::fs::write(folder.path().join("job/model"), model).expect("written");
        Self(folder)
    }

    /// A folder with this model and a copy of the files in `data`.
    pub fn with_data(model: &[u8], data: &Path) -> Self {
        let root = Self::new(model);
        for entry in std::fs::read_dir(data).expect("a folder with data") {
            let path = entry.expect("an entry").path();
            std::fs::copy(&path, root.path().join("data").join(path.file_name().expect("a name"))).expect("copied");
        }
        root
    }

    /// The same folder with one more file in the data.
    #[must_use]
    pub fn and(self, name: &str, content: &[u8]) -> Self {
        std::fs::write(self.path().join("data").join(name), content).expect("written");
        self
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The results that are there.
    pub fn results(&self) -> Results {
        let entries = std::fs::read_dir(self.path().join("out")).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        paths.map(|path| (name(&path), std::fs::read(&path).expect("a result"))).collect()
    }

    /// Trains natively.
    ///
    /// # Errors
    /// What the trainer returns.
    pub fn train<T: Trainer>(&self, arguments: &[&str]) -> Result<Results, Error> {
        let job = Job::in_folder(self.path(), arguments.iter().map(ToString::to_string));
        Run::<T>::begin(job)?.finish()?;
        Ok(self.results())
    }

    /// Trains with a module under Node. `None` when there is no Node.
    ///
    /// # Panics
    /// When the run does not end well.
    pub fn train_in_node(&self, module: &[u8], form: Form, arguments: &[&str]) -> Option<Results> {
        let ended = self.run_in_node(module, form, arguments)?;
        assert!(ended.status.success(), "{form:?}: {}", String::from_utf8_lossy(&ended.stderr));
        Some(self.results())
    }

    /// Runs a module under Node, by `_start` or by the stepper's functions, and tells how it ended: the exit code is 0
    /// when the results are written. `None` when there is no Node.
    pub fn run_in_node(&self, module: &[u8], form: Form, arguments: &[&str]) -> Option<Output> {
        if Command::new("node").arg("--version").output().is_err() {
            eprintln!("SKIPPED: node is not installed");
            return None;
        }
        let path = self.path().join("trainer.wasm");
        std::fs::write(&path, module).expect("written");
        let node = Command::new("node")
            .arg("--no-warnings")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/run-wasi.mjs"))
            .arg(if form == Form::Start { "start" } else { "steps" })
            .args([&path, self.path()])
            .args(arguments)
            .output()
            .expect("node runs");
        Some(node)
    }
}

/// How a module is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `_start`, as a plain WASI runtime does.
    Start,
    /// `fedmkt_init` and `fedmkt_step`.
    Steps,
}

/// Builds a module of a package, with these features; `None` when the target is not installed.
pub fn build(package: &str, module: &str, features: &[&str]) -> Option<Vec<u8>> {
    // Apart from the modules that jobs refer to, so that none of those is ever replaced by a build with other features.
    let target = workspace().join("target/modules");
    std::fs::create_dir_all(&target).expect("the target folder can be written");
    let lock = File::create(target.join("building")).expect("the target folder can be written");
    lock.lock().expect("one build at a time, until its module is read");
    let cargo = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["build", "--quiet", "--profile", "trainer", "--target", "wasm32-wasip1", "-p", package])
        .args(features.iter().flat_map(|feature| ["--features", feature]))
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&cargo.stderr);
    if errors.contains("target may not be installed") {
        eprintln!("SKIPPED: the target wasm32-wasip1 is not installed");
        return None;
    }
    assert!(cargo.status.success(), "{errors}");
    Some(std::fs::read(target.join(format!("wasm32-wasip1/trainer/{module}.wasm"))).expect("the module"))
}

/// Admits a module for a job with this much memory.
///
/// # Panics
/// When it is refused.
pub fn admitted(module: &[u8], max_memory_bytes: u64) -> Admitted {
    admit(module, &ModuleLimits { max_memory_bytes }).unwrap_or_else(|error| panic!("{error}"))
}

/// Checks that a trainer computes the same natively and as a module under Node, by `_start` and by steps. `root` makes a
/// new folder to train in.
///
/// # Panics
/// When some of them differ.
pub fn assert_same_in_node<T: Trainer>(package: &str, module: &str, root: impl Fn() -> Root, arguments: &[&str]) {
    let expected = root().train::<T>(arguments).expect("trained");
    let Some(module) = build(package, module, &[]) else { return };
    for form in [Form::Start, Form::Steps] {
        let Some(found) = root().train_in_node(&module, form, arguments) else { return };
        assert!(found == expected, "{form:?} in Node differs from native");
    }
}

/// Checks that the module without vectors computes the same as the trainer natively.
///
/// # Panics
/// When they differ.
pub fn assert_same_without_vectors<T: Trainer>(
    package: &str,
    module: &str,
    root: impl Fn() -> Root,
    arguments: &[&str],
) {
    let expected = root().train::<T>(arguments).expect("trained");
    let Some(module) = build(package, module, &["fedmkt-guest/scalar"]) else { return };
    let Some(found) = root().train_in_node(&module, Form::Start, arguments) else { return };
    assert!(found == expected, "the module without vectors differs");
}
