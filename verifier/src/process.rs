//! Programs that must not outlive us.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread::JoinHandle;

use rustix::process::{Signal, set_parent_process_death_signal};

/// The most bytes that are kept of what a program writes.
const MOST_SAID: usize = 1 << 16;

/// A running program, killed when this value is dropped or our process ends in whatever way.
pub(crate) struct Tied {
    child: Child,
    said: Vec<JoinHandle<Vec<u8>>>,
}

impl Tied {
    /// Starts a program. What it writes to pipes is collected.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        // SAFETY: only a system call is made between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let mut child = command.spawn()?;
        let mut said = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            said.push(std::thread::spawn(move || collect(pipe)));
        }
        if let Some(pipe) = child.stderr.take() {
            said.push(std::thread::spawn(move || collect(pipe)));
        }
        Ok(Self { child, said })
    }

    /// The exit status, if the program has ended.
    pub(crate) fn ended(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.child.try_wait()
    }

    /// Ends the program and gives what it wrote to standard output and standard error.
    pub(crate) fn end(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let said: Vec<u8> = self.said.drain(..).flat_map(|thread| thread.join().unwrap_or_default()).collect();
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The beginning of what comes out of a pipe; the rest is read and forgotten.
fn collect(mut pipe: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(bytes @ 1..) = pipe.read(&mut buffer) {
        let room = MOST_SAID - kept.len();
        kept.extend_from_slice(&buffer[..bytes.min(room)]);
    }
    kept
}

/// The file of a program on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let list = std::env::var_os("PATH")?;
    std::env::split_paths(&list).map(|folder| folder.join(name)).find(|path| path.is_file())
}
