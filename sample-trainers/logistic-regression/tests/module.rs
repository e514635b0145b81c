//! The module that sponsors publish: it is admitted, and learns the same as natively under another WASI runtime.

use std::path::{Path, PathBuf};
use std::process::Command;

use fedmkt_core::admission::{Form, ModuleLimits, admit};
use fedmkt_guest::{Job, Run};
use logistic_regression::{LogisticRegression, Model, WEIGHTS_FILE};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// Builds the module; `None` when the target is not installed.
fn build() -> Option<Vec<u8>> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder").to_path_buf();
    let cargo = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["build", "--quiet", "--profile", "trainer", "--target", "wasm32-wasip1", "-p", "logistic-regression"])
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&cargo.stderr);
    if errors.contains("target may not be installed") {
        eprintln!("SKIPPED: the target wasm32-wasip1 is not installed");
        return None;
    }
    assert!(cargo.status.success(), "{errors}");
    Some(std::fs::read(target.join("wasm32-wasip1/trainer/logistic-regression.wasm")).expect("the module"))
}

/// A job with a small table in a new folder.
fn job() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["job", "data", "out", "tmp"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    let columns = ["width", "weight", "ripe"].map(String::from).to_vec();
    let mut table = columns.join(",");
    for row in 0..200u32 {
        // Numbers without a visible pattern, and a label that depends on both.
        let [width, weight] = [row * 7919 % 211, row * 104_729 % 307].map(f64::from);
        let ripe = u8::from(width / 211.0 + weight / 307.0 > 1.0);
        table += &format!("\n{width},{},{ripe}", weight / 10.0);
    }
    std::fs::write(folder.path().join("data/fruit.csv"), table).expect("written");
    let model = Model::initial(columns).to_tensors().encode().expect("encoded");
    std::fs::write(folder.path().join("job/model"), model).expect("written");
    folder
}

fn train_natively(folder: &Path) -> Vec<u8> {
    let job = Job::in_folder(folder, ["epochs=40".to_string()]);
    let mut run = Run::<LogisticRegression>::begin(job).expect("started");
    run.finish().expect("finished");
    let read = |name| std::fs::read(folder.join("out").join(name)).expect("a result");
    [read(WEIGHTS_FILE), read("metrics.csv")].concat()
}

#[test]
fn the_module_is_admitted_as_a_stepper() {
    let Some(wasm) = build() else { return };
    let admitted = admit(&wasm, &ModuleLimits { max_memory_bytes: 8 << 20 }).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(admitted.form, Form::Stepper { initialize: false });
    assert_eq!(admitted.warnings, []);
}

#[test]
fn another_runtime_gives_the_same_weights_and_so_does_stepping() {
    let Some(wasm) = build() else { return };
    if Command::new("node").arg("--version").output().is_err() {
        eprintln!("SKIPPED: node is not installed");
        return;
    }
    let native = job();
    let expected = train_natively(native.path());
    for form in ["start", "steps"] {
        let folder = job();
        let module = folder.path().join("trainer.wasm");
        std::fs::write(&module, &wasm).expect("written");
        let node = Command::new("node")
            .arg("--no-warnings")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run-wasi.mjs"))
            .args([form.as_ref(), module.as_os_str(), folder.path().as_os_str(), "epochs=40".as_ref()])
            .output()
            .expect("node runs");
        assert!(node.status.success(), "{form}: {}", String::from_utf8_lossy(&node.stderr));
        let read = |name| std::fs::read(folder.path().join("out").join(name)).expect("a result");
        assert!([read(WEIGHTS_FILE), read("metrics.csv")].concat() == expected, "{form} gave other results");
    }
}
