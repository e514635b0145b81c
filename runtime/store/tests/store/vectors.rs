//! CIDs that Kubo gave under its profile `unixfs-v1-2025`, in a file: `tests/vectors/unixfs-v1-2025.json`. The tests in
//! [`crate::kubo`] ask a Kubo that is installed for the same, and write the file anew when `FEDMKT_WRITE_VECTORS` is set.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use fedmkt_core::unixfs::FileCid;
use fedmkt_store::files;
use serde::{Deserialize, Serialize};

use crate::stream::stream;
use crate::test_store::test_store;

#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub struct Vectors {
    /// What made them.
    pub made_with: String,
    /// What is in a file of n bytes.
    pub content: String,
    pub files: Vec<FileVector>,
    pub folders: Vec<FolderVector>,
}

#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub struct FileVector {
    pub bytes: u64,
    pub cid: String,
}

#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub struct FolderVector {
    pub about: String,
    pub cid: String,
    /// Bytes of each file by its path; `null` for a folder.
    pub entries: BTreeMap<String, Option<u64>>,
}

pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/unixfs-v1-2025.json")
}

pub fn recorded() -> Vectors {
    serde_json::from_slice(&fs::read(path()).expect("the vectors")).expect("vectors")
}

pub fn write_folder(folder: &Path, entries: &BTreeMap<String, Option<u64>>) {
    fs::create_dir_all(folder).expect("a folder");
    for (path, bytes) in entries {
        let path = folder.join(path);
        let Some(bytes) = bytes else {
            fs::create_dir_all(path).expect("a folder");
            continue;
        };
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        io::copy(&mut stream(*bytes), &mut File::create(path).expect("a file")).expect("a disk with room");
    }
}

#[test]
fn files_have_the_cids_that_kubo_gives() {
    for FileVector { bytes, cid } in recorded().files {
        let mut content = stream(bytes);
        let mut buffer = vec![0; 1 << 20];
        let mut builder = FileCid::new();
        loop {
            let taken = io::Read::read(&mut content, &mut buffer).expect("a stream");
            if taken == 0 {
                break;
            }
            builder.push(&buffer[..taken]);
        }
        assert_eq!(builder.finish().to_string(), cid, "{bytes} bytes");
    }
}

#[test]
fn folders_have_the_cids_that_kubo_gives() {
    for FolderVector { about, cid, entries } in recorded().folders {
        let test = test_store();
        let folder = test.folder.path().join("added");
        write_folder(&folder, &entries);
        let link = files::add_tree(&test.store, &folder).expect("a folder");
        assert_eq!(link.cid.to_string(), cid, "{about}");
        let back = test.folder.path().join("back");
        files::extract(&test.store, &link.cid, &back, 1 << 40).expect("the folder again");
        assert_eq!(files::add_tree(&test.store, &back).expect("a folder"), link, "{about}");
    }
}
