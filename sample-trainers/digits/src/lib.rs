//! Two networks that learn to read handwritten digits, one epoch in each step.
//!
//! [`Classifier`] is the trainer, for any [`Network`]; [`Mlp`] and [`Cnn`] are the networks.

mod cnn;
mod data;
mod mlp;

pub use cnn::Cnn;
pub use data::{CLASSES, Digits, PIXELS, SIDE};
use fedmkt_guest::learn::layers::{largest, softmax_cross_entropy};
use fedmkt_guest::learn::{Batches, Momentum, Parameters, Random};
use fedmkt_guest::{Error, Job, Settings, Step, Tensors, Trainer};
pub use mlp::Mlp;

/// The result with the trained weights.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

/// A network that gives each image a score for each digit.
pub trait Network: Sized {
    /// How long to train, unless the job says otherwise.
    const EPOCHS: u64;
    /// The learning rate of the first epoch, unless the job says otherwise.
    const RATE: f32;
    /// By how many pixels images are moved at most while training, so that a digit's place matters less.
    const MOST_SHIFT: usize;

    /// A network that knows nothing; the seed decides where it starts.
    fn initial(seed: u64) -> Self;

    /// What is learned.
    fn parameters(&mut self) -> &mut Parameters;

    /// The scores of images: a row of [`CLASSES`] for each row of [`PIXELS`].
    fn forward(&mut self, images: &[f32]) -> Vec<f32>;

    /// Adds to the gradients, given those by the scores that were last computed from these images.
    fn backward(&mut self, images: &[f32], by_scores: &[f32]);

    /// A stored network.
    ///
    /// # Errors
    /// When the tensors are another network's.
    fn from_tensors(tensors: &Tensors) -> Result<Self, Error> {
        let mut network = Self::initial(0);
        network.parameters().load(tensors)?;
        Ok(network)
    }

    /// The share of digits that get their highest score for what they show.
    ///
    /// # Errors
    /// When the digits cannot be read.
    fn accuracy(&mut self, digits: &mut Digits) -> Result<f64, Error> {
        let (images, labels) = digits.read_all()?;
        Ok(count_right(&self.forward(&images), &labels) as f64 / labels.len() as f64)
    }
}

/// The trainer.
pub struct Classifier<N> {
    digits: Digits,
    network: N,
    batches: Batches,
    optimiser: Momentum,
    random: Random,
    rate: f32,
    epochs: u64,
}

impl<N: Network> Trainer for Classifier<N> {
    type Data = Digits;

    fn check(job: &Job) -> Result<Digits, Error> {
        Digits::open(&job.data_path())
    }

    fn start(job: &mut Job, digits: Digits) -> Result<Self, Error> {
        let settings = Settings::of(job, &["epochs", "batch", "rate", "momentum", "seed"])?;
        let mut network = N::from_tensors(&Tensors::of_model(job)?)?;
        let seed: u64 = settings.get("seed", 1)?;
        let rate = settings.get("rate", N::RATE)?;
        let optimiser = Momentum::new(network.parameters().values.len(), rate, settings.get("momentum", 0.9)?);
        Ok(Self {
            batches: Batches::new(digits.count(), settings.at_least_one("batch", 32)?, seed),
            random: Random::seeded(seed.wrapping_add(1)),
            epochs: settings.at_least_one("epochs", N::EPOCHS)?,
            optimiser,
            rate,
            digits,
            network,
        })
    }

    fn step(&mut self, job: &mut Job) -> Result<Step, Error> {
        // The rate falls evenly to 0, so that the last epochs settle what the first have found.
        self.optimiser.rate = self.rate * (1.0 - (job.step() - 1) as f32 / self.epochs as f32).max(0.0);
        let (mut loss, mut right) = (0.0, 0);
        for number in 0..self.batches.per_epoch() {
            let within = |error: Error| error.within(format!("epoch {}, batch {number}", job.step()));
            let (mut images, labels) = self.digits.read(self.batches.next_batch()).map_err(within)?;
            if N::MOST_SHIFT > 0 {
                images.chunks_exact_mut(PIXELS).for_each(|image| shift(image, N::MOST_SHIFT, &mut self.random));
            }
            let mut scores = self.network.forward(&images);
            right += count_right(&scores, &labels);
            let batch_loss = softmax_cross_entropy(&mut scores, CLASSES, &labels).map_err(within)?;
            loss += f64::from(batch_loss) * labels.len() as f64;
            self.network.parameters().clear_gradients();
            self.network.backward(&images, &scores);
            let Parameters { values, gradients, .. } = self.network.parameters();
            self.optimiser.update(values, gradients);
        }
        let examples = self.digits.count() as f64;
        job.metric("loss", loss / examples)?;
        job.metric("accuracy", right as f64 / examples)?;
        Ok(if job.step() < self.epochs { Step::More } else { Step::Done })
    }

    fn finish(mut self, job: &mut Job) -> Result<(), Error> {
        self.network.parameters().to_tensors().write_result(job, WEIGHTS_FILE)
    }
}

fn count_right(scores: &[f32], labels: &[usize]) -> usize {
    scores.chunks_exact(CLASSES).zip(labels).filter(|(scores, label)| largest(scores) == **label).count()
}

/// Moves an image by a random number of pixels in each direction; what comes in at the edges is white.
fn shift(image: &mut [f32], most: usize, random: &mut Random) {
    let mut distance = || random.below(2 * most + 1);
    let (down, right) = (distance(), distance());
    // In a frame that is `most` pixels wide, the image lies anywhere.
    let framed = SIDE + 2 * most;
    let mut frame = vec![0.0; framed * framed];
    for (row, pixels) in image.chunks_exact(SIDE).enumerate() {
        frame[(row + down) * framed + right..][..SIDE].copy_from_slice(pixels);
    }
    for (row, pixels) in image.chunks_exact_mut(SIDE).enumerate() {
        pixels.copy_from_slice(&frame[(row + most) * framed + most..][..SIDE]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_move_and_leave_white_behind() {
        let original: Vec<f32> = (1..=PIXELS).map(|pixel| pixel as f32).collect();
        let mut random = Random::seeded(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut image = original.clone();
            shift(&mut image, 1, &mut random);
            // The pixel that was in the middle, and so is still there, tells how far it went.
            let middle = image.iter().position(|&pixel| pixel == original[36]).expect("still there");
            let (down, right) = (middle / SIDE, middle % SIDE);
            seen.insert((down, right));
            for (index, &pixel) in image.iter().enumerate() {
                let (row, column) = (index / SIDE + 4, index % SIDE + 4);
                let inside = (down..down + SIDE).contains(&row) && (right..right + SIDE).contains(&column);
                let expected = if inside { original[(row - down) * SIDE + column - right] } else { 0.0 };
                assert_eq!(pixel, expected);
            }
        }
        assert_eq!(seen.len(), 9);
    }
}
