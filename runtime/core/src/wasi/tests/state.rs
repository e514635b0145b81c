//! What is saved, restored and refused.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

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
                let _ = (again.mkdir("out/e/x"), again.rename("out/e", "out/e/x/y"), again.unlink("out/e/f"));
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

/// Writes a metadata by hand: numbers of 4 or 8 bytes, as the fields have them.
struct Image(Vec<u8>);

impl Image {
    /// The head; `nodes` and `descriptors` are numbers.
    fn new(next_inode: u64, next_serial: u64, nodes: u32, descriptors: u32) -> Self {
        let mut image = Self(Vec::new());
        image.long(0).long(0).long(next_inode).long(next_serial).word(nodes).word(descriptors);
        image
    }

    fn word(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn long(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// The head of a directory in `/out`, or in `/tmp` for inode 4.
    fn directory(&mut self, inode: u64, links: u32, parent: u64, entries: u32) -> &mut Self {
        let mount = if inode == tree::TMP { 1 << 8 } else { 0 };
        self.long(inode).word(3 | mount).word(links).long(0).long(0).long(0).long(parent).word(entries)
    }

    fn entry(&mut self, inode: u64, serial: u64, name: &str) -> &mut Self {
        self.long(inode).long(serial);
        self.0.extend((name.len() as u16).to_le_bytes());
        self.0.extend(name.as_bytes());
        self
    }

    fn descriptor(&mut self, fd: u32, inode: u64) -> &mut Self {
        self.word(fd).word(0).long(inode).long(0).long(0).long(0)
    }

    fn restore(&self) -> Result<Guest, RestoreError> {
        let mut metadata = self.0.clone();
        metadata.resize(METADATA_BYTES, 0);
        let wasi = Wasi::restore(config(), &metadata, &[0; 8 * PAGE_BYTES])?;
        Ok(Guest { wasi, memory: vec![0; 65_536] })
    }
}

#[test]
fn directories_that_hang_from_nothing_or_from_themselves_are_refused() {
    let mut right = Image::new(18, 2, 4, 1);
    right.directory(3, 1, 1, 1).entry(16, 0, "a").directory(4, 1, 1, 0);
    right.directory(16, 1, 3, 1).entry(17, 1, "b").directory(17, 1, 16, 0).descriptor(3, 1);
    let guest = right.restore().expect("a state");
    let found: Vec<_> = guest.wasi.walk("out").expect("a directory").map(|(path, _)| path).collect();
    assert_eq!(found, ["a", "a/b"]);

    let refused = |what: &str, image: &mut Image| assert!(image.restore().is_err(), "{what}");
    let mut circle = Image::new(18, 2, 4, 1);
    circle.directory(3, 1, 1, 0).directory(4, 1, 1, 0);
    circle.directory(16, 1, 17, 1).entry(17, 0, "b").directory(17, 1, 16, 1).entry(16, 1, "a");
    refused("a circle", circle.descriptor(3, 1));
    let mut twice = Image::new(17, 2, 3, 1);
    twice.directory(3, 1, 1, 2).entry(16, 0, "a").entry(16, 1, "b").directory(4, 1, 1, 0).directory(16, 2, 3, 0);
    refused("a directory with two names", twice.descriptor(3, 1));
    let mut foreign = Image::new(17, 1, 3, 1);
    foreign.directory(3, 1, 1, 0).directory(4, 1, 1, 1).entry(16, 0, "a").directory(16, 1, 4, 0);
    refused("a node of /out in /tmp", foreign.descriptor(3, 1));
    let mut serials = Image::new(18, 2, 4, 1);
    serials.directory(3, 1, 1, 2).entry(16, 0, "a").entry(17, 0, "b").directory(4, 1, 1, 0);
    refused("one serial twice", serials.directory(16, 1, 3, 0).directory(17, 1, 3, 0).descriptor(3, 1));
    let mut young = Image::new(17, 5, 3, 1);
    young.directory(3, 1, 1, 1).entry(16, 5, "a").directory(4, 1, 1, 0).directory(16, 1, 3, 0);
    refused("a serial that is not given yet", young.descriptor(3, 1));
    let mut overflow = Image::new(17, u64::MAX, 3, 1);
    overflow.directory(3, 1, 1, 1).entry(16, u64::MAX - 1, "a").directory(4, 1, 1, 0).directory(16, 1, 3, 0);
    refused("a serial that no guest reaches", overflow.descriptor(3, 1));
    let mut closed = Image::new(17, 0, 3, 1);
    closed.directory(3, 1, 1, 0).directory(4, 1, 1, 0).directory(16, 0, 3, 0);
    refused("a node without name that is not open", closed.descriptor(3, 1));
    let mut full = Image::new(18, 1, 4, 2);
    full.directory(3, 1, 1, 0).directory(4, 1, 1, 0).directory(16, 0, 3, 1).entry(17, 0, "b").directory(17, 1, 16, 0);
    refused("a removed directory that is not empty", full.descriptor(3, 1).descriptor(4, 16));
    let mut missing = Image::new(16, 0, 1, 1);
    refused("no /tmp", missing.directory(3, 1, 1, 0).descriptor(3, 1));
    let mut name = Image::new(17, 1, 3, 1);
    name.directory(3, 1, 1, 1).entry(16, 0, "a/b").directory(4, 1, 1, 0).directory(16, 1, 3, 0);
    refused("a name with a slash", name.descriptor(3, 1));
}

#[test]
fn what_a_guest_cannot_reach_is_refused_beyond_its_limit() {
    let linked = |links: u32| {
        let mut image = Image::new(17, links.into(), 3, 1);
        image.directory(3, 1, 1, links);
        for serial in 0..links {
            image.entry(16, serial.into(), &std::format!("{serial:04}"));
        }
        // An empty file in `/out`.
        image.directory(4, 1, 1, 0).long(16).word(4).word(links).long(0).long(0).long(0).long(0);
        image.descriptor(3, 1).restore()
    };
    assert!(linked(1000).is_ok());
    assert!(linked(1001).is_err(), "more links than a file can have");

    let used = |random: u64| {
        let mut image = Image::new(16, 0, 2, 1);
        image.0[8..16].copy_from_slice(&random.to_le_bytes());
        image.directory(3, 1, 1, 0).directory(4, 1, 1, 0).descriptor(3, 1).restore()
    };
    let all = 64 * ((1 << 32) - 1);
    assert!(used(all).is_ok());
    assert!(used(all + 1).is_err(), "more randomness than there is");
}

#[test]
fn removed_directories_that_point_at_each_other_do_no_harm() {
    let mut image = Image::new(18, 0, 4, 3);
    image.directory(3, 1, 1, 0).directory(4, 1, 1, 0).directory(16, 0, 17, 0).directory(17, 0, 16, 0);
    let mut guest = image.descriptor(3, 1).descriptor(4, 16).descriptor(5, 17).restore().expect("a state");
    guest.wasi.descriptors.get_mut(&3).expect("the root").rights = rights::DIRECTORY;
    guest.wasi.descriptors.get_mut(&4).expect("a directory").rights = rights::DIRECTORY;
    guest.mkdir("out/d").expect("made");
    let [old, length] = guest.put(1024, b"out/d");
    let [new, new_length] = guest.put(1100, b"x");
    assert_eq!(guest.call(Function::PathRename, &[3, old, length, 4, new, new_length]), Err(Errno::Noent));
    assert_eq!(guest.list_some(4, 1000, 0).expect("a list").0.len(), 2);
}

/// What a random guest does. Names and descriptors are few, so that they meet.
#[derive(Clone, Debug)]
enum Act {
    Write(u8, u16, u8),
    Unlink(u8),
    Mkdir(u8),
    Rmdir(u8),
    Rename(u8, u8),
    Link(u8, u8, bool),
    Symlink(u8, u8),
    Open(u8, u32, u16),
    Close(u8),
    Cut(u8, u16),
    Allocate(u8, u16, u16),
    Read(u8),
    WriteTo(u8, u16),
    WriteAt(u8, u16, u16),
    Seek(u8, i16, u8),
    Renumber(u8, u8),
    List(u8, u8, u16),
    Stat(u8, bool),
    FdStat(u8),
    Times(u8, u8),
    Flags(u8, u8),
    Rights(u8, u64),
    Random(u8),
    Tick,
    Sleep(u32),
    /// Any call with any arguments.
    Any(u8, [u64; 9]),
}

/// Small numbers, which are descriptors, flags, lengths and places in memory, and some that are too large.
fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..16, 4 => prop::sample::select(vec![0u64, 16, 64, 1024, 1028, 1100, 8192]), 1 => 0u64..70_000, 1 => any::<u64>()]
}

fn acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    let name = || 0u8..NAMES.len() as u8;
    let fd = || 3u8..9;
    let act = prop_oneof![
        (name(), 0u16..9000, any::<u8>()).prop_map(|(a, b, c)| Act::Write(a, b, c)),
        name().prop_map(Act::Unlink),
        name().prop_map(Act::Mkdir),
        name().prop_map(Act::Rmdir),
        (name(), name()).prop_map(|(a, b)| Act::Rename(a, b)),
        (name(), name(), any::<bool>()).prop_map(|(a, b, c)| Act::Link(a, b, c)),
        (name(), name()).prop_map(|(a, b)| Act::Symlink(a, b)),
        (name(), 0u32..16, 0u16..2).prop_map(|(a, b, c)| Act::Open(a, b, c)),
        fd().prop_map(Act::Close),
        (fd(), 0u16..9000).prop_map(|(a, b)| Act::Cut(a, b)),
        (fd(), 0u16..9000, 0u16..9000).prop_map(|(a, b, c)| Act::Allocate(a, b, c)),
        fd().prop_map(Act::Read),
        (fd(), 0u16..9000).prop_map(|(a, b)| Act::WriteTo(a, b)),
        (fd(), 0u16..5000, 0u16..20_000).prop_map(|(a, b, c)| Act::WriteAt(a, b, c)),
        (fd(), any::<i16>(), 0u8..3).prop_map(|(a, b, c)| Act::Seek(a, b, c)),
        (fd(), fd()).prop_map(|(a, b)| Act::Renumber(a, b)),
        (fd(), 0u8..12, 0u16..300).prop_map(|(a, b, c)| Act::List(a, b, c)),
        (name(), any::<bool>()).prop_map(|(a, b)| Act::Stat(a, b)),
        fd().prop_map(Act::FdStat),
        (name(), 0u8..16).prop_map(|(a, b)| Act::Times(a, b)),
        (fd(), 0u8..32).prop_map(|(a, b)| Act::Flags(a, b)),
        (fd(), any::<u64>()).prop_map(|(a, b)| Act::Rights(a, b)),
        any::<u8>().prop_map(Act::Random),
        Just(Act::Tick),
        any::<u32>().prop_map(Act::Sleep),
        (0u8..46, prop::array::uniform9(argument())).prop_map(|(a, b)| Act::Any(a, b)),
    ];
    prop::collection::vec(act, 1..most)
}

const NAMES: [&str; 10] =
    ["out/a", "out/b", "out/a/c", "out/b/d", "tmp/e", "out/a/c/f", "out/a/..", "out/b/", "data/more", "out"];

impl Guest {
    /// What the guest sees of it: the errno, if it is one, and what was answered.
    fn act(&mut self, act: &Act) -> (Option<Errno>, Vec<u8>) {
        let path = |name: u8| NAMES[usize::from(name)];
        let none = |()| vec![];
        let answer = match *act {
            Act::Write(name, length, byte) => self.open(path(name), CREATE, WRITE).and_then(|fd| {
                let written = self.write(fd, &vec![byte; length.into()]);
                self.close(fd)?;
                written.map(|bytes| bytes.to_le_bytes().to_vec())
            }),
            Act::Unlink(name) => self.unlink(path(name)).map(none),
            Act::Mkdir(name) => self.mkdir(path(name)).map(none),
            Act::Rmdir(name) => self.rmdir(path(name)).map(none),
            Act::Rename(from, to) => self.rename(path(from), path(to)).map(none),
            Act::Link(from, to, follow) => self.link_with(follow.into(), path(from), path(to)).map(none),
            Act::Symlink(to, at) => self.symlink(path(to).get(4..).unwrap_or("."), path(at)).map(none),
            Act::Open(name, how, flags) => {
                let rights = if how < 8 { rights::FILE | READ } else { ALL_RIGHTS & !rights::FD_WRITE };
                self.open_with(path(name), FOLLOW, how, rights, ALL_RIGHTS, flags).map(|fd| fd.to_le_bytes().to_vec())
            }
            Act::Close(fd) => self.close(fd.into()).map(none),
            Act::Cut(fd, size) => self.call(Function::FdFilestatSetSize, &[fd.into(), size.into()]).map(none),
            Act::Allocate(fd, offset, length) => {
                self.call(Function::FdAllocate, &[fd.into(), offset.into(), length.into()]).map(none)
            }
            Act::Read(fd) => self.read(fd.into(), 500),
            Act::WriteTo(fd, length) => {
                self.write(fd.into(), &vec![7; length.into()]).map(|bytes| bytes.to_le_bytes().to_vec())
            }
            Act::WriteAt(fd, length, offset) => {
                self.pwrite(fd.into(), &vec![8; length.into()], offset.into()).map(|bytes| bytes.to_le_bytes().to_vec())
            }
            Act::Seek(fd, by, whence) => {
                self.seek(fd.into(), by.into(), whence.into()).map(|offset| offset.to_le_bytes().to_vec())
            }
            Act::Renumber(from, to) => self.call(Function::FdRenumber, &[from.into(), to.into()]).map(none),
            Act::List(fd, cookie, length) => self
                .call(Function::FdReaddir, &[fd.into(), 8192, length.into(), cookie.into(), 16])
                .map(|()| self.memory[8192..][..self.u32(16) as usize].to_vec()),
            Act::Stat(name, follow) => {
                self.full_stat(path(name), follow.into()).map(|_| self.memory[256..320].to_vec())
            }
            Act::FdStat(fd) => self.fdstat(fd.into()).map(|_| self.memory[256..280].to_vec()),
            Act::Times(name, flags) => {
                let [pointer, length] = self.put(1024, path(name).as_bytes());
                let args = [3, 0, pointer, length, 5, 6, flags.into()];
                self.call(Function::PathFilestatSetTimes, &args).map(none)
            }
            Act::Flags(fd, flags) => self.call(Function::FdFdstatSetFlags, &[fd.into(), flags.into()]).map(none),
            Act::Rights(fd, mask) => self.fdstat(fd.into()).and_then(|(_, _, base, inheriting)| {
                // Most rights stay: a guest without any does nothing more.
                let mask = mask | mask << 1 | mask >> 1 | !ALL_RIGHTS;
                self.call(Function::FdFdstatSetRights, &[fd.into(), base & mask, inheriting & mask]).map(none)
            }),
            Act::Random(length) => self
                .call(Function::RandomGet, &[0, length.into()])
                .map(|()| self.memory[..usize::from(length)].to_vec()),
            Act::Tick => self.call(Function::ClockTimeGet, &[0, 0, 0]).map(|()| self.memory[..8].to_vec()),
            Act::Sleep(time) => {
                self.memory[1024..1072].fill(0);
                self.put(1024 + 24, &u64::from(time).to_le_bytes());
                self.call(Function::PollOneoff, &[1024, 8192, 1, 16]).map(none)
            }
            Act::Any(function, args) => return self.any(function, &args),
        };
        match answer {
            Ok(bytes) => (None, bytes),
            Err(errno) => (Some(errno), vec![]),
        }
    }

    /// A call with any arguments. One that answers an error has changed nothing.
    fn any(&mut self, function: u8, args: &[u64]) -> (Option<Errno>, Vec<u8>) {
        self.put(1024, b"out/a\0\0\0");
        self.put(1100, &[8192, 100, 8192, 200].map(u32::to_le_bytes).concat());
        let function = Function::ALL[usize::from(function)];
        let (state, memory) = (self.saved(), self.memory.clone());
        match self.wasi.call(function, args, &mut self.memory) {
            Ok(Errno::Success) => (None, self.memory.clone()),
            Ok(errno) => {
                assert!(self.saved() == state, "{function:?} {args:?} changed the state and answered {errno:?}");
                assert!(self.memory == memory, "{function:?} {args:?} changed memory and answered {errno:?}");
                (Some(errno), vec![])
            }
            Err(Exit(code)) => (None, code.to_le_bytes().to_vec()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_restored_guest_cannot_tell(acts in acts(80), every in 1usize..5) {
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

    #[test]
    fn a_call_that_fails_changes_nothing(acts in acts(40)) {
        let mut guest = Guest::new();
        for act in &acts {
            let before = guest.saved();
            let (errno, _) = guest.act(act);
            // The file is opened, and made, before the write fails.
            if errno.is_some() && !matches!(act, Act::Write(..)) {
                prop_assert!(guest.saved() == before, "{:?} answered {:?}", act, errno);
            }
        }
    }

    #[test]
    fn pages_that_are_told_to_have_changed_are_all_that_changed(acts in acts(60)) {
        let mut guest = Guest::new();
        let mut known = vec![0; 8 * PAGE_BYTES];
        for act in &acts {
            guest.act(act);
            let area = guest.wasi.file_area().to_vec();
            for page in guest.wasi.take_changed_file_pages() {
                let range = page as usize * PAGE_BYTES..(page as usize + 1) * PAGE_BYTES;
                known[range.clone()].copy_from_slice(&area[range]);
            }
            prop_assert!(known[..area.len()] == area, "{:?}", act);
        }
    }

    #[test]
    fn a_damaged_state_is_refused_or_can_be_lived_with(
        before in acts(30),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        after in acts(30),
    ) {
        let mut guest = Guest::new();
        before.iter().for_each(|act| drop(guest.act(act)));
        let (mut metadata, mut files) = guest.saved();
        files.resize(8 * PAGE_BYTES, 0);
        let used = metadata.iter().rposition(|&byte| byte != 0).expect("a state") + 9;
        for (at, value) in damage {
            metadata[at.index(used)] ^= value;
        }
        if let Ok(wasi) = Wasi::restore(config(), &metadata, &files) {
            let mut guest = Guest { wasi, memory: vec![0; 65_536] };
            after.iter().for_each(|act| drop(guest.act(act)));
            guest.restore();
        }
    }
}
