//! `cargo xtask demo`: the whole path on one machine, for somebody who has never heard of it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::demo_market::Before;
use crate::process::{cargo, command, output, run, typed};
use crate::toolchain::{Target, Toolchain};
use crate::workspace::Workspace;
use crate::{contracts as solidity, demo_market, machine, sections, tools};

/// The trainer that the demo runs.
const TRAINER: &str = "logistic-regression";

/// The data set that it learns from.
const DATA: &str = "breast-cancer";

/// What two honest runs have in common, by the names in the object that `fedmkt-run --json` ends with.
const COMMON: &[&str] = &["job", "data_root", "trace_root", "segments", "steps", "status", "weights", "receipt_body"];

/// How often the trained model must be right on rows that it has not seen. Reference implementations reach 0.95 to 0.98 on this table.
const LEAST_ACCURACY: f64 = 0.95;

/// What a run left behind.
struct Done {
    /// The object that `fedmkt-run --json` ended with.
    report: Value,
    /// The folder with the weights.
    out: PathBuf,
}

/// The packages that the demo is made of, as arguments for cargo.
pub const PACKAGES: &[&str] =
    &["-p=fedmkt-market", "-p=fedmkt-runtime", "-p=fedmkt-verifier", "-p=logistic-regression"];

/// Builds programs and examples of the packages that these arguments for cargo choose. One build of all of them, with examples: another
/// choice of packages may switch on other features of what they share, and compile that again.
///
/// # Errors
/// If something does not build.
pub fn build_programs(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let mut build = cargo(workspace);
    build.args(["build", "--locked", "--bins", "--examples"]).args(packages);
    run(Toolchain::of(workspace, Target::Wasm)?.use_for(&mut build))
}

/// Runs the demo with programs of the packages that these arguments for cargo choose.
///
/// # Errors
/// If something is missing and cannot be installed, a program fails, training does not make a good model, or two runs differ.
pub fn run_demo(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let folder = workspace.target().join("demo");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let job_file = workspace.root().join("sample-trainers").join(TRAINER).join("job.toml");

    say(
        "What you will see",
        "Somebody (the sponsor) wants a model that tells malignant tumours from benign ones. Somebody else (the client) has \
         patients' data and will not hand it out. So the training comes to the data: the sponsor's program runs on the client's \
         machine, shut in a sandbox that can read that data and nothing else, and only the trained weights leave it. The run is \
         deterministic to the last bit, so anybody who has the same inputs can check that the weights are honest.",
    );

    say(
        "1. Build",
        "The programs: `fedmkt` for the sponsor, `fedmkt-run` for the client, `fedmkt-verify` for whoever checks. The first build takes \
         twenty minutes on two processors.",
    );
    build_programs(workspace, packages)?;
    let programs = workspace.target().join("debug");

    say(
        "2. The sponsor's trainer",
        "An ordinary Rust program, compiled to WebAssembly: one file that runs in any WASI runtime.",
    );
    sections::build_trainers(workspace, &[TRAINER])?;

    say(
        "3. The client's data",
        "569 real tumours with 30 measures each (Wisconsin, 1995). Three of four rows are the client's; the rest is held out, to see \
         afterwards how good the model is on tumours that it has never met.",
    );
    let data = tools::dataset(workspace, DATA)?;
    let held_out = data.join("heldout/data.csv");

    say("4. The model before training", "All zeros: it knows nothing.");
    let initial = model_of(&job_file)?;
    std::fs::create_dir_all(initial.parent().context("a model lies in a folder")?)?;
    run(command(workspace, programs.join("examples/initial-model")).arg(&initial))?;
    let accuracy = |weights: &Path| -> Result<f64> {
        let mut evaluate = command(workspace, programs.join("examples/evaluate"));
        let said = output(evaluate.arg(weights).arg(&held_out))?;
        let number = said.trim().strip_prefix("accuracy ").with_context(|| format!("`evaluate` printed {said:?}"))?;
        number.parse().with_context(|| format!("`evaluate` printed {said:?}"))
    };
    let before = accuracy(&initial)?;
    println!("   right on held-out tumours: {:.1} %", before * 100.0);

    say(
        "5. The sponsor publishes a job",
        "Trainer, first model and limits become blocks in a store. Their hash, the job's CID, names all of them: nobody can change \
         anything behind it.",
    );
    let store = folder.join("sponsor/store");
    let program = |arguments: &[&str], path: &Path, store: &Path| {
        let mut fedmkt = command(workspace, programs.join("fedmkt"));
        fedmkt.args(arguments).arg(path).arg("--store").arg(store);
        fedmkt
    };
    let mut publish = program(&["publish", "--json"], &job_file, &store);
    println!("   $ {}", typed(&publish));
    let published = last_object(&output(&mut publish)?)?;
    let job = published["job"].as_str().context("`fedmkt publish --json` gave no `job`")?.to_owned();
    println!("   job {job}");

    let archive = folder.join("job.car");
    run(&mut program(&["store", "export", &job, "--output"], &archive, &store))?;

    say(
        "6. The client runs it",
        "The job arrives as an archive whose every block is checked against its hash. Then comes the consent: what is read, how much may \
         leave, and who may ever see the data. (This table is public, so the job is `open`. And `--yes` agrees here; without it you are \
         asked.)",
    );
    let store = folder.join("client/store");
    run(&mut program(&["store", "import"], &archive, &store))?;
    let first = train(workspace, &folder.join("client"), &store, &job, &data.join("train"))?;
    let after = accuracy(&weights_in(&first.out)?)?;
    println!("   right on held-out tumours: {:.1} % before, {:.1} % after", before * 100.0, after * 100.0);
    if after < LEAST_ACCURACY {
        bail!("the trained model is right in {after:.4} of the cases, less than {LEAST_ACCURACY}");
    }

    say(
        "7. Somebody checks it",
        "Another folder, another store, another identity, and everything recomputed from the start.",
    );
    let other_store = folder.join("checker/store");
    run(&mut program(&["store", "import"], &archive, &other_store))?;
    let second = train(workspace, &folder.join("checker"), &other_store, &job, &data.join("train"))?;
    let mut different = Vec::new();
    for name in COMMON {
        let (one, other) = (&first.report[name], &second.report[name]);
        if one.is_null() {
            bail!("`fedmkt-run --json` gave no `{name}`");
        }
        println!("   {:<13} {}", name, if one == other { "the same" } else { "DIFFERENT" });
        if one != other {
            different.push(format!("{name}: {one} and {other}"));
        }
    }
    let same_files = std::fs::read(weights_in(&first.out)?)? == std::fs::read(weights_in(&second.out)?)?;
    println!("   {:<13} {}", "weight files", if same_files { "the same, byte for byte" } else { "DIFFERENT" });
    if !different.is_empty() || !same_files {
        bail!("the two runs differ\n{}", different.join("\n"));
    }

    say(
        "8. Another program checks it",
        "`tests/reader.py` was written from the documents alone and shares no code with the rest. It reads the receipt and the packed \
         data, and computes the hashes for itself.",
    );
    let receipt = folder.join("receipt.car");
    let receipt_cid = first.report["receipt"].as_str().context("`fedmkt-run --json` gave no `receipt`")?;
    run(&mut program(&["store", "export", receipt_cid, "--output"], &receipt, &store))?;
    let mut reader = command(workspace, tools::python(workspace)?);
    reader.args(["tests/reader.py", "receipt"]).arg(&receipt);
    run(reader.arg("--capsule").arg(only_file(&folder.join("client/home/capsules"), "pack")?))?;

    say(
        "9. One step, in another machine",
        "A step drawn at random is computed once more by the replayer, a program for a bare RISC-V processor: in the Cartesi Machine if \
         this computer has it, whose every instruction a contract could judge; else in QEMU.",
    );
    let image = machine::build(workspace)?;
    if let Err(error) = tools::qemu(workspace) {
        println!("   QEMU could not be installed: {error:#}");
    }
    let mut audit = command(workspace, programs.join("fedmkt-verify"));
    audit.env("FEDMKT_HOME", folder.join("auditor")).env("FEDMKT_REPLAYER", image.path());
    audit.arg("audit").arg(&receipt).arg("--random=1").arg("--capsule");
    run(audit.arg(only_file(&folder.join("client/home/capsules"), "pack")?))?;

    if solidity::is_supported() {
        say(
            "10. The same for money",
            "A chain of its own, a market, and a token that is worth nothing. The sponsor puts up a reward, the client a bond; the run's \
             id now comes from the chain; when nobody has challenged the result in time, the client takes bond and reward.",
        );
        demo_market::run_market(workspace, &Before { folder: &folder, job: &job, data: &data.join("train") })?;
    }

    say("Done", "What came out, and where it is:");
    let shown = |name: &str| first.report[name].as_str().map_or_else(|| first.report[name].to_string(), str::to_owned);
    println!("   accuracy      {before:.4} before, {after:.4} after (on rows that training never saw)");
    for (title, name) in [
        ("job", "job"),
        ("weights", "weights"),
        ("data root", "data_root"),
        ("trace root", "trace_root"),
        ("receipt", "receipt"),
        ("receipt body", "receipt_body"),
    ] {
        println!("   {title:<13} {}", shown(name));
    }
    println!("   in            {}", first.out.display());
    Ok(())
}

/// One run in a home of its own, as a client would start it.
fn train(workspace: &Workspace, folder: &Path, store: &Path, job: &str, data: &Path) -> Result<Done> {
    std::fs::create_dir_all(folder)?;
    let passphrase = folder.join("passphrase");
    // It protects a key that lives as long as this demo.
    std::fs::write(&passphrase, format!("demo {}\n", std::process::id()))?;
    let out = folder.join("out");
    let mut grant = std::ffi::OsString::from("data=");
    grant.push(data);
    let mut client = command(workspace, workspace.target().join("debug/fedmkt-run"));
    client.env("FEDMKT_HOME", folder.join("home")).env("FEDMKT_PASSPHRASE_FILE", &passphrase);
    client
        .arg(job)
        .arg("--grant")
        .arg(grant)
        .arg("--store")
        .arg(store)
        .arg("--out")
        .arg(&out)
        .args(["--yes", "--json"]);
    println!("   $ {}", typed(&client));
    // The consent and the progress bar go to standard error.
    let said = client.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("starting fedmkt-run")?;
    if !said.status.success() {
        bail!("`{}` failed ({})", typed(&client), said.status);
    }
    let report = last_object(&String::from_utf8(said.stdout)?)?;
    if report["status"] != "done" {
        bail!("the run ended with {}", report["status"]);
    }
    Ok(Done { report, out })
}

/// The file that a job description names as its initial model.
fn model_of(job_file: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(job_file).with_context(|| format!("reading {}", job_file.display()))?;
    let job: toml::Table = text.parse().with_context(|| format!("reading {}", job_file.display()))?;
    let model = job.get("model").and_then(toml::Value::as_str).context("the job description names no `model`")?;
    Ok(job_file.with_file_name(model))
}

/// The file with the weights in what a run left.
fn weights_in(out: &Path) -> Result<PathBuf> {
    let file = out.join("weights.safetensors");
    if !file.is_file() {
        bail!("the run left no {}", file.display());
    }
    Ok(file)
}

/// The file of a folder whose name ends in `.extension`.
fn only_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let found = paths.find(|path| path.extension().is_some_and(|found| found == extension));
    found.with_context(|| format!("there is no .{extension} in {}", folder.display()))
}

/// The last JSON object of an output whose lines are objects, or that is one object over several lines.
fn last_object(said: &str) -> Result<Value> {
    let last = said.trim_end().lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .or_else(|_| serde_json::from_str(said))
        .with_context(|| format!("no JSON object in {said:?}"))
}

/// A heading and a paragraph, broken at 80 columns.
pub fn say(title: &str, text: &str) {
    println!("\n{title}");
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.len() + word.len() > 76 {
            println!("   {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    println!("   {line}");
}
