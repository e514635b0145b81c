//! `fedmkt publish`.

use std::fs;

use fedmkt_core::manifest::{Disclosure, Manifest, SizeClass};
use fedmkt_store::BlockStore;
use fedmkt_store::job::write_job_drive;

use crate::sandbox::{JOB, Sandbox};

const AGE: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn manifest(sandbox: &Sandbox, job: &str) -> Manifest {
    let block = sandbox.store().get(&job.parse().expect("a CID")).expect("a block");
    Manifest::decode(&block).expect("a job")
}

#[test]
fn a_job_is_made_kept_and_named() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    let manifest = manifest(&sandbox, &job);
    assert_eq!(manifest.name, "example");
    assert_eq!(manifest.data.columns.as_deref(), Some(&["a".to_string(), "b".to_string()][..]));
    assert_eq!((manifest.limits.scratch, manifest.limits.open_files), (0, 16));
    assert_eq!(manifest.machine.class, SizeClass::S);
    assert_eq!(manifest.disclosure, Disclosure::Open);
    assert!(sandbox.run(&["store", "ls"]).text().contains(&job), "the job is pinned");
    sandbox.run(&["store", "gc", "--now"]).text();
    let root = write_job_drive(&sandbox.store(), &job.parse().expect("a CID"), std::io::sink()).expect("a drive");

    let again = sandbox.run(&["publish", "job.toml", "--json"]);
    assert_eq!(again.stderr, "");
    let object = again.json();
    assert_eq!(object["job"], job);
    assert_eq!(object["trainer"], manifest.trainer.to_string());
    assert_eq!(object["model"], manifest.model.to_string());
    assert_eq!(object["job_root"], root.to_string());
}

#[test]
fn paths_are_relative_to_the_job_file() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    fs::create_dir_all(sandbox.path("jobs/example")).expect("a folder");
    for file in ["job.toml", "trainer.wasm", "model.bin"] {
        fs::rename(sandbox.path(file), sandbox.path("jobs/example").join(file)).expect("a file");
    }
    assert_eq!(sandbox.run(&["publish", "jobs/example/job.toml"]).line(), job);
    let absolute = sandbox.path("jobs/example/job.toml");
    assert_eq!(sandbox.run(&["publish", absolute.to_str().expect("a path")]).line(), job);
}

#[test]
fn a_model_may_be_a_folder() {
    let sandbox = Sandbox::new();
    sandbox.write_job();
    sandbox.write("model/weights/a", "a");
    sandbox.write("model/b", "b");
    sandbox.change_job("model =", "model = \"model\"");
    let job = sandbox.run(&["publish", "job.toml"]).line();
    let listed = sandbox.run(&["store", "ls", &manifest(&sandbox, &job).model.to_string()]);
    assert!(listed.text().contains("weights/a"), "{}", listed.text());
    std::os::unix::fs::symlink("b", sandbox.path("model/link")).expect("a link");
    sandbox.run(&["publish", "job.toml"]).fails(1, "model: model/link: only files and folders can be added");
}

#[test]
fn a_trainer_of_one_step_is_published_with_a_note() {
    let sandbox = Sandbox::new();
    sandbox.write_job();
    sandbox.write("trainer.wasm", wat::parse_str(r#"(module (func (export "_start")))"#).expect("a module"));
    let done = sandbox.run(&["publish", "job.toml"]);
    done.line();
    assert!(done.stderr.contains("note: trainer.wasm: exports `_start` only"), "{}", done.stderr);
    let notes = sandbox.run(&["publish", "job.toml", "--json"]).json()["notes"].clone();
    assert_eq!(notes.as_array().map(Vec::len), Some(1));
}

#[test]
fn all_kinds_of_disclosure_can_be_written() {
    let sandbox = Sandbox::new();
    sandbox.write_job();
    let audited = format!("kind = \"audited\"\nauditors = [\"{AGE}\"]\nper-million = 5000\nsponsor = \"{AGE}\"");
    sandbox.change_job("kind =", &audited);
    let job = manifest(&sandbox, &sandbox.run(&["publish", "job.toml"]).line());
    assert!(
        matches!(job.disclosure, Disclosure::Audited(audit) if audit.per_million == 5000 && audit.auditors == [AGE])
    );
    assert_eq!(job.sponsor.as_deref(), Some(AGE));
    sandbox.write("job.toml", JOB.replace("\"open\"", "\"private\""));
    let job = manifest(&sandbox, &sandbox.run(&["publish", "job.toml"]).line());
    assert_eq!(job.disclosure, Disclosure::Private);
}

#[test]
fn the_longest_run_has_32_segments_unless_the_job_file_says_otherwise() {
    let sandbox = Sandbox::new();
    sandbox.write_job();
    let published = |said: &str, steps: u64| {
        let job = JOB.replace("steps-per-segment = 1\n", said).replace("steps = 3", &format!("steps = {steps}"));
        sandbox.write("job.toml", job);
        manifest(&sandbox, &sandbox.run(&["publish", "job.toml"]).line()).steps_per_segment
    };
    assert_eq!(published("", 1), 1);
    assert_eq!(published("", 32), 1);
    assert_eq!(published("", 33), 2);
    assert_eq!(published("", 1000), 32);
    assert_eq!(published("steps-per-segment = 4\n", 1000), 4);
    let none = JOB.replace("steps-per-segment = 1\n", "").replace("steps = 3", "steps = 0");
    sandbox.write("job.toml", none);
    sandbox.run(&["publish", "job.toml"]).fails(1, "cannot be published, 1 thing must be changed");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write_job();
    sandbox.write("trainer.wasm", wat::parse_str("(module (import \"env\" \"f\" (func)))").expect("a module"));
    fs::remove_file(sandbox.path("model.bin")).expect("a file");
    sandbox.change_job("name = \"data\"", "name = \"Data\"");
    sandbox.change_job("steps-per-segment", "steps-per-segment = 0");
    sandbox.change_job("kind", "kind = \"open\"\nauditors = []");
    let done = sandbox.run(&["publish", "job.toml"]);
    for finding in [
        "job.toml cannot be published, 6 things must be changed",
        "trainer: ",
        "env",
        "there is nothing to run",
        "model: cannot read model.bin",
        "data.name: \"Data\"",
        "steps-per-segment: 0 is not between",
        "disclosure.auditors: only a job of kind \"audited\"",
    ] {
        done.fails(1, finding);
    }
    assert!(done.stdout.is_empty());
    assert!(sandbox.store().pins().expect("pins").is_empty());
}

#[test]
fn a_job_that_no_client_could_submit_is_not_published() {
    let sandbox = Sandbox::new();
    sandbox.write_job();
    let wrong = AGE.replace("8p", "8q");
    sandbox.change_job(
        "kind =",
        &format!("kind = \"audited\"\nauditors = [\"{AGE}\", \"{wrong}\"]\nsponsor = \"{wrong}\""),
    );
    sandbox.change_job("name = \"weights\"", &format!("name = \"{}\"", "x".repeat(252)));
    let done = sandbox.run(&["publish", "job.toml"]);
    done.fails(1, "3 things must be changed");
    done.fails(1, &format!("  sponsor: {wrong} is no age recipient"));
    done.fails(1, &format!("  disclosure.auditors: {wrong} is no age recipient"));
    done.fails(1, "as it is published, is no file name of at most 255 bytes");
    // Of a key without even the form of one that is said alone.
    sandbox.write("job.toml", JOB.replace("kind =", "sponsor = \"age1\"\nkind ="));
    sandbox.run(&["publish", "job.toml"]).fails(1, "1 thing must be changed");
}

#[test]
fn a_job_file_that_cannot_be_read_is_explained() {
    let sandbox = Sandbox::new();
    sandbox.run(&["publish", "job.toml"]).fails(3, "cannot read the job file job.toml");
    sandbox.write_job();
    sandbox.change_job("name = \"example\"", "nmae = \"example\"");
    let done = sandbox.run(&["publish", "job.toml"]);
    done.fails(1, "unknown field `nmae`");
    done.fails(1, "line 1");
    sandbox.write("job.toml", JOB.replace("least-rows", "least_rows"));
    sandbox.run(&["publish", "job.toml"]).fails(1, "unknown field `least_rows`");
    sandbox.write("job.toml", "name = ");
    sandbox.run(&["publish", "job.toml"]).fails(1, "cannot be published");
    sandbox.write("job.toml", [0xff, 0xfe]);
    sandbox.run(&["publish", "job.toml"]).fails(3, "UTF-8");
    sandbox.write("job.toml", JOB.replace("\"S\"", "\"XXL\""));
    sandbox.run(&["publish", "job.toml"]).fails(1, "unknown variant `XXL`");
    let twice = JOB.replace("kind", &format!("sponsor = \"{AGE}\"\nkind"));
    sandbox.write("job.toml", format!("sponsor = \"{AGE}\"\n{twice}"));
    sandbox.run(&["publish", "job.toml"]).fails(1, "sponsor: is there twice");
}

#[test]
fn a_model_that_does_not_fit_is_told_which_class_it_needs() {
    let sandbox = Sandbox::new();
    sandbox.write_job();
    fs::File::create(sandbox.path("model.bin")).and_then(|file| file.set_len(17 << 20)).expect("a file");
    sandbox.run(&["publish", "job.toml"]).fails(1, "use class M");
    // Nothing of a model is added that no class can hold.
    fs::File::create(sandbox.path("model.bin")).and_then(|file| file.set_len(1 << 40)).expect("a file");
    sandbox.run(&["publish", "job.toml"]).fails(1, "no class is large enough");
}
