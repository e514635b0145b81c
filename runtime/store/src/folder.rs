//! Blocks in a folder, one file each.
//!
//! `blocks/XX/CID` holds a block, XX being the last two characters but one of the CID, which is of version 1 whatever
//! was asked for; `pins/CID` is an empty file for each pinned root; `quota` holds the most bytes of all blocks together,
//! decimal, if there is a limit. Any number of processes may use a store; `lock` is held shared while a block or pin is
//! written, and exclusively by garbage collection.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use cid::Cid;
use rustix::fs::{FlockOperation, flock};

use crate::{BlockStore, IDENTITY, MAX_BLOCK_BYTES, StoreError, dag, verify};

/// What the names of files begin with that are being written.
const TEMPORARY: &str = ".part-";

/// Blocks younger than this are never collected: somebody may be about to pin what they belong to.
const GRACE: Duration = Duration::from_secs(3600);

/// A block store in a folder.
#[derive(Debug)]
pub struct FolderStore {
    folder: PathBuf,
    /// Bytes in the store, once they have been counted. Others may add more meanwhile.
    used: Mutex<Option<u64>>,
}

/// What garbage collection removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a check of the whole store found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Blocks that were checked.
    pub blocks: u64,
    /// Files that are not what they should be.
    pub damaged: Vec<PathBuf>,
    /// Pins, or links below them, to blocks that the store does not have.
    pub missing: Vec<Cid>,
}

fn file_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |error| StoreError::File { doing, path: path.to_owned(), error }
}

impl FolderStore {
    /// The store in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), used: Mutex::new(None) }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, cid: &Cid) -> PathBuf {
        let name = version_1(cid).to_string();
        let shard = &name[name.len() - 3..name.len() - 1];
        self.folder.join("blocks").join(shard).join(&name)
    }

    fn pin_path(&self, cid: &Cid) -> PathBuf {
        self.folder.join("pins").join(version_1(cid).to_string())
    }

    fn lock(&self, operation: FlockOperation) -> Result<File, StoreError> {
        let path = self.folder.join("lock");
        let open = || {
            fs::create_dir_all(&self.folder)?;
            let file = File::options().create(true).append(true).open(&path)?;
            rustix::io::retry_on_intr(|| flock(&file, operation))?;
            Ok(file)
        };
        open().map_err(file_error("lock", &path))
    }

    /// The most bytes that all blocks together may have, if there is a limit.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn quota(&self) -> Result<Option<u64>, StoreError> {
        let path = self.folder.join("quota");
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| StoreError::Path {
                path,
                what: "this is no number of bytes: set the quota again with `fedmkt store quota`",
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error("read", &path)(error)),
        }
    }

    /// Sets or removes the quota, for every program that uses this store. What is in the store stays. Programs that add
    /// at the same time may together go beyond the quota by what they add.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn set_quota(&self, quota: Option<u64>) -> Result<(), StoreError> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        let path = self.folder.join("quota");
        match quota {
            Some(quota) => write_whole(&path, quota.to_string().as_bytes()).map_err(file_error("write", &path)),
            None => remove(&path).map(|_| ()),
        }
    }

    /// Bytes of all blocks together.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.blocks()?.iter().map(|(_, bytes)| bytes).sum())
    }

    /// Keeps `cid` and everything below it from being collected. All of it must be in the store; it is on disk, not only
    /// in caches, when this returns.
    ///
    /// # Errors
    /// When a block is missing or malformed, or the folder cannot be written.
    pub fn pin(&self, cid: &Cid) -> Result<(), StoreError> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        dag::reach(self, &[*cid], |cid| if self.has(cid)? { Ok(()) } else { Err(StoreError::Missing(*cid)) })?;
        let path = self.pin_path(cid);
        let write = || {
            let folder = self.folder.join("pins");
            fs::create_dir_all(&folder)?;
            rustix::fs::syncfs(File::open(&folder)?)?;
            File::create(&path)?;
            File::open(&folder)?.sync_all()
        };
        write().map_err(file_error("write", &path))
    }

    /// Lets go of `cid`. Says whether it was pinned.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn unpin(&self, cid: &Cid) -> Result<bool, StoreError> {
        remove(&self.pin_path(cid))
    }

    /// The pinned roots, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn pins(&self) -> Result<BTreeSet<Cid>, StoreError> {
        let names = list(&self.folder.join("pins"), Names::Whole)?;
        Ok(names.iter().filter_map(|path| cid_of(path)).collect())
    }

    /// All files that hold blocks, sorted.
    fn block_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut files = Vec::new();
        for shard in list(&self.folder.join("blocks"), Names::All)? {
            files.extend(list(&shard, Names::Whole)?);
        }
        Ok(files)
    }

    /// All blocks with their sizes in bytes, by the names of their files.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn blocks(&self) -> Result<Vec<(Cid, u64)>, StoreError> {
        let mut blocks = Vec::new();
        for path in self.block_files()? {
            let Some(cid) = cid_of(&path) else { continue };
            match fs::metadata(&path) {
                Ok(metadata) => blocks.push((cid, metadata.len())),
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(file_error("look at", &path)(error)),
            }
        }
        Ok(blocks)
    }

    /// Bytes of a block; `None` when it is not there. It is not verified.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn block_bytes(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        if cid.hash().code() == IDENTITY {
            return Ok(Some(u64::from(cid.hash().size())));
        }
        let path = self.path(cid);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error("look at", &path)(error)),
        }
    }

    /// Removes blocks that are below no pin and were not written or used by an addition within the last hour.
    ///
    /// # Errors
    /// When something below a pin cannot be read (nothing is removed then), or a file cannot be removed.
    pub fn gc(&self) -> Result<Collected, StoreError> {
        self.gc_older_than(GRACE)
    }

    /// As [`Self::gc`], with another time of grace.
    ///
    /// # Errors
    /// As [`Self::gc`].
    pub fn gc_older_than(&self, grace: Duration) -> Result<Collected, StoreError> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let pins: Vec<_> = self.pins()?.into_iter().collect();
        let mut kept = BTreeSet::new();
        dag::reach(self, &pins, |cid| {
            kept.insert(version_1(cid));
            Ok(())
        })?;
        let mut collected = Collected::default();
        for shard in list(&self.folder.join("blocks"), Names::All)? {
            // Nobody else is writing now: these are from programs that were killed.
            for path in list(&shard, Names::Temporary)? {
                remove(&path)?;
            }
        }
        for path in self.block_files()? {
            if cid_of(&path).is_some_and(|cid| kept.contains(&cid)) {
                continue;
            }
            let metadata = fs::metadata(&path).map_err(file_error("look at", &path))?;
            // A time that is unknown, or to come, counts as now.
            let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
            if age.unwrap_or_default() >= grace {
                remove(&path)?;
                collected.blocks += 1;
                collected.bytes += metadata.len();
            }
        }
        *self.used() = None;
        Ok(collected)
    }

    /// Checks every block, and that everything below the pins is there. With `repair`, damaged files are removed.
    ///
    /// # Errors
    /// When something cannot be read, or a damaged file cannot be removed.
    pub fn verify_all(&self, repair: bool) -> Result<Verified, StoreError> {
        let mut found = Verified::default();
        for path in self.block_files()? {
            found.blocks += 1;
            let right = match cid_of(&path).filter(|cid| self.path(cid) == path).map(|cid| self.get(&cid)) {
                // Gone since it was listed is no damage.
                Some(Ok(_) | Err(StoreError::Missing(_))) => true,
                Some(Err(StoreError::Damaged { .. } | StoreError::Unsupported(_))) | None => false,
                // What cannot be read now may be right: it must not be removed.
                Some(Err(error)) => return Err(error),
            };
            if !right {
                if repair {
                    remove(&path)?;
                }
                found.damaged.push(path);
            }
        }
        let mut open: Vec<Cid> = self.pins()?.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(cid) = open.pop() {
            if seen.insert(cid) {
                match self.get(&cid) {
                    Ok(block) => open.extend(dag::links(&cid, &block)?),
                    Err(StoreError::Missing(_)) => found.missing.push(cid),
                    // It was found above.
                    Err(StoreError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        found.missing.sort();
        Ok(found)
    }

    fn used(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        // Nothing can be half done with one number.
        self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn check_quota(&self, more: u64) -> Result<(), StoreError> {
        let Some(quota) = self.quota()? else { return Ok(()) };
        let mut used = self.used();
        let total = match *used {
            Some(used) => used,
            None => self.used_bytes()?,
        } + more;
        if total > quota {
            return Err(StoreError::Quota { quota });
        }
        *used = Some(total);
        Ok(())
    }
}

/// The CID under which a block is kept.
fn version_1(cid: &Cid) -> Cid {
    Cid::new_v1(cid.codec(), *cid.hash())
}

/// The CID that a file is named by.
fn cid_of(path: &Path) -> Option<Cid> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Removes a file; says whether it was there.
fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(file_error("remove", path)(error)),
    }
}

/// Writes a file that is there as a whole or not at all.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("files of a store lie in a folder");
    fs::create_dir_all(folder)?;
    let mut temporary = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
    temporary.write_all(content)?;
    temporary.persist(path).map(|_| ()).map_err(|error| error.error)
}

/// Which files of a folder are listed.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    All,
    /// Files that are there as a whole.
    Whole,
    /// Files that are being written, or were when a program was killed.
    Temporary,
}

/// The paths in a folder, sorted; none if there is no folder.
fn list(folder: &Path, names: Names) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error("list", folder)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file_error("list", folder))?;
        let temporary = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
        if names == Names::All || (names == Names::Temporary) == temporary {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

impl BlockStore for FolderStore {
    fn get(&self, cid: &Cid) -> Result<Vec<u8>, StoreError> {
        crate::check_supported(cid)?;
        if cid.hash().code() == IDENTITY {
            return Ok(cid.hash().digest().to_vec());
        }
        let path = self.path(cid);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::Missing(*cid)),
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        let bytes = file.metadata().map_or(0, |metadata| metadata.len()).min(MAX_BLOCK_BYTES as u64);
        let mut block = Vec::with_capacity(bytes as usize + 1);
        file.take(MAX_BLOCK_BYTES as u64 + 1).read_to_end(&mut block).map_err(file_error("read", &path))?;
        verify(cid, &block).map_err(|_| StoreError::Damaged { cid: *cid, path: Some(path.into()) })?;
        Ok(block)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        if cid.hash().code() == IDENTITY {
            return Ok(true);
        }
        let path = self.path(cid);
        path.try_exists().map_err(file_error("look for", &path))
    }

    fn put_verified(&self, cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
        if !crate::is_to_be_kept(cid, block)? {
            return Ok(());
        }
        let path = self.path(cid);
        let _lock = self.lock(FlockOperation::LockShared)?;
        // A block that is there is made young, so that it is not collected before somebody pins it.
        if let Ok(file) = File::options().read(true).append(true).open(&path)
            && holds(&file, block)
            && file.set_modified(SystemTime::now()).is_ok()
        {
            return Ok(());
        }
        self.check_quota(block.len() as u64)?;
        write_whole(&path, block).map_err(file_error("write", &path))
    }
}

/// Whether a file has exactly this content: one that a power cut has emptied must be written again.
fn holds(file: &File, block: &[u8]) -> bool {
    let mut content = Vec::with_capacity(block.len() + 1);
    file.take(block.len() as u64 + 1).read_to_end(&mut content).is_ok() && content == block
}
