//! A Kubo node of a test's own: its repository is a temporary folder, its ports are on this computer alone, and it is
//! never online.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fedmkt_store::Endpoint;

/// The profile by which CIDs of files are made.
pub const PROFILE: &str = "unixfs-v1-2025";

/// Kubo's program with a repository.
pub struct Repository {
    program: OsString,
    folder: tempfile::TempDir,
}

impl Repository {
    /// `None`, said loudly, when there is no Kubo: neither where `FEDMKT_KUBO` says nor as `ipfs` on the PATH.
    ///
    /// # Panics
    /// When the program that `FEDMKT_KUBO` names cannot be run, or makes no repository.
    pub fn find(test: &str) -> Option<Self> {
        let named = std::env::var_os("FEDMKT_KUBO");
        let program = named.clone().unwrap_or_else(|| "ipfs".into());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let repository = Self { program, folder };
        match repository.command(&["version"]).output() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                // Not `eprintln!`, which the test harness keeps to itself.
                let message = format!("\nSKIPPED {test}: no `ipfs` on the PATH; install Kubo, or set FEDMKT_KUBO\n");
                io::stderr().write_all(message.as_bytes()).expect("standard error");
                return None;
            }
            Err(error) => panic!("{:?} cannot be run: {error}", repository.program),
        }
        // The profile `test` has no ports but such as are free on this computer, and nobody to connect to.
        repository.run(&["init", "--empty-repo", "--profile", &format!("{PROFILE},test")]);
        Some(repository)
    }

    /// The program with these arguments, for this repository.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("IPFS_PATH", self.folder.path()).env("IPFS_TELEMETRY", "off");
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program and gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("Kubo runs");
        assert!(output.status.success(), "ipfs {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_string()
    }

    /// The repository's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the node.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(self) -> Daemon {
        let (child, rpc, gateway) = start(&self);
        Daemon { repository: self, child, rpc, gateway }
    }
}

fn start(repository: &Repository) -> (Child, Endpoint, Endpoint) {
    let mut command = repository.command(&["daemon", "--offline"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("Kubo runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut said = String::new();
    while !said.contains("Daemon is ready") {
        assert!(lines.read_line(&mut said).expect("text") > 0, "the node did not start:\n{said}");
    }
    // What it says later must go somewhere.
    std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));
    let file = |name: &str| fs::read_to_string(repository.path().join(name)).expect("the node wrote its addresses");
    let api = file("api");
    let port = api.trim().strip_prefix("/ip4/127.0.0.1/tcp/").expect("a port on this computer");
    let rpc = format!("http://127.0.0.1:{port}").parse().expect("an address");
    (child, rpc, file("gateway").trim().parse().expect("an address"))
}

/// A node that runs, until this is dropped.
pub struct Daemon {
    /// What it keeps.
    pub repository: Repository,
    child: Child,
    /// The address of its RPC.
    pub rpc: Endpoint,
    /// The address of its gateway.
    pub gateway: Endpoint,
}

impl Daemon {
    /// As [`Repository::find`] and [`Repository::start`].
    ///
    /// # Panics
    /// As these.
    pub fn find(test: &str) -> Option<Self> {
        Repository::find(test).map(Repository::start)
    }

    /// As a power cut would end it.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it was running");
    }

    /// Starts it again after [`Self::kill`]; its addresses are others then.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        (self.child, self.rpc, self.gateway) = start(&self.repository);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
