//! Trains a low-rank change to the weights of a trained model (Hu et al. 2021).
//!
//! To each of the larger weight matrices, inputs x outputs, the product of two thin ones is added, inputs x [`RANK`] and
//! `RANK` x outputs. Only these are learned and leave the machine: a fifteenth of the model.

use fedmkt_guest::learn::matrix::{Matrix, MatrixMut, multiply_add};
use fedmkt_guest::learn::{Adam, Parameters, Random, Slot};
use fedmkt_guest::{Error, Job, Step, Tensors, Trainer};

use crate::text::{Text, Windows};
use crate::transformer::{ADAPTED, CONTEXT, Transformer};
use crate::whole_model::{LEAST_CHARACTERS, Schedule};

/// The result with the adapters.
pub const ADAPTERS_FILE: &str = "adapters.safetensors";

const RANK: usize = 8;

/// The adapter of a weight matrix.
struct Adapter {
    weights: Slot,
    inputs: usize,
    outputs: usize,
    /// The matrix without the change.
    base: Vec<f32>,
    down: Slot,
    up: Slot,
}

/// Adapters for a model.
struct AdapterSet {
    parameters: Parameters,
    adapters: Vec<Adapter>,
}

impl AdapterSet {
    /// Adapters that change nothing yet: the second factor is zero.
    fn new(model: &Transformer, random: &mut Random) -> Self {
        let mut parameters = Parameters::new();
        let adapters = ADAPTED.iter().map(|name| {
            let (weights, shape) = model.parameters.find(name).expect("a matrix of the model");
            let &[inputs, outputs] = shape else { panic!("{name} is a matrix") };
            let base = model.parameters.value(&weights).to_vec();
            let deviation = 1.0 / (inputs as f32).sqrt();
            let down = parameters.add_normal(&format!("{name}.down"), &[inputs, RANK], deviation, random);
            let up = parameters.add_zeros(&format!("{name}.up"), &[RANK, outputs]);
            Adapter { weights, inputs, outputs, base, down, up }
        });
        let adapters = adapters.collect();
        Self { parameters, adapters }
    }

    /// Gives the model its changed weights.
    fn apply(&self, model: &mut Transformer) {
        for Adapter { weights, inputs, outputs, base, down, up } in &self.adapters {
            let changed = model.parameters.value_mut(weights);
            changed.copy_from_slice(base);
            let down = Matrix::new(self.parameters.value(down), *inputs, RANK);
            let up = Matrix::new(self.parameters.value(up), RANK, *outputs);
            multiply_add(MatrixMut::new(changed, *inputs, *outputs), down, up);
        }
    }

    /// Sets the gradients from those of the changed weights.
    fn take_gradients(&mut self, model: &mut Transformer) {
        self.parameters.clear_gradients();
        for Adapter { weights, inputs, outputs, down, up, .. } in &self.adapters {
            let by_weights = Matrix::new(model.parameters.gradient(weights), *inputs, *outputs);
            let up_values = Matrix::new(self.parameters.value(up), RANK, *outputs).transposed();
            let mut by_down = vec![0.0; inputs * RANK];
            multiply_add(MatrixMut::new(&mut by_down, *inputs, RANK), by_weights, up_values);
            let down_values = Matrix::new(self.parameters.value(down), *inputs, RANK).transposed();
            let mut by_up = vec![0.0; RANK * outputs];
            multiply_add(MatrixMut::new(&mut by_up, RANK, *outputs), down_values, by_weights);
            self.parameters.gradient(down).copy_from_slice(&by_down);
            self.parameters.gradient(up).copy_from_slice(&by_up);
        }
    }
}

/// Adds stored adapters to a model.
///
/// # Errors
/// When they are another model's.
pub fn apply(model: &mut Transformer, stored: &Tensors) -> Result<(), Error> {
    let mut adapters = AdapterSet::new(model, &mut Random::seeded(0));
    adapters.parameters.load(stored)?;
    adapters.apply(model);
    Ok(())
}

/// The trainer.
pub struct Adapters {
    text: Text,
    model: Transformer,
    adapters: AdapterSet,
    optimiser: Adam,
    schedule: Schedule,
}

impl Trainer for Adapters {
    type Data = Text;

    fn check(job: &Job) -> Result<Text, Error> {
        Text::open(&job.data_file("txt")?, LEAST_CHARACTERS)
    }

    fn start(job: &mut Job, text: Text) -> Result<Self, Error> {
        let mut schedule = Schedule::of(job, 800, 0.01)?;
        let model = Transformer::from_tensors(&Tensors::of_model(job)?)?;
        let adapters = AdapterSet::new(&model, &mut schedule.random);
        let optimiser = Adam::new(adapters.parameters.values.len(), 0.0);
        Ok(Self { text, model, adapters, optimiser, schedule })
    }

    fn step(&mut self, job: &mut Job) -> Result<Step, Error> {
        let windows = Windows::random(&mut self.text, CONTEXT, self.schedule.batch, &mut self.schedule.random)?;
        self.adapters.apply(&mut self.model);
        let loss =
            self.model.loss_and_gradients(&windows).map_err(|error| error.within(format!("batch {}", job.step())))?;
        self.adapters.take_gradients(&mut self.model);
        let Parameters { values, gradients, .. } = &mut self.adapters.parameters;
        self.schedule.update(job.step(), &mut self.optimiser, values, gradients);
        self.schedule.record(job, loss)
    }

    fn finish(self, job: &mut Job) -> Result<(), Error> {
        self.adapters.parameters.to_tensors().write_result(job, ADAPTERS_FILE)
    }
}

#[cfg(test)]
mod tests {
    use fedmkt_guest::learn::norm;

    use super::*;

    #[test]
    fn the_gradients_of_adapters_are_those_of_the_loss() {
        let mut random = Random::seeded(5);
        let mut symbols = || (0..12).map(|_| random.below(crate::SYMBOLS)).collect();
        let windows = Windows { length: 6, symbols: symbols(), next: symbols() };
        let mut model = Transformer::initial(1);
        let mut adapters = AdapterSet::new(&model, &mut random);
        adapters.parameters.values.iter_mut().for_each(|value| *value += 0.1 * random.normal());
        adapters.apply(&mut model);
        model.loss_and_gradients(&windows).expect("finite");
        adapters.take_gradients(&mut model);
        let gradients = adapters.parameters.gradients.clone();
        let original = adapters.parameters.values.clone();
        let length = norm(&gradients);
        let mut loss_at = |step: f64| {
            for ((value, original), along) in adapters.parameters.values.iter_mut().zip(&original).zip(&gradients) {
                *value = original + (step * f64::from(*along) / length) as f32;
            }
            adapters.apply(&mut model);
            f64::from(model.loss_and_gradients(&windows).expect("finite"))
        };
        let step = 0.01;
        let found = (loss_at(step) - loss_at(-step)) / (2.0 * step);
        assert!((found - length).abs() < 0.02 * length, "{found}, but the gradient says {length}");
    }

    #[test]
    fn new_adapters_change_nothing_and_no_other_model_takes_them() {
        let mut model = Transformer::initial(1);
        let adapters = AdapterSet::new(&model, &mut Random::seeded(1));
        let before = model.parameters.values.clone();
        adapters.apply(&mut model);
        assert_eq!(model.parameters.values, before);
        assert!(apply(&mut model, &Tensors::new()).is_err());
    }
}
