//! Every sample trainer, with the data that it is made for: its first steps are the same everywhere. What a step takes is
//! printed.

use std::path::{Path, PathBuf};
use std::process::Command;

use fedmkt_core::manifest::{Manifest, SizeClass};

use crate::everywhere::{compare, replay};
use crate::job::{Job, manifest};
use crate::{machines, native};

/// A sample: its module and initial model below the workspace, the example that makes the model and what it is given, the
/// data set, the trainer's arguments, and how much memory it has.
struct Sample {
    module: &'static str,
    model: &'static str,
    example: (&'static str, &'static [&'static str]),
    data: &'static str,
    arguments: &'static [&'static str],
    class: SizeClass,
    memory: u64,
}

const SAMPLES: [Sample; 7] = [
    Sample {
        module: "wasm32-wasip1/trainer/logistic-regression.wasm",
        model: "logistic-regression/model/initial.safetensors",
        example: ("initial-model", &[]),
        data: "breast-cancer",
        arguments: &["epochs=300"],
        class: SizeClass::S,
        memory: 8 << 20,
    },
    Sample {
        module: "wasm32-wasip1/trainer/digits-mlp.wasm",
        model: "digits/model/mlp.safetensors",
        example: ("initial-digits", &["mlp"]),
        data: "digits",
        arguments: &["epochs=60"],
        class: SizeClass::S,
        memory: 8 << 20,
    },
    Sample {
        module: "wasm32-wasip1/trainer/digits-cnn.wasm",
        model: "digits/model/cnn.safetensors",
        example: ("initial-digits", &["cnn"]),
        data: "digits",
        arguments: &["epochs=30"],
        class: SizeClass::S,
        memory: 8 << 20,
    },
    Sample {
        module: "wasm32-wasip1/trainer/gradient-boosting.wasm",
        model: "gradient-boosting/model/initial.safetensors",
        example: ("initial-gradient-boosting", &[]),
        data: "diabetes",
        arguments: &["trees=100"],
        class: SizeClass::S,
        memory: 8 << 20,
    },
    Sample {
        module: "c/k-means.wasm",
        model: "k-means-c/model/initial.csv",
        example: ("initial-k-means-c", &["target/datasets/wine/heldout/data.csv"]),
        data: "wine",
        arguments: &["steps=100"],
        class: SizeClass::S,
        memory: 8 << 20,
    },
    Sample {
        module: "wasm32-wasip1/trainer/text-model.wasm",
        model: "text-model/model/initial.safetensors",
        example: ("initial-text-model", &[]),
        data: "messages",
        arguments: &["steps=2000"],
        class: SizeClass::M,
        memory: 64 << 20,
    },
    Sample {
        module: "wasm32-wasip1/trainer/text-adapters.wasm",
        model: "text-model/model/base.safetensors",
        example: ("initial-text-model", &[]),
        data: "computer-messages",
        arguments: &["steps=800"],
        class: SizeClass::M,
        memory: 64 << 20,
    },
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace")
}

/// The model that the job file names, or a new one.
fn model(sample: &Sample) -> Option<Vec<u8>> {
    if let Ok(model) = std::fs::read(workspace().join("sample-trainers").join(sample.model)) {
        return Some(model);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model");
    let program = workspace().join("target/debug/examples").join(sample.example.0);
    Command::new(program).current_dir(workspace()).args(sample.example.1).arg(&path).status().ok()?;
    std::fs::read(path).ok()
}

fn same_everywhere(sample: &Sample) {
    let name = Path::new(sample.module).file_stem().expect("a name").to_string_lossy().into_owned();
    let target = workspace().join("target");
    let data = target.join("datasets").join(sample.data).join("train");
    let (module, model) = (std::fs::read(target.join(sample.module)).ok(), model(sample));
    let (Some(module), Some(model), true) = (module, model, data.is_dir()) else {
        eprintln!(
            "SKIPPED: {name} is not compared: `cargo xtask test --only trainers,data,programs` makes its module, data and model"
        );
        return;
    };
    let files: Vec<(String, Vec<u8>)> = std::fs::read_dir(data)
        .expect("a folder")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a file"))
        })
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
    let mut manifest: Manifest = manifest(200);
    manifest.limits.memory = sample.memory;
    manifest.limits.output = 2 << 20;
    manifest.data.most_bytes = 16 << 20;
    manifest.machine.class = sample.class;
    manifest.arguments = sample.arguments.iter().map(ToString::to_string).collect();
    let job = Job::with_model(&module, &model, &manifest, &files);
    let history = match compare(&job, &native(), &crate::everywhere::Machines::none(), 3, |_| false) {
        Ok(Ok(history)) => history,
        Ok(Err(refusal)) => panic!("{name}: {refusal}"),
        Err(difference) => panic!("{name}: {difference}"),
    };
    assert!(history.roots.len() == 4, "{name} ended early: {:?}", history.last);
    let folder = tempfile::tempdir().expect("a folder");
    for (image, machine) in machines().each() {
        for step in [0, 2] {
            let native = history.took[step].as_secs_f64();
            let replayed = replay(machine, image, &job, &history.images[step], folder.path());
            assert_eq!(
                replayed.state_out.root().expect("a root"),
                history.roots[step + 1],
                "{name} in {}",
                machine.name()
            );
            let took = replayed.took.as_secs_f64();
            eprintln!(
                "{name}, step {step}: {:.2} ms natively, {took:.2} s in {}, {:.0} times as long, {} cycles",
                native * 1e3,
                machine.name(),
                took / native,
                replayed.cycles.map_or_else(|| "uncounted".into(), |cycles| cycles.to_string()),
            );
        }
    }
}

#[test]
fn sample_trainers_are_the_same_everywhere() {
    SAMPLES.iter().for_each(same_everywhere);
}
