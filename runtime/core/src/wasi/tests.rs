//! WASI as a guest sees it: calls with pointers into a memory.

mod descriptors;
mod directories;
mod hostile;
mod listing;
mod paths;
mod renaming;
mod state;
mod streams;
mod times;

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::pack::{Kind, Layout};

const READ: Rights = rights::FD_READ | rights::FD_SEEK | rights::FD_TELL | rights::FD_FILESTAT_GET | rights::FD_READDIR;
const WRITE: Rights = READ | rights::FD_WRITE | rights::FD_FILESTAT_SET_SIZE | rights::FD_ALLOCATE;
const CREATE: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCLUSIVE: u32 = 4;
const TRUNCATE: u32 = 8;

/// Every right there is.
const ALL_RIGHTS: Rights = rights::DIRECTORY | rights::FILE;

const FOLLOW: u64 = 1;
const NO_FOLLOW: u64 = 0;

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
        files: Files::Job {
            model: (job, model),
            data: pack(&[("a.csv", b"1,2\n3,4\n"), ("more/b.csv", b"5,6\n")]),
            out_pages: 4,
            scratch_pages: 4,
        },
        open_files: 8,
        random_seed: [7; 32],
    }
}

/// A `filestat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stat {
    device: u64,
    inode: u64,
    kind: u8,
    links: u64,
    size: u64,
    /// Access, modification, change.
    times: [u64; 3],
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

    /// `path_open` from the root with all that can be told.
    fn open_with(
        &mut self,
        path: &str,
        lookup: u64,
        how: u32,
        base: Rights,
        inheriting: Rights,
        flags: u16,
    ) -> Answer<u32> {
        let [pointer, length] = self.put(1024, path.as_bytes());
        let args = [3, lookup, pointer, length, how.into(), base, inheriting, flags.into(), 512];
        self.call(Function::PathOpen, &args)?;
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

    /// Reads at an offset.
    fn pread(&mut self, fd: u32, most: u32, offset: u64) -> Answer<Vec<u8>> {
        self.put(0, &[8192u32.to_le_bytes(), most.to_le_bytes()].concat());
        self.call(Function::FdPread, &[fd.into(), 0, 1, offset, 16])?;
        let bytes = self.u32(16) as usize;
        Ok(self.memory[8192..8192 + bytes].to_vec())
    }

    /// Writes at an offset.
    fn pwrite(&mut self, fd: u32, bytes: &[u8], offset: u64) -> Answer<u32> {
        self.put(8192, bytes);
        self.put(0, &[8192u32.to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat());
        self.call(Function::FdPwrite, &[fd.into(), 0, 1, offset, 16])?;
        Ok(self.u32(16))
    }

    fn tell(&mut self, fd: u32) -> Answer<u64> {
        self.call(Function::FdTell, &[fd.into(), 16])?;
        Ok(self.u64(16))
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
        self.link_with(NO_FOLLOW, from, to)
    }

    fn link_with(&mut self, lookup: u64, from: &str, to: &str) -> Answer<()> {
        let [from, from_length] = self.put(1024, from.as_bytes());
        let [to, to_length] = self.put(8192, to.as_bytes());
        self.call(Function::PathLink, &[3, lookup, from, from_length, 3, to, to_length])
    }

    fn readlink(&mut self, path: &str, most: u64) -> Answer<Vec<u8>> {
        let [pointer, length] = self.put(1024, path.as_bytes());
        self.call(Function::PathReadlink, &[3, pointer, length, 8192, most, 512])?;
        Ok(self.memory[8192..8192 + self.u32(512) as usize].to_vec())
    }

    /// Type, size and number of links.
    fn stat(&mut self, path: &str) -> Answer<(u8, u64, u64)> {
        self.full_stat(path, NO_FOLLOW).map(|stat| (stat.kind, stat.size, stat.links))
    }

    fn full_stat(&mut self, path: &str, lookup: u64) -> Answer<Stat> {
        let [pointer, length] = self.put(1024, path.as_bytes());
        self.call(Function::PathFilestatGet, &[3, lookup, pointer, length, 256])?;
        Ok(self.stat_at_256())
    }

    fn fd_stat(&mut self, fd: u32) -> Answer<Stat> {
        self.call(Function::FdFilestatGet, &[fd.into(), 256])?;
        Ok(self.stat_at_256())
    }

    fn stat_at_256(&self) -> Stat {
        let [device, inode, links, size, access, modification, change] =
            [0, 8, 24, 32, 40, 48, 56].map(|at| self.u64(256 + at));
        Stat { device, inode, kind: self.memory[256 + 16], links, size, times: [access, modification, change] }
    }

    /// Type, flags, base and inheriting rights.
    fn fdstat(&mut self, fd: u32) -> Answer<(u8, u16, Rights, Rights)> {
        self.call(Function::FdFdstatGet, &[fd.into(), 256])?;
        let flags = u16::from_le_bytes([self.memory[258], self.memory[259]]);
        Ok((self.memory[256], flags, self.u64(264), self.u64(272)))
    }

    /// All names of a directory, listed with a buffer of this size.
    fn list(&mut self, path: &str, buffer: u32) -> Answer<Vec<String>> {
        let fd = self.open(path, DIRECTORY, READ)?;
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

    /// Everything that is saved.
    fn saved(&self) -> (Vec<u8>, Vec<u8>) {
        (self.metadata(), self.wasi.file_area().to_vec())
    }

    fn metadata(&self) -> Vec<u8> {
        let mut metadata = vec![0xff; METADATA_BYTES];
        self.wasi.save(&mut metadata);
        metadata
    }
}
