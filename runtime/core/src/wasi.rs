//! WASI preview1 over an in-memory file tree.
//!
//! [`Wasi`] is everything that a guest can see outside of its own memory: arguments, files, clocks, randomness. It has
//! no I/O. Its mutable part is saved into the state image and restored from it exactly ([`Wasi::save`],
//! [`Wasi::restore`]), so that a run that is resumed cannot be told from one that never stopped.
//!
//! - One directory is preopened: file descriptor 3 is `/`, with `job/model` (the initial model), `data` (the grant),
//!   `out` and `tmp`. Only the last two can be written. Outside of a job there are [`Directories`] instead.
//! - Standard input is empty. What goes to standard output and error is passed to a log that is no part of the state.
//! - A call that answers an error has changed nothing, neither the state nor the guest's memory.
//! - Clocks are virtual: the monotonic clock starts at 0, the realtime clock at 2020-01-01. Each reading advances both
//!   by one millisecond before it is answered; `poll_oneoff` jumps to the earliest deadline.
//! - `random_get` is the keystream of ChaCha20 with the run's key and a zero nonce.
//! - File times are the realtime clock without advancing it; read-only files have its start.
//! - A directory that can be written is listed in the order in which entries were made, all others by name. A cookie is
//!   the position after an entry, so that listing goes on correctly when entries come and go meanwhile.

mod directories;
mod errno;
mod files;
mod function;
mod memory;
mod paths;
mod rights;
mod state;
mod tree;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
pub use directories::{Directories, DirectoryError, Item, NewItem, Walk};
pub use errno::Errno;
pub use function::{Function, ValueType};
use memory::Memory;
use rights::Rights;
pub use state::{MAX_FILE_PAGES, MAX_OPEN_FILES, METADATA_BYTES, RestoreError};
pub use tree::TreeLimits;
use tree::{Area, FileType, Inode, Tree};

use crate::pack::Pack;
use crate::tree::PAGE_BYTES;

/// What the realtime clock shows when the monotonic clock is 0: 2020-01-01T00:00:00Z, in nanoseconds since 1970.
const REALTIME_START: u64 = 1_577_836_800_000_000_000;

/// What each reading of a clock advances it by, in nanoseconds; also the clocks' resolution.
const TICK: u64 = 1_000_000;

/// Bytes of the random stream: the keystream's blocks have a counter of 32 bits, and the last is left out.
const STREAM_BYTES: u64 = 64 * ((1 << 32) - 1);

/// The most bytes of a path or a link's target.
const MAX_PATH: usize = 4096;

/// The most subscriptions of one `poll_oneoff`: reading, writing and more for each descriptor.
const MAX_SUBSCRIPTIONS: u32 = 4096;

/// Descriptors below this are there from the beginning.
const FIRST_FREE_FD: u32 = 4;

/// What a run is given; it does not change and is the same for each restore.
#[derive(Clone)]
pub struct Config {
    /// Arguments, the program's name first.
    pub args: Vec<Vec<u8>>,
    /// Environment, `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// The file tree.
    pub files: Files,
    /// Open file descriptors.
    pub open_files: u32,
    /// The key of the random stream.
    pub random_seed: [u8; 32],
}

/// What the file tree is made of.
#[derive(Clone)]
pub enum Files {
    /// The tree of a job's run.
    Job {
        /// The job drive and the number of the model's entry in it.
        model: (Arc<Pack>, u32),
        /// The capsule.
        data: Arc<Pack>,
        /// Pages that files in `/out` may take.
        out_pages: u32,
        /// Pages that files in `/tmp` may take.
        scratch_pages: u32,
    },
    /// Directories of somebody's choice, outside of a job. Such a state has no place in an image.
    Directories(Directories),
}

/// The guest ends itself with this code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit(pub i32);

/// A standard stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Takes what the guest writes to its standard streams.
pub type Log = Box<dyn FnMut(Stream, &[u8]) + Send>;

/// Fills a part of a buffer, which is not empty, with what the guest reads from standard input; 0 bytes are its end.
pub type Input = Box<dyn FnMut(&mut [u8]) -> Result<usize, Errno> + Send>;

/// An open file descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Descriptor {
    inode: Inode,
    offset: u64,
    flags: u16,
    rights: Rights,
    inheriting: Rights,
}

/// Everything that a guest can see outside of its own memory.
pub struct Wasi {
    config: Config,
    tree: Tree,
    descriptors: BTreeMap<u32, Descriptor>,
    /// The monotonic clock in nanoseconds.
    clock: u64,
    /// Bytes of the random stream that were used.
    random: u64,
    log: Option<Log>,
    input: Option<Input>,
}

const FDFLAGS_APPEND: u16 = 1 << 0;
const FDFLAGS_DSYNC: u16 = 1 << 1;
const FDFLAGS_RSYNC: u16 = 1 << 3;
const FDFLAGS_SYNC: u16 = 1 << 4;
const FDFLAGS_ALL: u16 = (1 << 5) - 1;

impl Wasi {
    /// The state before the guest has done anything.
    pub fn new(config: Config) -> Self {
        let tree = Tree::new(&config.files, REALTIME_START);
        let stream = |inode, rights| Descriptor { inode, offset: 0, flags: 0, rights, inheriting: 0 };
        let root = Descriptor {
            inode: tree::ROOT,
            offset: 0,
            flags: 0,
            rights: rights::DIRECTORY,
            inheriting: rights::DIRECTORY | rights::FILE,
        };
        let mut descriptors = BTreeMap::from([
            (0, stream(tree::STDIN, rights::INPUT)),
            (1, stream(tree::STDOUT, rights::OUTPUT)),
            (2, stream(tree::STDERR, rights::OUTPUT)),
        ]);
        if !matches!(&config.files, Files::Directories(directories) if directories.is_empty()) {
            descriptors.insert(3, root);
        }
        Self { config, tree, descriptors, clock: 0, random: 0, log: None, input: None }
    }

    /// Where standard output and error go.
    pub fn set_log(&mut self, log: Log) {
        self.log = Some(log);
    }

    /// Where standard input comes from, outside of a job: in a job it is empty, because nothing of it is in the state.
    pub fn set_input(&mut self, input: Input) {
        self.input = Some(input);
    }

    /// The file area of the state image, up to the last page that was ever used; a whole number of pages.
    pub fn file_area(&self) -> &[u8] {
        self.tree.area.bytes()
    }

    /// The pages of the file area that changed since the last call, in rising order.
    pub fn take_changed_file_pages(&mut self) -> Vec<u32> {
        self.tree.area.take_changed()
    }

    /// The file in `/out` with this name.
    pub fn result(&self, name: &str) -> Option<Contents<'_>> {
        let inode = self.tree.lookup(tree::OUT, name)?;
        match &self.tree.nodes.get(&inode)?.content {
            tree::Content::File { size, pages } => Some(Contents { area: &self.tree.area, pages, left: *size }),
            _ => None,
        }
    }

    /// Answers a call of the guest. `args` are the arguments in the order of the signature, narrow ones in the low
    /// bits; `memory` is all of the guest's memory.
    ///
    /// # Errors
    /// When the guest exits.
    ///
    /// # Panics
    /// When there are fewer arguments than the signature has.
    pub fn call(&mut self, function: Function, args: &[u64], memory: &mut [u8]) -> Result<Errno, Exit> {
        if function == Function::ProcExit {
            return Err(Exit(args[0] as i32));
        }
        let answer = self.dispatch(function, args, Memory(memory));
        Ok(answer.err().unwrap_or(Errno::Success))
    }

    fn dispatch(&mut self, function: Function, a: &[u64], mut memory: Memory<'_>) -> Result<(), Errno> {
        let m = &mut memory;
        let int = |index: usize| a[index] as u32;
        match function {
            Function::ArgsGet => strings(&self.config.args, int(0), int(1), m),
            Function::ArgsSizesGet => string_sizes(&self.config.args, int(0), int(1), m),
            Function::EnvironGet => strings(&self.config.env, int(0), int(1), m),
            Function::EnvironSizesGet => string_sizes(&self.config.env, int(0), int(1), m),
            Function::ClockResGet => {
                check_clock(int(0))?;
                m.write_u64(int(1), TICK)
            }
            Function::ClockTimeGet => self.clock_time_get(int(0), int(2), m),
            Function::RandomGet => self.random_get(m.bytes(int(0), int(1))?),
            Function::SchedYield => Ok(()),
            Function::ProcRaise => Err(Errno::Notsup),
            Function::PollOneoff => self.poll_oneoff(int(0), int(1), int(2), int(3), m),
            Function::FdAdvise => self.fd_advise(int(0), int(3)),
            Function::FdAllocate => self.fd_allocate(int(0), a[1], a[2]),
            Function::FdClose => self.fd_close(int(0)),
            Function::FdDatasync => self.descriptor(int(0), rights::FD_DATASYNC).map(|_| ()),
            Function::FdSync => self.descriptor(int(0), rights::FD_SYNC).map(|_| ()),
            Function::FdFdstatGet => self.fd_fdstat_get(int(0), int(1), m),
            Function::FdFdstatSetFlags => self.fd_fdstat_set_flags(int(0), int(1)),
            Function::FdFdstatSetRights => self.fd_fdstat_set_rights(int(0), a[1], a[2]),
            Function::FdFilestatGet => {
                let inode = self.descriptor(int(0), rights::FD_FILESTAT_GET)?.inode;
                self.write_filestat(inode, int(1), m)
            }
            Function::FdFilestatSetSize => {
                let inode = self.file(int(0), rights::FD_FILESTAT_SET_SIZE)?.inode;
                self.tree.set_size(inode, a[1], self.now())
            }
            Function::FdFilestatSetTimes => {
                let inode = self.descriptor(int(0), rights::FD_FILESTAT_SET_TIMES)?.inode;
                self.set_times(inode, a[1], a[2], int(3))
            }
            Function::FdPread => self.fd_pread(int(0), int(1), int(2), a[3], int(4), m),
            Function::FdPwrite => self.fd_pwrite(int(0), int(1), int(2), a[3], int(4), m),
            Function::FdRead => self.fd_read(int(0), int(1), int(2), int(3), m),
            Function::FdWrite => self.fd_write(int(0), int(1), int(2), int(3), m),
            Function::FdPrestatGet => self.fd_prestat_get(int(0), int(1), m),
            Function::FdPrestatDirName => self.fd_prestat_dir_name(int(0), int(1), int(2), m),
            Function::FdReaddir => self.fd_readdir(int(0), int(1), int(2), a[3], int(4), m),
            Function::FdRenumber => self.fd_renumber(int(0), int(1)),
            Function::FdSeek => self.fd_seek(int(0), a[1] as i64, int(2), int(3), m),
            Function::FdTell => self.fd_tell(int(0), int(1), m),
            Function::PathCreateDirectory => self.path_create_directory(int(0), m.path(int(1), int(2))?),
            Function::PathFilestatGet => {
                let path = m.path(int(2), int(3))?;
                let inode = self.path_inode(int(0), rights::PATH_FILESTAT_GET, int(1), path)?;
                self.write_filestat(inode, int(4), m)
            }
            Function::PathFilestatSetTimes => {
                let path = m.path(int(2), int(3))?;
                let inode = self.path_inode(int(0), rights::PATH_FILESTAT_SET_TIMES, int(1), path)?;
                self.set_times(inode, a[4], a[5], int(6))
            }
            Function::PathLink => {
                let from = String::from(m.path(int(2), int(3))?);
                self.path_link(int(0), int(1), &from, int(4), m.path(int(5), int(6))?)
            }
            Function::PathOpen => {
                m.bytes(int(8), 4)?;
                let path = m.path(int(2), int(3))?;
                let fd = self.path_open(int(0), int(1), path, int(4), a[5], a[6], int(7))?;
                m.write_u32(int(8), fd)
            }
            Function::PathReadlink => self.path_readlink(int(0), int(1), int(2), int(3), int(4), int(5), m),
            Function::PathRemoveDirectory => self.path_remove_directory(int(0), m.path(int(1), int(2))?),
            Function::PathRename => {
                let from = String::from(m.path(int(1), int(2))?);
                self.path_rename(int(0), &from, int(3), m.path(int(4), int(5))?)
            }
            Function::PathSymlink => {
                let target = String::from(m.path(int(0), int(1))?);
                self.path_symlink(&target, int(2), m.path(int(3), int(4))?)
            }
            Function::PathUnlinkFile => self.path_unlink_file(int(0), m.path(int(1), int(2))?),
            // There are no sockets; a descriptor that exists is none.
            Function::SockAccept | Function::SockRecv | Function::SockSend | Function::SockShutdown => {
                self.descriptor(int(0), 0).and(Err(Errno::Notsock))
            }
            Function::ProcExit => unreachable!("answered before"),
        }
    }

    /// The realtime clock, without advancing it.
    fn now(&self) -> u64 {
        REALTIME_START.saturating_add(self.clock)
    }

    fn time(&self, clock: u32) -> u64 {
        if clock == 0 { self.now() } else { self.clock }
    }

    fn clock_time_get(&mut self, clock: u32, result: u32, m: &mut Memory<'_>) -> Result<(), Errno> {
        check_clock(clock)?;
        m.bytes(result, 8)?;
        self.clock = self.clock.saturating_add(TICK);
        m.write_u64(result, self.time(clock))
    }

    fn random_get(&mut self, buffer: &mut [u8]) -> Result<(), Errno> {
        if buffer.is_empty() {
            return Ok(());
        }
        let end = self.random.saturating_add(buffer.len() as u64);
        if end > STREAM_BYTES {
            return Err(Errno::Io);
        }
        let mut stream = ChaCha20::new(&self.config.random_seed.into(), &[0; 12].into());
        stream.seek(self.random);
        buffer.fill(0);
        stream.apply_keystream(buffer);
        self.random = end;
        Ok(())
    }

    fn poll_oneoff(
        &mut self,
        subscriptions: u32,
        events: u32,
        count: u32,
        found: u32,
        m: &mut Memory<'_>,
    ) -> Result<(), Errno> {
        const SUBSCRIPTION_BYTES: u32 = 48;
        const EVENT_BYTES: u32 = 32;
        const ABSOLUTE: u16 = 1;
        if count == 0 || count > MAX_SUBSCRIPTIONS {
            return Err(Errno::Inval);
        }
        m.bytes(subscriptions, count * SUBSCRIPTION_BYTES)?;
        m.bytes(events, count * EVENT_BYTES)?;
        m.bytes(found, 4)?;
        let mut ready: Vec<(u64, Errno, u8, u64)> = Vec::new();
        let mut clocks: Vec<(u64, u64)> = Vec::new();
        for index in 0..count {
            let at = subscriptions + index * SUBSCRIPTION_BYTES;
            let user_data = m.u64(at)?;
            match m.u8(at + 8)? {
                0 => {
                    let clock = m.u32(at + 16)?;
                    let timeout = m.u64(at + 24)?;
                    let flags = m.u16(at + 40)?;
                    if check_clock(clock).is_err() || flags & !ABSOLUTE != 0 {
                        ready.push((user_data, Errno::Inval, 0, 0));
                        continue;
                    }
                    let base = if clock == 0 { REALTIME_START } else { 0 };
                    let deadline = if flags & ABSOLUTE != 0 {
                        timeout.saturating_sub(base)
                    } else {
                        self.clock.saturating_add(timeout)
                    };
                    clocks.push((deadline, user_data));
                }
                kind @ (1 | 2) => {
                    let right = if kind == 1 { rights::FD_READ } else { rights::FD_WRITE };
                    let (errno, bytes) = match self.descriptor(m.u32(at + 16)?, right | rights::POLL_FD_READWRITE) {
                        Ok(open) if kind == 1 => (Errno::Success, self.readable(open)),
                        Ok(_) => (Errno::Success, 1),
                        Err(errno) => (errno, 0),
                    };
                    ready.push((user_data, errno, kind, bytes));
                }
                _ => return Err(Errno::Inval),
            }
        }
        if ready.is_empty() {
            let earliest = clocks.iter().map(|(deadline, _)| *deadline).min().unwrap_or(0);
            self.clock = self.clock.max(earliest);
        }
        let due = clocks.iter().filter(|(deadline, _)| *deadline <= self.clock);
        ready.extend(due.map(|(_, user_data)| (*user_data, Errno::Success, 0, 0)));
        for (index, (user_data, errno, kind, bytes)) in (0..).zip(&ready) {
            let at = events + index * EVENT_BYTES;
            m.bytes(at, EVENT_BYTES)?.fill(0);
            m.write_u64(at, *user_data)?;
            m.write(at + 8, &(*errno as u16).to_le_bytes())?;
            m.write(at + 10, &[*kind])?;
            m.write_u64(at + 16, *bytes)?;
        }
        m.write_u32(found, ready.len() as u32)
    }

    /// Bytes that can be read without waiting; what an input holds that is not empty is not known.
    fn readable(&self, open: &Descriptor) -> u64 {
        if open.inode == tree::STDIN && self.input.is_some() {
            return 1;
        }
        self.tree.size(open.inode).saturating_sub(open.offset)
    }

    /// An open descriptor that has these rights.
    fn descriptor(&self, fd: u32, rights: Rights) -> Result<&Descriptor, Errno> {
        let open = self.descriptors.get(&fd).ok_or(Errno::Badf)?;
        if open.rights & rights == rights { Ok(open) } else { Err(Errno::Notcapable) }
    }

    /// An open regular file that has these rights.
    fn file(&self, fd: u32, rights: Rights) -> Result<&Descriptor, Errno> {
        let open = self.descriptors.get(&fd).ok_or(Errno::Badf)?;
        match self.tree.file_type(open.inode) {
            FileType::CharacterDevice => return Err(Errno::Spipe),
            FileType::Directory if open.rights & rights == rights => return Err(Errno::Isdir),
            FileType::RegularFile | FileType::SymbolicLink | FileType::Directory => {}
        }
        self.descriptor(fd, rights)
    }

    fn descriptor_mut(&mut self, fd: u32) -> &mut Descriptor {
        self.descriptors.get_mut(&fd).expect("looked up before")
    }

    /// Whether a descriptor is open on this inode.
    fn is_open(&self, inode: Inode) -> bool {
        self.descriptors.values().any(|open| open.inode == inode)
    }

    /// Frees the node if nothing leads to it any more.
    fn release(&mut self, inode: Inode) {
        if self.tree.nodes.get(&inode).is_some_and(|node| node.links == 0) && !self.is_open(inode) {
            self.tree.release(inode);
        }
    }
}

/// The content of a result file, in parts.
pub struct Contents<'a> {
    area: &'a Area,
    pages: &'a [u32],
    left: u64,
}

impl Contents<'_> {
    /// Bytes that are left.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Contents<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.left.min(PAGE_BYTES as u64);
        let (page, rest) = self.pages.split_first().filter(|_| bytes > 0)?;
        self.pages = rest;
        self.left -= bytes;
        Some(&self.area.page(*page)[..bytes as usize])
    }
}

fn check_clock(clock: u32) -> Result<(), Errno> {
    if clock < 4 { Ok(()) } else { Err(Errno::Inval) }
}

fn strings(strings: &[Vec<u8>], pointers: u32, buffer: u32, m: &mut Memory<'_>) -> Result<(), Errno> {
    m.bytes(pointers, 4 * strings.len() as u32)?;
    m.bytes(buffer, strings_bytes(strings))?;
    let (mut pointer, mut at) = (pointers, buffer);
    for string in strings {
        m.write_u32(pointer, at)?;
        m.write(at, string)?;
        m.write(at + string.len() as u32, &[0])?;
        // Behind the last one may be the end of 4 GiB.
        pointer = pointer.wrapping_add(4);
        at = at.wrapping_add(string.len() as u32 + 1);
    }
    Ok(())
}

fn string_sizes(strings: &[Vec<u8>], count: u32, bytes: u32, m: &mut Memory<'_>) -> Result<(), Errno> {
    m.bytes(bytes, 4)?;
    m.write_u32(count, strings.len() as u32)?;
    m.write_u32(bytes, strings_bytes(strings))
}

/// Bytes of strings that each end with a zero.
fn strings_bytes(strings: &[Vec<u8>]) -> u32 {
    strings.iter().map(|string| string.len() as u32 + 1).sum()
}

#[cfg(test)]
mod tests;
