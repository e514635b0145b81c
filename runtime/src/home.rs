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
//! Only the owner can look inside. Of these all but `identity.age`, `policy.toml` and unfinished runs can be made again. What the
//! market's programs and the verifier keep beside them is in `docs/src/reference`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fedmkt_core::roots::RunId;

use crate::message::about;
use crate::{atomic_file, auditor};

/// By any of these a folder is known to be fedmkt's, whoever made it.
const OURS: [&str; 7] =
    ["identity.age", "policy.toml", "config.toml", "journal.redb", auditor::FILE, "wallets", "store/blocks"];

/// A client's folder.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// The folder at `path`; made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or not be kept from others, or others use it.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if is_others(&path).map_err(about(&path))? {
            return Err(io::Error::other(format!(
                "{0} has files that are not fedmkt's, and others can look at them: name a folder for fedmkt alone, or \
                 close this one with `chmod 700 {0}`",
                path.display()
            )));
        }
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

/// Whether a folder is there that is open to others, and has something in it, but nothing by which it is known to be fedmkt's.
fn is_others(path: &Path) -> io::Result<bool> {
    let mode = match fs::metadata(path) {
        Ok(found) => found.permissions().mode(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let is_ours = || OURS.iter().any(|name| path.join(name).symlink_metadata().is_ok());
    Ok(mode & 0o077 != 0 && !is_ours() && fs::read_dir(path)?.next().is_some())
}

fn make_private(path: &Path) -> io::Result<()> {
    let make = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let mut permissions = fs::metadata(path)?.permissions();
        if permissions.mode() & 0o077 != 0 {
            permissions.set_mode(0o700);
            fs::set_permissions(path, permissions)?;
        }
        Ok(())
    };
    make().map_err(about(path))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a folder").permissions().mode() & 0o7777
    }

    #[test]
    fn a_home_is_closed_to_others_whoever_made_it() {
        let folder = tempfile::tempdir().expect("a folder");
        Home::open(folder.path().join("new/home")).expect("made");
        assert_eq!(mode(&folder.path().join("new/home")), 0o700);
        for name in [None, Some("identity.age"), Some("policy.toml"), Some("wallets")] {
            let home = folder.path().join(name.unwrap_or("empty"));
            fs::create_dir(&home).expect("a folder");
            if let Some(name) = name {
                fs::write(home.join(name), "").expect("a file");
                fs::write(home.join("notes"), "").expect("a file");
            }
            fs::set_permissions(&home, Permissions::from_mode(0o755)).expect("set");
            Home::open(&home).expect("opened");
            assert_eq!(mode(&home), 0o700, "{name:?}");
        }
    }

    #[test]
    fn a_folder_that_others_use_is_left_to_them() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("notes"), "").expect("a file");
        for open in [0o1777, 0o755, 0o710] {
            fs::set_permissions(folder.path(), Permissions::from_mode(open)).expect("set");
            let error = Home::open(folder.path()).expect_err("others use it").to_string();
            assert!(error.contains(&format!("chmod 700 {}", folder.path().display())), "{error}");
            assert_eq!(mode(folder.path()), open);
        }
        // What it says helps.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("set");
        Home::open(folder.path()).expect("opened");
    }
}
