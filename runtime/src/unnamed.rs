//! Files without a name, for data that was entrusted to us: nobody finds them, and they are gone when the process has
//! ended, in whatever way.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A file without a name. It is gone with this value, and with all who have it open.
#[derive(Debug)]
pub struct Unnamed(File);

impl Unnamed {
    /// An empty file on the file system of `folder`, which only its owner can open.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        // Where a file system knows no files without names, it has one for a moment, as long as it is empty.
        Ok(Self(tempfile::tempfile_in(folder)?))
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }

    /// The file.
    pub fn file_mut(&mut self) -> &mut File {
        &mut self.0
    }

    /// By this, this process and others of the same user can open it as long as this value lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn it_can_be_opened_while_it_lives_and_is_in_no_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut unnamed = Unnamed::new(folder.path()).expect("a file");
        unnamed.file_mut().write_all(b"secret").expect("written");
        let path = unnamed.path();
        let mut opened = File::open(&path).expect("opened");
        let mut text = String::new();
        opened.read_to_string(&mut text).expect("read from its beginning");
        assert_eq!(text, "secret");
        let seen = std::process::Command::new("cat").arg(&path).output().expect("cat runs");
        assert_eq!(seen.stdout, b"secret", "another program can open it, too");
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
        drop(unnamed);
        let gone = File::open(&path).and_then(|mut file| file.read_to_string(&mut String::new()));
        assert!(gone.map_or(true, |bytes| bytes != 6), "it is gone with its owner");
    }
}
