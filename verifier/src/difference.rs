//! Where two state images differ, in words for people.

use std::collections::BTreeMap;
use std::fmt;

use fedmkt_core::image::Layout;
use fedmkt_core::manifest::Limits;
use fedmkt_core::tree::PAGE_BYTES;

/// The first byte in which two images differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Its offset in the image.
    pub offset: u64,
    /// What lies there.
    pub place: Place,
    /// It in the first image.
    pub left: u8,
    /// It in the second image.
    pub right: u8,
    /// How many pages differ.
    pub pages: u64,
}

/// What lies at an offset of a state image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A word of the header.
    Header(u64),
    /// A mutable global, counted in the order of the module.
    Global(u64),
    /// The WASI state: clock, random position, descriptors, directories.
    Wasi(u64),
    /// A page of a file, and the offset in the file. The path is unknown when the file has no name any more.
    File(Option<String>, u64),
    /// A page of the file area that belongs to no file.
    FreePage(u64),
    /// An address in linear memory.
    Memory(u64),
    /// After the image.
    Padding,
}

/// Names of the header's words.
const WORDS: [&str; 11] = [
    "magic",
    "profile",
    "run id",
    "job root",
    "data root",
    "blind",
    "number of steps",
    "status",
    "exit code",
    "bytes of memory",
    "number of results",
];

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(word) => match WORDS.get(*word as usize) {
                Some(name) => write!(f, "the header's {name}"),
                None => write!(f, "word {word} of the header, about result {}", (word.saturating_sub(16)) / 4),
            },
            Self::Global(index) => write!(f, "mutable global {index}"),
            Self::Wasi(offset) => write!(f, "byte {offset} of the WASI state (clock, open files, directories)"),
            Self::File(Some(path), offset) => write!(f, "byte {offset} of the file {path}"),
            Self::File(None, offset) => write!(f, "byte {offset} of a file that has no name"),
            Self::FreePage(page) => write!(f, "page {page} of the file area, which no file uses"),
            Self::Memory(address) => write!(f, "memory address {address:#x}"),
            Self::Padding => f.write_str("what follows the image"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let page = self.offset / PAGE_BYTES as u64;
        write!(
            f,
            "page {page} (byte {:#x}), {}: {:#04x} here, {:#04x} there; {} pages differ",
            self.offset, self.place, self.left, self.right, self.pages
        )
    }
}

/// The first difference of two images of the same job; a shorter one counts as zero-padded.
pub fn first(left: &[u8], right: &[u8], limits: &Limits) -> Option<Difference> {
    let length = left.len().max(right.len());
    let page = |image: &[u8], number: usize| {
        let mut page = [0; PAGE_BYTES];
        let part = image.get(number * PAGE_BYTES..).unwrap_or(&[]);
        let part = &part[..part.len().min(PAGE_BYTES)];
        page[..part.len()].copy_from_slice(part);
        page
    };
    let mut differing = (0..length.div_ceil(PAGE_BYTES)).filter(|&number| page(left, number) != page(right, number));
    let number = differing.next()?;
    let pages = 1 + differing.count() as u64;
    let (one, other) = (page(left, number), page(right, number));
    let within = one.iter().zip(&other).position(|(a, b)| a != b)?;
    let offset = (number * PAGE_BYTES + within) as u64;
    Some(Difference { offset, place: place(offset, left, limits), left: one[within], right: other[within], pages })
}

/// What lies at an offset of `image`.
pub fn place(offset: u64, image: &[u8], limits: &Limits) -> Place {
    let layout = Layout::of(limits);
    let page_bytes = PAGE_BYTES as u64;
    if offset < Layout::GLOBALS {
        Place::Header(offset / 32)
    } else if offset < Layout::METADATA {
        Place::Global((offset - Layout::GLOBALS) / 16)
    } else if offset < Layout::FILES {
        Place::Wasi(offset - Layout::METADATA)
    } else if offset < layout.memory() {
        let page = (offset - Layout::FILES) / page_bytes;
        let metadata = image.get(Layout::METADATA as usize..Layout::FILES as usize).unwrap_or(&[]);
        match file_of_page(metadata, page as u32) {
            Some((path, index)) => Place::File(path, index * page_bytes + offset % page_bytes),
            None => Place::FreePage(page),
        }
    } else if offset < layout.total_bytes() {
        Place::Memory(offset - layout.memory())
    } else {
        Place::Padding
    }
}

/// The path of the file that a page of the file area belongs to, and which of its pages it is. The WASI state is read as
/// `fedmkt_core::wasi` documents it; where it is damaged, nothing is found.
fn file_of_page(metadata: &[u8], page: u32) -> Option<(Option<String>, u64)> {
    const DIRECTORY: u8 = 3;
    const FILE: u8 = 4;
    const LINK: u8 = 7;
    let mut reader = Reader(metadata);
    reader.skip(32)?;
    let nodes = reader.u32()?;
    reader.skip(4)?;
    let mut owner = None;
    // Of each directory: its parent, and its entries' names by inode.
    let mut names: BTreeMap<u64, (u64, String)> = BTreeMap::from([(3, (1, "out".into())), (4, (1, "tmp".into()))]);
    for _ in 0..nodes {
        let inode = reader.u64()?;
        let kind = reader.take(4)?[0];
        reader.skip(4 + 24)?;
        match kind {
            FILE => {
                let size = reader.u64()?;
                for index in 0..size.div_ceil(PAGE_BYTES as u64) {
                    if reader.u32()? == page {
                        owner = Some((inode, index));
                    }
                }
            }
            DIRECTORY => {
                reader.skip(8)?;
                for _ in 0..reader.u32()? {
                    let child = reader.u64()?;
                    reader.skip(8)?;
                    let name = reader.text()?;
                    names.insert(child, (inode, name));
                }
            }
            LINK => drop(reader.text()?),
            _ => return None,
        }
    }
    let (inode, index) = owner?;
    let mut path = String::new();
    let mut at = inode;
    // The depth is bounded by the number of nodes, whatever the parents say.
    for _ in 0..=nodes {
        if at == 1 {
            return Some((Some(path), index));
        }
        let Some((parent, name)) = names.get(&at) else { break };
        path = format!("/{name}{path}");
        at = *parent;
    }
    Some((None, index))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.take(bytes).map(drop)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let bytes = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
        Some(String::from_utf8_lossy(self.take(usize::from(bytes))?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { memory: 131_072, steps: 10, output: 8192, scratch: 4096, open_files: 16, step_seconds: 1 };

    fn image() -> Vec<u8> {
        let mut image = vec![0; Layout::of(&LIMITS).total_bytes() as usize];
        let mut out = Vec::new();
        out.extend_from_slice(&[0; 32]);
        out.extend_from_slice(&4u32.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        let node = |out: &mut Vec<u8>, inode: u64, kind: u8| {
            out.extend_from_slice(&inode.to_le_bytes());
            out.extend_from_slice(&[kind, 0, 0, 0]);
            out.extend_from_slice(&[0; 4 + 24]);
        };
        let entry = |out: &mut Vec<u8>, inode: u64, name: &str| {
            out.extend_from_slice(&inode.to_le_bytes());
            out.extend_from_slice(&[0; 8]);
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
        };
        node(&mut out, 3, 3);
        out.extend_from_slice(&1u64.to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        entry(&mut out, 16, "folder");
        node(&mut out, 16, 3);
        out.extend_from_slice(&3u64.to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        entry(&mut out, 17, "weights");
        node(&mut out, 17, 4);
        out.extend_from_slice(&5000u64.to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        node(&mut out, 18, 4);
        out.extend_from_slice(&1u64.to_le_bytes());
        out.extend_from_slice(&2u32.to_le_bytes());
        image[Layout::METADATA as usize..][..out.len()].copy_from_slice(&out);
        image
    }

    #[test]
    fn every_area_has_a_name() {
        let image = image();
        let memory = Layout::of(&LIMITS).memory();
        let cases = [
            (6 * 32 + 31, "the header's number of steps"),
            (17 * 32, "word 17 of the header, about result 0"),
            (Layout::GLOBALS + 16 * 3 + 2, "mutable global 3"),
            (Layout::METADATA + 8, "byte 8 of the WASI state (clock, open files, directories)"),
            (Layout::FILES + 4096 + 5, "byte 5 of the file /out/folder/weights"),
            (Layout::FILES + 7, "byte 4103 of the file /out/folder/weights"),
            (Layout::FILES + 8192, "byte 0 of a file that has no name"),
            (memory + 0x1234, "memory address 0x1234"),
            (memory + 131_072, "what follows the image"),
        ];
        for (offset, words) in cases {
            assert_eq!(place(offset, &image, &LIMITS).to_string(), words);
        }
    }

    #[test]
    fn the_first_difference_is_found_and_the_pages_are_counted() {
        let left = image();
        let mut right = left.clone();
        assert_eq!(first(&left, &right, &LIMITS), None);
        right.truncate(right.len() - 100);
        assert_eq!(first(&left, &right, &LIMITS), None, "zeros at the end are no difference");
        let memory = Layout::of(&LIMITS).memory();
        for offset in [memory + 70_000, memory + 70_001, memory + 5] {
            right[offset as usize] = 0xff;
        }
        let found = first(&left, &right, &LIMITS).expect("a difference");
        assert_eq!((found.place.clone(), found.pages, found.left, found.right), (Place::Memory(5), 2, 0, 0xff));
        assert!(found.to_string().contains("memory address 0x5"), "{found}");
    }

    #[test]
    fn a_damaged_wasi_state_is_no_harm() {
        let image = image();
        let metadata = &image[Layout::METADATA as usize..Layout::FILES as usize];
        for end in 0..300 {
            file_of_page(&metadata[..end], 1);
        }
        for at in 0..300 {
            let mut damaged = metadata.to_vec();
            damaged[at] ^= 0xff;
            file_of_page(&damaged, 1);
        }
    }
}
