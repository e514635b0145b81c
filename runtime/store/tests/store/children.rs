//! What needs a process of its own, to be killed or measured: this program again, with one ignored test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fedmkt_core::unixfs::FileCid;
use fedmkt_store::files::{self, FileReader};
use fedmkt_store::{FolderStore, car};

use crate::stream::stream;
use crate::test_store::test_store;

const FOLDER: &str = "FEDMKT_TEST_STORE";

/// Runs an ignored test of this module in a process of its own.
fn child(test: &str, store: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("children::{test}"), "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, store)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this program runs")
}

fn childs_store() -> FolderStore {
    FolderStore::new(std::env::var_os(FOLDER).expect("only run by other tests"))
}

/// Passes a stream on and tells on standard output how far it is.
struct Telling<R>(R, u64);

impl<R: Read> Read for Telling<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.0.read(buffer)?;
        self.1 += bytes as u64;
        println!("read {}", self.1);
        std::io::stdout().flush()?;
        Ok(bytes)
    }
}

const LARGE: u64 = 24 << 20;

#[test]
#[ignore = "killed by a_program_that_is_killed_leaves_no_damage"]
fn adds_a_large_file() {
    files::add_file(&childs_store(), Telling(stream(LARGE), 0)).expect("a file");
}

#[test]
fn a_program_that_is_killed_leaves_no_damage() {
    let test = test_store();
    for round in 0..40usize {
        let mut child = child("adds_a_large_file", test.store.folder());
        let told = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let told = told.filter(|line| line.starts_with("read ")).nth(2 * round);
        assert!(told.is_some(), "the child got as far as round {round} wants");
        child.kill().expect("a child");
        child.wait().expect("a child");
        let found = test.store.verify_all(false).expect("a store");
        assert_eq!(found.damaged, Vec::<std::path::PathBuf>::new(), "round {round}");
    }
    let link = files::add_file(&test.store, stream(LARGE)).expect("a file");
    test.store.pin(&link.cid).expect("a pin");
    test.store.gc_older_than(Duration::ZERO).expect("a collection");
    let mut reader = FileReader::new(&test.store, &link.cid, LARGE);
    let mut again = FileCid::new();
    loop {
        let block = reader.next_block().expect("a block");
        if block.is_empty() {
            break;
        }
        again.push(block);
    }
    assert_eq!(again.finish(), link.cid);
    // What killed programs had half written is gone with the collection.
    let left = walk(&test.store.folder().join("blocks"));
    assert!(left.iter().all(|name| name.starts_with("baf")), "{left:?}");
}

fn walk(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let names = |entry: std::fs::DirEntry| match entry.file_type().expect("a type").is_dir() {
        true => walk(&entry.path()),
        false => vec![entry.file_name().to_string_lossy().into_owned()],
    };
    entries.flat_map(names).collect()
}

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

const GIB: u64 = 1 << 30;

#[test]
#[ignore = "measured by a_gibibyte_takes_little_memory"]
fn adds_exports_and_reads_a_gibibyte() {
    let store = childs_store();
    let before = peak_kib();
    // All leaves but the last are one block, so the disk needs no room; memory is needed as for any file.
    let link = files::add_file(&store, std::io::repeat(7).take(GIB)).expect("a file");
    store.pin(&link.cid).expect("a pin");
    let read = std::io::copy(&mut FileReader::new(&store, &link.cid, GIB), &mut std::io::sink()).expect("a file");
    assert_eq!(read, GIB);
    car::export(&store, &[link.cid], std::io::sink()).expect("an archive");
    println!("grown {}", peak_kib() - before);
}

#[test]
fn a_gibibyte_takes_little_memory() {
    let test = test_store();
    let output = child("adds_exports_and_reads_a_gibibyte", test.store.folder()).wait_with_output().expect("a child");
    let output = String::from_utf8(output.stdout).expect("text");
    // The test harness may have written something on the same line.
    let grown = output.lines().find_map(|line| line.split_once("grown ")).expect("the child measured itself").1;
    let grown: u64 = grown.parse().expect("a number");
    assert!(grown < 16 << 10, "memory grew by {grown} KiB");
}
