//! Packs on disk: job drives and capsules, mapped and ready for a run.
//!
//! A pack lies beside a record of its root and its BLAKE3. The record is written after the pack and removed before it,
//! and the pack is hashed whenever it is used again, which is many times faster than its root.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fedmkt_core::roots::Hash;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::message::about;
use crate::unnamed::Unnamed;

/// A pack in the client's home, mapped.
#[derive(Clone)]
pub struct Packed {
    /// Its bytes.
    pub bytes: Arc<Mmap>,
    /// The file that holds them.
    pub path: PathBuf,
    /// The root of the drive that begins with them.
    pub root: Hash,
    #[expect(dead_code, reason = "the file, if it has no name, is there as long as this is")]
    pub(crate) unnamed: Option<Arc<Unnamed>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    root: Hash,
    blake3: String,
}

impl Packed {
    /// The pack that was kept under this name, if it is whole.
    pub fn kept(folder: &Path, name: &str) -> Option<Self> {
        let record: Record = serde_json::from_slice(&std::fs::read(record_path(folder, name)).ok()?).ok()?;
        let path = pack_path(folder, name);
        let bytes = map(&path).ok()?;
        (fingerprint(&bytes) == record.blake3).then(|| Self {
            bytes: Arc::new(bytes),
            path,
            root: record.root,
            unnamed: None,
        })
    }

    /// Writes a pack through `write`, which gives its root, under this name. With `keep`, [`Self::kept`] finds it.
    ///
    /// # Errors
    /// When `write` fails or the disk does; then there is no pack of this name.
    pub fn write<E: From<io::Error>>(
        folder: &Path,
        name: &str,
        keep: bool,
        write: impl FnOnce(&mut File) -> Result<Hash, E>,
    ) -> Result<Self, E> {
        let record_path = record_path(folder, name);
        atomic_file::remove(&record_path).map_err(about(&record_path))?;
        let path = pack_path(folder, name);
        let mut failed = None;
        let written = atomic_file::replace(&path, |file| {
            write(file).map_err(|error| {
                failed = Some(error);
                io::Error::other("not written")
            })
        });
        let root = match (written, failed) {
            (Ok(root), _) => root,
            (Err(_), Some(error)) => return Err(error),
            (Err(error), None) => return Err(about(&path)(error).into()),
        };
        let bytes = map(&path).map_err(about(&path))?;
        if keep {
            let record = Record { root, blake3: fingerprint(&bytes) };
            let json = serde_json::to_vec(&record).expect("a record has a JSON form");
            atomic_file::replace(&record_path, |file| file.write_all(&json)).map_err(about(&record_path))?;
        }
        Ok(Self { bytes: Arc::new(bytes), path, root, unnamed: None })
    }

    /// Writes a pack that was entrusted to us through `write`, which gives its root, to a file without a name on the file
    /// system of `folder`. It is gone with the last copy of this value.
    ///
    /// # Errors
    /// When `write` fails or the disk does.
    pub fn unnamed<E: From<io::Error>>(
        folder: &Path,
        write: impl FnOnce(&mut File) -> Result<Hash, E>,
    ) -> Result<Self, E> {
        let mut file = Unnamed::new(folder).map_err(about(folder))?;
        let root = write(file.file_mut())?;
        let path = file.path();
        let bytes = map(&path)?;
        Ok(Self { bytes: Arc::new(bytes), path, root, unnamed: Some(Arc::new(file)) })
    }
}

/// The BLAKE3 of a pack, by all processors.
fn fingerprint(bytes: &[u8]) -> String {
    blake3::Hasher::new().update_rayon(bytes).finalize().to_hex().to_string()
}

fn pack_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.pack"))
}

fn record_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

/// Maps a file that does not change while it is mapped: those in the client's home are only ever replaced.
///
/// # Errors
/// When it cannot be opened or mapped.
pub fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: nobody but the client can write to the file, and the client does not, as said above.
    unsafe { Mmap::map(&file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_without_a_name_lives_as_long_as_its_copies() {
        let folder = tempfile::tempdir().expect("a folder");
        let packed = Packed::unnamed(folder.path(), |file| {
            file.write_all(b"entrusted")?;
            Ok::<_, io::Error>(Hash([1; 32]))
        });
        let copy = packed.expect("written").clone();
        assert_eq!(std::fs::read(&copy.path).expect("the copy holds it"), copy.bytes[..]);
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }

    #[test]
    fn a_kept_pack_is_found_until_it_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |keep| {
            Packed::write(folder.path(), "a", keep, |file| {
                file.write_all(b"content")?;
                Ok::<_, io::Error>(Hash([1; 32]))
            })
        };
        assert_eq!(write(false).expect("written").bytes[..], b"content"[..]);
        assert!(Packed::kept(folder.path(), "a").is_none());
        write(true).expect("written");
        assert_eq!(Packed::kept(folder.path(), "a").expect("kept").root, Hash([1; 32]));
        std::fs::write(folder.path().join("a.pack"), b"Content").expect("damaged");
        assert!(Packed::kept(folder.path(), "a").is_none());
    }
}
