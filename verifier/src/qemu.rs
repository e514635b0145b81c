//! QEMU's `virt` machine: another processor, another emulator, the same image. It has no hashes.
//!
//! RAM and drives are one file, which QEMU maps: what the replayer writes to the state-out drive is in the file.

use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fedmkt_machine::exit::Exit;
use fedmkt_machine::memory_map::{self, Drive, RAM_START};

use crate::machine::{Failure, Machine, Progress, Replayed, StateOut};
use crate::process::{Tied, on_path};
use crate::step::Step;

const PROGRAM: &str = "qemu-system-riscv64";

/// QEMU, found on this computer.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    name: String,
}

impl Qemu {
    /// Looks for QEMU on `PATH`.
    ///
    /// # Errors
    /// When it is not there, or does not start.
    pub fn find() -> Result<Self, Failure> {
        let remedy = "install it (Debian and Ubuntu: `apt-get install qemu-system-misc`)";
        let program = on_path(PROGRAM).ok_or(Failure::Missing { program: PROGRAM, remedy })?;
        let start = |error| Failure::Start { program: program.display().to_string(), error };
        let output = Command::new(&program).arg("--version").stdin(Stdio::null()).output().map_err(start)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version =
            text.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or("of an unknown version");
        Ok(Self { name: format!("QEMU {version}"), program })
    }
}

impl Machine for Qemu {
    fn name(&self) -> &str {
        &self.name
    }

    fn replay(&self, step: &Step<'_>, watch: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Replayed, Failure> {
        const RAM_BYTES: u64 = memory_map::END - RAM_START;
        let folder = tempfile::tempdir_in(step.work).map_err(Failure::file("make a folder in", step.work))?;
        let path = folder.path().join("ram");
        let write = || Failure::file("write", &path);
        let mut ram = OpenOptions::new().write(true).create_new(true).open(&path).map_err(write())?;
        ram.set_len(RAM_BYTES).map_err(write())?;
        for drive in Drive::ALL {
            step.copy(drive, &mut ram, drive.start() - RAM_START, &path)?;
        }
        drop(ram);
        let image = folder.path().join("image");
        std::fs::write(&image, step.image.bytes()).map_err(Failure::file("write", &image))?;

        let mut command = Command::new(&self.program);
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-smp", "1", "-machine", "virt,memory-backend=ram"])
            .args(["-m", &format!("{}M", RAM_BYTES >> 20)])
            .arg("-object")
            .arg(format!("memory-backend-file,id=ram,share=on,size={RAM_BYTES},mem-path={}", path.display()))
            .args(["-bios", "none", "-append", memory_map::boot_argument(step.class), "-kernel"])
            .arg(&image)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let mut qemu = Tied::start(&mut command)
            .map_err(|error| Failure::Start { program: self.program.display().to_string(), error })?;
        let status = loop {
            if let Some(status) = qemu.ended().map_err(write())? {
                break status;
            }
            let elapsed = start.elapsed();
            if elapsed > step.limit.time {
                return Err(Failure::Endless(format!("{} seconds", step.limit.time.as_secs())));
            }
            if watch(Progress { cycles: None, elapsed }).is_break() {
                return Err(Failure::Interrupted);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = start.elapsed();
        let said = qemu.end();
        // QEMU itself ends with 1, and with a signal when it crashes.
        let Some(code) = status.code().filter(|&code| code != 1) else {
            return Err(Failure::Died { program: PROGRAM, how: status.to_string(), said });
        };
        let code = code as u64;
        let Some(exit) = Exit::from_code(code) else { return Err(Failure::UnknownExit { code, said }) };
        let state_out = StateOut {
            file: path,
            offset: Drive::StateOut.start() - RAM_START,
            log2_bytes: step.class.log2_state(),
            _folder: folder,
        };
        Ok(Replayed { exit, said, cycles: None, took, state_out, hashes: None })
    }
}
