//! The file tree against that of Linux: the same calls on both must answer the same and leave the same behind.
//!
//! What differs on purpose is listed in [`may_differ`]. A path that leads above its directory is not tried on Linux;
//! `openat2` tells which ones do.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use arbitrary::Unstructured;
use fedmkt_core::wasi::{Config, Directories, Errno, Files, Function, Item, TreeLimits, Wasi};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, openat, openat2};
use rustix::io::Errno as Linux;

const CREATE: u64 = 1;
const DIRECTORY: u64 = 2;
const EXCLUSIVE: u64 = 4;
const TRUNCATE: u64 = 8;
const APPEND: u64 = 1;

/// Rights of a file to read or write, and of a directory.
const READS: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 14 | 1 << 21;
const WRITES: u64 = 1 << 6 | 1 << 8 | 1 << 22;
const ON_PATHS: u64 = 0x7bf_fe00;

/// Open descriptors that are kept.
const SLOTS: usize = 4;

/// A directory to begin at (the root, or a slot) and a path from there.
#[derive(Clone, Debug)]
struct At(Option<usize>, String);

#[derive(Clone, Debug)]
enum Act {
    Open { at: At, slot: usize, how: u64, follow: bool, writes: bool, append: bool },
    Close(usize),
    Mkdir(At),
    Rmdir(At),
    Unlink(At),
    Rename(At, At),
    Link(At, bool, At),
    Symlink(String, At),
    Readlink(At),
    Stat(At, bool),
    Read(usize, u32),
    Write(usize, u8, u32),
    ReadAt(usize, u32, u64),
    WriteAt(usize, u8, u32, u64),
    Seek(usize, i64, u64),
    Cut(usize, u64),
    Allocate(usize, u64, u64),
    FdStat(usize),
    List(usize),
}

/// What a call answered: bytes that are the same on both sides.
type Answer<E> = Result<Vec<u8>, E>;

/// The sandbox.
struct Guest {
    wasi: Wasi,
    memory: Vec<u8>,
    slots: [Option<u32>; SLOTS],
}

impl Guest {
    fn new() -> Self {
        let limits = TreeLimits { inodes: 10_000, entries: 10_000, name_bytes: 1 << 20 };
        let directories = Directories::new(&["/"], 10_000, limits).expect("a directory");
        let config = Config {
            args: Vec::new(),
            env: Vec::new(),
            files: Files::Directories(directories),
            open_files: 100,
            random_seed: [0; 32],
        };
        Self { wasi: Wasi::new(config), memory: vec![0; 65_536], slots: [None; SLOTS] }
    }

    fn call(&mut self, function: Function, args: &[u64]) -> Answer<Errno> {
        match self.wasi.call(function, args, &mut self.memory).expect("no exit") {
            Errno::Success => Ok(Vec::new()),
            errno => Err(errno),
        }
    }

    /// A descriptor that is not open is 99.
    fn fd(&self, slot: Option<usize>) -> u64 {
        slot.map_or(3, |slot| self.slots[slot].map_or(99, u64::from))
    }

    fn put(&mut self, at: usize, text: &str) -> [u64; 2] {
        self.memory[at..at + text.len()].copy_from_slice(text.as_bytes());
        [at as u64, text.len() as u64]
    }

    fn buffer(&mut self, length: u32) {
        self.memory[0..8].copy_from_slice(&[8192u32.to_le_bytes(), length.to_le_bytes()].concat());
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.memory[at..at + 8].try_into().expect("8 bytes"))
    }

    fn moved(&self) -> usize {
        self.number(16) as u32 as usize
    }

    fn stat(&self) -> Vec<u8> {
        shown_stat(self.memory[256 + 16], self.number(256 + 32), self.number(256 + 24))
    }

    fn act(&mut self, act: &Act) -> Answer<Errno> {
        let on_path = |guest: &mut Self, function, At(base, path): &At| {
            let [pointer, length] = guest.put(1024, path);
            guest.call(function, &[guest.fd(*base), pointer, length])
        };
        match act {
            Act::Open { at: At(base, path), slot, how, follow, writes, append } => {
                let [pointer, length] = self.put(1024, path);
                let rights = READS | ON_PATHS | if *writes { WRITES } else { 0 };
                let (fd, all) = (self.fd(*base), READS | ON_PATHS | WRITES);
                let flags = if *append { APPEND } else { 0 };
                let args = [fd, u64::from(*follow), pointer, length, *how, rights, all, flags, 512];
                self.call(Function::PathOpen, &args)?;
                let opened = self.number(512) as u32;
                if let Some(old) = self.slots[*slot].replace(opened) {
                    self.call(Function::FdClose, &[old.into()])?;
                }
                Ok(Vec::new())
            }
            Act::Close(slot) => {
                let answer = self.call(Function::FdClose, &[self.fd(Some(*slot))]);
                self.slots[*slot] = None;
                answer
            }
            Act::Mkdir(at) => on_path(self, Function::PathCreateDirectory, at),
            Act::Rmdir(at) => on_path(self, Function::PathRemoveDirectory, at),
            Act::Unlink(at) => on_path(self, Function::PathUnlinkFile, at),
            Act::Rename(At(from, old), At(to, new)) => {
                let ([old, old_length], [new, new_length]) = (self.put(1024, old), self.put(2048, new));
                let args = [self.fd(*from), old, old_length, self.fd(*to), new, new_length];
                self.call(Function::PathRename, &args)
            }
            Act::Link(At(from, old), follow, At(to, new)) => {
                let ([old, old_length], [new, new_length]) = (self.put(1024, old), self.put(2048, new));
                let args = [self.fd(*from), u64::from(*follow), old, old_length, self.fd(*to), new, new_length];
                self.call(Function::PathLink, &args)
            }
            Act::Symlink(target, At(base, path)) => {
                let ([target, bytes], [path, length]) = (self.put(1024, target), self.put(2048, path));
                self.call(Function::PathSymlink, &[target, bytes, self.fd(*base), path, length])
            }
            Act::Readlink(At(base, path)) => {
                let [pointer, length] = self.put(1024, path);
                self.call(Function::PathReadlink, &[self.fd(*base), pointer, length, 8192, 4096, 16])?;
                Ok(self.memory[8192..][..self.moved()].to_vec())
            }
            Act::Stat(At(base, path), follow) => {
                let [pointer, length] = self.put(1024, path);
                self.call(Function::PathFilestatGet, &[self.fd(*base), u64::from(*follow), pointer, length, 256])?;
                Ok(self.stat())
            }
            Act::FdStat(slot) => {
                self.call(Function::FdFilestatGet, &[self.fd(Some(*slot)), 256])?;
                Ok(self.stat())
            }
            Act::Read(slot, length) => {
                self.buffer(*length);
                self.call(Function::FdRead, &[self.fd(Some(*slot)), 0, 1, 16])?;
                Ok(self.memory[8192..][..self.moved()].to_vec())
            }
            Act::ReadAt(slot, length, offset) => {
                self.buffer(*length);
                self.call(Function::FdPread, &[self.fd(Some(*slot)), 0, 1, *offset, 16])?;
                Ok(self.memory[8192..][..self.moved()].to_vec())
            }
            Act::Write(slot, byte, length) => {
                self.buffer(*length);
                self.memory[8192..][..*length as usize].fill(*byte);
                self.call(Function::FdWrite, &[self.fd(Some(*slot)), 0, 1, 16])?;
                Ok(self.moved().to_le_bytes().to_vec())
            }
            Act::WriteAt(slot, byte, length, offset) => {
                self.buffer(*length);
                self.memory[8192..][..*length as usize].fill(*byte);
                self.call(Function::FdPwrite, &[self.fd(Some(*slot)), 0, 1, *offset, 16])?;
                Ok(self.moved().to_le_bytes().to_vec())
            }
            Act::Seek(slot, by, whence) => {
                self.call(Function::FdSeek, &[self.fd(Some(*slot)), *by as u64, *whence, 16])?;
                Ok(self.number(16).to_le_bytes().to_vec())
            }
            Act::Cut(slot, size) => self.call(Function::FdFilestatSetSize, &[self.fd(Some(*slot)), *size]),
            Act::Allocate(slot, offset, length) => {
                self.call(Function::FdAllocate, &[self.fd(Some(*slot)), *offset, *length])
            }
            Act::List(slot) => {
                self.call(Function::FdReaddir, &[self.fd(Some(*slot)), 8192, 50_000, 0, 16])?;
                let (mut names, mut at, end) = (Vec::new(), 8192, 8192 + self.moved());
                while at < end {
                    let length = self.number(at + 16) as u32 as usize;
                    names.push([&[self.memory[at + 20]], &self.memory[at + 24..][..length]].concat());
                    at += 24 + length;
                }
                names.sort();
                Ok(names.join(&b'/'))
            }
        }
    }

    /// Every path with what is there.
    fn snapshot(&self) -> Vec<String> {
        let show = |(path, item): (String, Item<'_>)| match item {
            Item::Directory => format!("{path}/"),
            Item::File(contents) => format!("{path}={:?}", contents.flatten().copied().collect::<Vec<u8>>()),
            Item::SymbolicLink(target) => format!("{path}->{target}"),
        };
        let mut all: Vec<_> = self.wasi.walk("/").expect("the root").map(show).collect();
        all.sort();
        all
    }
}

/// Type, and for what is no directory also size and links.
fn shown_stat(kind: u8, size: u64, links: u64) -> Vec<u8> {
    if kind == 3 { vec![3] } else { format!("{kind} {size} {links}").into_bytes() }
}

/// A folder of the host.
struct Host {
    folder: tempfile::TempDir,
    root: OwnedFd,
    slots: [Option<OwnedFd>; SLOTS],
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = openat(rustix::fs::CWD, folder.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        Self { folder, root: root.expect("the folder"), slots: [const { None }; SLOTS] }
    }

    fn fd(&self, slot: usize) -> Result<BorrowedFd<'_>, Linux> {
        self.slots[slot].as_ref().map(AsFd::as_fd).ok_or(Linux::BADF)
    }

    fn base(&self, slot: Option<usize>) -> Result<BorrowedFd<'_>, Linux> {
        slot.map_or(Ok(self.root.as_fd()), |slot| self.fd(slot))
    }

    /// Whether a path leads above its directory.
    fn escapes(&self, At(base, path): &At, follow: bool) -> bool {
        let flags = OFlags::PATH | if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let Ok(base) = self.base(*base) else { return false };
        openat2(base, path.as_str(), flags, Mode::empty(), ResolveFlags::BENEATH).err() == Some(Linux::XDEV)
    }

    fn act(&mut self, act: &Act) -> Answer<Linux> {
        let done = |result: Result<(), Linux>| result.map(|()| Vec::new());
        match act {
            Act::Open { at: At(base, path), slot, how, follow, writes, append } => {
                let mut flags = if *writes { OFlags::RDWR } else { OFlags::RDONLY };
                for (bit, flag) in [
                    (CREATE, OFlags::CREATE),
                    (DIRECTORY, OFlags::DIRECTORY),
                    (EXCLUSIVE, OFlags::EXCL),
                    (TRUNCATE, OFlags::TRUNC),
                ] {
                    flags.set(flag, how & bit != 0);
                }
                flags.set(OFlags::NOFOLLOW, !follow);
                flags.set(OFlags::APPEND, *append);
                let opened = openat(self.base(*base)?, path.as_str(), flags, Mode::from_raw_mode(0o700))?;
                self.slots[*slot] = Some(opened);
                Ok(Vec::new())
            }
            Act::Close(slot) => self.slots[*slot].take().map(|_| Vec::new()).ok_or(Linux::BADF),
            Act::Mkdir(At(base, path)) => {
                done(rustix::fs::mkdirat(self.base(*base)?, path.as_str(), Mode::from_raw_mode(0o700)))
            }
            Act::Rmdir(At(base, path)) => {
                done(rustix::fs::unlinkat(self.base(*base)?, path.as_str(), AtFlags::REMOVEDIR))
            }
            Act::Unlink(At(base, path)) => {
                done(rustix::fs::unlinkat(self.base(*base)?, path.as_str(), AtFlags::empty()))
            }
            Act::Rename(At(from, old), At(to, new)) => {
                done(rustix::fs::renameat(self.base(*from)?, old.as_str(), self.base(*to)?, new.as_str()))
            }
            Act::Link(At(from, old), follow, At(to, new)) => {
                let flags = if *follow { AtFlags::SYMLINK_FOLLOW } else { AtFlags::empty() };
                done(rustix::fs::linkat(self.base(*from)?, old.as_str(), self.base(*to)?, new.as_str(), flags))
            }
            Act::Symlink(target, At(base, path)) => {
                done(rustix::fs::symlinkat(target.as_str(), self.base(*base)?, path.as_str()))
            }
            Act::Readlink(At(base, path)) => {
                rustix::fs::readlinkat(self.base(*base)?, path.as_str(), Vec::new()).map(|target| target.into_bytes())
            }
            Act::Stat(At(base, path), follow) => {
                let flags = if *follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
                rustix::fs::statat(self.base(*base)?, path.as_str(), flags).map(|stat| host_stat(&stat))
            }
            Act::FdStat(slot) => rustix::fs::fstat(self.fd(*slot)?).map(|stat| host_stat(&stat)),
            Act::Read(slot, length) => {
                let mut buffer = vec![0; *length as usize];
                let bytes = rustix::io::read(self.fd(*slot)?, &mut buffer)?;
                buffer.truncate(bytes);
                Ok(buffer)
            }
            Act::ReadAt(slot, length, offset) => {
                let mut buffer = vec![0; *length as usize];
                let bytes = rustix::io::pread(self.fd(*slot)?, &mut buffer, *offset)?;
                buffer.truncate(bytes);
                Ok(buffer)
            }
            Act::Write(slot, byte, length) => {
                let bytes = rustix::io::write(self.fd(*slot)?, &vec![*byte; *length as usize])?;
                Ok(bytes.to_le_bytes().to_vec())
            }
            Act::WriteAt(slot, byte, length, offset) => {
                let bytes = rustix::io::pwrite(self.fd(*slot)?, &vec![*byte; *length as usize], *offset)?;
                Ok(bytes.to_le_bytes().to_vec())
            }
            Act::Seek(slot, by, whence) => {
                let from = match (whence, u64::try_from(*by)) {
                    (0, Ok(offset)) => SeekFrom::Start(offset),
                    (0, Err(_)) => return self.fd(*slot).and(Err(Linux::INVAL)),
                    (1, _) => SeekFrom::Current(*by),
                    _ => SeekFrom::End(*by),
                };
                rustix::fs::seek(self.fd(*slot)?, from).map(|offset| offset.to_le_bytes().to_vec())
            }
            Act::Cut(slot, size) => done(rustix::fs::ftruncate(self.fd(*slot)?, *size)),
            Act::Allocate(slot, offset, length) => {
                let flags = rustix::fs::FallocateFlags::empty();
                done(rustix::fs::fallocate(self.fd(*slot)?, flags, *offset, *length))
            }
            Act::List(slot) => {
                let fd = self.fd(*slot)?;
                if FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) != FileType::Directory {
                    return Err(Linux::NOTDIR);
                }
                rustix::fs::seek(fd, SeekFrom::Start(0))?;
                let mut buffer = Vec::with_capacity(8192);
                let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
                let mut names = Vec::new();
                while let Some(entry) = entries.next() {
                    let entry = entry?;
                    names.push([&[number(entry.file_type())], entry.file_name().to_bytes()].concat());
                }
                names.sort();
                Ok(names.join(&b'/'))
            }
        }
    }

    fn snapshot(&self) -> Vec<String> {
        let mut all = Vec::new();
        add_folder(self.folder.path(), "", &mut all);
        all.sort();
        all
    }
}

fn number(kind: FileType) -> u8 {
    match kind {
        FileType::Directory => 3,
        FileType::RegularFile => 4,
        FileType::Symlink => 7,
        other => panic!("nobody made a {other:?}"),
    }
}

fn host_stat(stat: &rustix::fs::Stat) -> Vec<u8> {
    shown_stat(number(FileType::from_raw_mode(stat.st_mode)), stat.st_size as u64, stat.st_nlink as _)
}

fn add_folder(folder: &Path, above: &str, all: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        let path = if above.is_empty() { name } else { format!("{above}/{name}") };
        let kind = entry.metadata().expect("it is there");
        if kind.is_dir() {
            all.push(format!("{path}/"));
            add_folder(&entry.path(), &path, all);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).expect("a link");
            all.push(format!("{path}->{}", OsStr::as_bytes(target.as_os_str()).escape_ascii()));
        } else {
            let mut shown = format!("{path}={:?}", fs::read(entry.path()).expect("a file"));
            if kind.nlink() == 0 {
                shown.push('?');
            }
            all.push(shown);
        }
    }
}

/// Linux's errors by the names that WASI has for them.
fn known(errno: Linux) -> Option<Errno> {
    Some(match errno {
        Linux::BADF => Errno::Badf,
        Linux::EXIST => Errno::Exist,
        Linux::FBIG => Errno::Fbig,
        Linux::INVAL => Errno::Inval,
        Linux::ISDIR => Errno::Isdir,
        Linux::LOOP => Errno::Loop,
        Linux::NOENT => Errno::Noent,
        Linux::NOTDIR => Errno::Notdir,
        Linux::NOTEMPTY => Errno::Notempty,
        Linux::PERM => Errno::Perm,
        Linux::SPIPE => Errno::Spipe,
        _ => return None,
    })
}

/// Whether two errors mean the same call by their different rules.
fn may_differ(act: &Act, ours: Errno, linux: Linux) -> bool {
    use Errno::{Badf, Inval, Isdir, Loop, Noent, Notcapable, Notdir, Perm};
    match act {
        // A descriptor lacks rights where one of Linux is not open for this, or is no file.
        Act::Read(..)
        | Act::Write(..)
        | Act::ReadAt(..)
        | Act::WriteAt(..)
        | Act::Cut(..)
        | Act::Allocate(..)
        | Act::List(_)
        | Act::Seek(..) => {
            ours == Notcapable
                && matches!(linux, Linux::BADF | Linux::ISDIR | Linux::INVAL | Linux::NOTDIR | Linux::NODEV)
        }
        // Linux looks at the slash, of the path or of a link's target, before it looks at the name, and where that leads.
        Act::Open { at, how, follow, .. } if how & CREATE != 0 => {
            linux == Linux::ISDIR && (at.1.ends_with('/') || (*follow && matches!(ours, Noent | Notdir | Loop)))
        }
        // The last name is a dot, or two: Linux has three errors for it.
        Act::Rmdir(at) => at.1.trim_end_matches('/').ends_with("..") && (ours, linux) == (Inval, Linux::NOTEMPTY),
        Act::Rename(old, new) => {
            let dots =
                |at: &At| at.1.trim_end_matches('/').rsplit('/').next().is_some_and(|name| matches!(name, "." | ".."));
            let on_the_way = |errno| matches!(errno, Badf | Noent | Notdir | Loop | Perm);
            // Linux looks both paths up to their last names first, then at the last names.
            (linux == Linux::BUSY && (dots(old) || dots(new)))
                || (on_the_way(ours) && known(linux).is_some_and(on_the_way))
                || (ours == Inval && (dots(old) || dots(new)) && known(linux).is_some_and(on_the_way))
                // Over a directory above itself.
                || (ours == Isdir && linux == Linux::NOTEMPTY)
        }
        Act::Link(..) => {
            let on_the_way = |errno| matches!(errno, Badf | Noent | Notdir | Loop | Perm | Errno::Exist);
            on_the_way(ours) && known(linux).is_some_and(on_the_way)
        }
        _ => false,
    }
}

fn check(acts: &[Act]) {
    let (mut guest, mut host) = (Guest::new(), Host::new());
    let mut appends = [false; SLOTS];
    for (index, act) in acts.iter().enumerate() {
        let paths: Vec<(&At, bool)> = match act {
            Act::Open { at, how, follow, .. } => vec![(at, *follow && how & EXCLUSIVE == 0)],
            Act::Mkdir(at) | Act::Rmdir(at) | Act::Unlink(at) | Act::Symlink(_, at) | Act::Readlink(at) => {
                vec![(at, false)]
            }
            Act::Rename(old, new) => vec![(old, false), (new, false)],
            Act::Link(old, follow, new) => vec![(old, *follow), (new, false)],
            Act::Stat(at, follow) => vec![(at, *follow)],
            // Linux appends whatever the offset, against POSIX.
            Act::WriteAt(slot, ..) if appends[*slot] => continue,
            _ => vec![],
        };
        if paths.iter().any(|(at, follow)| host.escapes(at, *follow)) {
            let answer = guest.act(act);
            assert!(answer.is_err(), "{} {:?} leads above its directory: {:?}", index, act, answer);
            continue;
        }
        match (guest.act(act), host.act(act)) {
            (Ok(ours), Ok(linux)) => {
                let [ours, linux] = [ours, linux].map(|bytes| bytes.escape_ascii().to_string());
                assert_eq!(ours, linux, "{} {:?}", index, act);
                if let Act::Open { slot, append, .. } = act {
                    appends[*slot] = *append;
                }
            }
            (Err(ours), Err(linux)) => assert!(
                known(linux) == Some(ours) || may_differ(act, ours, linux),
                "{} {:?}: {:?}, on Linux {:?}",
                index,
                act,
                ours,
                linux
            ),
            // A directory that was removed still has its dots.
            (Ok(ours), Err(Linux::NOENT)) if matches!(act, Act::List(_)) => {
                assert_eq!(&ours, &[3, b'.', b'/', 3, b'.', b'.']);
            }
            // A directory has no offset, and no bytes to move.
            (Err(Errno::Notcapable), Ok(linux)) if is_on_directory(&host, act) => drop(linux),
            // Nothing is asked for; Linux does not look.
            (Err(Errno::Notcapable), Ok(linux)) if matches!(act, Act::Write(_, _, 0) | Act::WriteAt(_, _, 0, _)) => {
                drop(linux)
            }
            (ours, linux) => panic!("{index} {act:?}: {ours:?}, on Linux {linux:?}"),
        }
        assert_eq!(guest.snapshot(), host.snapshot(), "after {} {:?}", index, act);
    }
}

fn is_on_directory(host: &Host, act: &Act) -> bool {
    let (Act::Seek(slot, ..) | Act::Read(slot, ..) | Act::ReadAt(slot, ..)) = act else { return false };
    host.fd(*slot)
        .and_then(rustix::fs::fstat)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// The most calls of one input.
const MOST: usize = 60;

pub fn tree(input: &[u8]) -> bool {
    let mut from = Unstructured::new(input);
    let mut acts = Vec::new();
    while !from.is_empty() && acts.len() < MOST {
        let Ok(act) = act(&mut from) else { break };
        acts.push(act);
    }
    check(&acts);
    true
}

fn path(from: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    let mut path = String::new();
    for number in 0..from.int_in_range(1..=3)? {
        path.push_str(if number > 0 { "/" } else { "" });
        path.push_str(from.choose::<&str>(&["a", "a", "a", "b", "b", "b", "c", "c", ".", ".."])?);
    }
    path.push_str(from.choose::<&str>(&["", "", "", "/", "//"])?);
    Ok(path)
}

fn at(from: &mut Unstructured<'_>) -> arbitrary::Result<At> {
    let base = if from.ratio(1, 5)? { Some(slot(from)?) } else { None };
    Ok(At(base, path(from)?))
}

fn slot(from: &mut Unstructured<'_>) -> arbitrary::Result<usize> {
    from.choose_index(SLOTS)
}

fn act(from: &mut Unstructured<'_>) -> arbitrary::Result<Act> {
    // `creat` with `directory` means something else on every version of Linux.
    const HOW: [u64; 9] = [0, 0, 0, CREATE, CREATE, CREATE | EXCLUSIVE, CREATE | TRUNCATE, DIRECTORY, TRUNCATE];
    Ok(match from.int_in_range(0..=33)? {
        0..=4 => Act::Open {
            at: at(from)?,
            slot: slot(from)?,
            how: *from.choose(&HOW)?,
            follow: from.arbitrary()?,
            writes: from.arbitrary()?,
            append: from.arbitrary()?,
        },
        5 => Act::Close(slot(from)?),
        6..=9 => Act::Mkdir(at(from)?),
        10..=11 => Act::Rmdir(at(from)?),
        12..=13 => Act::Unlink(at(from)?),
        14..=17 => Act::Rename(at(from)?, at(from)?),
        18..=19 => Act::Link(at(from)?, from.arbitrary()?, at(from)?),
        20..=22 => Act::Symlink(path(from)?, at(from)?),
        23 => Act::Readlink(at(from)?),
        24..=25 => Act::Stat(at(from)?, from.arbitrary()?),
        26 => Act::Read(slot(from)?, from.int_in_range(0..=299)?),
        27 => Act::Write(slot(from)?, from.arbitrary()?, from.int_in_range(0..=299)?),
        28 => Act::ReadAt(slot(from)?, from.int_in_range(0..=299)?, from.int_in_range(0..=499)?),
        29 => Act::WriteAt(slot(from)?, from.arbitrary()?, from.int_in_range(0..=299)?, from.int_in_range(0..=8999)?),
        30 => Act::Seek(slot(from)?, from.int_in_range(-300..=299)?, from.int_in_range(0..=2)?),
        31 => Act::Cut(slot(from)?, from.int_in_range(0..=8999)?),
        32 => Act::Allocate(slot(from)?, from.int_in_range(0..=499)?, from.int_in_range(0..=4999)?),
        _ => match from.arbitrary()? {
            true => Act::FdStat(slot(from)?),
            false => Act::List(slot(from)?),
        },
    })
}
