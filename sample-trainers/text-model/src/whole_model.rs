//! Trains all weights.

use fedmkt_guest::learn::{Adam, Random, clip_norm};
use fedmkt_guest::{Error, Job, Settings, Step, Tensors, Trainer};

use crate::text::{Text, Windows};
use crate::transformer::{CONTEXT, Transformer};

/// The result with the trained weights.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

/// The least characters that the text must have.
pub(crate) const LEAST_CHARACTERS: usize = 10_000;

/// How a trainer goes through its batches.
pub(crate) struct Schedule {
    pub(crate) steps: u64,
    pub(crate) batch: usize,
    rate: f32,
    pub(crate) random: Random,
    /// A mean of the last losses in bits, which single batches hardly move.
    bits: f64,
}

/// Batches over which the rate rises in the beginning.
const RISE: f32 = 50.0;
/// The most that the gradients' norm may be.
const MOST_NORM: f64 = 1.0;
/// Steps from one record of the metrics to the next.
const RECORD_EVERY: u64 = 10;

impl Schedule {
    pub(crate) fn of(job: &Job, steps: u64, rate: f32) -> Result<Self, Error> {
        let settings = Settings::of(job, &["steps", "batch", "rate", "seed"])?;
        Ok(Self {
            steps: settings.at_least_one("steps", steps)?,
            batch: settings.at_least_one("batch", 16)?,
            rate: settings.get("rate", rate)?,
            random: Random::seeded(settings.get("seed", 1)?),
            bits: 0.0,
        })
    }

    /// The rate of a step, from 1 on: it rises, then falls evenly to 0.
    fn rate_at(&self, step: u64) -> f32 {
        let left = 1.0 - (step - 1) as f32 / self.steps as f32;
        self.rate * left.max(0.0) * (step as f32 / RISE).min(1.0)
    }

    /// One update of `values` by `gradients`.
    pub(crate) fn update(&self, step: u64, optimiser: &mut Adam, values: &mut [f32], gradients: &mut [f32]) {
        clip_norm(gradients, MOST_NORM);
        optimiser.rate = self.rate_at(step);
        optimiser.update(values, gradients);
    }

    /// Records a loss in nats and tells whether there are more steps.
    pub(crate) fn record(&mut self, job: &mut Job, loss: f32) -> Result<Step, Error> {
        let bits = f64::from(loss) / core::f64::consts::LN_2;
        self.bits = if job.step() == 1 { bits } else { 0.95 * self.bits + 0.05 * bits };
        let is_last = job.step() >= self.steps;
        if is_last || job.step() % RECORD_EVERY == 1 {
            job.metric("bits", self.bits)?;
        }
        Ok(if is_last { Step::Done } else { Step::More })
    }
}

/// The trainer.
pub struct WholeModel {
    text: Text,
    model: Transformer,
    optimiser: Adam,
    schedule: Schedule,
}

impl Trainer for WholeModel {
    type Data = Text;

    fn check(job: &Job) -> Result<Text, Error> {
        Text::open(&job.data_file("txt")?, LEAST_CHARACTERS)
    }

    fn start(job: &mut Job, text: Text) -> Result<Self, Error> {
        let schedule = Schedule::of(job, 2000, 0.003)?;
        let model = Transformer::from_tensors(&Tensors::of_model(job)?)?;
        let optimiser = Adam::new(model.parameters.values.len(), 0.0);
        Ok(Self { text, model, optimiser, schedule })
    }

    fn step(&mut self, job: &mut Job) -> Result<Step, Error> {
        let windows = Windows::random(&mut self.text, CONTEXT, self.schedule.batch, &mut self.schedule.random)?;
        let loss =
            self.model.loss_and_gradients(&windows).map_err(|error| error.within(format!("batch {}", job.step())))?;
        let parameters = &mut self.model.parameters;
        self.schedule.update(job.step(), &mut self.optimiser, &mut parameters.values, &mut parameters.gradients);
        self.schedule.record(job, loss)
    }

    fn finish(self, job: &mut Job) -> Result<(), Error> {
        self.model.parameters.to_tensors().write_result(job, WEIGHTS_FILE)
    }
}
