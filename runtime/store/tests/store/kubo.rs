//! Kubo itself, if it is there: as `ipfs` on the PATH, or where `FEDMKT_KUBO` says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cid::Cid;
use fedmkt_core::unixfs::directory_block;
use fedmkt_store::{FolderStore, StoreError, car, dag, files};
use fedmkt_test_kit::kubo::{PROFILE, Repository};

use crate::stream::stream;
use crate::test_store::test_store;
use crate::vectors::{self, FileVector, FolderVector, Vectors};

/// A Kubo with a repository of its own, which is never online.
struct Kubo(Repository);

impl Kubo {
    fn find(test: &str) -> Option<Self> {
        Repository::find(test).map(Self)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.0.command(arguments)
    }

    fn run(&self, arguments: &[&str]) -> String {
        self.0.run(arguments)
    }

    /// The CID of a file of the stream.
    fn file_cid(&self, bytes: u64) -> String {
        let mut child = self
            .command(&["add", "--only-hash", "--quieter"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Kubo runs");
        io::copy(&mut stream(bytes), &mut child.stdin.take().expect("a pipe")).expect("Kubo reads");
        let output = child.wait_with_output().expect("Kubo runs");
        String::from_utf8(output.stdout).expect("text").trim().to_string()
    }

    fn add(&self, path: &Path) -> Cid {
        let path = path.to_str().expect("a path of this test");
        self.run(&["add", "--recursive", "--hidden", "--quieter", path]).parse().expect("a CID")
    }
}

fn entries<'a>(entries: impl IntoIterator<Item = (&'a str, Option<u64>)>) -> BTreeMap<String, Option<u64>> {
    entries.into_iter().map(|(path, bytes)| (path.to_string(), bytes)).collect()
}

/// A folder of empty files whose block has exactly so many bytes.
fn folder_of_block(bytes: usize) -> BTreeMap<String, Option<u64>> {
    let cid = fedmkt_core::unixfs::FileCid::new().finish();
    let block_bytes = |names: &[String]| {
        let link = |name: &String| fedmkt_core::unixfs::Link { cid, name: name.clone(), tree_bytes: 0 };
        directory_block(names.iter().map(link).collect()).len()
    };
    let mut names: Vec<String> = (0..850).map(|number| format!("{number:0250}")).collect();
    while block_bytes(&names) + 200 < bytes {
        names.push(format!("{:0250}", names.len()));
    }
    let last = (1..=250).map(|length| "z".repeat(length)).find(|last| {
        let with_last: Vec<_> = names.iter().chain([last]).cloned().collect();
        block_bytes(&with_last) == bytes
    });
    names.push(last.expect("some name has the right length"));
    names.into_iter().map(|name| (name, Some(0))).collect()
}

fn folders() -> Vec<(&'static str, BTreeMap<String, Option<u64>>)> {
    let order =
        ["a", "A", "a-", "a.b", "a0", "b", "10", "9", " ", "-", "_", "~", "é", "e\u{301}", "\u{ff5e}", "\u{1f600}"];
    vec![
        ("an empty folder", BTreeMap::new()),
        ("one file", entries([("file", Some(5))])),
        ("files of all sizes", entries([("0", Some(0)), ("1", Some(1)), ("2", Some(1 << 20)), ("3", Some(3 << 20))])),
        (
            "folders in folders",
            entries([
                ("a/b/c/d", Some(4)),
                ("a/b/empty", None),
                ("a/b2", Some(1)),
                ("a.b", Some(2)),
                ("z/large", Some((1 << 20) + 1)),
            ]),
        ),
        ("hidden files", entries([(".hidden", Some(1)), (".git/config", Some(2)), ("...", Some(3))])),
        ("names in the order of their bytes", entries(order.map(|name| (name, Some(1))))),
    ]
}

#[test]
fn the_recorded_vectors_are_what_kubo_says() {
    let Some(kubo) = Kubo::find("the_recorded_vectors_are_what_kubo_says") else { return };
    const MIB: u64 = 1 << 20;
    let sizes = [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB, 1024 * MIB, 1024 * MIB + 1, 1025 * MIB];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder_vector = |(number, (about, entries)): (usize, (&str, BTreeMap<_, _>))| {
        let path = folder.path().join(number.to_string());
        vectors::write_folder(&path, &entries);
        FolderVector { about: about.into(), cid: kubo.add(&path).to_string(), entries }
    };
    let found = Vectors {
        made_with: format!("{}, profile {PROFILE}", kubo.run(&["version"])),
        content: "byte i of every file is i modulo 251".into(),
        files: sizes.map(|bytes| FileVector { bytes, cid: kubo.file_cid(bytes) }).into(),
        folders: folders().into_iter().enumerate().map(folder_vector).collect(),
    };
    if std::env::var_os("FEDMKT_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&found).expect("JSON") + "\n";
        fs::create_dir_all(vectors::path().parent().expect("a parent")).expect("a folder");
        fs::write(vectors::path(), text).expect("the vectors");
    }
    // Another version of Kubo must say the same.
    let recorded = vectors::recorded();
    assert_eq!((&found.files, &found.folders), (&recorded.files, &recorded.folders));
}

#[test]
fn the_largest_folder_that_kubo_does_not_shard_has_its_cid() {
    let test = test_store();
    let folder = test.folder.path().join("wide");
    vectors::write_folder(&folder, &folder_of_block(256 << 10));
    let cid = files::add_tree(&test.store, &folder).expect("a folder").cid;
    assert_eq!(cid.to_string(), "bafybeiefgjrukuo5ivbz66zugfgwqco7hsggwwosytv5srz5pppm4gjvui");
    let Some(kubo) = Kubo::find("the_largest_folder_that_kubo_does_not_shard_has_its_cid") else { return };
    assert_eq!(kubo.add(&folder), cid);
}

#[test]
fn a_folder_that_kubo_shards_is_refused() {
    let test = test_store();
    let folder = test.folder.path().join("wide");
    vectors::write_folder(&folder, &folder_of_block((256 << 10) + 1));
    let error = files::add_tree(&test.store, &folder).expect_err("too many entries");
    assert!(matches!(error, StoreError::Path { .. }), "{error}");
    let Some(kubo) = Kubo::find("a_folder_that_kubo_shards_is_refused") else { return };
    let cid = kubo.add(&folder);
    let archive = test.folder.path().join("wide.car");
    export(&kubo, &cid, &archive);
    let roots = car::import(&test.store, BufReader::new(File::open(archive).expect("an archive"))).expect("blocks");
    assert_eq!(roots, [cid]);
    let error = test.store.pin(&cid).expect_err("a sharded folder");
    assert!(error.to_string().contains("sharded"), "{error}");
}

fn export(kubo: &Kubo, cid: &Cid, archive: &Path) {
    let file = File::create(archive).expect("a file");
    let status = kubo.command(&["dag", "export", "--progress=false", &cid.to_string()]).stdout(file).status();
    assert!(status.expect("Kubo runs").success());
}

/// A folder, and a value that links to it: every codec.
fn sample(store: &FolderStore, folder: &Path) -> Cid {
    let last = folders().into_iter().nth(3).expect("a folder").1;
    vectors::write_folder(folder, &last);
    let link = files::add_tree(store, folder).expect("a folder").cid;
    fedmkt_store::put_value(store, &BTreeMap::from([("folder", link)])).expect("a value")
}

fn blocks_below(store: &FolderStore, root: &Cid) -> Vec<(Cid, Vec<u8>)> {
    let mut blocks = Vec::new();
    let visited = dag::walk(store, &[*root], |cid, block| {
        blocks.push((*cid, block.to_vec()));
        Ok(())
    });
    visited.expect("all blocks");
    blocks
}

#[test]
fn kubo_imports_what_was_exported_here_and_exports_the_same() {
    let Some(kubo) = Kubo::find("kubo_imports_what_was_exported_here_and_exports_the_same") else { return };
    let test = test_store();
    let folder = test.folder.path().join("folder");
    let root = sample(&test.store, &folder);
    let archive: PathBuf = test.folder.path().join("ours.car");
    car::export(&test.store, &[root], File::create(&archive).expect("a file")).expect("an archive");
    kubo.run(&["dag", "import", archive.to_str().expect("a path")]);
    assert!(kubo.run(&["pin", "ls", "--type=recursive"]).contains(&root.to_string()));

    let theirs = test.folder.path().join("theirs.car");
    export(&kubo, &root, &theirs);
    assert_eq!(fs::read(&theirs).expect("an archive"), fs::read(&archive).expect("an archive"));
    let other = FolderStore::new(test.folder.path().join("other"));
    let roots = car::import(&other, BufReader::new(File::open(theirs).expect("an archive"))).expect("blocks");
    assert_eq!(roots, [root]);
    other.pin(&root).expect("all blocks");
    assert_eq!(blocks_below(&other, &root), blocks_below(&test.store, &root));
}

#[test]
fn files_as_older_versions_of_ipfs_made_them_can_be_read() {
    let Some(kubo) = Kubo::find("files_as_older_versions_of_ipfs_made_them_can_be_read") else { return };
    let test = test_store();
    let file = test.folder.path().join("file");
    let mut content = Vec::new();
    io::copy(&mut stream(3_000_000), &mut content).expect("a stream");
    fs::write(&file, &content).expect("a file");
    let file = file.to_str().expect("a path");
    for options in [
        &["--cid-version=0", "--raw-leaves=false", "--chunker=size-262144"][..],
        &["--cid-version=1", "--raw-leaves=true", "--chunker=size-1000"],
        &["--cid-version=1", "--raw-leaves=false", "--trickle", "--chunker=size-1000"],
        &["--raw-leaves=false", "--preserve-mode", "--preserve-mtime"],
    ] {
        let cid: Cid = kubo.run(&[&["add", "--quieter"], options, &[file]].concat()).parse().expect("a CID");
        let archive = test.folder.path().join("old.car");
        export(&kubo, &cid, &archive);
        let roots = car::import(&test.store, BufReader::new(File::open(&archive).expect("an archive")));
        assert_eq!(roots.expect("blocks"), [cid]);
        test.store.pin(&cid).expect("all blocks");
        let back = files::read_file(&test.store, &cid, 1 << 30).expect("a file");
        assert!(back == content, "{options:?}");
        let cid = fedmkt_store::parse_cid(&cid.to_string()).expect("a CID");
        assert!(files::read_file(&test.store, &cid, 1 << 30).expect("a file") == content, "{options:?}");
    }
}
