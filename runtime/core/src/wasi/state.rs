//! The WASI state in the state image.
//!
//! Numbers are little-endian. First, fixed:
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | the monotonic clock in nanoseconds |
//! | 8 | 8 | bytes of the random stream that were used |
//! | 16 | 8 | the next inode number |
//! | 24 | 8 | the serial of the next directory entry |
//! | 32 | 4 | number of nodes |
//! | 36 | 4 | number of descriptors |
//!
//! Then the nodes of the writable part, by inode number: inode (8), type (1: 3 directory, 4 file, 7 symbolic link),
//! mount (1: 0 `/out`, 1 `/tmp`), zero (2), links (4), access, modification and change time (8 each), and
//!
//! - of a file: size (8), and the page of the file area (4) for each 4 KiB begun;
//! - of a directory: inode of its parent (8), number of entries (4), and for each entry, by the bytes of its name:
//!   inode (8), serial (8), bytes of the name (2), name;
//! - of a symbolic link: bytes of the target (2), target.
//!
//! Then the descriptors by number: number (4), flags (2), zero (2), inode (8), offset (8), rights (8), inheriting
//! rights (8). The rest is zero.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use super::rights;
use super::tree::{
    Area, Content, DirectoryEntry, Entries, FIRST_FREE, FileType, JOB_LIMITS, MAX_LINKS, MAX_NAME, Mount, Node, OUT,
    ROOT, TMP,
};
use super::{Config, Descriptor, FDFLAGS_ALL, Files, MAX_PATH, STREAM_BYTES, Wasi};
use crate::tree::PAGE_BYTES;

/// Bytes that the WASI state takes in a state image.
pub const METADATA_BYTES: usize = 1 << 20;

/// The most pages of `/out` and `/tmp` together, so that their numbers fit into the metadata: 256 MiB.
pub const MAX_FILE_PAGES: u64 = 1 << 16;

/// The most descriptors, so that they fit into the metadata.
pub const MAX_OPEN_FILES: u64 = 1024;

const _: () = assert!(
    40 + JOB_LIMITS.inodes * 60
        + MAX_FILE_PAGES as usize * 4
        + JOB_LIMITS.entries * 18
        + JOB_LIMITS.name_bytes
        + MAX_OPEN_FILES as usize * 40
        <= METADATA_BYTES
);

/// Serials stay below this, far more than a guest can reach, so that cookies made of them cannot overflow.
const MAX_SERIAL: u64 = 1 << 62;

/// The bytes are not a WASI state; holds what is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RestoreError(pub &'static str);

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for RestoreError {}

impl Wasi {
    /// Writes the state, but for the file area, over all of `metadata`.
    ///
    /// # Panics
    /// When `metadata` has not [`METADATA_BYTES`], or this is not the state of a job's run.
    pub fn save(&self, metadata: &mut [u8]) {
        assert_eq!(metadata.len(), METADATA_BYTES);
        assert!(
            matches!(self.config.files, Files::Job { .. }),
            "only the state of a job's run has a place in an image"
        );
        let mut out = Writer { bytes: metadata, at: 0 };
        out.u64(self.clock);
        out.u64(self.random);
        out.u64(self.tree.next_inode);
        out.u64(self.tree.next_serial);
        out.u32(self.tree.nodes.len() as u32);
        out.u32(self.descriptors.len() as u32);
        for (inode, node) in &self.tree.nodes {
            out.u64(*inode);
            let kind = match node.content {
                Content::Directory { .. } => FileType::Directory,
                Content::File { .. } => FileType::RegularFile,
                Content::SymbolicLink(_) => FileType::SymbolicLink,
            };
            out.put(&[kind as u8, node.mount as u8, 0, 0]);
            out.u32(node.links);
            node.times.iter().for_each(|time| out.u64(*time));
            match &node.content {
                Content::File { size, pages } => {
                    out.u64(*size);
                    pages.iter().for_each(|page| out.u32(*page));
                }
                Content::Directory { parent, entries } => {
                    out.u64(*parent);
                    out.u32(entries.len() as u32);
                    for (name, entry) in entries.iter() {
                        out.u64(entry.inode);
                        out.u64(entry.serial);
                        out.text(name);
                    }
                }
                Content::SymbolicLink(target) => out.text(target),
            }
        }
        for (fd, open) in &self.descriptors {
            out.u32(*fd);
            out.put(&open.flags.to_le_bytes());
            out.put(&[0, 0]);
            out.u64(open.inode);
            out.u64(open.offset);
            out.u64(open.rights);
            out.u64(open.inheriting);
        }
        let end = out.at;
        metadata[end..].fill(0);
    }

    /// The state that [`Self::save`] wrote. `files` is the whole file area of the image.
    ///
    /// # Errors
    /// When no guest could have brought it about.
    pub fn restore(config: Config, metadata: &[u8], files: &[u8]) -> Result<Self, RestoreError> {
        let mut wasi = Self::new(config);
        let total_pages = wasi.tree.area.total_pages() as usize;
        if metadata.len() != METADATA_BYTES || files.len() != total_pages * PAGE_BYTES {
            return Err(RestoreError("it has another size than the job allows for"));
        }
        let mut reader = Reader(metadata);
        wasi.read(&mut reader, files).ok_or(RestoreError("a record is impossible"))?;
        wasi.check_links().ok_or(RestoreError("its files and directories do not fit together"))?;
        wasi.check_descriptors().ok_or(RestoreError("an open file is impossible"))?;
        let used: BTreeSet<u32> = wasi.tree.nodes.values().flat_map(|node| node.content.pages()).copied().collect();
        let unused_is_zero = (0..)
            .zip(files.chunks_exact(PAGE_BYTES))
            .all(|(page, bytes)| used.contains(&page) || bytes.iter().all(|&byte| byte == 0));
        if !unused_is_zero {
            return Err(RestoreError("a page that belongs to no file is not zero"));
        }
        let mut again = alloc::vec![0; METADATA_BYTES];
        wasi.save(&mut again);
        if again == metadata { Ok(wasi) } else { Err(RestoreError("it is not canonical")) }
    }

    fn read(&mut self, reader: &mut Reader<'_>, files: &[u8]) -> Option<()> {
        self.clock = reader.u64()?;
        self.random = reader.u64()?;
        self.tree.next_inode = reader.u64()?;
        self.tree.next_serial = reader.u64()?;
        let nodes = reader.u32()? as usize;
        let descriptors = reader.u32()? as usize;
        if nodes > JOB_LIMITS.inodes
            || descriptors > self.config.open_files as usize
            || !(FIRST_FREE..=1 << 32).contains(&self.tree.next_inode)
            || self.tree.next_serial >= MAX_SERIAL
            || self.random > STREAM_BYTES
        {
            return None;
        }
        self.tree.nodes.clear();
        for _ in 0..nodes {
            let inode = reader.u64()?;
            let fixed = matches!(inode, OUT | TMP);
            if !fixed && !(FIRST_FREE..self.tree.next_inode).contains(&inode) {
                return None;
            }
            let node = read_node(reader, &mut self.tree.area, files)?;
            match &node.content {
                Content::SymbolicLink(target) => self.tree.name_bytes += target.len(),
                Content::Directory { entries, .. } => {
                    self.tree.entries += entries.len();
                    self.tree.name_bytes += entries.iter().map(|(name, _)| name.len()).sum::<usize>();
                }
                Content::File { .. } => {}
            }
            if self.tree.nodes.insert(inode, node).is_some() {
                return None;
            }
        }
        self.descriptors.clear();
        for _ in 0..descriptors {
            let fd = reader.u32()?;
            let flags = reader.u16()?;
            let reserved = reader.u16()?;
            let open = Descriptor {
                inode: reader.u64()?,
                offset: reader.u64()?,
                flags,
                rights: reader.u64()?,
                inheriting: reader.u64()?,
            };
            if reserved != 0 || self.descriptors.insert(fd, open).is_some() {
                return None;
            }
        }
        (self.tree.entries <= JOB_LIMITS.entries && self.tree.name_bytes <= JOB_LIMITS.name_bytes).then_some(())
    }

    /// Entries, link counts and parents agree, and every directory that is linked hangs from a mount.
    fn check_links(&self) -> Option<()> {
        let nodes = &self.tree.nodes;
        for (inode, mount) in [(OUT, Mount::Out), (TMP, Mount::Tmp)] {
            match nodes.get(&inode)? {
                Node { mount: is, links: 1, content: Content::Directory { parent: ROOT, .. }, .. } if *is == mount => {}
                _ => return None,
            }
        }
        let mut links = BTreeMap::from([(OUT, 1u32), (TMP, 1)]);
        // Downwards from the mounts: each directory has one entry at most, so none is met twice.
        let mut open = Vec::from([OUT, TMP]);
        let mut linked_directories = 0;
        while let Some(inode) = open.pop() {
            linked_directories += 1;
            let node = &nodes[&inode];
            let Content::Directory { entries, .. } = &node.content else { continue };
            if entries.highest_serial().is_some_and(|highest| highest >= self.tree.next_serial) {
                return None;
            }
            for (_, entry) in entries.iter() {
                let child = nodes.get(&entry.inode).filter(|child| child.mount == node.mount)?;
                let count = links.entry(entry.inode).or_insert(0);
                *count += 1;
                if let Content::Directory { parent, .. } = child.content {
                    if parent != inode || *count > 1 {
                        return None;
                    }
                    open.push(entry.inode);
                }
            }
        }
        // What nothing leads to any more is there because it is open; such a directory is empty.
        let mut directories = 0;
        for (inode, node) in nodes {
            let is_linked = node.links > 0;
            if node.links > MAX_LINKS
                || node.links != links.get(inode).copied().unwrap_or(0)
                || !(is_linked || self.is_open(*inode))
            {
                return None;
            }
            if let Content::Directory { entries, .. } = &node.content {
                directories += usize::from(is_linked);
                if !is_linked && !entries.is_empty() {
                    return None;
                }
            }
        }
        (directories == linked_directories).then_some(())
    }

    fn check_descriptors(&self) -> Option<()> {
        let right = self.descriptors.iter().all(|(&fd, open)| {
            let rights_exist = (open.rights | open.inheriting) & !rights::ALL == 0;
            fd <= i32::MAX as u32
                && open.flags & !FDFLAGS_ALL == 0
                && rights_exist
                && i64::try_from(open.offset).is_ok()
                && self.tree.exists(open.inode)
        });
        right.then_some(())
    }
}

fn read_node(reader: &mut Reader<'_>, area: &mut Area, files: &[u8]) -> Option<Node> {
    let [kind, mount, 0, 0] = *reader.take(4)?.first_chunk()? else { return None };
    let mount = match mount {
        0 => Mount::Out,
        1 => Mount::Tmp,
        _ => return None,
    };
    let links = reader.u32()?;
    let times = [reader.u64()?, reader.u64()?, reader.u64()?];
    let content = match kind {
        3 => {
            let parent = reader.u64()?;
            let count = reader.u32()?;
            let mut entries = Entries::default();
            for _ in 0..count {
                let entry = DirectoryEntry { inode: reader.u64()?, serial: reader.u64()? };
                let name = reader.text()?;
                let plain = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(['/', '\0']);
                if !plain || name == "." || name == ".." || !entries.insert(name, entry) {
                    return None;
                }
            }
            Content::Directory { parent, entries }
        }
        4 => {
            let size = reader.u64()?;
            let count = size.div_ceil(PAGE_BYTES as u64);
            if count > u64::from(area.limit(mount)) {
                return None;
            }
            let mut pages = Vec::new();
            for index in 0..count {
                let page = reader.u32()?;
                let content = files.get(page as usize * PAGE_BYTES..)?.get(..PAGE_BYTES)?;
                let rest = (size - index * PAGE_BYTES as u64).min(PAGE_BYTES as u64) as usize;
                if content[rest..].iter().any(|&byte| byte != 0) {
                    return None;
                }
                area.adopt(page, mount, content)?;
                pages.push(page);
            }
            Content::File { size, pages }
        }
        7 => {
            let plain = |target: &&str| {
                (1..=MAX_PATH).contains(&target.len()) && !target.starts_with('/') && !target.contains('\0')
            };
            Content::SymbolicLink(reader.text().filter(plain)?.into())
        }
        _ => return None,
    };
    Some(Node { mount, links, times, content })
}

impl Content {
    fn pages(&self) -> &[u32] {
        if let Self::File { pages, .. } = self { pages } else { &[] }
    }
}

struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.put(&(text.len() as u16).to_le_bytes());
        self.put(text.as_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(*self.take(2)?.first_chunk()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let bytes = self.u16()?;
        core::str::from_utf8(self.take(usize::from(bytes))?).ok()
    }
}
