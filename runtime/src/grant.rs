//! Grants: a folder or file of the client becomes a capsule.
//!
//! The folder is opened once, and everything below it only through that handle (`cap-std`): no name in it leads out.
//! Symbolic links are refused rather than followed, since what they lead to was not granted. Contents are streamed into
//! the capsule; memory grows with the number of files, not with their size.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use fedmkt_core::manifest::{Disclosure, Manifest};
use fedmkt_core::pack::{self, Kind, Layout, Pack, PackError};
use fedmkt_core::roots::{Hash, Salt};
use fedmkt_core::tree::{self, PAGE_BYTES};

use crate::growing_root::PartRoots;
use crate::identity::Identity;
use crate::message::about;
use crate::packed::{self, Packed};

/// A file that changed so shortly before it was read may change again without its times telling.
const SETTLED: Duration = Duration::from_secs(2);

/// A grant that was looked through and can be packed.
pub struct Grant {
    path: PathBuf,
    folder: Dir,
    layout: Layout,
    files: u64,
    bytes: u64,
    /// Tells whether anything below changed: BLAKE3 of names, sizes, times and inode numbers.
    fingerprint: blake3::Hash,
    newest: SystemTime,
    /// When each file was changed last, in the order of the layout: seconds since 1970, and nanoseconds.
    modified: Vec<[u64; 2]>,
}

/// Why a grant cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Something cannot be read or written.
    #[error("cannot {doing} {}: {error}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
    /// Something is neither file nor folder.
    #[error("{} is {what}: grant a folder of plain files and folders only", .path.display())]
    NotPlain {
        /// What it is about.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A name that no pack can hold.
    #[error("{} has a name that is not UTF-8: rename it", .0.display())]
    Name(PathBuf),
    /// It does not go into a pack.
    #[error("{}: {error}", .path.display())]
    Pack {
        /// The grant.
        path: PathBuf,
        /// Why not.
        error: PackError,
    },
    /// The packed grant is larger than the job takes.
    #[error("{} packs to {bytes} bytes, the job takes at most {most}: grant less, or ask the sponsor", .path.display())]
    TooLarge {
        /// The grant.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// The capsule cannot be kept.
    #[error("cannot write the capsule: {0}")]
    Capsule(#[from] io::Error),
    /// A file changed while it was packed.
    #[error("{} changed while it was read: wait until nobody writes to it, and run again", .0.display())]
    Changed(PathBuf),
}

impl GrantError {
    /// The same, with the folder in which the capsule cannot be written.
    fn in_folder(self, folder: &Path) -> Self {
        match self {
            Self::Capsule(error) => Self::Capsule(about(folder)(error)),
            other => other,
        }
    }
}

impl Grant {
    /// Looks through the folder or file at `path`.
    ///
    /// # Errors
    /// When something in it cannot be read or packed.
    pub fn survey(path: &Path) -> Result<Self, GrantError> {
        let at = |doing, path: &Path| {
            let path = path.to_owned();
            move |error| GrantError::File { doing, path, error }
        };
        let full = path.canonicalize().map_err(at("open", path))?;
        let is_folder = full.metadata().map_err(at("look at", path))?.is_dir();
        let (folder, only) = if is_folder {
            (full.clone(), None)
        } else {
            let name = full.file_name().ok_or_else(|| GrantError::Name(path.to_owned()))?.to_owned();
            (full.parent().unwrap_or(Path::new("/")).to_owned(), Some(name))
        };
        let folder = Dir::open_ambient_dir(&folder, ambient_authority()).map_err(at("open", &folder))?;
        let mut found = Survey { entries: Vec::new(), files: 0, bytes: 0, newest: UNIX_EPOCH };
        match only {
            None => found.folder(&folder, "", path)?,
            Some(name) => {
                let metadata = folder.symlink_metadata(&name).map_err(at("look at", path))?;
                let name = name.into_string().map_err(|_| GrantError::Name(path.to_owned()))?;
                found.entry(name, &metadata, path)?;
            }
        }
        found.entries.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        let mut fingerprint = blake3::Hasher::new();
        for (name, _, seen) in &found.entries {
            fingerprint.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            seen.iter().for_each(|number| {
                fingerprint.update(&number.to_le_bytes());
            });
        }
        let files = found.entries.iter().filter(|(_, kind, _)| matches!(kind, Kind::File(_)));
        let modified = files.map(|(.., [_, seconds, nanoseconds, ..])| [*seconds, *nanoseconds]).collect();
        let layout = Layout::new(found.entries.into_iter().map(|(name, kind, _)| (name, kind)))
            .map_err(|error| GrantError::Pack { path: path.to_owned(), error })?;
        Ok(Self {
            path: path.to_owned(),
            folder,
            layout,
            files: found.files,
            bytes: found.bytes,
            fingerprint: fingerprint.finalize(),
            newest: found.newest,
            modified,
        })
    }

    /// The path as the client gave it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many files there are.
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the pack.
    pub fn packed_bytes(&self) -> u64 {
        self.layout.total_bytes()
    }

    /// The capsule of this grant for a job: the one in `cache` if nothing changed since it was packed, else packed now.
    /// `progress` is told the bytes packed so far.
    ///
    /// # Errors
    /// When the grant is too large for the job, changes meanwhile, or cannot be read or written.
    pub fn pack(
        &self,
        manifest: &Manifest,
        identity: &Identity,
        cache: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Packed, GrantError> {
        let (bytes, most) = (self.packed_bytes(), manifest.data.most_bytes);
        if bytes > most {
            return Err(GrantError::TooLarge { path: self.path.clone(), bytes, most });
        }
        let log2_size = manifest.machine.class.log2_data();
        let is_open = manifest.disclosure == Disclosure::Open;
        let mut key = blake3::Hasher::new_keyed(&identity.cache_key());
        key.update(self.fingerprint.as_bytes()).update(&[u8::from(is_open), log2_size as u8]);
        let name = key.finalize().to_hex();
        if let Some(capsule) = Packed::kept(cache, &name) {
            return Ok(capsule);
        }
        let settled = SystemTime::now().duration_since(self.newest).is_ok_and(|age| age > SETTLED);
        Packed::write(cache, &name, settled, |file| {
            let root = self.write(file, (!is_open).then_some(identity), progress);
            let root = root.map_err(|error| error.in_folder(cache))?;
            Ok(tree::padded_root(root, tree::log2_size_for(bytes), log2_size))
        })
    }

    /// The capsule without a salt, packed into `folder`: what a verifier of open data needs no identity for.
    ///
    /// # Errors
    /// As [`Self::pack`].
    pub fn pack_open(&self, manifest: &Manifest, folder: &Path) -> Result<Packed, GrantError> {
        let (bytes, most) = (self.packed_bytes(), manifest.data.most_bytes);
        if bytes > most {
            return Err(GrantError::TooLarge { path: self.path.clone(), bytes, most });
        }
        Packed::write(folder, "open", false, |file| {
            let root = self.write(file, None, &mut |_| {}).map_err(|error| error.in_folder(folder))?;
            Ok(tree::padded_root(root, tree::log2_size_for(bytes), manifest.machine.class.log2_data()))
        })
    }

    /// Writes the pack and gives its root.
    fn write(
        &self,
        file: &mut File,
        salted_by: Option<&Identity>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Hash, GrantError> {
        let mut roots = PartRoots::of_file(file, self.layout.total_bytes(), |at| {
            self.copy(&*file, &mut |bytes| {
                at(bytes);
                progress(bytes);
            })
        })?;
        let salt = salted_by.map_or(Salt::default(), |identity| identity.salt(&roots.root()));
        let mut first = [0; PAGE_BYTES];
        file.read_exact_at(&mut first, 0)?;
        pack::set_salt(&mut first, salt);
        file.write_all_at(&first, 0)?;
        roots.update_first();
        Ok(roots.root())
    }

    /// Writes the pack without a salt into a file that is zero and as long as it will be; `at` is told again and again how many
    /// bytes are there.
    fn copy(&self, file: &File, at: &mut dyn FnMut(u64)) -> Result<(), GrantError> {
        file.write_all_at(self.layout.front(), 0)?;
        let mut buffer = vec![0; 1 << 18];
        for ((name, mut offset, length), modified) in self.layout.files().zip(&self.modified) {
            let path = self.path.join(name);
            let read = |error| GrantError::File { doing: "read", path: path.clone(), error };
            // What was a file when it was surveyed may have become a link, or a pipe that nobody writes to.
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
            let mut source = self.folder.open_with(name, &options).map_err(read)?;
            let mut left = length;
            loop {
                let count = source.read(&mut buffer).map_err(read)?;
                if count as u64 > left || (count == 0 && left > 0) {
                    return Err(GrantError::Changed(path));
                }
                if count == 0 {
                    break;
                }
                left -= count as u64;
                file.write_all_at(&buffer[..count], offset)?;
                offset += count as u64;
                at(offset);
            }
            // Looked at after the last of it was read: what was written meanwhile is noticed, however many bytes it has.
            if modification(&source.metadata().map_err(read)?) != *modified {
                return Err(GrantError::Changed(path));
            }
        }
        at(self.layout.total_bytes());
        Ok(())
    }
}

struct Survey {
    entries: Vec<(String, Kind, [u64; 6])>,
    files: u64,
    bytes: u64,
    newest: SystemTime,
}

impl Survey {
    fn folder(&mut self, folder: &Dir, prefix: &str, shown: &Path) -> Result<(), GrantError> {
        let at = |doing, path: &Path| {
            let path = path.to_owned();
            move |error| GrantError::File { doing, path, error }
        };
        if prefix.matches('/').count() >= pack::MAX_DEPTH {
            let error = PackError::TooLarge("nested folders", pack::MAX_DEPTH as u64);
            return Err(GrantError::Pack { path: shown.to_owned(), error });
        }
        for entry in folder.entries().map_err(at("list", shown))? {
            let entry = entry.map_err(at("list", shown))?;
            let path = shown.join(entry.file_name());
            let name = entry.file_name().into_string().map_err(|_| GrantError::Name(path.clone()))?;
            let metadata = folder.symlink_metadata(&name).map_err(at("look at", &path))?;
            let full = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            self.entry(full.clone(), &metadata, &path)?;
            if metadata.is_dir() {
                let below = folder.open_dir(&name).map_err(at("open", &path))?;
                self.folder(&below, &full, &path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: String, metadata: &Metadata, path: &Path) -> Result<(), GrantError> {
        let ty = metadata.file_type();
        let kind = if ty.is_dir() {
            Kind::Directory
        } else if ty.is_file() {
            self.files += 1;
            self.bytes += metadata.len();
            Kind::File(metadata.len())
        } else {
            let what = if ty.is_symlink() { "a symbolic link" } else { "a device, pipe or socket" };
            return Err(GrantError::NotPlain { path: path.to_owned(), what });
        };
        if self.entries.len() as u64 >= pack::MAX_ENTRIES {
            let error = PackError::TooLarge("files and folders", pack::MAX_ENTRIES);
            return Err(GrantError::Pack { path: path.to_owned(), error });
        }
        let changed = UNIX_EPOCH + Duration::from_secs(metadata.ctime().max(0) as u64);
        self.newest = self.newest.max(changed);
        let [mtime, mtime_nsec] = modification(metadata);
        let [ctime, ctime_nsec] = [metadata.ctime() as u64, metadata.ctime_nsec() as u64];
        let size = if ty.is_dir() { 0 } else { metadata.len() };
        self.entries.push((name, kind, [size, mtime, mtime_nsec, ctime, ctime_nsec, metadata.ino()]));
        Ok(())
    }
}

/// When a file was changed last: seconds since 1970, and nanoseconds.
fn modification(metadata: &Metadata) -> [u64; 2] {
    [metadata.mtime() as u64, metadata.mtime_nsec() as u64]
}

/// A capsule that somebody disclosed. Its root, as a drive of 2^`log2_size` bytes, is computed, and everything in it is
/// checked. The file must not change while it is used.
///
/// # Errors
/// When the file cannot be read, is no pack, or is larger than the drive.
pub fn disclosed(path: &Path, log2_size: u32) -> Result<Packed, GrantError> {
    let bytes = packed::map(path).map_err(|error| GrantError::File { doing: "map", path: path.to_owned(), error })?;
    let bytes = Arc::new(bytes);
    let (length, most) = (bytes.len() as u64, 1 << log2_size);
    if length > most {
        return Err(GrantError::TooLarge { path: path.to_owned(), bytes: length, most });
    }
    let pack_error = |error| GrantError::Pack { path: path.to_owned(), error };
    let pack = Pack::open(bytes.clone()).map_err(pack_error)?;
    pack.check_padding().map_err(pack_error)?;
    let root = tree::bytes_root(&bytes, log2_size);
    Ok(Packed { bytes, path: path.to_owned(), root, unnamed: None })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;

    fn folder() -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.csv"), "1,2").expect("a file");
        folder
    }

    fn refusal(path: &Path) -> String {
        Grant::survey(path).err().expect("refused").to_string()
    }

    fn write(grant: &Grant) -> Result<Hash, GrantError> {
        grant.write(&mut tempfile::tempfile().expect("a file"), None, &mut |_| {})
    }

    #[test]
    fn what_is_no_plain_file_is_refused_by_name() {
        let granted = folder();
        symlink("/etc/passwd", granted.path().join("link")).expect("a link");
        assert!(refusal(granted.path()).contains("link is a symbolic link"));
        let granted = folder();
        let _socket = UnixListener::bind(granted.path().join("socket")).expect("a socket");
        assert!(refusal(granted.path()).contains("socket is a device, pipe or socket"));
        let granted = folder();
        fs::write(granted.path().join(OsStr::from_bytes(b"\xff.csv")), "").expect("a file");
        assert!(refusal(granted.path()).contains("not UTF-8"));
        let granted = folder();
        fs::write(granted.path().join("line\nbreak"), "").expect("a file");
        assert!(refusal(granted.path()).contains("control characters"));
        let granted = folder();
        fs::create_dir_all(granted.path().join("d/".repeat(100))).expect("folders");
        assert!(refusal(granted.path()).contains("64"));
        assert!(refusal(Path::new("/nowhere")).contains("cannot open /nowhere"));
    }

    #[test]
    fn a_single_file_is_a_grant_too() {
        let granted = folder();
        fs::write(granted.path().join("private"), "no").expect("a file");
        let grant = Grant::survey(&granted.path().join("a.csv")).expect("a grant");
        let files: Vec<_> = grant.layout.files().map(|(name, _, length)| (name.to_owned(), length)).collect();
        assert_eq!(files, [("a.csv".to_owned(), 3)]);
        write(&grant).expect("packed");
    }

    #[test]
    fn hard_links_are_files_like_others() {
        let granted = folder();
        fs::hard_link(granted.path().join("a.csv"), granted.path().join("b.csv")).expect("a link");
        let grant = Grant::survey(granted.path()).expect("a grant");
        assert_eq!((grant.files(), grant.bytes()), (2, 6));
        write(&grant).expect("packed");
    }

    #[test]
    fn a_file_that_changes_between_survey_and_packing_is_noticed() {
        for content in ["", "1", "1,2,3", &"x".repeat(1 << 20)] {
            let granted = folder();
            let grant = Grant::survey(granted.path()).expect("a grant");
            fs::write(granted.path().join("a.csv"), content).expect("changed");
            assert!(matches!(write(&grant), Err(GrantError::Changed(_))), "{content:?}");
        }
        let granted = folder();
        let grant = Grant::survey(granted.path()).expect("a grant");
        fs::remove_file(granted.path().join("a.csv")).expect("removed");
        assert!(matches!(write(&grant), Err(GrantError::File { doing: "read", .. })));
    }

    #[test]
    fn a_file_that_is_changed_or_replaced_by_as_many_bytes_is_noticed() {
        let granted = folder();
        let (path, other) = (granted.path().join("a.csv"), granted.path().join("b.csv"));
        let later = SystemTime::now() + Duration::from_secs(1);
        let grant = Grant::survey(&path).expect("a grant");
        fs::write(&path, "3,4").expect("changed");
        File::options().write(true).open(&path).and_then(|file| file.set_modified(later)).expect("a time");
        assert!(matches!(write(&grant), Err(GrantError::Changed(_))));
        let grant = Grant::survey(&path).expect("a grant");
        fs::write(&other, "5,6").expect("a file");
        fs::rename(other, path).expect("replaced");
        assert!(matches!(write(&grant), Err(GrantError::Changed(_))));
    }

    #[test]
    fn a_file_that_becomes_a_link_or_pipe_after_the_survey_is_not_read() {
        let granted = folder();
        let path = granted.path().join("a.csv");
        fs::write(granted.path().join("not-granted"), "yes").expect("a file");
        let grant = Grant::survey(&path).expect("a grant");
        fs::remove_file(&path).expect("removed");
        symlink("not-granted", &path).expect("a link");
        assert!(matches!(write(&grant), Err(GrantError::File { doing: "read", .. })));
        fs::remove_file(&path).expect("removed");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).expect("a pipe");
        assert!(write(&grant).is_err());
    }
}
