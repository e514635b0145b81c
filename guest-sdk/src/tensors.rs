//! Models and weights: named tensors in the safetensors format.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::{Error, Job};

/// Named tensors of `f32` or `f64`, and a note of who made them.
///
/// In memory and in the file, values are in row-major order; bytes are little-endian. Tensors are written in an order
/// that depends on their types and names alone, so that equal tensors give equal bytes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tensors {
    tensors: BTreeMap<String, Tensor>,
    note: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

#[derive(Clone, PartialEq, Debug)]
enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// The one key of the file's metadata that is used. The format keeps metadata in a map without an order: with a second
/// key, bytes would differ from one writing to the next.
const NOTE: &str = "note";

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
        self.tensors.keys().map(String::as_str)
    }

    /// Adds a tensor of `f32`, over one of the same name.
    ///
    /// # Panics
    /// When `values` has not as many values as the shape asks for.
    pub fn insert_f32(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f32>) {
        self.insert(name.into(), shape, values.len(), Values::F32(values));
    }

    /// Adds a tensor of `f64`, over one of the same name.
    ///
    /// # Panics
    /// When `values` has not as many values as the shape asks for.
    pub fn insert_f64(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f64>) {
        self.insert(name.into(), shape, values.len(), Values::F64(values));
    }

    fn insert(&mut self, name: String, shape: &[usize], count: usize, values: Values) {
        assert_eq!(shape.iter().product::<usize>(), count, "{name} has another number of values than its shape");
        self.tensors.insert(name, Tensor { shape: shape.to_vec(), values });
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
        self.tensors.get(name).ok_or_else(|| {
            let names: Vec<_> = self.names().take(20).collect();
            Error::failed(format!(
                "there is no tensor {name:?}; the file has {}: is it another's model?",
                names.join(", ")
            ))
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
        let not_safetensors = |error| Error::failed(format!("not a safetensors file: {error}"));
        let file = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
        let mut tensors = Self::new();
        tensors.note = metadata.metadata().as_ref().and_then(|metadata| metadata.get(NOTE).cloned());
        for (name, view) in file.iter() {
            let values = match view.dtype() {
                Dtype::F32 => {
                    let words = view.data().as_chunks().0.iter();
                    Values::F32(words.map(|&bytes| f32::from_le_bytes(bytes)).collect())
                }
                Dtype::F64 => {
                    let words = view.data().as_chunks().0.iter();
                    Values::F64(words.map(|&bytes| f64::from_le_bytes(bytes)).collect())
                }
                other => {
                    return Err(Error::failed(format!("the tensor {name:?} holds {other:?}: F32 or F64 is needed")));
                }
            };
            check_finite(name, &values)?;
            tensors.tensors.insert(name.to_string(), Tensor { shape: view.shape().to_vec(), values });
        }
        Ok(tensors)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// When a value is not finite: such weights are worth nothing, so that a run should end with an error instead.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        for (name, tensor) in &self.tensors {
            check_finite(name, &tensor.values)?;
            bytes.push(match &tensor.values {
                Values::F32(values) => (Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
                Values::F64(values) => {
                    (Dtype::F64, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
                }
            });
        }
        let cannot = |error| Error::failed(format!("cannot write safetensors: {error}"));
        let mut views = Vec::new();
        for ((name, tensor), (dtype, bytes)) in self.tensors.iter().zip(&bytes) {
            views.push((name, TensorView::new(*dtype, tensor.shape.clone(), bytes).map_err(cannot)?));
        }
        let metadata = self.note.as_ref().map(|note| HashMap::from([(NOTE.to_string(), note.clone())]));
        safetensors::serialize(views, metadata).map_err(cannot)
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
    }
}
