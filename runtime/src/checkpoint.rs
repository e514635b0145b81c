//! What a run leaves on disk so that it can go on, and so that any part of it can be computed again.
//!
//! A run's folder holds `journal.json` (the state roots at the ends of the segments so far, and which checkpoints there
//! are) and state images named by their number of steps. An image is written before the journal names it, and removed
//! after the journal has forgotten it, so that whenever the process dies, what the journal says is true.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fedmkt_core::manifest::RELEASE;
use fedmkt_core::roots::StateRoot;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::message::about;
use crate::training::TrainingError;
use crate::unnamed::Unnamed;
use crate::worker::Worker;

/// How many checkpoints are kept; beyond, every second one goes.
const MOST: usize = 16;

const JOURNAL: &str = "journal.json";

/// What is kept of one run, by this process alone.
pub struct Checkpoints {
    place: Place,
    journal: Journal,
}

/// Where state images are.
enum Place {
    /// In the run's folder, which is locked.
    Folder { folder: PathBuf, _lock: File },
    /// In files without names on the file system of `folder`, by their number of steps.
    Unnamed { folder: PathBuf, images: BTreeMap<u64, Unnamed> },
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    /// Of the replayer, as which all this was computed.
    release: String,
    /// State roots at the ends of the segments so far.
    segments: Vec<StateRoot>,
    /// Sorted by steps.
    checkpoints: Vec<Checkpoint>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    steps: u64,
    root: StateRoot,
}

impl Journal {
    fn new() -> Self {
        Self { release: RELEASE.into(), segments: Vec::new(), checkpoints: Vec::new() }
    }
}

impl Checkpoints {
    /// Opens a run's folder. `None` when another process works in it.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn open(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join("lock");
        let lock = File::options().create(true).append(true).open(&path).map_err(about(&path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // A journal that cannot be read, or of another release, costs the work done so far, not the run.
        let journal = fs::read(folder.join(JOURNAL)).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let journal = journal.filter(|journal: &Journal| journal.release == RELEASE);
        let place = Place::Folder { folder: folder.to_owned(), _lock: lock };
        let mut this = Self { place, journal: journal.unwrap_or_else(Journal::new) };
        this.remove_strays()?;
        Ok(Some(this))
    }

    /// Checkpoints of a run on data that was entrusted to us, in files without names on the file system of `folder`. They are
    /// gone with this value.
    pub fn unnamed(folder: &Path) -> Self {
        let place = Place::Unnamed { folder: folder.to_owned(), images: BTreeMap::new() };
        Self { place, journal: Journal::new() }
    }

    fn remove_strays(&mut self) -> io::Result<()> {
        let is_known = |steps: u64| self.journal.checkpoints.iter().any(|checkpoint| checkpoint.steps == steps);
        match &mut self.place {
            Place::Folder { folder, .. } => {
                let folder: &Path = folder;
                let known: Vec<PathBuf> =
                    self.journal.checkpoints.iter().map(|checkpoint| image(folder, checkpoint.steps)).collect();
                for entry in fs::read_dir(folder).map_err(about(folder))? {
                    let entry = entry.map_err(about(folder))?;
                    let path = entry.path();
                    let kept = path.file_name().is_some_and(|name| name == JOURNAL || name == "lock");
                    // There are no folders of ours.
                    let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                    if !known.contains(&path) && !kept && !is_folder {
                        // A worker that wrote an image may have kept it. It is removed, whether or not it can be emptied.
                        let _ = empty(&path);
                        atomic_file::remove(&path).map_err(about(&path))?;
                    }
                }
            }
            Place::Unnamed { images, .. } => images.retain(|steps, image| {
                let kept = is_known(*steps);
                if !kept {
                    let _ = image.file().set_len(0);
                }
                kept
            }),
        }
        Ok(())
    }

    /// State roots at the ends of the segments so far.
    pub fn segments(&self) -> &[StateRoot] {
        &self.journal.segments
    }

    /// Notes the state root at the end of the next segment. It is on disk after the next [`Self::save`].
    pub fn push_segment(&mut self, root: StateRoot) {
        self.journal.segments.push(root);
    }

    /// The latest checkpoint at or before `steps`: its steps, the state root that it must have, and the image.
    pub fn latest(&self, steps: u64) -> Option<(u64, StateRoot, File)> {
        self.journal.checkpoints.iter().rev().filter(|checkpoint| checkpoint.steps <= steps).find_map(|checkpoint| {
            let path = match &self.place {
                Place::Folder { folder, .. } => image(folder, checkpoint.steps),
                Place::Unnamed { images, .. } => images.get(&checkpoint.steps)?.path(),
            };
            let image = File::open(path).ok()?;
            Some((checkpoint.steps, checkpoint.root, image))
        })
    }

    /// Forgets the checkpoint after `steps` steps: it was found to be damaged.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn forget(&mut self, steps: u64) -> io::Result<()> {
        self.journal.checkpoints.retain(|checkpoint| checkpoint.steps != steps);
        self.write_journal()?;
        self.remove_strays()
    }

    /// Goes back to a state before which this many segments ended.
    pub fn rewind(&mut self, segments: u64) {
        self.journal.segments.truncate(segments as usize);
    }

    /// Saves the state of a run, whose root is `root`.
    ///
    /// # Errors
    /// When the folder cannot be written or the worker gives no answer; what was saved before is still there.
    pub fn save(&mut self, worker: &mut Worker, root: StateRoot) -> Result<(), TrainingError> {
        let steps = worker.steps();
        if self.journal.checkpoints.iter().all(|checkpoint| checkpoint.steps != steps) {
            match &mut self.place {
                Place::Folder { folder, .. } => {
                    let path = image(folder, steps);
                    let mut failed = None;
                    let written = atomic_file::replace(&path, |file| {
                        worker.write_image(file).map_err(|error| {
                            failed = Some(error);
                            io::Error::other("not written")
                        })
                    });
                    if let Some(error) = failed {
                        return Err(error.in_folder(folder).into());
                    }
                    written.map_err(about(&path))?;
                }
                Place::Unnamed { folder, images } => {
                    let unnamed = Unnamed::new(folder).map_err(about(folder))?;
                    worker.write_image(unnamed.file()).map_err(|error| error.in_folder(folder))?;
                    images.insert(steps, unnamed);
                }
            }
            self.journal.checkpoints.push(Checkpoint { steps, root });
        }
        if self.journal.checkpoints.len() > MOST {
            // From the second newest back, so that the newest always stays.
            let newest = self.journal.checkpoints.len() - 1;
            let mut index = 0;
            self.journal.checkpoints.retain(|_| {
                index += 1;
                (newest - (index - 1)).is_multiple_of(2)
            });
        }
        self.write_journal()?;
        self.remove_strays()?;
        Ok(())
    }

    fn write_journal(&self) -> io::Result<()> {
        let Place::Folder { folder, .. } = &self.place else { return Ok(()) };
        let json = serde_json::to_vec_pretty(&self.journal).expect("a journal has a JSON form");
        let path = folder.join(JOURNAL);
        atomic_file::replace(&path, |file| file.write_all(&json)).map_err(about(&path))
    }
}

fn image(folder: &Path, steps: u64) -> PathBuf {
    folder.join(format!("{steps}.state"))
}

/// Empties a file that has no other name. Links are not followed, and nothing is waited for.
fn empty(path: &Path) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().write(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.nlink() == 1 { file.set_len(0) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn strays_are_removed_and_what_lies_elsewhere_is_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let (run, elsewhere) = (folder.path().join("run"), folder.path().join("elsewhere"));
        fs::create_dir(&run).expect("a folder");
        fs::write(&elsewhere, "content").expect("a file");
        symlink(&elsewhere, run.join("1.state")).expect("a link");
        fs::hard_link(&elsewhere, run.join("2.state")).expect("a link");
        rustix::fs::mkfifoat(rustix::fs::CWD, run.join("3.state"), rustix::fs::Mode::RWXU).expect("a pipe");
        fs::write(run.join("4.state"), "a stray").expect("a file");
        fs::create_dir(run.join("folder")).expect("a folder");
        let kept = File::open(run.join("4.state")).expect("a file");
        drop(Checkpoints::open(&run).expect("opened").expect("nobody else works there"));
        assert_eq!(fs::read(&elsewhere).expect("the file"), b"content");
        assert_eq!(kept.metadata().expect("its length").len(), 0, "who kept it has no room");
        let mut left: Vec<_> =
            fs::read_dir(&run).expect("the folder").map(|entry| entry.expect("an entry").file_name()).collect();
        left.sort();
        assert_eq!(left, ["folder", "lock"]);
    }

    #[test]
    fn an_error_names_the_path_that_it_is_about() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path().join("run");
        let error = Checkpoints::open(&run).err().expect("there is no folder").to_string();
        assert!(error.contains(&run.join("lock").display().to_string()), "{error}");
    }
}
