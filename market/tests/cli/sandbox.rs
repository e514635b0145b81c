//! A folder with a `fedmkt` of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fedmkt_store::FolderStore;
use serde_json::Value;
use tempfile::TempDir;

/// A working folder and a home that nothing else uses.
pub struct Sandbox {
    folder: TempDir,
}

/// What a command did.
pub struct Done {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    pub fn store(&self) -> FolderStore {
        FolderStore::new(self.path("home/store"))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fedmkt"));
        command.args(arguments).current_dir(self.folder.path()).env("FEDMKT_HOME", self.path("home"));
        command
            .stdin(Stdio::null())
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("FEDMKT_IPFS")
            .env_remove("FEDMKT_GATEWAYS");
        command
    }

    /// Runs `fedmkt` with these arguments.
    pub fn run(&self, arguments: &[&str]) -> Done {
        self.command(arguments).output().expect("fedmkt runs").into()
    }

    /// Runs `fedmkt` with this on its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Done {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("fedmkt runs");
        // Input that is not wanted any more is no fault of this test.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        child.wait_with_output().expect("fedmkt runs").into()
    }

    /// Keeps a module, a model and a job file that refers to them.
    pub fn write_job(&self) {
        self.write("trainer.wasm", stepper());
        self.write("model.bin", b"weights");
        self.write("job.toml", JOB);
    }

    /// Publishes the job of [`Self::write_job`].
    pub fn publish(&self) -> String {
        self.write_job();
        self.run(&["publish", "job.toml"]).line()
    }

    /// Replaces a line of the job file that begins so.
    pub fn change_job(&self, begin: &str, line: &str) {
        let text = fs::read_to_string(self.path("job.toml")).expect("a job file");
        assert!(text.lines().any(|old| old.starts_with(begin)), "{begin}");
        let changed = text.lines().map(|old| if old.starts_with(begin) { line } else { old });
        self.write("job.toml", changed.collect::<Vec<_>>().join("\n"));
    }

    pub fn open(&self, path: &str) -> File {
        File::open(self.path(path)).expect("a file")
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert!(!stderr.contains("panicked"), "{stderr}");
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }
}

impl Done {
    /// Standard output of a command that succeeded.
    #[track_caller]
    pub fn text(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        std::str::from_utf8(&self.stdout).expect("text")
    }

    /// Standard output of a command that succeeded: one line.
    #[track_caller]
    pub fn line(&self) -> String {
        let line = self.text().strip_suffix('\n').expect("a line");
        assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
        line.into()
    }

    /// Standard output of a command that succeeded: one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.text()).expect("JSON")
    }

    /// Checks exit code and a part of standard error of a command that did not succeed.
    #[track_caller]
    pub fn fails(&self, code: i32, says: &str) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert!(self.stderr.contains(says), "{says:?} is not in: {}", self.stderr);
    }
}

/// A stepper that is done at once.
pub fn stepper() -> Vec<u8> {
    wat::parse_str(
        r#"(module (memory (export "memory") 1) (func (export "_start"))
             (func (export "fedmkt_init") (result i32) i32.const 0)
             (func (export "fedmkt_step") (result i32) i32.const 1))"#,
    )
    .expect("a module")
}

pub const JOB: &str = r#"name = "example"
description = "Learns nothing."
trainer = "trainer.wasm"
model = "model.bin"
steps-per-segment = 1
[data]
name = "data"
format = "csv"
columns = ["a", "b"]
least-rows = 10
most-bytes = 1048576
[limits]
memory = 65536
steps = 3
output = 4096
step-seconds = 60
[[results]]
name = "weights"
most-bytes = 100
[machine]
class = "S"
[disclosure]
kind = "open"
"#;
