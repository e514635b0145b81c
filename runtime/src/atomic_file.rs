//! Files that are written whole or not at all.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use tempfile::NamedTempFile;

/// How the names of files begin that are not whole yet.
const UNFINISHED: &str = ".fedmkt-unfinished-";

/// Writes a file through `write` and puts it at `path` in one step: whoever looks finds the old content or the new one.
/// Only the owner can read it.
///
/// # Errors
/// When `write` fails, or the file system does; `path` is then as it was.
pub fn replace<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    put(path, 0o600, write, |file| file.persist(path).map(drop).map_err(io::Error::from))
}

/// As [`replace`], for a file that others may read, as far as the umask lets them; one that is there keeps its permissions. What a
/// killed process left in the folder is removed.
///
/// # Errors
/// As [`replace`].
pub fn replace_shared<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    sweep(folder_of(path));
    let before = fs::metadata(path).map(|before| before.permissions());
    let write = |file: &mut File| {
        if let Ok(before) = before {
            file.set_permissions(before)?;
        }
        write(file)
    };
    put(path, 0o666, write, |file| file.persist(path).map(drop).map_err(io::Error::from))
}

/// As [`replace`], where there is no file yet.
///
/// # Errors
/// As [`replace`], and with [`io::ErrorKind::AlreadyExists`] when somebody else was quicker; that file stays.
pub fn make<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    put(path, 0o600, write, |file| file.persist_noclobber(path).map(drop).map_err(io::Error::from))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn put<T>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<T>,
    persist: impl FnOnce(NamedTempFile) -> io::Result<()>,
) -> io::Result<T> {
    let folder = folder_of(path);
    let folder_itself = File::open(folder)?;
    // Held while there is an unfinished file, for `sweep`. Where there are no locks nothing is swept either.
    let _ = rustix::fs::flock(&folder_itself, FlockOperation::LockShared);
    let permissions = Permissions::from_mode(mode);
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).permissions(permissions).tempfile_in(folder)?;
    let value = write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    persist(file)?;
    folder_itself.sync_all()?;
    Ok(value)
}

/// Removes what [`replace`] and [`make`] left in a folder when their process was killed, unless somebody writes there now. What cannot
/// be removed stays: it takes room, and does no other harm.
pub fn sweep(folder: &Path) {
    let Ok(folder_itself) = File::open(folder) else { return };
    if rustix::fs::flock(&folder_itself, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes a file that may be there.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_content_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        replace(&path, |file| file.write_all(b"old")).expect("written");
        let failed = replace(&path, |file| {
            file.write_all(b"half of the ne")?;
            Err::<(), _>(io::Error::other("the disk is full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).expect("the file"), b"old");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }

    #[test]
    fn a_file_that_others_may_read_has_the_permissions_of_any_other_and_keeps_those_it_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        fs::write(&other, "").expect("a file");
        fs::write(folder.path().join(format!("{UNFINISHED}1")), "half").expect("a file");
        replace_shared(&path, |file| file.write_all(b"one")).expect("written");
        assert_eq!(mode(&path), mode(&other));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("set");
        replace_shared(&path, |file| file.write_all(b"two")).expect("written");
        assert_eq!((mode(&path), fs::read(&path).expect("the file")), (0o640, b"two".to_vec()));
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 2);
    }

    #[test]
    fn what_a_killed_process_left_is_swept_but_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(folder.path().join(".other"), "").expect("a file");
        fs::write(folder.path().join(format!("{UNFINISHED}1")), "half").expect("a file");
        replace(&path, |file| {
            // Somebody else sweeps meanwhile.
            sweep(folder.path());
            file.write_all(b"new")
        })
        .expect("it was not swept");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 3);
        sweep(folder.path());
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 2);
        assert_eq!(fs::read(&path).expect("the file"), b"new");
    }
}
