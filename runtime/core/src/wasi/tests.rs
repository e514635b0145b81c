//! WASI as a guest sees it: calls with pointers into a memory.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::pack::{Kind, Layout};

const READ: Rights = rights::FD_READ | rights::FD_SEEK | rights::FD_TELL | rights::FD_FILESTAT_GET | rights::FD_READDIR;
const WRITE: Rights = READ | rights::FD_WRITE | rights::FD_FILESTAT_SET_SIZE | rights::FD_ALLOCATE;
const CREATE: u32 = 1;
const EXCLUSIVE: u32 = 4;
const TRUNCATE: u32 = 8;

fn pack(files: &[(&str, &[u8])]) -> Arc<Pack> {
    let layout = Layout::new(files.iter().map(|(path, content)| (path.to_string(), Kind::File(content.len() as u64))))
        .expect("a tree");
    let mut bytes = vec![0; layout.total_bytes() as usize];
    bytes[..layout.front().len()].copy_from_slice(layout.front());
    for (path, offset, length) in layout.files() {
        let content = files.iter().find(|(name, _)| *name == path).expect("a file").1;
        bytes[offset as usize..][..length as usize].copy_from_slice(content);
    }
    Arc::new(Pack::open(Arc::new(bytes)).expect("a pack"))
}

fn config() -> Config {
    let job = pack(&[("job.cbor", b"manifest"), ("model/layer.bin", b"weights"), ("trainer.wasm", b"module")]);
    let model = job.find("model").expect("the model");
    Config {
        args: vec![b"trainer".to_vec(), b"--epochs".to_vec()],
        env: Vec::new(),
        model: (job, model),
        data: pack(&[("a.csv", b"1,2\n3,4\n"), ("more/b.csv", b"5,6\n")]),
        out_pages: 4,
        scratch_pages: 4,
        open_files: 8,
        random_seed: [7; 32],
    }
}

/// A guest with a memory of its own.
struct Guest {
    wasi: Wasi,
    memory: Vec<u8>,
}

type Answer<T> = Result<T, Errno>;

impl Guest {
    fn new() -> Self {
        Self { wasi: Wasi::new(config()), memory: vec![0; 65536] }
    }

    fn call(&mut self, function: Function, args: &[u64]) -> Answer<()> {
        match self.wasi.call(function, args, &mut self.memory).expect("no exit") {
            Errno::Success => Ok(()),
            errno => Err(errno),
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> [u64; 2] {
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        [at as u64, bytes.len() as u64]
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.memory[at..at + 4].try_into().expect("4 bytes"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.memory[at..at + 8].try_into().expect("8 bytes"))
    }

    fn open(&mut self, path: &str, how: u32, rights: Rights) -> Answer<u32> {
        self.open_from(3, path, how, rights)
    }

    fn open_from(&mut self, fd: u32, path: &str, how: u32, rights: Rights) -> Answer<u32> {
        let [pointer, length] = self.put(1024, path.as_bytes());
        self.call(Function::PathOpen, &[fd.into(), 1, pointer, length, how.into(), rights, rights, 0, 512])?;
        Ok(self.u32(512))
    }

    fn close(&mut self, fd: u32) -> Answer<()> {
        self.call(Function::FdClose, &[fd.into()])
    }

    fn read(&mut self, fd: u32, most: u32) -> Answer<Vec<u8>> {
        self.put(0, &[8192u32.to_le_bytes(), most.to_le_bytes()].concat());
        self.call(Function::FdRead, &[fd.into(), 0, 1, 16])?;
        let bytes = self.u32(16) as usize;
        Ok(self.memory[8192..8192 + bytes].to_vec())
    }

    fn write(&mut self, fd: u32, bytes: &[u8]) -> Answer<u32> {
        self.put(8192, bytes);
        self.put(0, &[8192u32.to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat());
        self.call(Function::FdWrite, &[fd.into(), 0, 1, 16])?;
        Ok(self.u32(16))
    }

    fn seek(&mut self, fd: u32, by: i64, whence: u64) -> Answer<u64> {
        self.call(Function::FdSeek, &[fd.into(), by as u64, whence, 16])?;
        Ok(self.u64(16))
    }

    fn on_path(&mut self, function: Function, path: &str) -> Answer<()> {
        let [pointer, length] = self.put(1024, path.as_bytes());
        self.call(function, &[3, pointer, length])
    }

    fn mkdir(&mut self, path: &str) -> Answer<()> {
        self.on_path(Function::PathCreateDirectory, path)
    }

    fn unlink(&mut self, path: &str) -> Answer<()> {
        self.on_path(Function::PathUnlinkFile, path)
    }

    fn rmdir(&mut self, path: &str) -> Answer<()> {
        self.on_path(Function::PathRemoveDirectory, path)
    }

    fn rename(&mut self, from: &str, to: &str) -> Answer<()> {
        let [from, from_length] = self.put(1024, from.as_bytes());
        let [to, to_length] = self.put(8192, to.as_bytes());
        self.call(Function::PathRename, &[3, from, from_length, 3, to, to_length])
    }

    fn symlink(&mut self, target: &str, path: &str) -> Answer<()> {
        let [target, target_length] = self.put(1024, target.as_bytes());
        let [path, length] = self.put(8192, path.as_bytes());
        self.call(Function::PathSymlink, &[target, target_length, 3, path, length])
    }

    fn link(&mut self, from: &str, to: &str) -> Answer<()> {
        let [from, from_length] = self.put(1024, from.as_bytes());
        let [to, to_length] = self.put(8192, to.as_bytes());
        self.call(Function::PathLink, &[3, 0, from, from_length, 3, to, to_length])
    }

    /// Type, size and number of links.
    fn stat(&mut self, path: &str) -> Answer<(u8, u64, u64)> {
        let [pointer, length] = self.put(1024, path.as_bytes());
        self.call(Function::PathFilestatGet, &[3, 0, pointer, length, 256])?;
        Ok((self.memory[256 + 16], self.u64(256 + 32), self.u64(256 + 24)))
    }

    /// All names of a directory, listed with a buffer of this size.
    fn list(&mut self, path: &str, buffer: u32) -> Answer<Vec<String>> {
        let fd = self.open(path, 2, READ)?;
        let mut names = Vec::new();
        let mut cookie = 0;
        loop {
            let (found, full) = self.list_some(fd, buffer, cookie)?;
            let Some((last, _)) = found.last() else { break };
            cookie = *last;
            names.extend(found.into_iter().map(|(_, name)| name));
            if !full {
                break;
            }
        }
        self.close(fd)?;
        Ok(names)
    }

    /// Whole entries with their cookies, and whether the buffer was full.
    fn list_some(&mut self, fd: u32, buffer: u32, cookie: u64) -> Answer<(Vec<(u64, String)>, bool)> {
        self.call(Function::FdReaddir, &[fd.into(), 8192, buffer.into(), cookie, 16])?;
        let used = self.u32(16);
        let mut found = Vec::new();
        let mut at = 8192;
        let end = 8192 + used as usize;
        while at + 24 <= end {
            let length = self.u32(at + 16) as usize;
            let Some(name) = self.memory[..end].get(at + 24..at + 24 + length) else { break };
            found.push((self.u64(at), String::from_utf8(name.to_vec()).expect("UTF-8")));
            at += 24 + length;
        }
        Ok((found, used == buffer))
    }

    fn put_file(&mut self, path: &str, content: &[u8]) -> Answer<()> {
        let fd = self.open(path, CREATE | TRUNCATE, WRITE)?;
        assert_eq!(self.write(fd, content)? as usize, content.len());
        self.close(fd)
    }

    fn get_file(&mut self, path: &str) -> Answer<Vec<u8>> {
        let fd = self.open(path, 0, READ)?;
        let content = self.read(fd, 40_000)?;
        self.close(fd)?;
        Ok(content)
    }

    /// Saves the state and goes on with what is restored from it.
    fn restore(&mut self) {
        let metadata = self.metadata();
        let mut files = self.wasi.file_area().to_vec();
        files.resize(8 * PAGE_BYTES, 0);
        self.wasi = Wasi::restore(config(), &metadata, &files).expect("a state");
        assert_eq!(self.metadata(), metadata);
    }

    fn metadata(&self) -> Vec<u8> {
        let mut metadata = vec![0xff; METADATA_BYTES];
        self.wasi.save(&mut metadata);
        metadata
    }
}

#[test]
fn arguments_are_those_of_the_job() {
    let mut guest = Guest::new();
    guest.call(Function::ArgsSizesGet, &[0, 4]).expect("sizes");
    assert_eq!((guest.u32(0), guest.u32(4)), (2, 17));
    guest.call(Function::ArgsGet, &[0, 100]).expect("arguments");
    assert_eq!(&guest.memory[100..117], b"trainer\0--epochs\0");
    assert_eq!((guest.u32(0), guest.u32(4)), (100, 108));
    guest.call(Function::EnvironSizesGet, &[0, 4]).expect("sizes");
    assert_eq!((guest.u32(0), guest.u32(4)), (0, 0));
}

#[test]
fn the_root_is_preopened_and_nothing_else() {
    let mut guest = Guest::new();
    guest.call(Function::FdPrestatGet, &[3, 0]).expect("preopened");
    assert_eq!(guest.u32(4), 1);
    guest.call(Function::FdPrestatDirName, &[3, 100, 1]).expect("a name");
    assert_eq!(guest.memory[100], b'/');
    assert_eq!(guest.call(Function::FdPrestatGet, &[4, 0]), Err(Errno::Badf));
    assert_eq!(guest.call(Function::FdPrestatGet, &[0, 0]), Err(Errno::Badf));
}

#[test]
fn grant_and_model_can_be_read_and_listed() {
    let mut guest = Guest::new();
    assert_eq!(guest.get_file("data/a.csv"), Ok(b"1,2\n3,4\n".to_vec()));
    assert_eq!(guest.get_file("data/more/../more/b.csv"), Ok(b"5,6\n".to_vec()));
    assert_eq!(guest.get_file("job/model/layer.bin"), Ok(b"weights".to_vec()));
    assert_eq!(guest.get_file("job/trainer.wasm"), Err(Errno::Noent));
    assert_eq!(guest.list(".", 1000).expect("a list"), [".", "..", "data", "job", "out", "tmp"]);
    assert_eq!(guest.list("data", 1000).expect("a list"), [".", "..", "a.csv", "more"]);
    assert_eq!(guest.list("job/model", 1000).expect("a list"), [".", "..", "layer.bin"]);
    assert_eq!(guest.stat("data/a.csv"), Ok((4, 8, 1)));
    assert_eq!(guest.stat("data/more"), Ok((3, 0, 1)));
}

#[test]
fn reading_goes_on_where_it_stopped_and_seeking_moves() {
    let mut guest = Guest::new();
    let fd = guest.open("data/a.csv", 0, READ).expect("open");
    assert_eq!(guest.read(fd, 3), Ok(b"1,2".to_vec()));
    assert_eq!(guest.read(fd, 100), Ok(b"\n3,4\n".to_vec()));
    assert_eq!(guest.read(fd, 100), Ok(vec![]));
    assert_eq!(guest.seek(fd, -3, 2), Ok(5));
    assert_eq!(guest.read(fd, 100), Ok(b",4\n".to_vec()));
    assert_eq!(guest.seek(fd, -9, 1), Err(Errno::Inval));
    assert_eq!(guest.seek(fd, 0, 3), Err(Errno::Inval));
    assert_eq!(guest.seek(fd, 1000, 0), Ok(1000));
    assert_eq!(guest.read(fd, 1), Ok(vec![]));
}

#[test]
fn only_out_and_tmp_can_be_written() {
    let mut guest = Guest::new();
    for path in ["x", "data/x", "job/x", "job/model/x", "data/more/x"] {
        assert_eq!(guest.open(path, CREATE, WRITE), Err(Errno::Rofs), "{path}");
        assert_eq!(guest.mkdir(path), Err(Errno::Rofs), "{path}");
    }
    assert_eq!(guest.open("data/a.csv", 0, WRITE), Err(Errno::Rofs));
    assert_eq!(guest.open("data/a.csv", TRUNCATE, READ), Err(Errno::Rofs));
    assert_eq!(guest.unlink("data/a.csv"), Err(Errno::Rofs));
    assert_eq!(guest.rmdir("data/more"), Err(Errno::Rofs));
    assert_eq!(guest.rename("data/a.csv", "out/a.csv"), Err(Errno::Rofs));
    assert_eq!(guest.link("data/a.csv", "out/a.csv"), Err(Errno::Xdev));
    guest.put_file("out/x", b"1").expect("written");
    guest.put_file("tmp/x", b"2").expect("written");
}

#[test]
fn nothing_is_reached_above_the_root() {
    let mut guest = Guest::new();
    for path in ["..", "../etc", "out/../../x", "/etc/passwd", "/"] {
        assert_eq!(guest.open(path, 0, READ), Err(Errno::Perm), "{path}");
    }
    guest.symlink("../..", "out/up").expect("a link");
    assert_eq!(guest.open("out/up/x", 0, READ), Err(Errno::Perm));
    assert_eq!(guest.symlink("/etc", "out/abs"), Err(Errno::Perm));
    let out = guest.open("out", 2, READ).expect("open");
    let wasi_open = guest.open_from(out, "../data/a.csv", 0, 0);
    assert!(matches!(wasi_open, Err(Errno::Perm | Errno::Notcapable)), "{wasi_open:?}");
}

#[test]
fn files_grow_are_cut_and_overwritten() {
    let mut guest = Guest::new();
    guest.put_file("out/x", &[1; 5000]).expect("written");
    assert_eq!(guest.stat("out/x"), Ok((4, 5000, 1)));
    let fd = guest.open("out/x", 0, WRITE).expect("open");
    guest.call(Function::FdFilestatSetSize, &[fd.into(), 100]).expect("cut");
    guest.call(Function::FdFilestatSetSize, &[fd.into(), 200]).expect("extended");
    guest.seek(fd, 300, 0).expect("moved");
    guest.write(fd, &[2; 10]).expect("written");
    let content = [vec![1; 100], vec![0; 200], vec![2; 10]].concat();
    assert_eq!(guest.get_file("out/x"), Ok(content));
    guest.put_file("out/x", b"new").expect("truncated");
    assert_eq!(guest.get_file("out/x"), Ok(b"new".to_vec()));
    assert_eq!(guest.open("out/x", CREATE | EXCLUSIVE, WRITE), Err(Errno::Exist));
}

#[test]
fn a_full_mount_takes_what_fits_and_then_nothing() {
    let mut guest = Guest::new();
    let fd = guest.open("out/x", CREATE, WRITE).expect("open");
    assert_eq!(guest.write(fd, &[1; 20_000]), Ok(4 * 4096));
    assert_eq!(guest.write(fd, &[1]), Err(Errno::Nospc));
    assert_eq!(guest.call(Function::FdAllocate, &[fd.into(), 0, 5 * 4096]), Err(Errno::Fbig));
    guest.put_file("tmp/y", &[2; 4096]).expect("another mount");
    guest.unlink("out/x").expect("unlinked");
    let other = guest.open("out/z", CREATE, WRITE).expect("open");
    assert_eq!(guest.write(other, &[1]), Err(Errno::Nospc), "the unlinked file is still open");
    guest.close(fd).expect("closed");
    assert_eq!(guest.write(other, &[1]), Ok(1));
}

#[test]
fn too_many_open_files_are_refused() {
    let mut guest = Guest::new();
    for _ in 0..4 {
        guest.open("data/a.csv", 0, READ).expect("open");
    }
    assert_eq!(guest.open("data/a.csv", 0, READ), Err(Errno::Mfile));
    guest.close(5).expect("closed");
    assert_eq!(guest.open("data/a.csv", 0, READ), Ok(5));
}

#[test]
fn names_and_entries_have_limits() {
    let mut guest = Guest::new();
    assert_eq!(guest.mkdir(&["out/", &"x".repeat(256)].concat()), Err(Errno::Nametoolong));
    assert_eq!(guest.mkdir(&["out/", &"x/".repeat(2100)].concat()), Err(Errno::Nametoolong));
    assert_eq!(guest.mkdir(""), Err(Errno::Noent));
    let full = (0..).find(|n| guest.mkdir(&std::format!("out/{n}")).is_err()).expect("a limit");
    assert_eq!(full, tree::MAX_INODES - 2);
    assert_eq!(guest.mkdir("out/more"), Err(Errno::Nospc));
    guest.restore();
    guest.rmdir("out/0").expect("removed");
    guest.mkdir("out/more").expect("room again");
    let mut guest = Guest::new();
    let name = "y".repeat(250);
    let full = (0..).find(|n| guest.mkdir(&std::format!("tmp/{n:05}{name}")).is_err()).expect("a limit");
    assert_eq!(full, tree::MAX_NAME_BYTES / 255);
    guest.restore();
}

#[test]
fn directories_come_and_go() {
    let mut guest = Guest::new();
    guest.mkdir("out/a").expect("made");
    guest.mkdir("out/a/b/").expect("made");
    assert_eq!(guest.mkdir("out/a"), Err(Errno::Exist));
    assert_eq!(guest.mkdir("out/x/y"), Err(Errno::Noent));
    assert_eq!(guest.rmdir("out/a"), Err(Errno::Notempty));
    assert_eq!(guest.unlink("out/a"), Err(Errno::Isdir));
    guest.rmdir("out/a/b").expect("removed");
    guest.rmdir("out/a").expect("removed");
    assert_eq!(guest.stat("out/a"), Err(Errno::Noent));
    assert_eq!(guest.rmdir("out"), Err(Errno::Rofs));
}

#[test]
fn renaming_replaces_what_may_be_replaced() {
    let mut guest = Guest::new();
    guest.put_file("out/a", b"a").expect("written");
    guest.put_file("out/b", b"b").expect("written");
    guest.mkdir("out/d").expect("made");
    guest.mkdir("out/e").expect("made");
    guest.rename("out/a", "out/b").expect("over a file");
    assert_eq!(guest.get_file("out/b"), Ok(b"a".to_vec()));
    assert_eq!(guest.rename("out/b", "out/d"), Err(Errno::Isdir));
    assert_eq!(guest.rename("out/d", "out/b"), Err(Errno::Notdir));
    guest.rename("out/b", "out/d/f").expect("into a directory");
    assert_eq!(guest.rename("out/e", "out/d"), Err(Errno::Notempty));
    assert_eq!(guest.rename("out/d", "out/d/x"), Err(Errno::Inval));
    guest.rename("out/d", "out/e").expect("over an empty directory");
    assert_eq!(guest.get_file("out/e/f"), Ok(b"a".to_vec()));
    assert_eq!(guest.rename("out/e/f", "tmp/f"), Err(Errno::Xdev));
    assert_eq!(guest.rename("out/none", "out/x"), Err(Errno::Noent));
    guest.restore();
    assert_eq!(guest.get_file("out/e/../e/f"), Ok(b"a".to_vec()));
}

#[test]
fn links_lead_to_the_same_file() {
    let mut guest = Guest::new();
    guest.put_file("out/a", b"a").expect("written");
    guest.link("out/a", "out/b").expect("linked");
    assert_eq!(guest.stat("out/b"), Ok((4, 1, 2)));
    guest.unlink("out/a").expect("unlinked");
    assert_eq!(guest.get_file("out/b"), Ok(b"a".to_vec()));
    assert_eq!(guest.link("out/b", "tmp/b"), Err(Errno::Xdev));
    assert_eq!(guest.link("out", "out/c"), Err(Errno::Perm));
    guest.symlink("b", "out/s").expect("linked");
    assert_eq!(guest.get_file("out/s"), Ok(b"a".to_vec()));
    assert_eq!(guest.stat("out/s").expect("a link").0, 7);
    guest.symlink("loop", "out/loop").expect("linked");
    assert_eq!(guest.open("out/loop", 0, READ), Err(Errno::Loop));
    guest.symlink("../data", "out/to-data").expect("linked");
    assert_eq!(guest.get_file("out/to-data/a.csv"), Ok(b"1,2\n3,4\n".to_vec()));
}

#[test]
fn every_entry_is_listed_once_whatever_the_buffer() {
    let mut guest = Guest::new();
    let names: Vec<String> = (0..30).map(|n| std::format!("file-{}", n * 7 % 30)).collect();
    for name in &names {
        guest.put_file(&std::format!("out/{name}"), b"").expect("written");
    }
    for buffer in [60, 100, 4000] {
        assert_eq!(guest.list("out", buffer).expect("a list")[2..], names, "{buffer}");
    }
}

#[test]
fn listing_goes_on_while_entries_go() {
    let mut guest = Guest::new();
    for n in 0..20 {
        guest.put_file(&std::format!("out/{n}"), b"").expect("written");
    }
    let fd = guest.open("out", 2, READ).expect("open");
    let mut cookie = 0;
    let mut removed = 0;
    loop {
        let (found, _) = guest.list_some(fd, 80, cookie).expect("a list");
        let Some((last, _)) = found.last() else { break };
        cookie = *last;
        for (_, name) in found.into_iter().filter(|(_, name)| !name.starts_with('.')) {
            guest.unlink(&std::format!("out/{name}")).expect("removed");
            removed += 1;
        }
    }
    assert_eq!(removed, 20);
}

#[test]
fn clocks_advance_with_each_reading_and_with_sleep() {
    let mut guest = Guest::new();
    let mut read = |clock: u64| {
        guest.call(Function::ClockTimeGet, &[clock, 0, 0]).expect("a time");
        guest.u64(0)
    };
    assert_eq!(read(1), 1_000_000);
    assert_eq!(read(0), REALTIME_START + 2_000_000);
    assert_eq!(read(2), 3_000_000);
    assert_eq!(guest.call(Function::ClockTimeGet, &[9, 0, 0]), Err(Errno::Inval));
    // A relative sleep of five seconds on the monotonic clock.
    guest.memory[0..48].fill(0);
    guest.put(16, &1u32.to_le_bytes());
    guest.put(24, &5_000_000_000u64.to_le_bytes());
    guest.call(Function::PollOneoff, &[0, 100, 1, 200]).expect("slept");
    assert_eq!(guest.u32(200), 1);
    guest.call(Function::ClockTimeGet, &[1, 0, 0]).expect("a time");
    assert_eq!(guest.u64(0), 5_004_000_000);
    assert_eq!(guest.call(Function::PollOneoff, &[0, 100, 0, 200]), Err(Errno::Inval));
    assert_eq!(guest.call(Function::PollOneoff, &[0, 100, u32::MAX.into(), 200]), Err(Errno::Fault));
}

#[test]
fn randomness_is_the_keystream_whatever_the_pieces() {
    let mut one = Guest::new();
    one.call(Function::RandomGet, &[0, 200]).expect("random bytes");
    let mut pieces = Guest::new();
    for (start, length) in [(0, 1), (1, 63), (64, 64), (128, 72)] {
        pieces.call(Function::RandomGet, &[start, length]).expect("random bytes");
        pieces.restore();
    }
    assert_eq!(one.memory[..200], pieces.memory[..200]);
    assert!(one.memory[..200].iter().any(|&byte| byte != 0));
    assert_eq!(one.call(Function::RandomGet, &[65_000, 1000]), Err(Errno::Fault));
}

#[test]
fn standard_streams_go_to_the_log_and_input_is_empty() {
    let mut guest = Guest::new();
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = log.clone();
    guest.wasi.set_log(Box::new(move |stream, bytes| sink.lock().expect("a log").push((stream, bytes.to_vec()))));
    let before = guest.metadata();
    assert_eq!(guest.write(1, b"out"), Ok(3));
    assert_eq!(guest.write(2, b"err"), Ok(3));
    assert_eq!(guest.read(0, 10), Ok(vec![]));
    assert_eq!(guest.metadata(), before);
    let expected = [(Stream::Output, b"out".to_vec()), (Stream::Error, b"err".to_vec())];
    assert_eq!(*log.lock().expect("a log"), expected);
    assert_eq!(guest.seek(1, 0, 0), Err(Errno::Spipe));
}

#[test]
fn pointers_outside_of_memory_are_faults() {
    let mut guest = Guest::new();
    assert_eq!(guest.call(Function::ArgsGet, &[65_534, 0]), Err(Errno::Fault));
    assert_eq!(guest.call(Function::FdRead, &[0, u32::MAX.into(), 1, 0]), Err(Errno::Fault));
    assert_eq!(guest.call(Function::FdRead, &[0, 0, 1025, 0]), Err(Errno::Inval));
    let fd = guest.open("data/a.csv", 0, READ).expect("open");
    guest.put(0, &[65_530u32.to_le_bytes(), 100u32.to_le_bytes()].concat());
    assert_eq!(guest.call(Function::FdRead, &[fd.into(), 0, 1, 16]), Err(Errno::Fault));
    assert_eq!(guest.call(Function::PathUnlinkFile, &[3, 65_535, 2]), Err(Errno::Fault));
    guest.memory[1024] = 0xff;
    assert_eq!(guest.call(Function::PathUnlinkFile, &[3, 1024, 1]), Err(Errno::Ilseq));
}

#[test]
fn rights_are_held_to() {
    let mut guest = Guest::new();
    let fd = guest.open("out/x", CREATE, rights::FD_WRITE).expect("open");
    assert_eq!(guest.read(fd, 1), Err(Errno::Notcapable));
    guest.call(Function::FdFdstatSetRights, &[fd.into(), 0, 0]).expect("narrowed");
    assert_eq!(guest.write(fd, b"x"), Err(Errno::Notcapable));
    assert_eq!(guest.call(Function::FdFdstatSetRights, &[fd.into(), 1, 0]), Err(Errno::Notcapable));
    let directory = guest.open("out", 2, rights::PATH_OPEN | rights::FD_READ).expect("open");
    assert_eq!(guest.open_from(directory, "x", 0, WRITE), Err(Errno::Notcapable));
}

#[test]
fn sockets_are_none_and_exit_ends() {
    let mut guest = Guest::new();
    assert_eq!(guest.call(Function::SockShutdown, &[1, 0]), Err(Errno::Notsock));
    assert_eq!(guest.call(Function::SockShutdown, &[99, 0]), Err(Errno::Badf));
    assert_eq!(guest.wasi.call(Function::ProcExit, &[3], &mut []), Err(Exit(3)));
}

#[test]
fn an_impossible_state_is_refused() {
    let mut guest = Guest::new();
    guest.mkdir("out/d").expect("made");
    guest.put_file("out/d/f", &[1; 5000]).expect("written");
    guest.open("out/d/f", 0, READ).expect("open");
    let metadata = guest.metadata();
    let mut files = guest.wasi.file_area().to_vec();
    files.resize(8 * PAGE_BYTES, 0);
    let used = metadata.iter().rposition(|&byte| byte != 0).expect("a state") + 9;
    let mut accepted = 0;
    for at in 0..used {
        for value in [0x01, 0x80, 0xff] {
            let mut damaged = metadata.clone();
            damaged[at] ^= value;
            // Times, clocks, offsets, flags and rights may have any value; all else hangs together.
            if let Ok(wasi) = Wasi::restore(config(), &damaged, &files) {
                accepted += 1;
                let mut again = Guest { wasi, memory: vec![0; 65536] };
                let _ = (again.list("out", 100), again.rename("out/d", "out/e"), again.close(4));
            }
        }
    }
    assert!(accepted < 2 * used);
    let mut dirty = files.clone();
    dirty[5001] = 1;
    assert!(Wasi::restore(config(), &metadata, &dirty).is_err(), "bytes after the end of a file");
    dirty = files;
    dirty[7 * PAGE_BYTES] = 1;
    assert!(Wasi::restore(config(), &metadata, &dirty).is_err(), "a page of no file");
}

/// What a random guest does.
#[derive(Clone, Debug)]
enum Act {
    Write(u8, u16, u8),
    Unlink(u8),
    Mkdir(u8),
    Rmdir(u8),
    Rename(u8, u8),
    Link(u8, u8),
    Symlink(u8, u8),
    Open(u8),
    Close(u8),
    Cut(u8, u16),
    Read(u8),
    Random(u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let name = 0u8..6;
    let act = prop_oneof![
        (name.clone(), 0u16..9000, any::<u8>()).prop_map(|(a, b, c)| Act::Write(a, b, c)),
        name.clone().prop_map(Act::Unlink),
        name.clone().prop_map(Act::Mkdir),
        name.clone().prop_map(Act::Rmdir),
        (name.clone(), name.clone()).prop_map(|(a, b)| Act::Rename(a, b)),
        (name.clone(), name.clone()).prop_map(|(a, b)| Act::Link(a, b)),
        (name.clone(), name.clone()).prop_map(|(a, b)| Act::Symlink(a, b)),
        name.clone().prop_map(Act::Open),
        (3u8..9).prop_map(Act::Close),
        ((4u8..9), 0u16..9000).prop_map(|(a, b)| Act::Cut(a, b)),
        (4u8..9).prop_map(Act::Read),
        any::<u8>().prop_map(Act::Random),
    ];
    prop::collection::vec(act, 1..60)
}

const NAMES: [&str; 6] = ["out/a", "out/b", "out/a/c", "out/b/d", "tmp/e", "out/a/c/f"];

impl Guest {
    fn act(&mut self, act: &Act) -> (Option<Errno>, Vec<u8>) {
        let path = |name: u8| NAMES[usize::from(name)];
        let answer = match *act {
            Act::Write(name, length, byte) => self.open(path(name), CREATE, WRITE).and_then(|fd| {
                let written = self.write(fd, &vec![byte; length.into()]);
                self.close(fd)?;
                written.map(|bytes| bytes.to_le_bytes().to_vec())
            }),
            Act::Unlink(name) => self.unlink(path(name)).map(|()| vec![]),
            Act::Mkdir(name) => self.mkdir(path(name)).map(|()| vec![]),
            Act::Rmdir(name) => self.rmdir(path(name)).map(|()| vec![]),
            Act::Rename(from, to) => self.rename(path(from), path(to)).map(|()| vec![]),
            Act::Link(from, to) => self.link(path(from), path(to)).map(|()| vec![]),
            Act::Symlink(to, at) => self.symlink(&path(to)[4..], path(at)).map(|()| vec![]),
            Act::Open(name) => self.open(path(name), 0, READ).map(|fd| fd.to_le_bytes().to_vec()),
            Act::Close(fd) => self.close(fd.into()).map(|()| vec![]),
            Act::Cut(fd, size) => self.call(Function::FdFilestatSetSize, &[fd.into(), size.into()]).map(|()| vec![]),
            Act::Read(fd) => self.read(fd.into(), 500),
            Act::Random(length) => self
                .call(Function::RandomGet, &[0, length.into()])
                .map(|()| self.memory[..usize::from(length)].to_vec()),
        };
        match answer {
            Ok(bytes) => (None, bytes),
            Err(errno) => (Some(errno), vec![]),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_restored_guest_cannot_tell(acts in acts(), every in 1usize..5) {
        let mut straight = Guest::new();
        let mut interrupted = Guest::new();
        for (index, act) in acts.iter().enumerate() {
            prop_assert_eq!(straight.act(act), interrupted.act(act), "{:?}", act);
            if index % every == 0 {
                interrupted.restore();
            }
        }
        prop_assert!(straight.metadata() == interrupted.metadata());
        let mut area = interrupted.wasi.file_area().to_vec();
        area.resize(straight.wasi.file_area().len(), 0);
        prop_assert!(straight.wasi.file_area() == area);
    }
}
