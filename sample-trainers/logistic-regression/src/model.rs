//! The model: initial, trained, and at work.

use fedmkt_guest::{Error, Tensors};

use crate::Rows;

/// Weights for standardised features.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// The names of the features and, last, of the label.
    pub columns: Vec<String>,
    /// What is subtracted from each feature.
    pub mean: Vec<f64>,
    /// By what each feature is divided then.
    pub deviation: Vec<f64>,
    /// One weight for each feature.
    pub weights: Vec<f64>,
    /// What is added to the weighted sum.
    pub bias: f64,
}

impl Model {
    /// A model that knows nothing about a table with these columns.
    ///
    /// # Panics
    /// When there are less than two columns.
    pub fn initial(columns: Vec<String>) -> Self {
        assert!(columns.len() >= 2, "features and a label");
        let features = columns.len() - 1;
        let zeros = vec![0.0; features];
        Self { columns, mean: zeros.clone(), deviation: vec![1.0; features], weights: zeros, bias: 0.0 }
    }

    /// The model as it is stored.
    pub fn to_tensors(&self) -> Tensors {
        let features = [self.weights.len()];
        let mut tensors = Tensors::new();
        tensors.set_note(self.columns.join(","));
        tensors.insert_f64("mean", &features, self.mean.clone());
        tensors.insert_f64("deviation", &features, self.deviation.clone());
        tensors.insert_f64("weights", &features, self.weights.clone());
        tensors.insert_f64("bias", &[1], vec![self.bias]);
        tensors
    }

    /// Reads a stored model.
    ///
    /// # Errors
    /// When it is another trainer's.
    pub fn from_tensors(tensors: &Tensors) -> Result<Self, Error> {
        let note = tensors.note().unwrap_or_default();
        let columns: Vec<String> = note.split(',').map(str::to_string).collect();
        if columns.len() < 2 {
            return Err(Error::failed("the model's note does not name the table's columns: is it another's model?"));
        }
        let features = [columns.len() - 1];
        let values = |name| tensors.f64(name, &features).map(<[f64]>::to_vec);
        let model = Self {
            mean: values("mean")?,
            deviation: values("deviation")?,
            weights: values("weights")?,
            bias: tensors.f64("bias", &[1])?[0],
            columns,
        };
        if model.deviation.iter().all(|&deviation| deviation > 0.0) {
            Ok(model)
        } else {
            Err(Error::failed("the model has a deviation that is not positive"))
        }
    }

    /// Checks that a table has this model's columns.
    ///
    /// # Errors
    /// When it has others; the first that differs is named.
    pub fn check_columns(&self, columns: &[String]) -> Result<(), Error> {
        let differs = self.columns.iter().zip(columns).find(|(ours, theirs)| ours != theirs);
        if let Some((ours, theirs)) = differs {
            return Err(Error::refused(format!("the table has the column {theirs:?} where {ours:?} should be")));
        }
        if self.columns.len() != columns.len() {
            let (theirs, ours) = (columns.len(), self.columns.len());
            return Err(Error::refused(format!("the table has {theirs} columns, {ours} are needed")));
        }
        Ok(())
    }

    /// Takes mean and deviation of each feature from these rows. A feature that is always the same is left as it is.
    pub fn standardise_like(&mut self, rows: &Rows) {
        let count = rows.labels.len() as f64;
        for feature in 0..self.weights.len() {
            let mean = rows.iter().map(|row| row[feature]).sum::<f64>() / count;
            let square = |value: f64| (value - mean) * (value - mean);
            let variance = rows.iter().map(|row| square(row[feature])).sum::<f64>() / count;
            self.mean[feature] = mean;
            self.deviation[feature] = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        }
    }

    /// Standardises the features of a row.
    pub fn standardise(&self, row: &mut [f64]) {
        for ((value, mean), deviation) in row.iter_mut().zip(&self.mean).zip(&self.deviation) {
            *value = (*value - mean) / deviation;
        }
    }

    /// The probability that a row has the label 1; `row` is as in the table.
    pub fn probability(&self, row: &[f64]) -> f64 {
        let mut row = row.to_vec();
        self.standardise(&mut row);
        logistic(self.bias + self.weights.iter().zip(&row).map(|(weight, value)| weight * value).sum::<f64>())
    }

    /// The share of rows whose label is the likelier one.
    pub fn accuracy(&self, rows: &Rows) -> f64 {
        let right =
            rows.iter().zip(&rows.labels).filter(|(row, label)| (self.probability(row) > 0.5) == (**label > 0.5));
        right.count() as f64 / rows.labels.len() as f64
    }
}

/// `1 / (1 + e^-score)`.
pub fn logistic(score: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-score))
}
