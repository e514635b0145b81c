//! Arrays from NumPy's `.npy` and `.npz` files and from IDX files, read example by example.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use zip::{CompressionMethod, ZipArchive};

use crate::Error;

/// An array whose first dimension counts examples. It is read from its file one example at a time, in any order, so that
/// it may be larger than memory.
///
/// ```no_run
/// # use fedmkt_guest::array::Array;
/// let mut images = Array::open("/data/images.npy")?;
/// images.check_example(&[8, 8])?;
/// let mut image = [0.0; 64];
/// images.read(17, &mut image)?;
/// # Ok::<(), fedmkt_guest::Error>(())
/// ```
#[derive(Debug)]
pub struct Array {
    name: String,
    source: Box<dyn Source>,
    shape: Vec<usize>,
    element: Element,
    big_endian: bool,
    /// Where the first value lies in the source.
    start: u64,
    buffer: Vec<u8>,
}

/// Where an array is read from: a file, or a member of an archive that was unpacked.
trait Source: fmt::Debug {
    /// Fills the buffer with what lies from this place on.
    fn read_at(&mut self, place: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn read_at(&mut self, place: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(place))?;
        self.read_exact(buffer)
    }
}

impl Source for Vec<u8> {
    fn read_at(&mut self, place: u64, buffer: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(place).ok().and_then(|place| self.get(place..));
        rest.unwrap_or_default().read_exact(buffer)
    }
}

/// The type of an array's values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The value of these little-endian bytes.
    fn value(self, bytes: [u8; 8]) -> f64 {
        let word = u64::from_le_bytes(bytes);
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => word as f64,
            Self::I8 => f64::from(word as i8),
            Self::I16 => f64::from(word as i16),
            Self::I32 => f64::from(word as i32),
            Self::I64 => word as i64 as f64,
            Self::F32 => f64::from(f32::from_bits(word as u32)),
            Self::F64 => f64::from_bits(word),
        }
    }
}

/// What the head of a file tells.
struct Head {
    shape: Vec<usize>,
    element: Element,
    big_endian: bool,
    /// Its own bytes.
    length: u64,
}

const NPY_MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The most bytes of a `.npy` header; NumPy's own take some hundred.
const MOST_HEADER_BYTES: usize = 1 << 16;

impl Array {
    /// Opens a `.npy` or IDX file; which of them it is shows in its first bytes.
    ///
    /// # Errors
    /// When the file is neither, holds something else than numbers, or is shorter or longer than its shape says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let name = path.as_ref().display().to_string();
        let opened = File::open(&path).and_then(|mut file| Ok((file.seek(SeekFrom::End(0))?, file)));
        let (end, file) = opened.map_err(|error| Error::refused(format!("{name}: cannot be opened: {error}")))?;
        Self::from_source(name, Box::new(file), 0, end)
    }

    /// An array whose file lies between these places of a source.
    fn from_source(name: String, mut source: Box<dyn Source>, begin: u64, end: u64) -> Result<Self, Error> {
        let refuse = |what: String| Error::refused(format!("{name}: {what}"));
        let bytes = end.saturating_sub(begin);
        let Head { shape, element, big_endian, length } = head(&mut *source, begin).map_err(refuse)?;
        if shape.contains(&0) {
            return Err(refuse(format!("is empty: its shape is {shape:?}")));
        }
        let example = shape[1..].iter().try_fold(element.bytes(), |bytes, &size| bytes.checked_mul(size));
        if example.is_none() {
            return Err(refuse(format!("an example of the shape {:?} does not fit into memory", &shape[1..])));
        }
        let values = shape.iter().try_fold(1u64, |values, &size| values.checked_mul(size as u64));
        let needed = values.and_then(|values| values.checked_mul(element.bytes() as u64)?.checked_add(length));
        if needed != Some(bytes) {
            return Err(refuse(format!(
                "has {bytes} bytes, which does not fit the shape {shape:?} of {element:?} in its head"
            )));
        }
        Ok(Self { name, source, shape, element, big_endian, start: begin + length, buffer: Vec::new() })
    }

    /// The array's shape, examples first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.shape[0]
    }

    /// Values of an example.
    pub fn example_values(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Checks the shape of an example.
    ///
    /// # Errors
    /// When it is another one.
    pub fn check_example(&self, shape: &[usize]) -> Result<(), Error> {
        let found = &self.shape[1..];
        if found == shape {
            Ok(())
        } else {
            Err(Error::refused(format!("{}: an example has the shape {found:?}, {shape:?} is needed", self.name)))
        }
    }

    /// Reads the values of an example, each rounded to the nearest `f32`.
    ///
    /// # Errors
    /// When there is no such example, the file cannot be read, or a value is not finite.
    ///
    /// # Panics
    /// When `values` has another length than an example.
    pub fn read(&mut self, example: usize, values: &mut [f32]) -> Result<(), Error> {
        assert_eq!(values.len(), self.example_values(), "an example of {}", self.name);
        let width = self.element.bytes();
        self.read_bytes(example)?;
        for (position, (value, bytes)) in values.iter_mut().zip(self.buffer.chunks_exact(width)).enumerate() {
            *value = decode(self.element, self.big_endian, bytes) as f32;
            if !value.is_finite() {
                return Err(Error::refused(format!(
                    "{}, example {example}: the value at position {position} is {}, a finite number is needed",
                    self.name,
                    f64::from(*value)
                )));
            }
        }
        Ok(())
    }

    /// The class of an example, for an array of one number each: a whole number below `classes`.
    ///
    /// # Errors
    /// When there is no such example, the file cannot be read, or the number is no class.
    ///
    /// # Panics
    /// When an example has more than one value.
    pub fn class(&mut self, example: usize, classes: usize) -> Result<usize, Error> {
        assert_eq!(self.example_values(), 1, "an example of {}", self.name);
        self.read_bytes(example)?;
        let value = decode(self.element, self.big_endian, &self.buffer);
        if value >= 0.0 && value < classes as f64 && value.fract() == 0.0 {
            return Ok(value as usize);
        }
        let last = classes.saturating_sub(1);
        Err(Error::refused(format!(
            "{}, example {example}: a class from 0 to {last} is needed, not {value}",
            self.name
        )))
    }

    fn read_bytes(&mut self, example: usize) -> Result<(), Error> {
        if example >= self.examples() {
            return Err(Error::failed(format!("{} has no example {example}, only {}", self.name, self.examples())));
        }
        let bytes = self.example_values() * self.element.bytes();
        self.buffer.resize(bytes, 0);
        let at = self.start + example as u64 * bytes as u64;
        let read = self.source.read_at(at, &mut self.buffer);
        read.map_err(|error| Error::refused(format!("{}, example {example}: cannot be read: {error}", self.name)))
    }
}

/// Named arrays in one file, as `numpy.savez` and `numpy.savez_compressed` write it (`.npz`).
///
/// Arrays of `savez` are read from the file example by example. Those of `savez_compressed` are unpacked into memory, for
/// there is no way to a later example but through all before it.
///
/// ```no_run
/// # use fedmkt_guest::array::Archive;
/// let archive = Archive::open("/data/digits.npz")?;
/// let (images, labels) = (archive.array("images")?, archive.array("labels")?);
/// # Ok::<(), fedmkt_guest::Error>(())
/// ```
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    members: ZipArchive<File>,
}

impl Archive {
    /// Opens a `.npz` file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a zip archive.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        let members = open_zip(&path).map_err(|error| Error::refused(format!("{}: {error}", path.display())))?;
        Ok(Self { path, members })
    }

    /// The arrays' names, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        let files = self.members.file_names().flatten();
        files.filter_map(|file| Some(file.strip_suffix(".npy")?.to_string())).collect()
    }

    /// Opens the array of this name.
    ///
    /// # Errors
    /// When there is none, it is compressed and does not fit into memory, or as [`Array::open`].
    pub fn array(&self, name: &str) -> Result<Array, Error> {
        let full = format!("{}, array {name}", self.path.display());
        let refuse = |what: String| Error::refused(format!("{full}: {what}"));
        // An archive of its own, because reading moves in the file.
        let mut members = open_zip(&self.path).map_err(refuse)?;
        let mut member = members
            .by_name(&format!("{name}.npy"))
            .map_err(|error| refuse(format!("cannot be opened ({error}); there are {:?}", self.names())))?;
        let size = member.size();
        if member.compression() == CompressionMethod::Stored {
            let begin = member.data_start().ok_or_else(|| refuse("has no place in the file".to_string()))?;
            let end = begin.checked_add(size).ok_or_else(|| refuse("lies beyond the file".to_string()))?;
            let file = File::open(&self.path).map_err(|error| refuse(format!("cannot be opened: {error}")))?;
            return Array::from_source(full, Box::new(file), begin, end);
        }
        let mut content = Vec::new();
        if usize::try_from(size).ok().and_then(|size| content.try_reserve_exact(size).ok()).is_none() {
            return Err(refuse(format!(
                "its {size} bytes do not fit into memory; numpy.savez stores them to be read in parts"
            )));
        }
        // One byte more than it says would show that it lies.
        let read = (&mut member).take(size.saturating_add(1)).read_to_end(&mut content);
        read.map_err(|error| refuse(format!("cannot be unpacked: {error}")))?;
        if content.len() as u64 != size {
            return Err(refuse(format!("has another size than the archive says, which is {size} bytes")));
        }
        Array::from_source(full, Box::new(content), 0, size)
    }
}

fn open_zip(path: &Path) -> Result<ZipArchive<File>, String> {
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    ZipArchive::new(file).map_err(|error| format!("is not an .npz file: {error}"))
}

fn decode(element: Element, big_endian: bool, bytes: &[u8]) -> f64 {
    let mut little = [0; 8];
    little[..bytes.len()].copy_from_slice(bytes);
    if big_endian {
        little[..bytes.len()].reverse();
    }
    element.value(little)
}

/// Reads the head of a file that begins here; an error says what is wrong with it.
fn head(source: &mut dyn Source, begin: u64) -> Result<Head, String> {
    let mut place = begin;
    let mut bytes = |count: usize| {
        let mut bytes = vec![0; count];
        source.read_at(place, &mut bytes).map_err(|error| format!("its head cannot be read: {error}"))?;
        place += count as u64;
        Ok::<_, String>(bytes)
    };
    let magic = bytes(4)?;
    if magic[..2] == [0, 0] {
        // IDX: two zeros, the type, the number of dimensions, and their sizes as big-endian words.
        let element = match magic[2] {
            0x08 => Element::U8,
            0x09 => Element::I8,
            0x0b => Element::I16,
            0x0c => Element::I32,
            0x0d => Element::F32,
            0x0e => Element::F64,
            other => return Err(format!("an IDX file with the unknown type {other:#04x}")),
        };
        let dimensions = usize::from(magic[3]);
        if dimensions == 0 {
            return Err("an IDX file without dimensions".to_string());
        }
        let sizes = bytes(4 * dimensions)?;
        let shape = sizes.as_chunks().0.iter().map(|&size| u32::from_be_bytes(size) as usize).collect();
        return Ok(Head { shape, element, big_endian: true, length: 4 + 4 * dimensions as u64 });
    }
    if magic[..2] == [0x1f, 0x8b] {
        return Err("a gzip file: unpack it first".to_string());
    }
    if magic[..2] == *b"PK" {
        return Err("a zip or .npz file: open it as an Archive".to_string());
    }
    let rest = bytes(4)?;
    if [&magic[..], &rest[..2]].concat() != NPY_MAGIC {
        return Err("neither a .npy nor an IDX file".to_string());
    }
    // Version 1 has a length of two bytes, later ones of four.
    let length_bytes = if rest[2] == 1 { 2 } else { 4 };
    let mut length = [0; 4];
    length[..length_bytes].copy_from_slice(&bytes(length_bytes)?);
    let length = u32::from_le_bytes(length) as usize;
    if length > MOST_HEADER_BYTES {
        return Err(format!("its header has {length} bytes, at most {MOST_HEADER_BYTES} are read"));
    }
    let header = bytes(length)?;
    let (shape, element, big_endian) = npy_header(&String::from_utf8_lossy(&header))?;
    Ok(Head { shape, element, big_endian, length: (8 + length_bytes + length) as u64 })
}

/// Reads the header of a `.npy` file, which is a Python dictionary such as
/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }`.
fn npy_header(header: &str) -> Result<(Vec<usize>, Element, bool), String> {
    let value_of = |key: &str| {
        let after = header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        after.ok_or_else(|| format!("its header lacks {key:?}"))
    };
    let descr = value_of("descr")?;
    let quoted = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
    let (descr, _) = quoted.ok_or_else(|| "holds records; an array of numbers is needed".to_string())?;
    let (order, kind) = descr.split_at_checked(1).unwrap_or_default();
    let element = match kind {
        "b1" | "u1" => Element::U8,
        "i1" => Element::I8,
        "u2" => Element::U16,
        "i2" => Element::I16,
        "u4" => Element::U32,
        "i4" => Element::I32,
        "u8" => Element::U64,
        "i8" => Element::I64,
        "f4" => Element::F32,
        "f8" => Element::F64,
        _ => return Err(format!("holds values of the type {descr:?}; integers, float32 and float64 can be read")),
    };
    let big_endian = match order {
        "<" | "|" | "=" => false,
        ">" => true,
        _ => return Err(format!("holds values of the unknown type {descr:?}")),
    };
    let tuple = value_of("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let sizes = tuple.ok_or_else(|| "its header has a shape that is no tuple".to_string())?.0;
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape: Result<Vec<usize>, _> = sizes.map(str::parse).collect();
    let shape = shape.map_err(|error| format!("its header has a shape that cannot be read: {error}"))?;
    if shape.is_empty() {
        return Err("holds a single number; the first dimension must count examples".to_string());
    }
    if shape.len() > 1 && !value_of("fortran_order")?.starts_with("False") {
        return Err("is stored column by column (Fortran order); store it with numpy.ascontiguousarray".to_string());
    }
    Ok((shape, element, big_endian))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(content: &[u8]) -> Result<Array, Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("array");
        std::fs::write(&path, content).expect("written");
        // The file stays open when its folder goes.
        Array::open(path)
    }

    fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut bytes = NPY_MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn idx(kind: u8, sizes: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, sizes.len() as u8];
        sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    #[test]
    fn each_type_and_byte_order_is_read() {
        let cases: [(Vec<u8>, [f32; 2]); 9] = [
            (npy("'|u1'", "False", "(1, 2)", &[7, 255]), [7.0, 255.0]),
            (npy("'|i1'", "False", "(1, 2)", &[7, 255]), [7.0, -1.0]),
            (npy("'<i2'", "False", "(1, 2)", &[1, 1, 255, 255]), [257.0, -1.0]),
            (npy("'>u2'", "False", "(1, 2)", &[1, 0, 0, 2]), [256.0, 2.0]),
            (npy("'<f4'", "False", "(1, 2)", &[0, 0, 0, 63, 0, 0, 128, 191]), [0.5, -1.0]),
            (npy("'<f8'", "False", "(1, 2)", &[[0; 8], (-2.5f64).to_le_bytes()].concat()), [0.0, -2.5]),
            (npy("'<i8'", "False", "(1, 2)", &[3i64.to_le_bytes(), (-3i64).to_le_bytes()].concat()), [3.0, -3.0]),
            (idx(0x08, &[1, 2], &[0, 200]), [0.0, 200.0]),
            (idx(0x0d, &[1, 1, 2], &[63, 0, 0, 0, 191, 128, 0, 0]), [0.5, -1.0]),
        ];
        for (content, expected) in cases {
            let mut values = [9.0; 2];
            open(&content).expect("an array").read(0, &mut values).expect("an example");
            assert_eq!(values, expected);
        }
    }

    #[test]
    fn examples_come_in_any_order() {
        let mut array = open(&npy("'|u1'", "False", "(3, 2)", &[1, 2, 3, 4, 5, 6])).expect("an array");
        assert_eq!((array.examples(), array.shape()), (3, &[3, 2][..]));
        for example in [2, 0, 1] {
            let mut values = [0.0; 2];
            array.read(example, &mut values).expect("an example");
            assert_eq!(values, [2 * example + 1, 2 * example + 2].map(|value| value as f32));
        }
        assert!(array.read(3, &mut [0.0; 2]).is_err());
        assert!(array.check_example(&[2]).is_ok());
        let error = array.check_example(&[4, 4]).expect_err("another shape");
        assert!(error.to_string().contains("[2], [4, 4] is needed"), "{error}");
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        let mut array = open(&npy("'<f4'", "False", "(2, 1)", &[0, 0, 0, 0, 0, 0, 192, 127])).expect("an array");
        assert_eq!(array.read(0, &mut [0.0]), Ok(()));
        let error = array.read(1, &mut [0.0]).expect_err("NaN");
        assert!(error.to_string().contains("example 1") && error.to_string().contains("position 0"), "{error}");
        let mut labels = open(&idx(0x08, &[3], &[0, 9, 10])).expect("an array");
        assert_eq!((labels.class(0, 10), labels.class(1, 10)), (Ok(0), Ok(9)));
        let error = labels.class(2, 10).expect_err("no class");
        assert!(error.to_string().contains("example 2: a class from 0 to 9 is needed, not 10"), "{error}");
        let mut halves = open(&npy("'<f4'", "False", "(1,)", &0.5f32.to_le_bytes())).expect("an array");
        assert!(halves.class(0, 10).is_err());
    }

    fn archive(method: CompressionMethod, members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, content) in members {
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            writer.start_file(*name, options).expect("a member");
            io::Write::write_all(&mut writer, content).expect("written");
        }
        writer.finish().expect("an archive").into_inner()
    }

    #[test]
    fn archives_give_each_of_their_arrays() {
        let arrays = [
            ("images.npy", npy("'|u1'", "False", "(3, 2)", &[1, 2, 3, 4, 5, 6])),
            ("labels.npy", npy("'<f4'", "False", "(3,)", &[0; 12])),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("arrays.npz");
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            std::fs::write(&path, archive(method, &arrays)).expect("written");
            let archive = Archive::open(&path).expect("an archive");
            assert_eq!(archive.names(), ["images", "labels"]);
            let (mut images, mut labels) = (archive.array("images").expect("it"), archive.array("labels").expect("it"));
            let mut image = [0.0; 2];
            for example in [2, 0, 1] {
                images.read(example, &mut image).expect("an example");
                assert_eq!(image, [2 * example + 1, 2 * example + 2].map(|value| value as f32), "{method}");
                assert_eq!(labels.class(example, 10), Ok(0));
            }
            let error = archive.array("weights").expect_err("none").to_string();
            assert!(error.contains("array weights") && error.contains(r#"["images", "labels"]"#), "{error}");
        }
    }

    #[test]
    fn hostile_archives_are_refused() {
        let array = || npy("'|u1'", "False", "(300,)", &[7; 300]);
        let stored = archive(CompressionMethod::Stored, &[("a.npy", array())]);
        let deflated = archive(CompressionMethod::Deflated, &[("a.npy", array())]);
        let with = |original: &[u8], change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = original.to_vec();
            change(&mut bytes);
            bytes
        };
        // The central directory's record of the member: its size unpacked stands 24 bytes after its magic.
        let record = |bytes: &[u8]| bytes.windows(4).position(|word| word == b"PK\x01\x02").expect("a record");
        let claim = |size: u32| {
            move |bytes: &mut Vec<u8>| {
                let at = bytes.windows(4).position(|word| word == b"PK\x01\x02").expect("a record") + 24;
                bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
            }
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("arrays.npz");
        let cases: [(&str, Vec<u8>); 8] = [
            ("not an archive", array()),
            ("empty", vec![]),
            ("cut off", stored[..stored.len() - 30].to_vec()),
            ("without its beginning", stored[record(&stored)..].to_vec()),
            ("claims more than there is, stored", with(&stored, &claim(u32::MAX - 1))),
            ("claims more than there is, packed", with(&deflated, &claim(1 << 20))),
            ("claims less than there is", with(&deflated, &claim(100))),
            ("damaged", with(&deflated, &|bytes| bytes[45] ^= 0xff)),
        ];
        for (what, content) in cases {
            std::fs::write(&path, content).expect("written");
            let error = Archive::open(&path).and_then(|archive| archive.array("a")).expect_err(what);
            assert_eq!(error.kind(), crate::Kind::Refused, "{what}");
            assert!(error.to_string().contains("arrays.npz"), "{what}: {error}");
        }
    }

    #[test]
    fn hostile_heads_are_refused() {
        let cases: [(Vec<u8>, &str); 18] = [
            (vec![], "head"),
            (npy("'<f4'", "False", "(0, 2)", &[]), "is empty"),
            (npy("'<f4'", "False", "(0, 99999999999, 99999999999)", &[]), "is empty"),
            (b"abcdefgh".to_vec(), "neither"),
            (b"PK\x03\x04abcd".to_vec(), "Archive"),
            (vec![0x1f, 0x8b, 8, 0], "unpack"),
            (idx(0x0a, &[1], &[0]), "unknown type"),
            (idx(0x08, &[], &[]), "without dimensions"),
            (idx(0x08, &[3], &[0, 0]), "does not fit"),
            (idx(0x08, &[1], &[0, 0]), "does not fit"),
            (idx(0x0e, &[u32::MAX; 9], &[]), "does not fit into memory"),
            (npy("'<f4'", "True", "(1, 2)", &[0; 8]), "Fortran"),
            (npy("'|O'", "False", "(1,)", &[0; 8]), "type"),
            (npy("[('a', '<f4')]", "False", "(1,)", &[0; 4]), "records"),
            (npy("'<f4'", "False", "()", &[0; 4]), "single number"),
            (npy("'<f4'", "False", "(-1,)", &[0; 4]), "cannot be read"),
            (npy("''", "False", "(1,)", &[0; 4]), "type"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "at most"),
        ];
        for (content, part) in cases {
            let error = open(&content).expect_err(part);
            assert_eq!(error.kind(), crate::Kind::Refused);
            assert!(error.to_string().contains(part), "{error} lacks {part}");
        }
    }
}
