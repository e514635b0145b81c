//! The file tree: read-only packs and a writable part in memory.
//!
//! Every file has an inode number, and the number tells where it is: 1 to 8 are the fixed directories and the standard
//! streams, `1 << 32 | n` is entry n of the capsule, `2 << 32 | n` entry n of the job drive, and all others are in the
//! writable part, numbered from 16 in the order of their creation.
//!
//! No call takes longer than what it is given or moves asks for: names and listings are looked up in sorted maps, a
//! page is cleared only if it was written to, and nothing is copied that is not asked for.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::directories::Directories;
use super::{Errno, Files};
use crate::pack::Pack;
use crate::tree::PAGE_BYTES;

pub(super) type Inode = u64;

pub(super) const ROOT: Inode = 1;
pub(super) const JOB: Inode = 2;
pub(super) const OUT: Inode = 3;
pub(super) const TMP: Inode = 4;
pub(super) const DATA: Inode = 5;
pub(super) const STDIN: Inode = 6;
pub(super) const STDOUT: Inode = 7;
pub(super) const STDERR: Inode = 8;
pub(super) const FIRST_FREE: Inode = 16;
const DATA_ENTRIES: Inode = 1 << 32;
const JOB_ENTRIES: Inode = 2 << 32;
/// The bits of an inode number that are the number of an entry in a pack.
const ENTRY_NUMBERS: Inode = (1 << 32) - 1;

/// How much the writable part may hold, beside contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeLimits {
    /// Files, directories and links.
    pub inodes: usize,
    /// Directory entries.
    pub entries: usize,
    /// Bytes of names and link targets together.
    pub name_bytes: usize,
}

/// The limits of a job's run, which leave room for everything in the metadata.
pub(super) const JOB_LIMITS: TreeLimits = TreeLimits { inodes: 2048, entries: 2048, name_bytes: 128 << 10 };

/// The most bytes of a file's name.
pub(super) const MAX_NAME: usize = 255;

/// The most links to a file.
pub(super) const MAX_LINKS: u32 = 1000;

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum FileType {
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SymbolicLink = 7,
}

/// Which limit a writable file counts against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mount {
    Out,
    Tmp,
}

/// A node of the writable part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) mount: Mount,
    pub(super) links: u32,
    /// Access, modification and change time, in nanoseconds since 1970.
    pub(super) times: [u64; 3],
    pub(super) content: Content,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Content {
    File {
        size: u64,
        /// Pages of the file area, one for each 4 KiB begun.
        pages: Vec<u32>,
    },
    Directory {
        parent: Inode,
        entries: Entries,
    },
    SymbolicLink(String),
}

impl Content {
    pub(super) fn empty_directory(parent: Inode) -> Self {
        Self::Directory { parent, entries: Entries::default() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DirectoryEntry {
    pub(super) inode: Inode,
    /// Rises with each entry made; orders listings. One that is renamed within its directory keeps it.
    pub(super) serial: u64,
}

/// The entries of a writable directory.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Entries {
    by_name: BTreeMap<Arc<str>, DirectoryEntry>,
    by_serial: BTreeMap<u64, Arc<str>>,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<DirectoryEntry> {
        self.by_name.get(name).copied()
    }

    /// Adds an entry. `false`, and without effect, when the name or the serial is there already.
    pub(super) fn insert(&mut self, name: &str, entry: DirectoryEntry) -> bool {
        if self.by_name.contains_key(name) || self.by_serial.contains_key(&entry.serial) {
            return false;
        }
        let name = Arc::<str>::from(name);
        self.by_serial.insert(entry.serial, name.clone());
        self.by_name.insert(name, entry);
        true
    }

    fn remove(&mut self, name: &str) -> Option<DirectoryEntry> {
        let entry = self.by_name.remove(name)?;
        self.by_serial.remove(&entry.serial);
        Some(entry)
    }

    /// All entries, by the bytes of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, DirectoryEntry)> {
        self.by_name.iter().map(|(name, entry)| (&**name, *entry))
    }

    /// The entry with the lowest serial of at least this.
    fn first_from(&self, serial: u64) -> Option<(&str, DirectoryEntry)> {
        let (_, name) = self.by_serial.range(serial..).next()?;
        Some((name, *self.by_name.get(name)?))
    }

    pub(super) fn highest_serial(&self) -> Option<u64> {
        self.by_serial.last_key_value().map(|(serial, _)| *serial)
    }
}

/// A directory that is always there and cannot be changed.
struct Fixed {
    parent: Inode,
    entries: BTreeMap<String, Inode>,
}

/// The read-only parts of a job's tree.
struct Packs {
    job: Arc<Pack>,
    /// The number of the model's entry in the job drive.
    model: u32,
    data: Arc<Pack>,
}

/// The file tree.
pub(super) struct Tree {
    /// None outside of a job.
    packs: Option<Packs>,
    fixed: BTreeMap<Inode, Fixed>,
    pub(super) nodes: BTreeMap<Inode, Node>,
    pub(super) next_inode: Inode,
    pub(super) next_serial: u64,
    pub(super) area: Area,
    pub(super) limits: TreeLimits,
    pub(super) entries: usize,
    pub(super) name_bytes: usize,
}

/// What goes away, and what comes beside a name, when an entry is made.
#[derive(Clone, Copy, Default)]
pub(super) struct Replaced {
    pub(super) entries: usize,
    pub(super) name_bytes: usize,
    pub(super) added_bytes: usize,
}

/// The file area: pages that hold the contents of writable files.
pub(super) struct Area {
    bytes: Vec<u8>,
    used: Vec<bool>,
    /// Pages that may hold something else than zeros.
    written: Vec<bool>,
    /// Pages below the highest used one that are free.
    free: BTreeSet<u32>,
    changed: Vec<bool>,
    limits: [u32; 2],
    taken: [u32; 2],
}

impl Area {
    pub(super) fn new(out_pages: u32, scratch_pages: u32) -> Self {
        Self {
            bytes: Vec::new(),
            used: Vec::new(),
            written: Vec::new(),
            free: BTreeSet::new(),
            changed: Vec::new(),
            limits: [out_pages, scratch_pages],
            taken: [0; 2],
        }
    }

    /// Pages that a mount may still take.
    fn left(&self, mount: Mount) -> u32 {
        self.limits[mount as usize] - self.taken[mount as usize]
    }

    pub(super) fn limit(&self, mount: Mount) -> u32 {
        self.limits[mount as usize]
    }

    pub(super) fn total_pages(&self) -> u32 {
        self.limits[0] + self.limits[1]
    }

    /// The lowest free page, zeroed. The caller has checked that there is one.
    fn take(&mut self, mount: Mount) -> u32 {
        self.taken[mount as usize] += 1;
        let page = self.free.pop_first().unwrap_or(self.used.len() as u32);
        self.grow_to(page as usize + 1);
        self.used[page as usize] = true;
        page
    }

    fn grow_to(&mut self, pages: usize) {
        if self.used.len() < pages {
            self.used.resize(pages, false);
            self.written.resize(pages, false);
            self.changed.resize(pages, false);
            self.bytes.resize(pages * PAGE_BYTES, 0);
        }
    }

    fn give_back(&mut self, page: u32, mount: Mount) {
        self.taken[mount as usize] -= 1;
        self.used[page as usize] = false;
        self.free.insert(page);
        if self.written[page as usize] {
            self.page_mut(page).fill(0);
            self.written[page as usize] = false;
        }
    }

    pub(super) fn page(&self, page: u32) -> &[u8] {
        &self.bytes[page as usize * PAGE_BYTES..][..PAGE_BYTES]
    }

    fn page_mut(&mut self, page: u32) -> &mut [u8] {
        self.changed[page as usize] = true;
        self.written[page as usize] = true;
        &mut self.bytes[page as usize * PAGE_BYTES..][..PAGE_BYTES]
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn take_changed(&mut self) -> Vec<u32> {
        let changed = (0..).zip(&self.changed).filter(|(_, changed)| **changed).map(|(page, _)| page).collect();
        self.changed.fill(false);
        changed
    }

    /// Takes over a page from an image. `None` when it is taken already or beyond the limits.
    pub(super) fn adopt(&mut self, page: u32, mount: Mount, content: &[u8]) -> Option<()> {
        if page >= self.total_pages() || self.left(mount) == 0 {
            return None;
        }
        let known = self.used.len() as u32;
        self.grow_to(page as usize + 1);
        self.free.extend(known..page);
        self.free.remove(&page);
        if core::mem::replace(&mut self.used[page as usize], true) {
            return None;
        }
        self.taken[mount as usize] += 1;
        self.page_mut(page).copy_from_slice(content);
        Some(())
    }
}

impl Tree {
    /// The tree at the beginning. `now` is the time of everything in it.
    pub(super) fn new(files: &Files, now: u64) -> Self {
        match files {
            Files::Job { model, data, out_pages, scratch_pages } => {
                let mut tree = Self::empty(Area::new(*out_pages, *scratch_pages), JOB_LIMITS);
                let model_entry = JOB_ENTRIES | u64::from(model.1);
                tree.packs = Some(Packs { job: model.0.clone(), model: model.1, data: data.clone() });
                tree.fix(JOB, ROOT, &[("model", model_entry)]);
                tree.fix(ROOT, ROOT, &[("data", DATA), ("job", JOB), ("out", OUT), ("tmp", TMP)]);
                for (inode, mount) in [(OUT, Mount::Out), (TMP, Mount::Tmp)] {
                    let content = Content::empty_directory(ROOT);
                    tree.nodes.insert(inode, Node { mount, links: 1, times: [now; 3], content });
                }
                tree
            }
            Files::Directories(directories) => Self::with_directories(directories, now),
        }
    }

    fn empty(area: Area, limits: TreeLimits) -> Self {
        Self {
            packs: None,
            fixed: BTreeMap::new(),
            nodes: BTreeMap::new(),
            next_inode: FIRST_FREE,
            next_serial: 0,
            area,
            limits,
            entries: 0,
            name_bytes: 0,
        }
    }

    fn fix(&mut self, inode: Inode, parent: Inode, entries: &[(&str, Inode)]) {
        let entries = entries.iter().map(|&(name, inode)| (name.into(), inode)).collect();
        self.fixed.insert(inode, Fixed { parent, entries });
    }

    fn with_directories(directories: &Directories, now: u64) -> Self {
        let mut tree = Self::empty(Area::new(0, directories.pages), directories.limits);
        let add = |tree: &mut Self, inode, parent| {
            let content = Content::empty_directory(parent);
            tree.nodes.insert(inode, Node { mount: Mount::Tmp, links: 1, times: [now; 3], content });
        };
        if directories.paths().any(|path| path.is_empty()) {
            add(&mut tree, ROOT, ROOT);
            return tree;
        }
        tree.fix(ROOT, ROOT, &[]);
        for path in directories.paths() {
            let mut above = ROOT;
            let (name, around) = path.split_last().expect("a path within the root");
            for name in around {
                let next = tree.next_inode;
                let parent = tree.fixed.get_mut(&above).expect("no directory lies within another");
                let known = *parent.entries.entry(name.clone()).or_insert(next);
                if known == next {
                    tree.next_inode += 1;
                    tree.fix(known, above, &[]);
                }
                above = known;
            }
            let inode = tree.next_inode;
            tree.next_inode += 1;
            tree.fixed.get_mut(&above).expect("a fixed directory").entries.insert(name.clone(), inode);
            add(&mut tree, inode, above);
        }
        tree
    }

    /// The pack entry that an inode stands for.
    fn entry(&self, inode: Inode) -> Option<(&Pack, u32)> {
        let packs = self.packs.as_ref()?;
        match inode & !ENTRY_NUMBERS {
            DATA_ENTRIES => Some((&packs.data, inode as u32)),
            JOB_ENTRIES => Some((&packs.job, inode as u32)),
            _ => None,
        }
    }

    /// Whether this inode exists.
    pub(super) fn exists(&self, inode: Inode) -> bool {
        if let Some((pack, number)) = self.entry(inode) {
            return pack.entry(number).is_some()
                && (inode & !ENTRY_NUMBERS == DATA_ENTRIES || self.is_of_model(number));
        }
        matches!(inode, STDIN | STDOUT | STDERR)
            || (inode == DATA && self.packs.is_some())
            || self.fixed.contains_key(&inode)
            || self.nodes.contains_key(&inode)
    }

    /// Whether an entry of the job drive is the model or lies below it.
    fn is_of_model(&self, mut number: u32) -> bool {
        let Some(packs) = &self.packs else { return false };
        while number != packs.model {
            match packs.job.entry(number).and_then(|entry| entry.parent) {
                Some(parent) => number = parent,
                None => return false,
            }
        }
        true
    }

    pub(super) fn file_type(&self, inode: Inode) -> FileType {
        if let Some((pack, number)) = self.entry(inode) {
            let is_file = pack.entry(number).is_some_and(|entry| entry.content.is_some());
            return if is_file { FileType::RegularFile } else { FileType::Directory };
        }
        match self.nodes.get(&inode).map(|node| &node.content) {
            Some(Content::File { .. }) => FileType::RegularFile,
            Some(Content::SymbolicLink(_)) => FileType::SymbolicLink,
            Some(Content::Directory { .. }) => FileType::Directory,
            None if matches!(inode, STDIN | STDOUT | STDERR) => FileType::CharacterDevice,
            None => FileType::Directory,
        }
    }

    /// Whether the inode can be changed at all.
    pub(super) fn is_writable(&self, inode: Inode) -> bool {
        self.nodes.contains_key(&inode)
    }

    pub(super) fn size(&self, inode: Inode) -> u64 {
        if let Some(content) = self.read_only(inode) {
            return content.len() as u64;
        }
        match self.nodes.get(&inode).map(|node| &node.content) {
            Some(Content::File { size, .. }) => *size,
            Some(Content::SymbolicLink(target)) => target.len() as u64,
            _ => 0,
        }
    }

    /// The content of a file in a pack.
    pub(super) fn read_only(&self, inode: Inode) -> Option<&[u8]> {
        let (pack, number) = self.entry(inode)?;
        pack.entry(number)?.content
    }

    /// What a symbolic link holds.
    pub(super) fn link_target(&self, inode: Inode) -> Option<&str> {
        match &self.nodes.get(&inode)?.content {
            Content::SymbolicLink(target) => Some(target),
            _ => None,
        }
    }

    /// The entry called `name` in a directory.
    pub(super) fn lookup(&self, directory: Inode, name: &str) -> Option<Inode> {
        if let Some(node) = self.nodes.get(&directory) {
            let Content::Directory { entries, .. } = &node.content else { return None };
            return entries.get(name).map(|entry| entry.inode);
        }
        if let Some(fixed) = self.fixed.get(&directory) {
            return fixed.entries.get(name).copied();
        }
        let (pack, number) = self.pack_directory(directory)?;
        let children = pack.children(number);
        let found =
            children.binary_search_by(|&child| pack.entry(child).map_or("", |entry| entry.name()).cmp(name)).ok()?;
        Some(pack_base(directory) | u64::from(children[found]))
    }

    /// The pack that a directory lies in, and the number of its entry there; the top has none.
    fn pack_directory(&self, directory: Inode) -> Option<(&Pack, Option<u32>)> {
        if directory == DATA {
            return self.packs.as_ref().map(|packs| (&*packs.data, None));
        }
        self.entry(directory).map(|(pack, number)| (pack, Some(number)))
    }

    /// The directory around a directory; the root's is the root.
    pub(super) fn parent(&self, directory: Inode) -> Inode {
        if let Some((pack, number)) = self.entry(directory) {
            let base = pack_base(directory);
            let is_model = base == JOB_ENTRIES && self.packs.as_ref().is_some_and(|packs| packs.model == number);
            return match pack.entry(number).and_then(|entry| entry.parent) {
                Some(parent) if !is_model => base | u64::from(parent),
                _ if base == DATA_ENTRIES => DATA,
                _ => JOB,
            };
        }
        if let Some(fixed) = self.fixed.get(&directory) {
            return fixed.parent;
        }
        match self.nodes.get(&directory).map(|node| &node.content) {
            Some(Content::Directory { parent, .. }) => *parent,
            _ => ROOT,
        }
    }

    /// The entry of a directory that follows position `after` (0 is the beginning), with its own position.
    pub(super) fn next_entry(&self, directory: Inode, after: u64) -> Option<(u64, &str, Inode)> {
        if let Some(node) = self.nodes.get(&directory) {
            let Content::Directory { entries, .. } = &node.content else { return None };
            let (name, entry) = entries.first_from(after)?;
            return Some((entry.serial + 1, name, entry.inode));
        }
        let position = usize::try_from(after).ok()?;
        if let Some(fixed) = self.fixed.get(&directory) {
            let (name, inode) = fixed.entries.iter().nth(position)?;
            return Some((after + 1, name, *inode));
        }
        let (pack, number) = self.pack_directory(directory)?;
        let child = *pack.children(number).get(position)?;
        Some((after + 1, pack.entry(child)?.name(), pack_base(directory) | u64::from(child)))
    }

    /// The entries of a writable directory.
    fn entries_mut(&mut self, directory: Inode) -> Result<&mut Entries, Errno> {
        match self.nodes.get_mut(&directory).map(|node| &mut node.content) {
            Some(Content::Directory { entries, .. }) => Ok(entries),
            Some(_) => Err(Errno::Notdir),
            None => Err(Errno::Rofs),
        }
    }

    /// Checks that a directory can take an entry of this name, when entries and names that it replaces are gone.
    pub(super) fn check_room(&self, directory: Inode, name: &str, replaced: Replaced) -> Result<(), Errno> {
        let node = self.nodes.get(&directory).ok_or(Errno::Rofs)?;
        if name.len() > MAX_NAME {
            return Err(Errno::Nametoolong);
        }
        // A directory that was removed stays empty.
        if node.links == 0 {
            return Err(Errno::Noent);
        }
        let name_bytes = self.name_bytes + name.len() + replaced.added_bytes - replaced.name_bytes;
        let fits = self.entries - replaced.entries < self.limits.entries && name_bytes <= self.limits.name_bytes;
        if fits { Ok(()) } else { Err(Errno::Nospc) }
    }

    /// Enters an existing node under a new name, for which there is room.
    pub(super) fn enter(&mut self, directory: Inode, name: &str, inode: Inode, now: u64) -> Result<(), Errno> {
        self.enter_at(directory, name, DirectoryEntry { inode, serial: self.next_serial }, now)?;
        self.next_serial += 1;
        Ok(())
    }

    /// The same at a place in listings that is free.
    pub(super) fn enter_at(
        &mut self,
        directory: Inode,
        name: &str,
        entry: DirectoryEntry,
        now: u64,
    ) -> Result<(), Errno> {
        let added = self.entries_mut(directory)?.insert(name, entry);
        assert!(added, "looked up before");
        self.entries += 1;
        self.name_bytes += name.len();
        self.touch(directory, now);
        Ok(())
    }

    /// Makes a node and enters it.
    pub(super) fn create(&mut self, directory: Inode, name: &str, content: Content, now: u64) -> Result<Inode, Errno> {
        let mount = self.nodes.get(&directory).ok_or(Errno::Rofs)?.mount;
        let target_bytes = if let Content::SymbolicLink(target) = &content { target.len() } else { 0 };
        self.check_room(directory, name, Replaced { added_bytes: target_bytes, ..Replaced::default() })?;
        if self.nodes.len() >= self.limits.inodes || self.next_inode >= DATA_ENTRIES {
            return Err(Errno::Nospc);
        }
        let inode = self.next_inode;
        self.enter(directory, name, inode, now)?;
        self.name_bytes += target_bytes;
        self.next_inode += 1;
        self.nodes.insert(inode, Node { mount, links: 1, times: [now; 3], content });
        Ok(inode)
    }

    /// Takes a name out of a directory. The node itself goes with [`Self::release`].
    pub(super) fn leave(&mut self, directory: Inode, name: &str, now: u64) -> Result<DirectoryEntry, Errno> {
        let entry = self.entries_mut(directory)?.remove(name).ok_or(Errno::Noent)?;
        self.entries -= 1;
        self.name_bytes -= name.len();
        self.touch(directory, now);
        Ok(entry)
    }

    /// Counts one link less.
    pub(super) fn unlink(&mut self, inode: Inode, now: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.links -= 1;
            node.times[2] = now;
        }
    }

    /// Enters a node under one more name.
    pub(super) fn link(&mut self, directory: Inode, name: &str, inode: Inode, now: u64) -> Result<(), Errno> {
        self.check_room(directory, name, Replaced::default())?;
        let node = self.nodes.get_mut(&inode).ok_or(Errno::Rofs)?;
        if node.links >= MAX_LINKS {
            return Err(Errno::Mlink);
        }
        node.links += 1;
        node.times[2] = now;
        self.enter(directory, name, inode, now)
    }

    /// Frees a node that has no links and is not open.
    pub(super) fn release(&mut self, inode: Inode) {
        if self.nodes.get(&inode).is_none_or(|node| node.links > 0) {
            return;
        }
        let node = self.nodes.remove(&inode).expect("looked up before");
        match node.content {
            Content::File { pages, .. } => pages.iter().for_each(|&page| self.area.give_back(page, node.mount)),
            Content::SymbolicLink(target) => self.name_bytes -= target.len(),
            Content::Directory { .. } => {}
        }
    }

    fn touch(&mut self, inode: Inode, now: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.times[1] = now;
            node.times[2] = now;
        }
    }

    pub(super) fn moved_to(&mut self, directory: Inode, new_parent: Inode) {
        if let Some(Content::Directory { parent, .. }) = self.nodes.get_mut(&directory).map(|node| &mut node.content) {
            *parent = new_parent;
        }
    }

    pub(super) fn is_empty(&self, directory: Inode) -> bool {
        self.next_entry(directory, 0).is_none()
    }

    /// Copies from a file. Gives the number of bytes; less than asked only at the end.
    pub(super) fn read(&self, inode: Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        if let Some(content) = self.read_only(inode) {
            let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..)).unwrap_or(&[]);
            let bytes = rest.len().min(buffer.len());
            buffer[..bytes].copy_from_slice(&rest[..bytes]);
            return Ok(bytes);
        }
        let Some(Content::File { size, pages }) = self.nodes.get(&inode).map(|node| &node.content) else {
            return Err(Errno::Isdir);
        };
        let bytes = size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < bytes {
            let at = offset as usize + done;
            let within = at % PAGE_BYTES;
            let part = (bytes - done).min(PAGE_BYTES - within);
            let page = self.area.page(pages[at / PAGE_BYTES]);
            buffer[done..done + part].copy_from_slice(&page[within..within + part]);
            done += part;
        }
        Ok(bytes)
    }

    /// Writes to a file, up to where its mount is full. Gives the number of bytes; [`Errno::Nospc`] when not even one
    /// fits.
    pub(super) fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8], now: u64) -> Result<usize, Errno> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let node = self.nodes.get_mut(&inode).ok_or(Errno::Rofs)?;
        let Content::File { size, pages } = &mut node.content else { return Err(Errno::Isdir) };
        let capacity = (pages.len() as u64 + u64::from(self.area.left(node.mount))) * PAGE_BYTES as u64;
        if offset >= capacity {
            return Err(Errno::Nospc);
        }
        let bytes = &bytes[..bytes.len().min((capacity - offset) as usize)];
        let end = offset + bytes.len() as u64;
        while ((pages.len() * PAGE_BYTES) as u64) < end {
            pages.push(self.area.take(node.mount));
        }
        *size = end.max(*size);
        node.times[1] = now;
        node.times[2] = now;
        let mut done = 0;
        while done < bytes.len() {
            let at = offset as usize + done;
            let within = at % PAGE_BYTES;
            let part = (bytes.len() - done).min(PAGE_BYTES - within);
            self.area.page_mut(pages[at / PAGE_BYTES])[within..within + part]
                .copy_from_slice(&bytes[done..done + part]);
            done += part;
        }
        Ok(bytes.len())
    }

    /// Cuts or extends a file with zeros.
    pub(super) fn set_size(&mut self, inode: Inode, new_size: u64, now: u64) -> Result<(), Errno> {
        let node = self.nodes.get_mut(&inode).ok_or(Errno::Rofs)?;
        let Content::File { size, pages } = &mut node.content else { return Err(Errno::Isdir) };
        let capacity = (pages.len() as u64 + u64::from(self.area.left(node.mount))) * PAGE_BYTES as u64;
        if new_size > capacity {
            return Err(if new_size > u64::from(self.area.limit(node.mount)) * PAGE_BYTES as u64 {
                Errno::Fbig
            } else {
                Errno::Nospc
            });
        }
        let needed = new_size.div_ceil(PAGE_BYTES as u64) as usize;
        while pages.len() < needed {
            pages.push(self.area.take(node.mount));
        }
        for page in pages.drain(needed..) {
            self.area.give_back(page, node.mount);
        }
        let within = (new_size % PAGE_BYTES as u64) as usize;
        if let Some(&last) = pages.last()
            && within > 0
            && new_size < *size
        {
            self.area.page_mut(last)[within..].fill(0);
        }
        *size = new_size;
        node.times[1] = now;
        node.times[2] = now;
        Ok(())
    }
}

/// The inode number of entry 0 of the pack that a directory lies in.
fn pack_base(directory: Inode) -> Inode {
    if directory == DATA { DATA_ENTRIES } else { directory & !ENTRY_NUMBERS }
}
