//! Where a client keeps what it needs: `$FEDMKT_HOME`, or `.fedmkt` in the user's home.
//!
//! | path | what |
//! | --- | --- |
//! | `identity.age` | the client's secret, encrypted with a passphrase |
//! | `policy.toml` | what needs no question |
//! | `store/` | blocks |
//! | `jobs/` | job drives, ready to be mapped |
//! | `capsules/` | packed grants |
//! | `modules/` | compiled trainers |
//! | `runs/` | checkpoints, one folder a run |
//!
//! Only the owner can look inside. All but `identity.age`, `policy.toml` and unfinished runs can be made again.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fedmkt_core::roots::RunId;

use crate::atomic_file;

/// A client's folder.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// The folder at `path`; made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or not be kept from others.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        make_private(&path)?;
        atomic_file::sweep(&path);
        Ok(Self(path))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The encrypted secret.
    pub fn identity(&self) -> PathBuf {
        self.0.join("identity.age")
    }

    /// The policy.
    pub fn policy(&self) -> PathBuf {
        self.0.join("policy.toml")
    }

    /// The folder of job drives.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn jobs(&self) -> io::Result<PathBuf> {
        self.folder("jobs")
    }

    /// The folder of capsules.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn capsules(&self) -> io::Result<PathBuf> {
        self.folder("capsules")
    }

    /// The folder of compiled modules.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn modules(&self) -> io::Result<PathBuf> {
        self.folder("modules")
    }

    /// The folder of a run.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn run(&self, run_id: RunId) -> io::Result<PathBuf> {
        let path = self.folder("runs")?.join(run_id.to_string());
        make_private(&path)?;
        Ok(path)
    }

    fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        make_private(&path)?;
        atomic_file::sweep(&path);
        Ok(path)
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mut permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o700);
        fs::set_permissions(path, permissions)?;
    }
    Ok(())
}
