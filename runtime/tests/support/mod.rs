//! Jobs, data and clients for tests of `fedmkt-run`.
#![allow(dead_code, reason = "each test uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cid::Cid;
use fedmkt_core::manifest::Manifest;
use fedmkt_store::{FolderStore, put_value};
use fedmkt_test_kit::accidents::files_below;
use fedmkt_test_kit::job::stored;
pub use fedmkt_test_kit::job::trainer;
use serde_json::Value;
use tempfile::TempDir;

/// A client with a home, data and a store.
pub struct Client {
    pub folder: TempDir,
}

impl Client {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("passphrase"), "correct horse\n").expect("a file");
        let client = Self { folder };
        client.write_identity();
        client.write_data(&["table.csv", "b/two.csv", "a.txt", "b/one.txt", "empty/x"]);
        client
    }

    /// Writes an identity that takes no second to decrypt, as those take that the program makes.
    fn write_identity(&self) {
        fs::create_dir_all(self.home()).expect("a folder");
        let mut secret = b"fedmkt secret 1\n".to_vec();
        secret.extend(blake3::hash(self.folder.path().as_os_str().as_encoded_bytes()).as_bytes());
        let mut key = age::scrypt::Recipient::new("correct horse".to_owned().into());
        key.set_work_factor(1);
        fs::write(self.home().join("identity.age"), age::encrypt(&key, &secret).expect("encrypted")).expect("a file");
    }

    /// Writes the data, its files in this order.
    pub fn write_data(&self, order: &[&str]) {
        let _ = fs::remove_dir_all(self.data());
        for name in order {
            let path = self.data().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            let content: String = (0..500).map(|row| format!("{name},{},{}\n", row, row * row % 97)).collect();
            fs::write(path, content).expect("a file");
        }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub fn store(&self) -> FolderStore {
        FolderStore::new(self.home().join("store"))
    }

    /// Publishes a job whose manifest went through `change`.
    pub fn publish(&self, wasm: &[u8], change: impl FnOnce(&mut Manifest)) -> Cid {
        let store = self.store();
        let mut manifest = stored(&store, wasm);
        change(&mut manifest);
        put_value(&store, &manifest).expect("stored")
    }

    /// The command that runs a job.
    pub fn command(&self, job: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fedmkt-run"));
        command
            .arg(job)
            .arg("--grant")
            .arg(format!("data={}", self.data().display()))
            .arg("--out")
            .arg(self.out())
            .args(["--yes", "--json"])
            .env("FEDMKT_HOME", self.home())
            .env("FEDMKT_PASSPHRASE_FILE", self.folder.path().join("passphrase"))
            .env_remove("FEDMKT_IPFS")
            .env_remove("FEDMKT_GATEWAYS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a job to its end.
    pub fn run(&self, job: &str) -> Done {
        Done::of(self.command(job).output().expect("the command starts"))
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stderr: String,
    pub json: Option<Value>,
}

impl Done {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            json: serde_json::from_slice(&output.stdout).ok(),
        }
    }

    /// The JSON object of a run that ended with this code.
    pub fn object(self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self.json.unwrap_or_else(|| panic!("no JSON: {}", self.stderr))
    }
}

/// What two honest runs must agree on.
pub fn agreed(object: &Value) -> Value {
    let fields = [
        "job",
        "run_id",
        "receipt_body",
        "weights",
        "job_root",
        "data_root",
        "trace_root",
        "segments",
        "steps",
        "status",
        "metrics",
    ];
    fields.iter().map(|field| (field.to_string(), object[field].clone())).collect()
}

/// The files below `folder` whose path ends so.
pub fn find(folder: &Path, end: &str) -> Vec<PathBuf> {
    files_below(folder).into_iter().filter(|path| path.to_string_lossy().ends_with(end)).collect()
}
