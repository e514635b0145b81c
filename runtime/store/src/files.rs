//! UnixFS files and folders.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use cid::Cid;
use fedmkt_core::manifest::is_file_name;
use fedmkt_core::unixfs::{DAG_PB, FileBuilder, Link, RAW, block_cid, directory_block};
use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use rustix::io::Errno;

use crate::{BlockStore, Counted, StoreError};

/// The most levels of nodes in a file: Kubo's balanced trees have four for a petabyte.
const MAX_FILE_DEPTH: usize = 16;

/// The most folders within folders.
const MAX_FOLDER_DEPTH: usize = 64;

/// The most bytes of a folder's block before IPFS would shard it, which is not supported.
const MAX_FOLDER_BYTES: usize = 256 << 10;

/// A file has at most a block for every so many bytes, and [`FREE_BLOCKS`]: each takes as long to read, however short it is, and the
/// same few can stand in a file without end. Kubo cuts into 256 KiB or more.
const LEAST_BLOCK_BYTES: u64 = 1 << 10;

/// Blocks of a file that may be short, and those that only have links.
const FREE_BLOCKS: u64 = 1 << 10;

/// The most links of all folders that are open at once while a tree is visited, one within the other.
const MAX_OPEN_LINKS: usize = 1 << 17;

/// Adds a file from a stream.
///
/// # Errors
/// When the stream cannot be read or the store cannot take a block.
pub fn add_file(store: &impl BlockStore, mut content: impl Read) -> Result<Link, StoreError> {
    let mut builder = FileBuilder::new(|cid: &Cid, block: &[u8]| store.put_verified(cid, block));
    let mut buffer = vec![0; 1 << 18];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return builder.finish(),
            Ok(bytes) => builder.push(&buffer[..bytes])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StoreError::Stream("read the file", error)),
        }
    }
}

/// Adds a file, or a folder with everything in it. Symbolic links and special files are refused.
///
/// # Errors
/// When something cannot be read or is refused, or the store cannot take a block.
pub fn add_tree(store: &impl BlockStore, path: &Path) -> Result<Link, StoreError> {
    add_below(store, path, 0)
}

fn add_below(store: &impl BlockStore, path: &Path, depth: usize) -> Result<Link, StoreError> {
    let failed = |doing| move |error| StoreError::File { doing, path: path.to_owned(), error };
    let refuse = |what| StoreError::Path { path: path.to_owned(), what };
    let kind = if depth == 0 { fs::metadata(path) } else { fs::symlink_metadata(path) }.map_err(failed("look at"))?;
    if kind.is_file() {
        return add_file(store, File::open(path).map_err(failed("read"))?);
    }
    if !kind.is_dir() {
        return Err(refuse("only files and folders can be added, not links or special files"));
    }
    if depth == MAX_FOLDER_DEPTH {
        return Err(refuse("there are more than 64 folders within each other"));
    }
    let mut links = Vec::new();
    for entry in fs::read_dir(path).map_err(failed("list"))? {
        let entry = entry.map_err(failed("list"))?;
        let name = entry.file_name().into_string().ok().filter(|name| is_file_name(name));
        let name = name.ok_or_else(|| StoreError::Path {
            path: entry.path(),
            what: "a name must be UTF-8 without control characters and backslashes",
        })?;
        links.push(Link { name, ..add_below(store, &entry.path(), depth + 1)? });
    }
    let below: u64 = links.iter().map(|link| link.tree_bytes).sum();
    let block = directory_block(links);
    if block.len() > MAX_FOLDER_BYTES {
        return Err(refuse("the folder has too many entries for one block: spread them over several folders"));
    }
    let cid = block_cid(DAG_PB, &block);
    store.put_verified(&cid, &block)?;
    Ok(Link { cid, name: String::new(), tree_bytes: below + block.len() as u64 })
}

/// The most files and folders that are written at once.
const MAX_EXTRACTED: u64 = 1 << 20;

/// A decoded dag-pb block with UnixFS data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Links to parts of a file, or to entries of a folder.
    pub links: Vec<Link>,
}

/// What a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeKind {
    /// A folder.
    Directory,
    /// A file, or a part of one: bytes that stand in the node itself, and the sizes of the parts below.
    File {
        /// Bytes in this node, before those of the links.
        inline: Vec<u8>,
        /// Bytes of the file below each link.
        parts: Vec<u64>,
    },
}

/// One field of a protobuf message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads protobuf fields: all that UnixFS uses are varints and byte strings.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

impl<'a> Fields<'a> {
    /// The next field, `None` at the end, an error for anything else.
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, ()> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint().ok_or(())?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint().ok_or(())?),
            2 => {
                let length = self.varint().and_then(|length| usize::try_from(length).ok()).ok_or(())?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(())?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            _ => return Err(()),
        };
        Ok(Some((tag >> 3, field)))
    }
}

impl Node {
    /// Reads a dag-pb block.
    ///
    /// # Errors
    /// When it is not one, or its UnixFS type is not file or directory.
    pub fn decode(cid: &Cid, block: &[u8]) -> Result<Self, StoreError> {
        let malformed = |what: &str| StoreError::Malformed { cid: *cid, what: what.into() };
        let (links, data) = decode_node(block).ok_or_else(|| malformed("is not a dag-pb node"))?;
        let (kind, inline, parts) = decode_data(data).map_err(|()| malformed("has no UnixFS data"))?;
        let kind = match kind {
            1 => NodeKind::Directory,
            // Raw (0) is an old form of a leaf.
            0 | 2 => {
                if parts.len() != links.len() {
                    return Err(malformed("has parts without sizes, or sizes without parts"));
                }
                // Whatever costs no bytes could be repeated without end.
                if parts.contains(&0) || links.iter().any(|link| !link.name.is_empty()) {
                    return Err(malformed("has parts that are empty or have names"));
                }
                if parts.iter().try_fold(inline.len() as u64, |sum, part| sum.checked_add(*part)).is_none() {
                    return Err(malformed("has an impossible size"));
                }
                NodeKind::File { inline: inline.to_vec(), parts }
            }
            4 => return Err(malformed("is a symbolic link, which is not supported")),
            5 => return Err(malformed("is a sharded folder, which is not supported")),
            _ => return Err(malformed("is of an unknown UnixFS type")),
        };
        Ok(Self { kind, links })
    }

    /// Bytes of the file, or part of one, that this is the top of; 0 for a folder. The blocks below may lie.
    pub fn file_bytes(&self) -> u64 {
        match &self.kind {
            NodeKind::Directory => 0,
            NodeKind::File { inline, parts } => inline.len() as u64 + parts.iter().sum::<u64>(),
        }
    }
}

fn decode_node(block: &[u8]) -> Option<(Vec<Link>, &[u8])> {
    let mut links = Vec::new();
    let mut data = None;
    let mut fields = Fields(block);
    while let Some(field) = fields.next().ok()? {
        match field {
            (2, Field::Bytes(link)) => links.push(decode_link(link)?),
            (1, Field::Bytes(bytes)) if data.is_none() => data = Some(bytes),
            _ => return None,
        }
    }
    Some((links, data?))
}

fn decode_link(bytes: &[u8]) -> Option<Link> {
    let (mut cid, mut name, mut tree_bytes) = (None, String::new(), 0);
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next().ok()? {
        match field {
            (1, Field::Bytes(bytes)) => cid = Some(Cid::try_from(bytes).ok()?),
            (2, Field::Bytes(bytes)) => name = String::from_utf8(bytes.to_vec()).ok()?,
            (3, Field::Number(bytes)) => tree_bytes = bytes,
            _ => return None,
        }
    }
    Some(Link { cid: cid?, name, tree_bytes })
}

fn decode_data(data: &[u8]) -> Result<(u64, &[u8], Vec<u64>), ()> {
    let (mut kind, mut inline, mut parts) = (None, None, Vec::new());
    let mut seen = 0u16;
    let mut fields = Fields(data);
    while let Some((number, field)) = fields.next()? {
        // Only the sizes of parts (4) may be repeated.
        if !(1..=8).contains(&number) || number != 4 && seen >> number & 1 == 1 {
            return Err(());
        }
        seen |= 1 << number;
        match (number, field) {
            (1, Field::Number(code)) => kind = Some(code),
            (2, Field::Bytes(bytes)) => inline = Some(bytes),
            (4, Field::Number(bytes)) => parts.push(bytes),
            // The whole size (3) follows from the parts; sharding, modes and times are of no use here.
            (3 | 5..=8, _) => {}
            _ => return Err(()),
        }
    }
    Ok((kind.ok_or(())?, inline.unwrap_or_default(), parts))
}

/// Reads a file as a stream, block by block.
pub struct FileReader<'a, S> {
    store: &'a S,
    root: Cid,
    /// Parts still to be read, the next one last: CID, bytes that it must have, depth.
    open: Vec<(Cid, Option<u64>, usize)>,
    block: Vec<u8>,
    at: usize,
    /// Bytes that are still allowed.
    left: u64,
    /// Bytes and blocks that were read.
    read: u64,
    blocks: u64,
}

impl<'a, S: BlockStore> FileReader<'a, S> {
    /// The file with this CID; reading fails after `most_bytes`.
    pub fn new(store: &'a S, cid: &Cid, most_bytes: u64) -> Self {
        let open = vec![(*cid, None, 0)];
        Self { store, root: *cid, open, block: Vec::new(), at: 0, left: most_bytes, read: 0, blocks: 0 }
    }

    /// The next bytes of the file; empty at its end.
    ///
    /// # Errors
    /// When a block cannot be had, the DAG is not a file, its sizes disagree, or it is too large.
    pub fn next_block(&mut self) -> Result<&[u8], StoreError> {
        self.block.clear();
        self.at = 0;
        while let Some((cid, expected, depth)) = self.open.pop() {
            let malformed = |what: &str| StoreError::Malformed { cid, what: what.into() };
            self.blocks += 1;
            if self.blocks > FREE_BLOCKS + self.read / LEAST_BLOCK_BYTES {
                let what = "is a file of blocks that are too short".into();
                return Err(StoreError::Malformed { cid: self.root, what });
            }
            let block = self.store.get(&cid)?;
            let content = if cid.codec() == RAW {
                if expected.is_some_and(|expected| expected != block.len() as u64) {
                    return Err(malformed("has another size than the node above says"));
                }
                block
            } else if cid.codec() == DAG_PB {
                let node = Node::decode(&cid, &block)?;
                let total = node.file_bytes();
                let NodeKind::File { inline, parts } = node.kind else { return Err(malformed("is a folder")) };
                if expected.is_some_and(|expected| expected != total) {
                    return Err(malformed("has another size than the node above says"));
                }
                if depth == MAX_FILE_DEPTH {
                    return Err(malformed("lies too deep in its file"));
                }
                let below = node.links.iter().zip(parts).rev();
                self.open.extend(below.map(|(link, part)| (link.cid, Some(part), depth + 1)));
                inline
            } else {
                return Err(malformed("is not part of a file"));
            };
            if content.len() as u64 > self.left {
                return Err(StoreError::TooMuch { cid: self.root, what: Counted::Bytes, most: self.left });
            }
            self.left -= content.len() as u64;
            self.read += content.len() as u64;
            if !content.is_empty() {
                self.block = content;
                break;
            }
        }
        Ok(&self.block)
    }
}

impl<S: BlockStore> Read for FileReader<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            self.next_block().map_err(io::Error::other)?;
        }
        let bytes = buffer.len().min(self.block.len() - self.at);
        buffer[..bytes].copy_from_slice(&self.block[self.at..self.at + bytes]);
        self.at += bytes;
        Ok(bytes)
    }
}

/// The whole content of a small file.
///
/// # Errors
/// As [`FileReader::next_block`].
pub fn read_file(store: &impl BlockStore, cid: &Cid, most_bytes: u64) -> Result<Vec<u8>, StoreError> {
    let mut reader = FileReader::new(store, cid, most_bytes);
    let mut content = Vec::new();
    loop {
        let block = reader.next_block()?;
        if block.is_empty() {
            return Ok(content);
        }
        content.extend_from_slice(block);
    }
}

/// One file or folder below a root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeEntry<'a> {
    /// The path below the root, components separated by `/`; empty for the root itself.
    pub path: &'a str,
    /// The block at its top.
    pub cid: Cid,
    /// Bytes of a file; `None` for a folder.
    pub file_bytes: Option<u64>,
}

/// Visits a file, or a folder and everything below it, sorted by path within each folder, a folder before what is in
/// it. Names are checked: they can be shown, and created anywhere.
///
/// A few blocks can make a tree without end, as a folder may stand in another many times: `visit` must count and stop.
///
/// # Errors
/// When a block cannot be had or something is neither file nor folder, and what `visit` returns.
pub fn visit_tree<E: From<StoreError>>(
    store: &impl BlockStore,
    root: &Cid,
    mut visit: impl FnMut(TreeEntry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    visit_below(store, root, &mut String::new(), (0, 0), &mut visit)
}

/// `depth` folders are open, which have so many `links` together.
fn visit_below<E: From<StoreError>>(
    store: &impl BlockStore,
    cid: &Cid,
    path: &mut String,
    (depth, links): (usize, usize),
    visit: &mut impl FnMut(TreeEntry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let malformed = |what: &str| StoreError::Malformed { cid: *cid, what: what.into() };
    let block = store.get(cid)?;
    let node = match cid.codec() {
        RAW => return visit(TreeEntry { path, cid: *cid, file_bytes: Some(block.len() as u64) }),
        DAG_PB => Node::decode(cid, &block)?,
        _ => return Err(malformed("is neither a file nor a folder").into()),
    };
    if let NodeKind::File { .. } = node.kind {
        return visit(TreeEntry { path, cid: *cid, file_bytes: Some(node.file_bytes()) });
    }
    if depth == MAX_FOLDER_DEPTH {
        return Err(malformed("lies below 64 folders, no more are supported").into());
    }
    if !node.links.iter().all(|link| is_file_name(&link.name)) {
        return Err(malformed("is a folder with a name that is not allowed").into());
    }
    if !node.links.is_sorted_by(|one, other| one.name < other.name) {
        return Err(malformed("is a folder with names that are not sorted, or there twice").into());
    }
    let links = links + node.links.len();
    if links > MAX_OPEN_LINKS {
        return Err(malformed("is a folder with too many entries, or within too many of them").into());
    }
    // Up to 64 blocks would be there at once.
    drop(block);
    visit(TreeEntry { path, cid: *cid, file_bytes: None })?;
    let end = path.len();
    for link in &node.links {
        if end > 0 {
            path.push('/');
        }
        path.push_str(&link.name);
        visit_below(store, &link.cid, path, (depth + 1, links), visit)?;
        path.truncate(end);
    }
    Ok(())
}

/// Writes a file or folder to `target`, which must not exist. It appears there as a whole or not at all.
///
/// # Errors
/// As [`visit_tree`], when something cannot be written, and when there are more than `most_bytes` or more than a
/// million files and folders.
pub fn extract(store: &impl BlockStore, root: &Cid, target: &Path, most_bytes: u64) -> Result<(), StoreError> {
    let failed = |error| StoreError::File { doing: "write", path: target.to_owned(), error };
    if fs::symlink_metadata(target).is_ok() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = tempfile::Builder::new().prefix(".part-").tempdir_in(parent).map_err(failed)?;
    let made = folder.path().join("made");
    write_below(store, root, &made, most_bytes)?;
    let put = || {
        // So that it is whole after a power cut, too.
        syncfs(File::open(folder.path())?)?;
        rename_new(&made, target)
    };
    put().map_err(failed)
}

/// Gives something a name that nothing has.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot do both at once.
        Err(Errno::NOSYS | Errno::INVAL) if fs::symlink_metadata(to).is_err() => fs::rename(from, to),
        Err(Errno::NOSYS | Errno::INVAL) => Err(io::ErrorKind::AlreadyExists.into()),
        renamed => renamed.map_err(io::Error::from),
    }
}

fn write_below(store: &impl BlockStore, root: &Cid, target: &Path, most_bytes: u64) -> Result<(), StoreError> {
    let (mut entries, mut left) = (0, most_bytes);
    visit_tree(store, root, |entry| {
        entries += 1;
        if entries > MAX_EXTRACTED {
            return Err(StoreError::TooMuch { cid: *root, what: Counted::Entries, most: MAX_EXTRACTED });
        }
        let path = if entry.path.is_empty() { target.to_owned() } else { target.join(entry.path) };
        let failed = |error| StoreError::File { doing: "write", path: path.clone(), error };
        let Some(bytes) = entry.file_bytes else { return fs::create_dir(&path).map_err(failed) };
        left = left.checked_sub(bytes).ok_or(StoreError::TooMuch {
            cid: *root,
            what: Counted::Bytes,
            most: most_bytes,
        })?;
        let mut file = File::create_new(&path).map_err(failed)?;
        let mut reader = FileReader::new(store, &entry.cid, bytes);
        loop {
            let block = reader.next_block()?;
            if block.is_empty() {
                return Ok(());
            }
            file.write_all(block).map_err(failed)?;
        }
    })
}
