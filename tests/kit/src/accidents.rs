//! Processes that are ended at any moment, and disks that are full.
//!
//! Every moment is right, so nothing here depends on how fast a computer is: moments are drawn from the time that an
//! undisturbed process takes, and from those at which a file appears, as most can go wrong around these.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};

/// Numbers that differ from run to run of the tests; a failure shows the seed.
pub struct Dice(pub u64);

impl Dice {
    /// Seeded by the time.
    ///
    /// # Panics
    /// Before 1970.
    #[expect(clippy::new_without_default, reason = "each differs")]
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        Self(now.as_nanos() as u64 | 1)
    }

    /// A number below `sides`.
    ///
    /// # Panics
    /// When `sides` is 0.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// All files below a folder that are there at present.
pub fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.insert(path);
        }
    }
    found
}

/// Waits for a moment of a process: some time after its start, or after it made its n-th file below `folder`. `takes` is
/// how long the process takes about.
///
/// # Panics
/// When the process cannot be asked whether it has ended.
pub fn wait_for_a_moment(child: &mut Child, folder: &Path, takes: Duration, dice: &mut Dice) {
    if dice.roll(2) == 0 {
        std::thread::sleep(takes.mul_f64(dice.roll(1000) as f64 / 900.0));
        return;
    }
    let mut seen = files_below(folder);
    let mut more = 1 + dice.roll(8);
    while more > 0 && child.try_wait().expect("a child").is_none() {
        let now = files_below(folder);
        more = more.saturating_sub(now.difference(&seen).count() as u64);
        seen.extend(now);
    }
    std::thread::sleep(Duration::from_micros(dice.roll(1000)));
}

/// No file that the command writes can become larger than this, as if the disk were full then.
pub fn limited(mut command: Command, most_bytes: u64) -> Command {
    let limit = libc::rlimit { rlim_cur: most_bytes, rlim_max: most_bytes };
    // SAFETY: both calls may be made between fork and exec.
    unsafe {
        command.pre_exec(move || {
            // Otherwise the signal would end the process before it sees the error.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            if libc::setrlimit(libc::RLIMIT_FSIZE, &limit) == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        })
    };
    command
}
