//! Blocks in a folder, one file each.
//!
//! `blocks/XX/CID` holds a block, XX being the last two characters but one of the CID; `pins/CID` is an empty file for
//! each pinned root. Any number of processes may use a store; `lock` is held shared while a block or pin is written, and
//! exclusively by garbage collection.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cid::Cid;
use rustix::fs::{FlockOperation, flock};

use crate::{BlockStore, IDENTITY, MAX_BLOCK_BYTES, StoreError, dag, verify};

/// Blocks younger than this are never collected: somebody may be about to pin what they belong to.
const GRACE: Duration = Duration::from_secs(3600);

/// A block store in a folder.
#[derive(Debug)]
pub struct FolderStore {
    folder: PathBuf,
    quota: Option<u64>,
    /// Bytes in the store, once they have been counted.
    used: Cell<Option<u64>>,
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
        Self { folder: folder.into(), quota: None, used: Cell::new(None) }
    }

    /// The same store with a limit on the bytes of its blocks.
    pub fn with_quota(self, quota: Option<u64>) -> Self {
        Self { quota, ..self }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, cid: &Cid) -> PathBuf {
        let name = cid.to_string();
        let shard = &name[name.len() - 3..name.len() - 1];
        self.folder.join("blocks").join(shard).join(&name)
    }

    fn pin_path(&self, cid: &Cid) -> PathBuf {
        self.folder.join("pins").join(cid.to_string())
    }

    fn lock(&self, operation: FlockOperation) -> Result<File, StoreError> {
        let path = self.folder.join("lock");
        let open = || {
            fs::create_dir_all(&self.folder)?;
            let file = File::options().create(true).append(true).open(&path)?;
            flock(&file, operation)?;
            Ok(file)
        };
        open().map_err(file_error("lock", &path))
    }

    /// Keeps everything below `cid` from being collected.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn pin(&self, cid: &Cid) -> Result<(), StoreError> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        let path = self.pin_path(cid);
        let write = || {
            fs::create_dir_all(self.folder.join("pins"))?;
            // What is pinned must be there after a power cut.
            rustix::fs::syncfs(File::open(&self.folder)?)?;
            File::create(&path)?.sync_all()
        };
        write().map_err(file_error("write", &path))
    }

    /// Lets go of `cid`. Says whether it was pinned.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn unpin(&self, cid: &Cid) -> Result<bool, StoreError> {
        let path = self.pin_path(cid);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(file_error("remove", &path)(error)),
        }
    }

    /// The pinned roots, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn pins(&self) -> Result<BTreeSet<Cid>, StoreError> {
        let names = list(&self.folder.join("pins"))?;
        Ok(names.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect())
    }

    /// All files that hold blocks, sorted.
    fn block_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut files = Vec::new();
        for shard in list(&self.folder.join("blocks"))? {
            files.extend(list(&shard)?);
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
            if let Some(cid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) {
                let metadata = fs::metadata(&path).map_err(file_error("look at", &path))?;
                blocks.push((cid, metadata.len()));
            }
        }
        Ok(blocks)
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
        dag::walk(self, &pins, |cid, _| {
            kept.insert(*cid);
            Ok(())
        })?;
        let mut collected = Collected::default();
        for path in self.block_files()? {
            let cid = path.file_name().and_then(|name| name.to_str()?.parse::<Cid>().ok());
            if cid.is_some_and(|cid| kept.contains(&cid)) {
                continue;
            }
            let metadata = fs::metadata(&path).map_err(file_error("look at", &path))?;
            let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
            if age.is_some_and(|age| age >= grace) {
                fs::remove_file(&path).map_err(file_error("remove", &path))?;
                collected.blocks += 1;
                collected.bytes += metadata.len();
            }
        }
        self.used.set(None);
        Ok(collected)
    }

    /// Checks every block, and that everything below the pins is there. With `repair`, damaged files are removed.
    ///
    /// # Errors
    /// When the folder cannot be read, or a damaged file cannot be removed.
    pub fn verify_all(&self, repair: bool, mut progress: impl FnMut(u64)) -> Result<Verified, StoreError> {
        let mut found = Verified::default();
        for path in self.block_files()? {
            found.blocks += 1;
            progress(found.blocks);
            let cid = path.file_name().and_then(|name| name.to_str()?.parse::<Cid>().ok());
            let right = cid.is_some_and(|cid| self.path(&cid) == path && self.get(&cid).is_ok());
            if !right {
                if repair {
                    fs::remove_file(&path).map_err(file_error("remove", &path))?;
                }
                found.damaged.push(path);
            }
        }
        for pin in self.pins()? {
            match dag::walk(self, &[pin], |_, _| Ok(())) {
                Err(StoreError::Missing(cid)) => found.missing.push(cid),
                Ok(()) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn check_quota(&self, more: u64) -> Result<(), StoreError> {
        let Some(quota) = self.quota else { return Ok(()) };
        let used = match self.used.get() {
            Some(used) => used,
            None => self.blocks()?.iter().map(|(_, bytes)| bytes).sum(),
        };
        if used + more > quota {
            return Err(StoreError::Quota { quota });
        }
        self.used.set(Some(used + more));
        Ok(())
    }
}

/// The paths in a folder, sorted; none if there is no folder. Temporary files are left out.
fn list(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error("list", folder)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file_error("list", folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
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
        let mut block = Vec::new();
        file.take(MAX_BLOCK_BYTES as u64 + 1).read_to_end(&mut block).map_err(file_error("read", &path))?;
        verify(cid, &block, Some(path.clone())).map_err(|_| StoreError::Damaged { cid: *cid, path: Some(path) })?;
        Ok(block)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        let path = self.path(cid);
        path.try_exists().map_err(file_error("look for", &path))
    }

    fn put_verified(&self, cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
        crate::check_supported(cid)?;
        if block.len() > MAX_BLOCK_BYTES {
            return Err(StoreError::BlockTooLarge(block.len() as u64));
        }
        if cid.hash().code() == IDENTITY {
            return Ok(());
        }
        let path = self.path(cid);
        let _lock = self.lock(FlockOperation::LockShared)?;
        // A whole file of the right length is left alone, but made young, so that it is not collected meanwhile.
        if let Ok(file) = File::options().append(true).open(&path)
            && file.metadata().is_ok_and(|metadata| metadata.len() == block.len() as u64)
            && file.set_modified(SystemTime::now()).is_ok()
        {
            return Ok(());
        }
        self.check_quota(block.len() as u64)?;
        let folder = path.parent().expect("a block lies in a folder");
        let write = || {
            fs::create_dir_all(folder)?;
            let mut temporary = tempfile::Builder::new().prefix(".part-").tempfile_in(folder)?;
            temporary.write_all(block)?;
            temporary.persist(&path).map_err(|error| error.error)
        };
        write().map(|_| ()).map_err(file_error("write", &path))
    }
}
