//! The server's process.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::PROGRAM;
use super::client::Client;
use crate::machine::Failure;
use crate::process::Tied;

/// A server of our own on a loopback port; it ends with this value.
pub(super) struct Server {
    process: Mutex<Option<Tied>>,
    client: Client,
}

impl Server {
    pub(super) fn start(program: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::Start { program: program.display().to_string(), error };
        // The server inherits a socket that listens already: no port is guessed, and no answer has to be waited for.
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(["--server-fd=0", "--log-level=error"])
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let process = Tied::start(&mut command).map_err(failed)?;
        Ok(Self { process: Mutex::new(Some(process)), client: Client::new(address) })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The same failure, or that the server has died if it has.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        if !matches!(failure, Failure::Died { .. } | Failure::Nonsense(_)) {
            return failure;
        }
        let mut process = self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(mut tied) = process.take() else { return failure };
        // A connection breaks a little before the process has ended.
        for _ in 0..50 {
            if let Ok(Some(status)) = tied.ended() {
                return Failure::Died { program: PROGRAM, how: status.to_string(), said: tied.end() };
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        failure
    }
}
