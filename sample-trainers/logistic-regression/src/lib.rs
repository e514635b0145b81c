//! Logistic regression on a table, trained by gradient descent over all rows, one epoch in each step.
//!
//! The model's note names the table's columns; the last of them is the label, 0 or 1. Features are standardised with
//! the mean and deviation of the training rows, which become part of the weights.

pub mod model;

use fedmkt_guest::table::Table;
use fedmkt_guest::{Error, Job, Settings, Step, Tensors, Trainer};
pub use model::Model;

/// The result with the trained weights.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

/// Rows of features and their labels.
#[derive(Clone, PartialEq, Debug)]
pub struct Rows {
    /// The names of the features and of the label.
    pub columns: Vec<String>,
    /// One row of features after the other.
    pub features: Vec<f64>,
    /// 0 or 1 for each row.
    pub labels: Vec<f64>,
}

impl Rows {
    /// Reads a CSV file with these columns, the label last.
    ///
    /// # Errors
    /// When the file cannot be read, has other columns, or a field that is no number.
    pub fn read(path: impl AsRef<std::path::Path>) -> Result<Self, Error> {
        let mut table = Table::open(path)?;
        let columns = table.columns().to_vec();
        let label = columns.len() - 1;
        let mut rows = Self { columns, features: Vec::new(), labels: Vec::new() };
        while let Some(row) = table.next_row()? {
            for column in 0..label {
                rows.features.push(row.number(column)?);
            }
            rows.labels.push(row.class(label, 2)? as f64);
        }
        Ok(rows)
    }

    /// The rows' features.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.features.chunks_exact((self.columns.len() - 1).max(1))
    }
}

/// The trainer.
pub struct LogisticRegression {
    model: Model,
    /// Standardised.
    rows: Rows,
    velocity: Vec<f64>,
    epochs: u64,
    rate: f64,
    momentum: f64,
    l2: f64,
}

impl Trainer for LogisticRegression {
    type Data = Rows;

    fn check(job: &Job) -> Result<Rows, Error> {
        let rows = Rows::read(job.data_file("csv")?)?;
        if rows.columns.len() < 2 {
            return Err(Error::refused("the table needs features and a label: two columns at least"));
        }
        let positive = rows.labels.iter().filter(|&&label| label == 1.0).count();
        if positive == 0 || positive == rows.labels.len() {
            return Err(Error::refused(format!(
                "{positive} of {} rows have the label 1: there must be rows of both classes",
                rows.labels.len()
            )));
        }
        Ok(rows)
    }

    fn start(job: &mut Job, mut rows: Rows) -> Result<Self, Error> {
        let settings = Settings::of(job, &["epochs", "rate", "momentum", "l2"])?;
        let mut model = Model::from_tensors(&Tensors::of_model(job)?)?;
        model.check_columns(&rows.columns)?;
        model.standardise_like(&rows);
        let features = model.weights.len();
        for row in rows.features.chunks_exact_mut(features) {
            model.standardise(row);
        }
        Ok(Self {
            model,
            rows,
            velocity: vec![0.0; features + 1],
            epochs: settings.at_least_one("epochs", 300)?,
            rate: settings.get("rate", 0.5)?,
            momentum: settings.get("momentum", 0.9)?,
            // The weight of the penalty in the sum over all rows, as 1/C elsewhere.
            l2: settings.get("l2", 1.0)?,
        })
    }

    fn step(&mut self, job: &mut Job) -> Result<Step, Error> {
        let (loss, gradient) = self.loss_and_gradient();
        job.metric("loss", loss)?;
        let parameters = self.model.weights.iter_mut().chain([&mut self.model.bias]);
        for ((parameter, velocity), slope) in parameters.zip(&mut self.velocity).zip(gradient) {
            *velocity = self.momentum * *velocity - self.rate * slope;
            *parameter += *velocity;
        }
        Ok(if job.step() < self.epochs { Step::More } else { Step::Done })
    }

    fn finish(self, job: &mut Job) -> Result<(), Error> {
        self.model.to_tensors().write_result(job, WEIGHTS_FILE)
    }
}

impl LogisticRegression {
    /// The mean loss of a row with its share of the penalty, and its gradient by weights and bias.
    fn loss_and_gradient(&self) -> (f64, Vec<f64>) {
        let Model { weights, bias, .. } = &self.model;
        let mut loss = 0.5 * self.l2 * weights.iter().map(|weight| weight * weight).sum::<f64>();
        let mut gradient: Vec<f64> = weights.iter().map(|weight| self.l2 * weight).chain([0.0]).collect();
        for (row, label) in self.rows.iter().zip(&self.rows.labels) {
            let score = bias + weights.iter().zip(row).map(|(weight, value)| weight * value).sum::<f64>();
            // ln(1 + e^score) - label * score, without overflow.
            loss += score.max(0.0) + libm::log1p(libm::exp(-score.abs())) - label * score;
            let error = model::logistic(score) - label;
            gradient.iter_mut().zip(row.iter().chain([&1.0])).for_each(|(slope, value)| *slope += error * value);
        }
        let rows = self.rows.labels.len() as f64;
        gradient.iter_mut().for_each(|slope| *slope /= rows);
        (loss / rows, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trainer() -> LogisticRegression {
        let columns: Vec<String> = ["a", "b", "label"].map(String::from).to_vec();
        let mut model = Model::initial(columns.clone());
        model.weights = vec![0.3, -0.7];
        model.bias = 0.1;
        let features = vec![0.5, 1.0, -1.5, 0.25, 2.0, -1.0];
        let rows = Rows { columns, features, labels: vec![1.0, 0.0, 1.0] };
        LogisticRegression { model, rows, velocity: vec![0.0; 3], epochs: 1, rate: 0.1, momentum: 0.0, l2: 0.5 }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let mut trainer = trainer();
        let (_, gradient) = trainer.loss_and_gradient();
        for (index, slope) in gradient.into_iter().enumerate() {
            let mut loss_at = |change: f64| {
                let parameter = if index < 2 { &mut trainer.model.weights[index] } else { &mut trainer.model.bias };
                *parameter += change;
                trainer.loss_and_gradient().0
            };
            let above = loss_at(1e-5);
            let below = loss_at(-2e-5);
            loss_at(1e-5);
            assert!(((above - below) / 2e-5 - slope).abs() < 1e-8, "parameter {index}");
        }
    }
}
