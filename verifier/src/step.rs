//! A step to be replayed.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedmkt_core::manifest::SizeClass;
use fedmkt_machine::memory_map::Drive;
use sha2::{Digest, Sha256};

use crate::machine::Failure;

/// The replayer's image, which is loaded at the beginning of RAM.
#[derive(Clone, Debug)]
pub struct Image {
    bytes: Vec<u8>,
    path: PathBuf,
}

/// The environment variable that names an image.
pub const IMAGE_VARIABLE: &str = "FEDMKT_REPLAYER";

/// The image's file name.
pub const IMAGE_NAME: &str = "fedmkt-replayer.bin";

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = std::fs::read(path).map_err(Failure::file("read", path))?;
        Ok(Self { bytes, path: path.to_owned() })
    }

    /// Reads the image that `FEDMKT_REPLAYER` names, else the one that was installed beside this program, else the one
    /// that was built in this program's workspace.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn find() -> Result<Self, Failure> {
        const MISSING: Failure = Failure::Missing {
            program: IMAGE_NAME,
            remedy: "build it with `cargo xtask machine`, or name it in FEDMKT_REPLAYER",
        };
        if let Some(path) = std::env::var_os(IMAGE_VARIABLE) {
            return Self::read(Path::new(&path));
        }
        let program = std::env::current_exe().map_err(|_| MISSING)?;
        let folders = program.ancestors().skip(1);
        let places = folders.flat_map(|folder| {
            [
                folder.join(IMAGE_NAME),
                folder.join("machine").join(IMAGE_NAME),
                folder.join("share/fedmkt").join(IMAGE_NAME),
            ]
        });
        let found = places.take(12).find(|path| path.is_file()).ok_or(MISSING)?;
        Self::read(&found)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where they were read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the bytes in hexadecimal digits, by which a release pins them.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// One step of a run, ready to be replayed. Files may be shorter than their drives; the rest is zero.
///
/// Whose roots these files have is for the caller to check. The replayer checks everything else.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// The replayer.
    pub image: &'a Image,
    /// How large the machine is.
    pub class: SizeClass,
    /// The job drive.
    pub job: &'a Path,
    /// The capsule.
    pub data: &'a Path,
    /// The image of the state before the step.
    pub state_in: &'a Path,
    /// Where working files go; they are as large as the drives that are used.
    pub work: &'a Path,
    /// When to give up.
    pub limit: Limit,
    /// Whether hashes of the whole machine are wanted, which takes a few seconds.
    pub hashes: bool,
}

/// When a replay is given up. The Cartesi Machine counts cycles, which makes its limit the same everywhere; QEMU counts
/// none and is held to the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Machine cycles.
    pub cycles: u64,
    /// Time, from the start of the machine.
    pub time: Duration,
}

impl Limit {
    /// The limit for a size class: 2^40 cycles, half an hour at 600 million a second, for S; four times as much for each
    /// class above.
    pub const fn of(class: SizeClass) -> Self {
        let log2 = match class {
            SizeClass::S => 40,
            SizeClass::M => 42,
            SizeClass::L => 44,
        };
        Self { cycles: 1 << log2, time: Duration::from_secs((1 << log2) / 100_000_000) }
    }
}

impl Step<'_> {
    /// The file of a drive that is read.
    pub(crate) fn source(&self, drive: Drive) -> Option<&Path> {
        match drive {
            Drive::Job => Some(self.job),
            Drive::Data => Some(self.data),
            Drive::StateIn => Some(self.state_in),
            Drive::StateOut => None,
        }
    }

    /// Copies a drive's content into `file` at `offset`, where there are zeros.
    pub(crate) fn copy(&self, drive: Drive, file: &mut File, offset: u64, target: &Path) -> Result<(), Failure> {
        let Some(path) = self.source(drive) else { return Ok(()) };
        let mut source = File::open(path).map_err(Failure::file("open", path))?;
        let bytes = source.metadata().map_err(Failure::file("read", path))?.len();
        let most = drive.bytes(self.class);
        if bytes > most {
            return Err(Failure::TooLong { drive: drive.name(), path: path.to_owned(), bytes, most });
        }
        file.seek(SeekFrom::Start(offset)).map_err(Failure::file("write", target))?;
        io::copy(&mut source, file).map_err(Failure::file("write", target))?;
        Ok(())
    }
}
