//! The pack: a canonical, read-only image of a tree of files. Capsules and job drives are packs.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 32 | `fedmkt pack 1`, ASCII, zero-padded |
//! | 32 | 32 | salt; zero for open data and jobs |
//! | 64 | 8 | number of entries |
//! | 72 | 8 | bytes of the index |
//! | 80 | 8 | bytes of the whole pack, a multiple of 4,096 |
//! | 88 | 4,008 | zero |
//! | 4,096 | | the index: one entry after the other, sorted by the bytes of their paths |
//! | | | the files' contents in the order of the index, each at the next multiple of 32 |
//!
//! An entry of the index is: kind (1 byte: 0 directory, 1 file), bytes of the path (2 bytes), bytes of the content
//! (8 bytes, 0 for a directory), path. Numbers are little-endian. A path is UTF-8, its components are separated by
//! `/`; none is empty, `.` or `..`, or has control characters or a backslash. Every parent directory has an entry of
//! its own. All bytes that are not mentioned are zero.
//!
//! So there is exactly one pack for a tree and a salt. [`Pack::open`] refuses everything else as far as header and index
//! tell, in time and memory proportional to the index; what lies between and after contents it does not look at, because
//! no reader of the files can see it. [`Pack::check_padding`] does, and must where the bytes come from a stranger and
//! their root stands for the files in them.
//!
//! # Writing
//!
//! [`Layout`] says where everything goes before any content is read, so that a host can stream contents into a file and
//! a [`RootBuilder`](crate::tree::RootBuilder) at once. A salt that depends on the root is put in last: [`set_salt`]
//! changes the first page only, and [`StreamRoot::first_page`](crate::tree::StreamRoot) gives the new root.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::manifest::is_file_name;
use crate::roots::Salt;
use crate::tree::PAGE_BYTES;

/// Bytes that are mapped or held somewhere for as long as anybody needs them.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// What a pack starts with.
pub const MAGIC: &[u8; 13] = b"fedmkt pack 1";

/// The most entries of a pack: enough for a million files, so few that the index fits into memory everywhere.
pub const MAX_ENTRIES: u64 = 1 << 20;

/// The most bytes of an index.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The most bytes of a path, as WASI programs expect.
pub const MAX_PATH_BYTES: usize = 4096;

/// The most components of a path.
pub const MAX_DEPTH: usize = 64;

const SALT: core::ops::Range<usize> = 32..64;
const HEADER_END: usize = 88;
const ENTRY_FIXED_BYTES: usize = 1 + 2 + 8;
const ALIGNMENT: u64 = 32;

/// Why something is not a pack, or cannot become one.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PackError {
    /// The bytes do not begin as a pack does.
    NotAPack,
    /// A number in the header is wrong; holds its name.
    Header(&'static str),
    /// An entry is wrong; holds its number and what is wrong.
    Entry(u64, &'static str),
    /// A path is wrong; holds it and what is wrong.
    Path(String, &'static str),
    /// There is too much of something; holds what, and the limit.
    TooLarge(&'static str, u64),
    /// Bytes between or after contents are not zero; holds the first one's offset.
    Padding(u64),
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPack => f.write_str("not a pack of this version"),
            Self::Header(field) => write!(f, "the pack's header has a wrong {field}"),
            Self::Entry(number, what) => write!(f, "entry {number} of the pack {what}"),
            Self::Path(path, what) => write!(f, "{path:?} {what}"),
            Self::TooLarge(what, most) => write!(f, "too many {what}: the limit is {most}"),
            Self::Padding(offset) => write!(f, "the pack is not zero at byte {offset}, where no file is"),
        }
    }
}

impl core::error::Error for PackError {}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file, with its bytes.
    File(u64),
}

/// Where everything goes in a pack that is to be written.
#[derive(Clone, Debug)]
pub struct Layout {
    front: Vec<u8>,
    files: Vec<(String, u64, u64)>,
    total: u64,
}

impl Layout {
    /// The layout for these paths. Parent directories that are missing are added; the order does not matter.
    ///
    /// # Errors
    /// When a path is not allowed or there twice, or there is too much.
    pub fn new(entries: impl IntoIterator<Item = (String, Kind)>) -> Result<Self, PackError> {
        let mut all = alloc::collections::BTreeMap::<String, Kind>::new();
        for (path, kind) in entries {
            check_path(&path).map_err(|what| PackError::Path(path.clone(), what))?;
            for (end, _) in path.match_indices('/') {
                let parent = all.entry(path[..end].into()).or_insert(Kind::Directory);
                if *parent != Kind::Directory {
                    return Err(PackError::Path(path, "is below a file"));
                }
            }
            match all.insert(path.clone(), kind) {
                None => {}
                Some(Kind::Directory) if kind == Kind::Directory => {}
                Some(_) => return Err(PackError::Path(path, "is there twice")),
            }
            if all.len() as u64 > MAX_ENTRIES {
                return Err(PackError::TooLarge("files and folders", MAX_ENTRIES));
            }
        }
        let mut front = Vec::from([0; PAGE_BYTES]);
        for (path, kind) in &all {
            let (code, length) = match *kind {
                Kind::Directory => (0, 0),
                Kind::File(length) => (1, length),
            };
            front.push(code);
            front.extend_from_slice(&(path.len() as u16).to_le_bytes());
            front.extend_from_slice(&length.to_le_bytes());
            front.extend_from_slice(path.as_bytes());
            if (front.len() - PAGE_BYTES) as u64 > MAX_INDEX_BYTES {
                return Err(PackError::TooLarge("bytes of paths", MAX_INDEX_BYTES));
            }
        }
        let index_bytes = (front.len() - PAGE_BYTES) as u64;
        let mut end = front.len() as u64;
        let mut files = Vec::new();
        let count = all.len() as u64;
        for (path, kind) in all {
            if let Kind::File(length) = kind {
                let start = end.next_multiple_of(ALIGNMENT);
                end = start
                    .checked_add(length)
                    .filter(|&end| end < 1 << 62)
                    .ok_or(PackError::TooLarge("bytes", 1 << 62))?;
                files.push((path, start, length));
            }
        }
        let total = end.next_multiple_of(PAGE_BYTES as u64);
        front[..MAGIC.len()].copy_from_slice(MAGIC);
        front[64..72].copy_from_slice(&count.to_le_bytes());
        front[72..80].copy_from_slice(&index_bytes.to_le_bytes());
        front[80..88].copy_from_slice(&total.to_le_bytes());
        Ok(Self { front, files, total })
    }

    /// The header, without salt, and the index: the first bytes of the pack.
    pub fn front(&self) -> &[u8] {
        &self.front
    }

    /// Path, offset and length of each file, in the order in which their contents follow. What lies between is zero.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.files.iter().map(|(path, offset, length)| (path.as_str(), *offset, *length))
    }

    /// Bytes of the whole pack.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }
}

/// Puts a salt into a pack's first page.
pub fn set_salt(page: &mut [u8; PAGE_BYTES], salt: Salt) {
    page[SALT].copy_from_slice(&salt.0);
}

/// What is wrong with a path.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PATH_BYTES {
        return Err("is longer than 4,096 bytes");
    }
    if path.split('/').count() > MAX_DEPTH {
        return Err("has more than 64 components");
    }
    if path.split('/').all(is_file_name) {
        Ok(())
    } else {
        Err("has a name that is empty, `.`, `..`, longer than 255 bytes, or has control characters or backslashes")
    }
}

/// A pack, open for reading. Contents and paths are not copied.
pub struct Pack {
    bytes: Bytes,
    total: u64,
    entries: Vec<Record>,
    /// The numbers of all entries, grouped by directory, those of the top first.
    children: Vec<u32>,
    /// Where each group begins: element 0 the top's, element n + 1 that of entry n, then the end.
    groups: Vec<u32>,
}

/// An entry of the index. Entries and offsets in the index fit into 32 bits: see [`MAX_ENTRIES`], [`MAX_INDEX_BYTES`].
struct Record {
    path_start: u32,
    path_bytes: u16,
    parent: Option<u32>,
    content: Option<(u64, u64)>,
}

/// One file or directory of a pack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The whole path.
    pub path: &'a str,
    /// The directory it is in; `None` at the top.
    pub parent: Option<u32>,
    /// The content of a file; `None` for a directory.
    pub content: Option<&'a [u8]>,
}

impl<'a> Entry<'a> {
    /// The last component of the path.
    pub fn name(&self) -> &'a str {
        self.path.rsplit('/').next().expect("a split has a part")
    }
}

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pack({} entries)", self.entries.len())
    }
}

impl Pack {
    /// Reads a pack's header and index. The bytes may go on after the pack, as those of a drive do.
    ///
    /// # Errors
    /// When they are not canonical.
    pub fn open(bytes: Bytes) -> Result<Self, PackError> {
        let all: &[u8] = (*bytes).as_ref();
        let header = all.get(..PAGE_BYTES).ok_or(PackError::NotAPack)?;
        let zero = |range: &[u8]| range.iter().all(|&byte| byte == 0);
        if &header[..MAGIC.len()] != MAGIC || !zero(&header[MAGIC.len()..SALT.start]) {
            return Err(PackError::NotAPack);
        }
        if !zero(&header[HEADER_END..]) {
            return Err(PackError::Header("reserved part"));
        }
        let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let (count, index_bytes, total) = (number(64), number(72), number(80));
        if count > MAX_ENTRIES {
            return Err(PackError::Header("number of entries"));
        }
        if index_bytes > MAX_INDEX_BYTES || index_bytes > (all.len() - PAGE_BYTES) as u64 {
            return Err(PackError::Header("size of the index"));
        }
        if total > all.len() as u64 {
            return Err(PackError::Header("total size: the pack is cut short"));
        }
        let index_end = PAGE_BYTES + index_bytes as usize;
        let mut at = PAGE_BYTES;
        let mut content_end = index_end as u64;
        // Every entry takes some bytes of an index that is there: a lie in the header costs no memory.
        let mut entries: Vec<Record> =
            Vec::with_capacity(count.min(index_bytes / (ENTRY_FIXED_BYTES as u64 + 1)) as usize);
        let mut parent = (&[][..], None);
        for number in 0..count {
            let wrong = |what| PackError::Entry(number, what);
            let fixed = all[at..index_end].get(..ENTRY_FIXED_BYTES).ok_or(wrong("is cut short"))?;
            let path_bytes = u16::from_le_bytes([fixed[1], fixed[2]]);
            let length = u64::from_le_bytes(fixed[3..11].try_into().expect("8 bytes"));
            at += ENTRY_FIXED_BYTES;
            let path = all[at..index_end].get(..usize::from(path_bytes)).ok_or(wrong("is cut short"))?;
            let text = core::str::from_utf8(path).map_err(|_| wrong("has a path that is not UTF-8"))?;
            check_path(text).map_err(|what| PackError::Path(text.into(), what))?;
            if entries.last().is_some_and(|last| path_of(all, last) >= path) {
                return Err(wrong("is out of order"));
            }
            let parent_path = text.rfind('/').map_or(&[][..], |end| &path[..end]);
            if parent_path != parent.0 {
                let found = match parent_path {
                    [] => None,
                    path => Some(find(all, &entries, path).filter(|&found| entries[found].content.is_none())),
                };
                let found = found.map(|found| found.ok_or(wrong("is in no directory"))).transpose()?;
                parent = (parent_path, found.map(|found| found as u32));
            }
            let content = match (fixed[0], length) {
                (0, 0) => None,
                (1, length) => {
                    let start = content_end.next_multiple_of(ALIGNMENT);
                    content_end = start
                        .checked_add(length)
                        .filter(|&end| end <= total)
                        .ok_or(wrong("has more content than there is"))?;
                    Some((start, length))
                }
                _ => return Err(wrong("is of no known kind")),
            };
            entries.push(Record { path_start: at as u32, path_bytes, parent: parent.1, content });
            at += usize::from(path_bytes);
        }
        if at != index_end {
            return Err(PackError::Header("size of the index"));
        }
        if total != content_end.next_multiple_of(PAGE_BYTES as u64) {
            return Err(PackError::Header("total size"));
        }
        let (groups, children) = group_by_parent(&entries);
        Ok(Self { bytes, total, entries, children, groups })
    }

    fn all(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// Bytes of the pack, without what may follow it on a drive.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// The salt.
    pub fn salt(&self) -> Salt {
        Salt(self.all()[SALT].try_into().expect("32 bytes"))
    }

    /// Number of entries.
    pub fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An entry by its number.
    pub fn entry(&self, number: u32) -> Option<Entry<'_>> {
        let record = self.entries.get(number as usize)?;
        let all = self.all();
        let content = record.content.map(|(start, length)| &all[start as usize..(start + length) as usize]);
        let path = core::str::from_utf8(path_of(all, record)).expect("checked when the pack was opened");
        Some(Entry { path, parent: record.parent, content })
    }

    /// All entries, sorted by path.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.len()).filter_map(|number| self.entry(number))
    }

    /// The number of the entry with this path.
    pub fn find(&self, path: &str) -> Option<u32> {
        find(self.all(), &self.entries, path.as_bytes()).map(|number| number as u32)
    }

    /// The content of the file with this path.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.entry(self.find(path)?)?.content
    }

    /// The entries in a directory, or at the top, sorted by name. A file has none.
    pub fn children(&self, directory: Option<u32>) -> &[u32] {
        let group = directory.map_or(0, |number| number as usize + 1);
        match (self.groups.get(group), self.groups.get(group + 1)) {
            (Some(&start), Some(&end)) => &self.children[start as usize..end as usize],
            _ => &[],
        }
    }

    /// Sum of the bytes of all files.
    pub fn content_bytes(&self) -> u64 {
        self.entries.iter().filter_map(|entry| entry.content).map(|(_, length)| length).sum()
    }

    /// Checks that everything is zero that lies between contents and after them, to the end of the bytes.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_padding(&self) -> Result<(), PackError> {
        let all = self.all();
        let mut end =
            self.entries.last().map_or(PAGE_BYTES, |last| last.path_start as usize + path_of(all, last).len());
        let contents = self.entries.iter().filter_map(|entry| entry.content);
        for (start, length) in contents.chain([(all.len() as u64, 0)]) {
            let gap = &all[end..start as usize];
            if let Some(offset) = gap.iter().position(|&byte| byte != 0) {
                return Err(PackError::Padding((end + offset) as u64));
            }
            end = (start + length) as usize;
        }
        Ok(())
    }
}

fn path_of<'a>(all: &'a [u8], record: &Record) -> &'a [u8] {
    &all[record.path_start as usize..][..usize::from(record.path_bytes)]
}

/// Paths sort by their bytes, which is also the order of the strings.
fn find(all: &[u8], entries: &[Record], path: &[u8]) -> Option<usize> {
    entries.binary_search_by(|entry| path_of(all, entry).cmp(path)).ok()
}

/// [`Pack::groups`] and [`Pack::children`], by counting.
fn group_by_parent(entries: &[Record]) -> (Vec<u32>, Vec<u32>) {
    let group = |entry: &Record| entry.parent.map_or(0, |parent| parent as usize + 1);
    let mut groups = vec![0; entries.len() + 2];
    entries.iter().for_each(|entry| groups[group(entry) + 1] += 1);
    for index in 1..groups.len() {
        groups[index] += groups[index - 1];
    }
    let mut next = groups.clone();
    let mut children = vec![0; entries.len()];
    for (number, entry) in (0..).zip(entries) {
        let place = &mut next[group(entry)];
        children[*place as usize] = number;
        *place += 1;
    }
    (groups, children)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;
    use crate::tree::{LOG2_PAGE, RootBuilder, bytes_root, log2_size_for};

    /// Directories have no content.
    type Tree = BTreeMap<String, Option<Vec<u8>>>;

    fn layout(tree: &Tree) -> Result<Layout, PackError> {
        let kind = |content: &Option<Vec<u8>>| content.as_ref().map_or(Kind::Directory, |c| Kind::File(c.len() as u64));
        // The order in which files are found means nothing.
        Layout::new(tree.iter().rev().map(|(path, content)| (path.clone(), kind(content))))
    }

    fn write(tree: &Tree) -> Vec<u8> {
        let layout = layout(tree).expect("a tree");
        let mut bytes = vec![0; layout.total_bytes() as usize];
        bytes[..layout.front().len()].copy_from_slice(layout.front());
        for (path, offset, length) in layout.files() {
            bytes[offset as usize..][..length as usize].copy_from_slice(tree[path].as_deref().expect("a file"));
        }
        bytes
    }

    /// What is in a pack.
    fn read(pack: &Pack) -> Tree {
        pack.entries().map(|entry| (entry.path.into(), entry.content.map(<[u8]>::to_vec))).collect()
    }

    fn open(bytes: Vec<u8>) -> Result<Pack, PackError> {
        Pack::open(Arc::new(bytes))
    }

    fn example() -> Vec<u8> {
        let files = [("a-b", &b"1"[..]), ("a/c", b"two"), ("a/b/d", b""), ("z", &[7; 5000])];
        write(&files.map(|(path, content)| (path.into(), Some(content.to_vec()))).into())
    }

    #[test]
    fn what_was_packed_is_found() {
        let pack = open(example()).expect("a pack");
        let paths: Vec<_> = pack.entries().map(|entry| entry.path).collect();
        assert_eq!(paths, ["a", "a-b", "a/b", "a/b/d", "a/c", "z"]);
        assert_eq!(pack.file("a/c"), Some(&b"two"[..]));
        assert_eq!(pack.file("z"), Some(&[7; 5000][..]));
        assert_eq!(pack.file("a"), None);
        let names = |directory| -> Vec<_> {
            pack.children(directory).iter().map(|&child| pack.entry(child).expect("a child").name()).collect()
        };
        assert_eq!(names(None), ["a", "a-b", "z"]);
        assert_eq!(names(pack.find("a")), ["b", "c"]);
        assert_eq!(pack.check_padding(), Ok(()));
        assert_eq!(pack.content_bytes(), 5004);
    }

    #[test]
    fn an_empty_tree_has_a_pack() {
        let bytes = write(&Tree::new());
        assert_eq!(bytes.len(), PAGE_BYTES);
        assert!(open(bytes).expect("a pack").is_empty());
    }

    #[test]
    fn a_salt_that_is_put_in_last_gives_the_root_of_the_salted_pack() {
        let mut bytes = example();
        let log2_size = log2_size_for(bytes.len() as u64);
        let mut builder = RootBuilder::new();
        builder.push(&bytes);
        let unsalted = builder.finish(log2_size);
        let page = bytes.first_chunk_mut().expect("a page");
        set_salt(page, Salt([9; 32]));
        let root = unsalted.first_page.root_with(&bytes_root(page, LOG2_PAGE));
        assert_eq!(root, bytes_root(&bytes, log2_size));
        assert_ne!(root, unsalted.root);
        assert_eq!(open(bytes).expect("a pack").salt(), Salt([9; 32]));
    }

    #[test]
    fn a_pack_on_a_drive_is_as_long_as_before() {
        let mut bytes = example();
        let total = bytes.len();
        bytes.resize(4 * total, 0);
        let pack = open(bytes.clone()).expect("a pack");
        assert_eq!(pack.total_bytes(), total as u64);
        assert_eq!(pack.check_padding(), Ok(()));
        bytes[3 * total] = 1;
        assert_eq!(open(bytes).expect("a pack").check_padding(), Err(PackError::Padding(3 * total as u64)));
    }

    #[test]
    fn too_much_is_refused_before_it_is_written() {
        let many = (0..=MAX_ENTRIES).map(|number| (number.to_string(), Kind::File(0)));
        assert_eq!(layout_error(many), Some(PackError::TooLarge("files and folders", MAX_ENTRIES)));
        let names = ["/", &"x".repeat(60)].concat().repeat(60);
        let long = |number: u32| (std::format!("{number}{names}"), Kind::Directory);
        assert_eq!(layout_error((0..700).map(long)), Some(PackError::TooLarge("bytes of paths", MAX_INDEX_BYTES)));
        let huge = ["a", "b"].map(|path| (path.to_string(), Kind::File(1 << 61)));
        assert_eq!(layout_error(huge), Some(PackError::TooLarge("bytes", 1 << 62)));
        let overflowing = ["a", "b"].map(|path| (path.to_string(), Kind::File(u64::MAX)));
        assert_eq!(layout_error(overflowing), Some(PackError::TooLarge("bytes", 1 << 62)));
    }

    fn layout_error(entries: impl IntoIterator<Item = (String, Kind)>) -> Option<PackError> {
        Layout::new(entries).err()
    }

    #[test]
    fn paths_that_could_lead_elsewhere_are_refused() {
        for path in ["", "/a", "a/", "a//b", ".", "a/../b", "a\\b", "a\nb", &"x".repeat(256), &"a/".repeat(64)] {
            let layout = Layout::new([(path.to_string(), Kind::File(0))]);
            assert!(matches!(layout, Err(PackError::Path(..))), "{path:?}");
        }
        let below_file = [("a".to_string(), Kind::File(0)), ("a/b".to_string(), Kind::File(0))];
        assert!(Layout::new(below_file).is_err());
        let twice = [("a".to_string(), Kind::File(0)), ("a".to_string(), Kind::File(1))];
        assert!(Layout::new(twice).is_err());
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = example();
            change(&mut bytes);
            open(bytes).err()
        };
        assert_eq!(refused(&|bytes| bytes[0] = b'F'), Some(PackError::NotAPack));
        assert_eq!(refused(&|bytes| bytes[20] = 1), Some(PackError::NotAPack));
        assert_eq!(refused(&|bytes| bytes.truncate(100)), Some(PackError::NotAPack));
        assert_eq!(refused(&|bytes| bytes[100] = 1), Some(PackError::Header("reserved part")));
        assert_eq!(refused(&|bytes| bytes[68] = 1), Some(PackError::Header("number of entries")));
        assert_eq!(refused(&|bytes| bytes[64] += 1), Some(PackError::Entry(6, "is cut short")));
        assert_eq!(refused(&|bytes| bytes[64] -= 1), Some(PackError::Header("size of the index")));
        assert_eq!(refused(&|bytes| bytes[79] = 1), Some(PackError::Header("size of the index")));
        assert_eq!(refused(&|bytes| bytes[81] += 16), Some(PackError::Header("total size: the pack is cut short")));
        assert_eq!(refused(&|bytes| bytes[4096] = 2), Some(PackError::Entry(0, "is of no known kind")));
        assert_eq!(refused(&|bytes| bytes[4096] = 1), Some(PackError::Entry(2, "is in no directory")));
        assert_eq!(refused(&|bytes| bytes[4096 + 11] = b'z'), Some(PackError::Entry(1, "is out of order")));
        assert_eq!(
            refused(&|bytes| bytes[4096 + 11] = 0xff),
            Some(PackError::Entry(0, "has a path that is not UTF-8"))
        );
        assert!(matches!(refused(&|bytes| bytes[4096 + 11] = b'/'), Some(PackError::Path(..))));
        // The last entry is `z`, a file of 5,000 bytes.
        let length = 4096 + 5 * ENTRY_FIXED_BYTES + "aa-ba/ba/b/da/c".len() + 3;
        assert_eq!(
            refused(&|bytes| bytes[length + 7] = 255),
            Some(PackError::Entry(5, "has more content than there is"))
        );
        assert_eq!(refused(&|bytes| bytes[length + 1] = 0), Some(PackError::Header("total size")));
        assert_eq!(
            refused(&|bytes| bytes.truncate(8192)),
            Some(PackError::Header("total size: the pack is cut short"))
        );
        let mut bytes = example();
        let last = bytes.len() - 1;
        bytes[last] = 1;
        assert_eq!(open(bytes).expect("a pack").check_padding(), Err(PackError::Padding(last as u64)));
    }

    /// Few names, so that they meet: as siblings, as parents, one before the other's separator.
    fn trees() -> impl Strategy<Value = Tree> {
        let name = prop::sample::select(vec!["a", "a-", "a0", "b", "\u{e9}", " ", "\u{1f600}.x"]);
        let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
        let content = prop::option::of(prop::collection::vec(any::<u8>(), 0..100));
        prop::collection::btree_map(path, content, 0..12)
    }

    proptest! {
        #[test]
        fn every_tree_comes_back(tree in trees()) {
            let below_file =
                |path: &str| path.match_indices('/').any(|(end, _)| matches!(tree.get(&path[..end]), Some(Some(_))));
            if tree.keys().any(|path| below_file(path)) {
                prop_assert!(matches!(layout(&tree), Err(PackError::Path(..))));
                return Ok(());
            }
            let pack = open(write(&tree)).expect("a pack");
            let mut expected = tree.clone();
            for (path, end) in tree.keys().flat_map(|path| path.match_indices('/').map(move |(end, _)| (path, end))) {
                expected.entry(path[..end].into()).or_insert(None);
            }
            prop_assert_eq!(read(&pack), expected);
            prop_assert_eq!(pack.check_padding(), Ok(()));
            let mut seen = 0;
            for directory in core::iter::once(None).chain((0..pack.len()).map(Some)) {
                let children = pack.children(directory).iter().map(|&child| pack.entry(child).expect("an entry"));
                let mut last = None;
                for child in children {
                    prop_assert_eq!(child.parent, directory);
                    let parent = directory.map(|number| pack.entry(number).expect("an entry").path);
                    prop_assert_eq!(child.path.rsplit_once('/').map(|(parent, _)| parent), parent);
                    prop_assert!(last < Some(child.name()));
                    last = Some(child.name());
                    seen += 1;
                }
            }
            prop_assert_eq!(seen, pack.len());
        }

        #[test]
        fn what_opens_is_what_would_have_been_written(
            changes in prop::collection::vec((0usize..4096 + 300, any::<u8>(), 0u8..4), 1..5),
            cut in prop::option::weighted(0.1, 0usize..13_000),
        ) {
            let mut bytes = example();
            for (at, value, kind) in changes {
                // Most of the first page is reserved: aim at what is not.
                let at = if (88..4096).contains(&at) && kind > 0 { at % 88 } else { at };
                bytes[at] = if kind == 3 { bytes[at] ^ 1 } else { value };
            }
            bytes.truncate(cut.unwrap_or(bytes.len()));
            if let Ok(pack) = open(bytes.clone()) && pack.check_padding().is_ok() {
                let mut again = write(&read(&pack));
                set_salt(again.first_chunk_mut().expect("a page"), pack.salt());
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
