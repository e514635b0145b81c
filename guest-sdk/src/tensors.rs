//! Models and weights: named tensors in the safetensors format.
//!
//! The format is read and written here, because that takes a third of the code that a general JSON library brings into
//! every module, and each replayed step admits its module anew. Tests hold it against the `safetensors` crate.

mod header;

use std::fs;
use std::path::Path;

use header::Header;

use crate::{Error, Job};

/// Named tensors of `f32` or `f64`, and a note of what they are.
///
/// In memory and in the file, values are in row-major order; bytes are little-endian. Tensors are written in an order
/// that depends on their types and names alone, so that equal tensors give equal bytes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tensors {
    /// Sorted by name.
    tensors: Vec<Tensor>,
    note: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Values,
}

#[derive(Clone, PartialEq, Debug)]
enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Tensors {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// The note that was written with [`Self::set_note`].
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Notes what these tensors are, for example the columns they belong to.
    pub fn set_note(&mut self, note: impl Into<String>) {
        self.note = Some(note.into());
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// Adds a tensor of `f32`, over one of the same name.
    ///
    /// # Panics
    /// When `values` has not as many values as the shape asks for, or, in builds with debug assertions, when the name is
    /// `__metadata__`, which the format has taken.
    pub fn insert_f32(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f32>) {
        self.insert(name.into(), shape, values.len(), Values::F32(values));
    }

    /// Adds a tensor of `f64`, over one of the same name.
    ///
    /// # Panics
    /// As [`Self::insert_f32`].
    pub fn insert_f64(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f64>) {
        self.insert(name.into(), shape, values.len(), Values::F64(values));
    }

    fn insert(&mut self, name: String, shape: &[usize], count: usize, values: Values) {
        assert_eq!(shape.iter().product::<usize>(), count, "{name} has another number of values than its shape");
        debug_assert!(name != "__metadata__", "no tensor can have this name");
        self.place(Tensor { name, shape: shape.to_vec(), values });
    }

    fn place(&mut self, tensor: Tensor) {
        match self.tensors.binary_search_by(|other| other.name.cmp(&tensor.name)) {
            Ok(index) => self.tensors[index] = tensor,
            Err(index) => self.tensors.insert(index, tensor),
        }
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn shape(&self, name: &str) -> Result<&[usize], Error> {
        Ok(&self.tensor(name)?.shape)
    }

    /// The values of a tensor of `f32` with this shape.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<&[f32], Error> {
        match &self.tensor_of(name, shape)?.values {
            Values::F32(values) => Ok(values),
            Values::F64(_) => Err(Error::failed(format!("the tensor {name:?} holds F64, F32 is needed"))),
        }
    }

    /// The values of a tensor of `f64` with this shape.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn f64(&self, name: &str, shape: &[usize]) -> Result<&[f64], Error> {
        match &self.tensor_of(name, shape)?.values {
            Values::F64(values) => Ok(values),
            Values::F32(_) => Err(Error::failed(format!("the tensor {name:?} holds F32, F64 is needed"))),
        }
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        self.tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| {
            let names: Vec<_> = self.names().take(20).collect();
            let names = names.join(", ");
            Error::failed(format!("there is no tensor {name:?}; the file has {names}: is it another's model?"))
        })
    }

    fn tensor_of(&self, name: &str, shape: &[usize]) -> Result<&Tensor, Error> {
        let tensor = self.tensor(name)?;
        if tensor.shape == shape {
            Ok(tensor)
        } else {
            Err(Error::failed(format!("the tensor {name:?} has the shape {:?}, {shape:?} is needed", tensor.shape)))
        }
    }

    /// Reads the job's initial model, which must be one file.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of_model(job: &Job) -> Result<Self, Error> {
        Self::read(job.model_path())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or [`Self::decode`] refuses it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes =
            fs::read(path).map_err(|error| Error::failed(format!("cannot read {}: {error}", path.display())))?;
        Self::decode(&bytes).map_err(|error| Error::failed(format!("{}: {error}", path.display())))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// When they are not safetensors, or hold another type than F32 and F64, or a value that is not finite.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |what: &str| Error::failed(format!("not a safetensors file: {what}"));
        let (length, rest) = bytes.split_first_chunk().ok_or_else(|| refuse("it is too short"))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (head, data) = rest.split_at_checked(length).ok_or_else(|| refuse("its header does not fit into it"))?;
        let mut header = Header::parse(head).map_err(|what| refuse(&what))?;
        let mut tensors = Self { note: header.note.take(), ..Self::default() };
        // The tensors must fill the data exactly, so that nothing hides between them.
        let mut end = 0;
        for header::Entry { name, element, shape, range: [from, to] } in header.entries {
            let width = match element.as_str() {
                "F32" => 4,
                "F64" => 8,
                other => return Err(Error::failed(format!("the tensor {name:?} holds {other}: F32 or F64 is needed"))),
            };
            let bytes = shape.iter().try_fold(width, |bytes: usize, &size| bytes.checked_mul(size));
            let fits = from == end && to <= data.len() && from <= to && bytes == Some(to - from);
            if !fits {
                return Err(refuse(&format!("the tensor {name:?} does not lie where its shape wants it")));
            }
            end = to;
            let values = if width == 4 {
                Values::F32(data[from..to].as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect())
            } else {
                Values::F64(data[from..to].as_chunks().0.iter().map(|&word| f64::from_le_bytes(word)).collect())
            };
            check_finite(&name, &values)?;
            if tensors.names().any(|other| other == name) {
                return Err(refuse(&format!("the tensor {name:?} is there twice")));
            }
            tensors.place(Tensor { name, shape, values });
        }
        if end != data.len() {
            return Err(refuse("there are bytes that belong to no tensor"));
        }
        Ok(tensors)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// When a value is not finite: such weights are worth nothing, so that a run should end with an error instead.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        // Wider values first, so that all are aligned.
        let mut tensors = Vec::new();
        for wide in [true, false] {
            tensors.extend(self.tensors.iter().filter(|tensor| matches!(tensor.values, Values::F64(_)) == wide));
        }
        let (mut entries, mut end) = (Vec::new(), 0);
        for Tensor { name, shape, values } in &tensors {
            check_finite(name, values)?;
            let (element, bytes) = match values {
                Values::F64(values) => ("F64", 8 * values.len()),
                Values::F32(values) => ("F32", 4 * values.len()),
            };
            let (name, element, shape) = (name.clone(), element.to_string(), shape.clone());
            entries.push(header::Entry { name, element, shape, range: [end, end + bytes] });
            end += bytes;
        }
        let head = Header { entries, note: self.note.clone() }.encode();
        // Of the weights of a large model there should not be more copies than this one.
        let mut bytes = Vec::with_capacity(8 + head.len() + end);
        bytes.extend_from_slice(&(head.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&head);
        for tensor in tensors {
            match &tensor.values {
                Values::F64(values) => values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
                Values::F32(values) => values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
            }
        }
        Ok(bytes)
    }

    /// Writes a result file.
    ///
    /// # Errors
    /// As [`Self::encode`] and [`Job::write_result`].
    pub fn write_result(&self, job: &Job, name: &str) -> Result<(), Error> {
        job.write_result(name, &self.encode()?)
    }
}

fn check_finite(name: &str, values: &Values) -> Result<(), Error> {
    let found = match values {
        Values::F32(values) => values.iter().position(|value| !value.is_finite()),
        Values::F64(values) => values.iter().position(|value| !value.is_finite()),
    };
    match found {
        Some(index) => Err(Error::failed(format!("the tensor {name:?} has a NaN or infinity at position {index}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Tensors {
        let mut tensors = Tensors::new();
        tensors.set_note("a,b");
        tensors.insert_f32("w", &[2, 3], vec![1.0, -2.0, 3.5, 0.0, -0.0, 1e-40]);
        tensors.insert_f64("b", &[1], vec![0.1]);
        tensors
    }

    #[test]
    fn what_was_written_is_read_again() {
        let bytes = example().encode().expect("encoded");
        assert_eq!(Tensors::decode(&bytes), Ok(example()));
        assert_eq!(example().encode().expect("encoded"), bytes);
    }

    #[test]
    fn the_safetensors_crate_writes_and_reads_the_same_bytes() {
        use safetensors::tensor::{Dtype, SafeTensors, TensorView};
        let le = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        let (w, v, b) = (le(&[1.0, -2.0, 3.5, 0.0, -0.0, 1e-40]), le(&[7.0]), 0.1f64.to_le_bytes());
        let name = "odd \"name\" \\ \n \u{1} ä";
        let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).expect("a tensor");
        let views = [
            (name, view(Dtype::F32, &[1, 1], &v)),
            ("w", view(Dtype::F32, &[2, 3], &w)),
            ("b", view(Dtype::F64, &[], &b)),
        ];
        let metadata = std::collections::HashMap::from([("note".to_string(), "a,\"b\"".to_string())]);
        let theirs = safetensors::serialize(views, Some(metadata)).expect("serialised");
        let mut tensors = Tensors::new();
        tensors.set_note("a,\"b\"");
        tensors.insert_f32("w", &[2, 3], vec![1.0, -2.0, 3.5, 0.0, -0.0, 1e-40]);
        tensors.insert_f64("b", &[], vec![0.1]);
        tensors.insert_f32(name, &[1, 1], vec![7.0]);
        assert_eq!(Tensors::decode(&theirs), Ok(tensors.clone()));
        assert_eq!(tensors.encode().expect("encoded"), theirs);
        assert_eq!(SafeTensors::deserialize(&theirs).expect("theirs").len(), 3);
    }

    #[test]
    fn another_trainers_model_is_told_apart() {
        let tensors = example();
        for (result, part) in [
            (tensors.f32("v", &[2, 3]).map(<[f32]>::len), "no tensor \"v\"; the file has b, w"),
            (tensors.f32("w", &[3, 2]).map(<[f32]>::len), "shape [2, 3], [3, 2] is needed"),
            (tensors.f32("b", &[1]).map(<[f32]>::len), "holds F64"),
            (tensors.f64("w", &[2, 3]).map(<[f64]>::len), "holds F32"),
        ] {
            let message = result.expect_err("refused").to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn values_that_are_not_finite_neither_come_nor_go() {
        let mut tensors = example();
        let mut bytes = tensors.encode().expect("encoded");
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        let message = Tensors::decode(&bytes).expect_err("refused").to_string();
        assert!(message.contains("\"w\"") && message.contains("position 5"), "{message}");
        tensors.insert_f64("b", &[1], vec![f64::INFINITY]);
        assert!(tensors.encode().is_err());
    }

    #[test]
    fn damaged_files_are_errors() {
        let bytes = example().encode().expect("encoded");
        for length in 0..bytes.len() {
            assert!(Tensors::decode(&bytes[..length]).is_err(), "{length}");
        }
        let mut huge = bytes.clone();
        huge[..8].fill(0xff);
        assert!(Tensors::decode(&huge).is_err());
        assert!(Tensors::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let decode = |header: &str, data: &[u8]| {
            Tensors::decode(&[&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat())
        };
        let entry = |shape: &str, from: u32, to: u32| {
            format!(r#"{{"dtype":"F32","shape":[{shape}],"data_offsets":[{from},{to}]}}"#)
        };
        assert!(decode(&format!(r#" {{ "a" : {} }} "#, entry("1, 2", 0, 8)), &[0; 8]).is_ok());
        for (header, part) in [
            (format!(r#"{{"a":{},"a":{}}}"#, entry("1", 0, 4), entry("1", 4, 8)), "twice"),
            (format!(r#"{{"a":{},"b":{}}}"#, entry("1", 0, 4), entry("1", 0, 4)), "does not lie"),
            (format!(r#"{{"a":{}}}"#, entry("1", 4, 8)), "does not lie"),
            (format!(r#"{{"a":{}}}"#, entry("3", 0, 8)), "does not lie"),
            (format!(r#"{{"a":{}}}"#, entry("4294967296,4294967296,4294967296", 0, 8)), "does not lie"),
            (format!(r#"{{"a":{}}}"#, entry("1", 0, 4)), "belong to no tensor"),
            (format!(r#"{{"a":{}}}"#, entry("-1", 0, 4)), "number"),
            (format!(r#"{{"a":{}}}"#, entry("99999999999999999999999", 0, 4)), "number"),
            (r#"{"a":{"dtype":"F32","shape":[2]}}"#.to_string(), "\"a\" lacks"),
            (r#"{"a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}"#.to_string(), "holds F16"),
            (r#"{"a":{"size":1}}"#.to_string(), "\"size\""),
            (r#"{"a":"\ud800"}"#.to_string(), ""),
            (r#"{"__metadata__":{"note":1}}"#.to_string(), "position"),
            ("[".repeat(100_000), "position"),
            (r#"{"a":{}"#.to_string(), ""),
            ("{}{}".to_string(), "after"),
        ] {
            let error = decode(&header, &[0; 8]).expect_err(&header).to_string();
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }
}
