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
//! So there is exactly one pack for a tree and a salt, and [`Pack::open`] refuses everything else, except that it does
//! not look at the padding between contents: that takes [`Pack::check_padding`], which reads around all contents.

use alloc::string::String;
use alloc::sync::Arc;
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
    /// Bytes between contents are not zero; holds the first one's offset.
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
            Self::Padding(offset) => write!(f, "the pack is not zero at byte {offset}, between files"),
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

/// A pack, open for reading. Nothing is copied but the index.
pub struct Pack {
    bytes: Bytes,
    entries: Vec<Record>,
    /// Numbers of the entries in each directory, by name; the last list is that of the top.
    children: Vec<Vec<u32>>,
}

struct Record {
    path: (usize, u16),
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
    /// Reads a pack's header and index. Bytes after the pack must be zero, as on a drive; they are not read.
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
        let mut entries: Vec<Record> = Vec::new();
        let mut children: Vec<Vec<u32>> = Vec::new();
        let mut top = Vec::new();
        for number in 0..count {
            let wrong = |what| PackError::Entry(number, what);
            let fixed = all[at..index_end].get(..ENTRY_FIXED_BYTES).ok_or(wrong("is cut short"))?;
            let path_bytes = u16::from_le_bytes([fixed[1], fixed[2]]);
            let length = u64::from_le_bytes(fixed[3..11].try_into().expect("8 bytes"));
            at += ENTRY_FIXED_BYTES;
            let path = all[at..index_end].get(..usize::from(path_bytes)).ok_or(wrong("is cut short"))?;
            let path = core::str::from_utf8(path).map_err(|_| wrong("has a path that is not UTF-8"))?;
            check_path(path).map_err(|what| PackError::Path(path.into(), what))?;
            if entries.last().is_some_and(|last| path_of(all, last) >= path) {
                return Err(wrong("is out of order"));
            }
            let parent = match path.rsplit_once('/') {
                None => None,
                Some((parent, _)) => Some(
                    entries
                        .binary_search_by(|entry| path_of(all, entry).cmp(parent))
                        .ok()
                        .filter(|&found| entries[found].content.is_none())
                        .ok_or(wrong("is in no directory"))? as u32,
                ),
            };
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
            match parent {
                Some(parent) => children[parent as usize].push(number as u32),
                None => top.push(number as u32),
            }
            entries.push(Record { path: (at, path_bytes), parent, content });
            children.push(Vec::new());
            at += usize::from(path_bytes);
        }
        if at != index_end {
            return Err(PackError::Header("size of the index"));
        }
        if total != content_end.next_multiple_of(PAGE_BYTES as u64) {
            return Err(PackError::Header("total size"));
        }
        children.push(top);
        Ok(Self { bytes, entries, children })
    }

    fn all(&self) -> &[u8] {
        (*self.bytes).as_ref()
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
        Some(Entry { path: path_of(all, record), parent: record.parent, content })
    }

    /// All entries, sorted by path.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.len()).filter_map(|number| self.entry(number))
    }

    /// The number of the entry with this path.
    pub fn find(&self, path: &str) -> Option<u32> {
        let all = self.all();
        self.entries.binary_search_by(|entry| path_of(all, entry).cmp(path)).ok().map(|number| number as u32)
    }

    /// The content of the file with this path.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.entry(self.find(path)?)?.content
    }

    /// The entries in a directory, or at the top, sorted by name. A file has none.
    pub fn children(&self, directory: Option<u32>) -> &[u32] {
        let index = directory.map_or(self.entries.len(), |number| number as usize);
        self.children.get(index).map_or(&[], Vec::as_slice)
    }

    /// Sum of the bytes of all files.
    pub fn content_bytes(&self) -> u64 {
        self.entries.iter().filter_map(|entry| entry.content).map(|(_, length)| length).sum()
    }

    /// Checks that what lies between contents is zero.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_padding(&self) -> Result<(), PackError> {
        let all = self.all();
        let mut end = PAGE_BYTES as u64 + u64::from_le_bytes(all[72..80].try_into().expect("8 bytes"));
        let total = u64::from_le_bytes(all[80..88].try_into().expect("8 bytes"));
        let contents = self.entries.iter().filter_map(|entry| entry.content);
        for (start, length) in contents.chain([(total, 0)]) {
            let gap = &all[end as usize..start as usize];
            if let Some(offset) = gap.iter().position(|&byte| byte != 0) {
                return Err(PackError::Padding(end + offset as u64));
            }
            end = start + length;
        }
        Ok(())
    }
}

fn path_of<'a>(all: &'a [u8], record: &Record) -> &'a str {
    let (start, length) = record.path;
    core::str::from_utf8(&all[start..start + usize::from(length)]).expect("checked when the pack was opened")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::string::ToString;
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    fn write(files: &BTreeMap<&str, &[u8]>) -> Vec<u8> {
        let entries = files.iter().map(|(path, content)| (path.to_string(), Kind::File(content.len() as u64)));
        let layout = Layout::new(entries).expect("a tree");
        let mut bytes = vec![0; layout.total_bytes() as usize];
        bytes[..layout.front().len()].copy_from_slice(layout.front());
        for (path, offset, length) in layout.files() {
            bytes[offset as usize..][..length as usize].copy_from_slice(files[path]);
        }
        bytes
    }

    fn open(bytes: Vec<u8>) -> Result<Pack, PackError> {
        Pack::open(Arc::new(bytes))
    }

    fn example() -> Vec<u8> {
        write(&BTreeMap::from([("a-b", &b"1"[..]), ("a/c", b"two"), ("a/b/d", b""), ("z", &[7; 5000])]))
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
        let bytes = write(&BTreeMap::new());
        assert_eq!(bytes.len(), PAGE_BYTES);
        assert!(open(bytes).expect("a pack").is_empty());
    }

    #[test]
    fn the_salt_is_where_it_was_put() {
        let mut bytes = example();
        set_salt(bytes.first_chunk_mut().expect("a page"), Salt([9; 32]));
        assert_eq!(open(bytes).expect("a pack").salt(), Salt([9; 32]));
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
        let mut bytes = example();
        let last = bytes.len() - 1;
        bytes[last] = 1;
        assert_eq!(open(bytes).expect("a pack").check_padding(), Err(PackError::Padding(last as u64)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read_without_harm(changes in prop::collection::vec((0usize..4300, any::<u8>()), 1..6)) {
            let mut bytes = example();
            for (at, value) in changes {
                bytes[at] = value;
            }
            if let Ok(pack) = open(bytes) {
                let total: usize = pack.entries().filter_map(|entry| entry.content).map(<[u8]>::len).sum();
                prop_assert!(total as u64 == pack.content_bytes());
                let _ = pack.check_padding();
            }
        }
    }
}
