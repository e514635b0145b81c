//! The numbers that are learned.

use std::ops::Range;

use super::Random;
use crate::{Error, Tensors};

/// All parameters of a model and their gradients, each as one long slice, so that an optimiser need not know layers.
///
/// A layer keeps the [`Slot`]s of its tensors. Slots are in the order in which tensors were added.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Parameters {
    tensors: Vec<(String, Vec<usize>, Range<usize>)>,
    /// The parameters.
    pub values: Vec<f32>,
    /// For each parameter, by how much the loss rises when it rises by one.
    pub gradients: Vec<f32>,
}

/// A tensor among [`Parameters`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot(Range<usize>);

impl Parameters {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor whose values are made by `value`.
    ///
    /// # Panics
    /// In builds with debug assertions, when there is one of this name, as for all that adds one.
    pub fn add(&mut self, name: &str, shape: &[usize], value: impl FnMut() -> f32) -> Slot {
        debug_assert!(self.find(name).is_none(), "there are two tensors {name:?}");
        let range = self.values.len()..self.values.len() + shape.iter().product::<usize>();
        self.values.resize_with(range.end, value);
        self.gradients.resize(range.end, 0.0);
        self.tensors.push((name.to_string(), shape.to_vec(), range.clone()));
        Slot(range)
    }

    /// Adds a tensor of zeros.
    pub fn add_zeros(&mut self, name: &str, shape: &[usize]) -> Slot {
        self.add(name, shape, || 0.0)
    }

    /// Adds a tensor of normal random numbers with this deviation.
    pub fn add_normal(&mut self, name: &str, shape: &[usize], deviation: f32, random: &mut Random) -> Slot {
        self.add(name, shape, || deviation * random.normal())
    }

    /// The tensor of this name, and its shape.
    pub fn find(&self, name: &str) -> Option<(Slot, &[usize])> {
        let (_, shape, range) = self.tensors.iter().find(|(other, ..)| other == name)?;
        Some((Slot(range.clone()), shape))
    }

    /// The values of a tensor.
    pub fn value(&self, slot: &Slot) -> &[f32] {
        &self.values[slot.0.clone()]
    }

    /// The values of a tensor, to be changed.
    pub fn value_mut(&mut self, slot: &Slot) -> &mut [f32] {
        &mut self.values[slot.0.clone()]
    }

    /// The values of a tensor, to be read, and its gradient, to be added to.
    pub fn value_and_gradient(&mut self, slot: &Slot) -> (&[f32], &mut [f32]) {
        (&self.values[slot.0.clone()], &mut self.gradients[slot.0.clone()])
    }

    /// The gradient of a tensor, to be added to.
    pub fn gradient(&mut self, slot: &Slot) -> &mut [f32] {
        &mut self.gradients[slot.0.clone()]
    }

    /// Sets all gradients to 0.
    pub fn clear_gradients(&mut self) {
        self.gradients.fill(0.0);
    }

    /// The tensors, as they are stored.
    pub fn to_tensors(&self) -> Tensors {
        let mut tensors = Tensors::new();
        for (name, shape, range) in &self.tensors {
            tensors.insert_f32(name, shape, self.values[range.clone()].to_vec());
        }
        tensors
    }

    /// Takes over the values of stored tensors: those of this model, of the same shapes, and no others.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, or is not part of this model.
    pub fn load(&mut self, stored: &Tensors) -> Result<(), Error> {
        for (name, shape, range) in &self.tensors {
            self.values[range.clone()].copy_from_slice(stored.f32(name, shape)?);
        }
        match stored.names().find(|name| self.tensors.iter().all(|(ours, ..)| ours != name)) {
            Some(other) => Err(Error::failed(format!("the tensor {other:?} is not part of this model"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "two tensors \"dense.weights\"")]
    fn two_tensors_of_one_name_are_refused() {
        let mut parameters = Parameters::new();
        parameters.add_zeros("dense.weights", &[2]);
        parameters.add_zeros("dense.weights", &[2]);
    }

    #[test]
    fn what_is_stored_is_loaded_and_others_models_are_refused() {
        let mut random = Random::seeded(1);
        let mut parameters = Parameters::new();
        let w = parameters.add_normal("w", &[2, 3], 0.5, &mut random);
        parameters.add_zeros("b", &[3]);
        let mut stored = parameters.to_tensors();
        let mut loaded = parameters.clone();
        loaded.values.fill(9.0);
        assert_eq!(loaded.load(&stored), Ok(()));
        assert_eq!(loaded, parameters);
        assert_eq!(loaded.value(&w).len(), 6);
        stored.insert_f32("more", &[1], vec![0.0]);
        assert!(loaded.load(&stored).expect_err("refused").to_string().contains("\"more\""));
        assert!(loaded.load(&Tensors::new()).expect_err("refused").to_string().contains("\"w\""));
    }
}
