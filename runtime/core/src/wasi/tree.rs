//! The file tree: read-only packs and a writable part in memory.
//!
//! Every file has an inode number, and the number tells where it is: 1 to 8 are the fixed directories and the standard
//! streams, `1 << 32 | n` is entry n of the capsule, `2 << 32 | n` entry n of the job drive, and all others are in the
//! writable part, numbered from 16 in the order of their creation.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Errno;
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

/// The most inodes of the writable part, which leaves room for them in the metadata.
pub(super) const MAX_INODES: usize = 2048;

/// The most directory entries of the writable part.
pub(super) const MAX_ENTRIES: usize = 2048;

/// The most bytes of names and link targets together in the writable part.
pub(super) const MAX_NAME_BYTES: usize = 128 << 10;

/// The most bytes of a file's name.
pub(super) const MAX_NAME: usize = 255;

/// The most links to a file.
const MAX_LINKS: u32 = 1000;

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
        entries: BTreeMap<String, DirectoryEntry>,
    },
    SymbolicLink(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DirectoryEntry {
    pub(super) inode: Inode,
    /// Rises with each entry made; orders listings.
    pub(super) serial: u64,
}

/// The file tree.
pub(super) struct Tree {
    model: (Arc<Pack>, u32),
    data: Arc<Pack>,
    pub(super) nodes: BTreeMap<Inode, Node>,
    pub(super) next_inode: Inode,
    pub(super) next_serial: u64,
    pub(super) area: Area,
    pub(super) entries: usize,
    pub(super) name_bytes: usize,
}

/// The file area: pages that hold the contents of writable files.
pub(super) struct Area {
    bytes: Vec<u8>,
    used: Vec<bool>,
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
            self.changed.resize(pages, false);
            self.bytes.resize(pages * PAGE_BYTES, 0);
        }
    }

    fn give_back(&mut self, page: u32, mount: Mount) {
        self.taken[mount as usize] -= 1;
        self.used[page as usize] = false;
        self.free.insert(page);
        self.page_mut(page).fill(0);
    }

    pub(super) fn page(&self, page: u32) -> &[u8] {
        &self.bytes[page as usize * PAGE_BYTES..][..PAGE_BYTES]
    }

    fn page_mut(&mut self, page: u32) -> &mut [u8] {
        self.changed[page as usize] = true;
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
    pub(super) fn new(model: (Arc<Pack>, u32), data: Arc<Pack>, area: Area, now: u64) -> Self {
        let mount = |mount| Node {
            mount,
            links: 1,
            times: [now; 3],
            content: Content::Directory { parent: ROOT, entries: BTreeMap::new() },
        };
        Self {
            model,
            data,
            nodes: BTreeMap::from([(OUT, mount(Mount::Out)), (TMP, mount(Mount::Tmp))]),
            next_inode: FIRST_FREE,
            next_serial: 0,
            area,
            entries: 0,
            name_bytes: 0,
        }
    }

    /// The pack entry that an inode stands for.
    fn entry(&self, inode: Inode) -> Option<(&Pack, u32)> {
        match inode >> 32 {
            1 => Some((&self.data, inode as u32)),
            2 => Some((&self.model.0, inode as u32)),
            _ => None,
        }
    }

    /// Whether this inode exists.
    pub(super) fn exists(&self, inode: Inode) -> bool {
        match self.entry(inode) {
            Some((pack, number)) => match pack.entry(number) {
                Some(entry) => {
                    let model_path = self.model.0.entry(self.model.1).map_or("", |model| model.path);
                    inode >> 32 == 1
                        || entry.path == model_path
                        || entry.path.strip_prefix(model_path).is_some_and(|rest| rest.starts_with('/'))
                }
                None => false,
            },
            None => matches!(inode, ROOT | JOB | DATA | STDIN | STDOUT | STDERR) || self.nodes.contains_key(&inode),
        }
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

    /// The entry called `name` in a directory.
    pub(super) fn lookup(&self, directory: Inode, name: &str) -> Option<Inode> {
        match directory {
            ROOT => match name {
                "job" => Some(JOB),
                "data" => Some(DATA),
                "out" => Some(OUT),
                "tmp" => Some(TMP),
                _ => None,
            },
            JOB => (name == "model").then(|| JOB_ENTRIES | u64::from(self.model.1)),
            DATA => self.lookup_in_pack(&self.data, None, DATA_ENTRIES, name),
            _ => match (self.entry(directory), self.nodes.get(&directory).map(|node| &node.content)) {
                (Some((pack, number)), _) => self.lookup_in_pack(pack, Some(number), directory >> 32 << 32, name),
                (None, Some(Content::Directory { entries, .. })) => entries.get(name).map(|entry| entry.inode),
                _ => None,
            },
        }
    }

    fn lookup_in_pack(&self, pack: &Pack, directory: Option<u32>, base: Inode, name: &str) -> Option<Inode> {
        let children = pack.children(directory);
        let found =
            children.binary_search_by(|&child| pack.entry(child).map_or("", |entry| entry.name()).cmp(name)).ok()?;
        Some(base | u64::from(children[found]))
    }

    /// The directory around a directory; the root's is the root.
    pub(super) fn parent(&self, directory: Inode) -> Inode {
        if let Some((pack, number)) = self.entry(directory) {
            let base = directory >> 32 << 32;
            let is_model = base == JOB_ENTRIES && number == self.model.1;
            return match pack.entry(number).and_then(|entry| entry.parent) {
                Some(parent) if !is_model => base | u64::from(parent),
                _ if base == DATA_ENTRIES => DATA,
                _ => JOB,
            };
        }
        match self.nodes.get(&directory).map(|node| &node.content) {
            Some(Content::Directory { parent, .. }) => *parent,
            _ => ROOT,
        }
    }

    /// The entry of a directory that follows position `after` (0 is the beginning), with its own position.
    pub(super) fn next_entry(&self, directory: Inode, after: u64) -> Option<(u64, &str, Inode)> {
        let at = |names: &[(&'static str, Inode)]| {
            let &(name, inode) = names.get(usize::try_from(after).ok()?)?;
            Some((after + 1, name, inode))
        };
        let in_pack = |pack, directory, base| self.next_in_pack(pack, directory, base, after);
        match directory {
            ROOT => at(&[("data", DATA), ("job", JOB), ("out", OUT), ("tmp", TMP)]),
            JOB => at(&[("model", JOB_ENTRIES | u64::from(self.model.1))]),
            DATA => in_pack(&*self.data, None, DATA_ENTRIES),
            _ => match (self.entry(directory), self.nodes.get(&directory).map(|node| &node.content)) {
                (Some((pack, number)), _) => in_pack(pack, Some(number), directory >> 32 << 32),
                (None, Some(Content::Directory { entries, .. })) => entries
                    .iter()
                    .filter(|(_, entry)| entry.serial >= after)
                    .min_by_key(|(_, entry)| entry.serial)
                    .map(|(name, entry)| (entry.serial + 1, name.as_str(), entry.inode)),
                _ => None,
            },
        }
    }

    fn next_in_pack<'a>(
        &self,
        pack: &'a Pack,
        directory: Option<u32>,
        base: Inode,
        after: u64,
    ) -> Option<(u64, &'a str, Inode)> {
        let child = *pack.children(directory).get(usize::try_from(after).ok()?)?;
        Some((after + 1, pack.entry(child)?.name(), base | u64::from(child)))
    }

    /// The entries of a writable directory.
    fn entries_mut(&mut self, directory: Inode) -> Result<&mut BTreeMap<String, DirectoryEntry>, Errno> {
        match self.nodes.get_mut(&directory).map(|node| &mut node.content) {
            Some(Content::Directory { entries, .. }) => Ok(entries),
            Some(_) => Err(Errno::Notdir),
            None => Err(Errno::Rofs),
        }
    }

    /// Enters an existing node under a new name.
    pub(super) fn enter(&mut self, directory: Inode, name: &str, inode: Inode, now: u64) -> Result<(), Errno> {
        if name.len() > MAX_NAME {
            return Err(Errno::Nametoolong);
        }
        if self.entries >= MAX_ENTRIES || self.name_bytes + name.len() > MAX_NAME_BYTES {
            return Err(Errno::Nospc);
        }
        if self.nodes.get(&directory).is_some_and(|node| node.links == 0) {
            return Err(Errno::Noent);
        }
        let serial = self.next_serial;
        self.entries_mut(directory)?.insert(name.into(), DirectoryEntry { inode, serial });
        self.next_serial += 1;
        self.entries += 1;
        self.name_bytes += name.len();
        self.touch(directory, now);
        Ok(())
    }

    /// Makes a node and enters it.
    pub(super) fn create(&mut self, directory: Inode, name: &str, content: Content, now: u64) -> Result<Inode, Errno> {
        let mount = self.nodes.get(&directory).ok_or(Errno::Rofs)?.mount;
        let target_bytes = if let Content::SymbolicLink(target) = &content { target.len() } else { 0 };
        if self.nodes.len() >= MAX_INODES || self.name_bytes + target_bytes + name.len() > MAX_NAME_BYTES {
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
    pub(super) fn leave(&mut self, directory: Inode, name: &str, now: u64) -> Result<Inode, Errno> {
        let entry = self.entries_mut(directory)?.remove(name).ok_or(Errno::Noent)?;
        self.entries -= 1;
        self.name_bytes -= name.len();
        self.touch(directory, now);
        Ok(entry.inode)
    }

    /// Counts one link less.
    pub(super) fn unlink(&mut self, inode: Inode, now: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.links -= 1;
            node.times[2] = now;
        }
    }

    /// Counts one link more.
    pub(super) fn link(&mut self, inode: Inode, now: u64) -> Result<(), Errno> {
        let node = self.nodes.get_mut(&inode).ok_or(Errno::Rofs)?;
        if node.links >= MAX_LINKS {
            return Err(Errno::Mlink);
        }
        node.links += 1;
        node.times[2] = now;
        Ok(())
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
