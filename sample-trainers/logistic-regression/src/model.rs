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

    /// Takes mean and deviation of each feature from these rows, of which there must be one at least. The deviation of a
    /// feature that is always the same is 1. Weights and bias change with them, so that the model says what it said before.
    pub fn standardise_like(&mut self, rows: &Rows) {
        let count = rows.labels.len() as f64;
        for feature in 0..self.weights.len() {
            let values = || rows.iter().map(|row| row[feature]);
            // A mean of equal values may be rounded to another one.
            let first = values().next().expect("a row");
            let mean = if values().all(|value| value == first) { first } else { values().sum::<f64>() / count };
            let variance = values().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
            let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
            let slope = self.weights[feature] / self.deviation[feature];
            self.weights[feature] = slope * deviation;
            self.bias += slope * (mean - self.mean[feature]);
            self.mean[feature] = mean;
            self.deviation[feature] = deviation;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model::initial(["a", "b", "label"].map(String::from).to_vec())
    }

    fn rows(features: Vec<f64>) -> Rows {
        let labels = vec![0.0; features.len() / 2];
        Rows { columns: model().columns, features, labels }
    }

    #[test]
    fn a_feature_that_is_always_the_same_says_nothing() {
        // The sum of so many 0.1 is not so many times 0.1.
        for count in 2..100 {
            let mut model = model();
            model.standardise_like(&rows((0..count).flat_map(|row| [f64::from(row), 0.1]).collect()));
            assert_eq!((model.mean[1], model.deviation[1]), (0.1, 1.0), "{count} rows");
        }
    }

    #[test]
    fn a_trained_model_says_the_same_by_another_mean_and_deviation() {
        let mut model = model();
        (model.mean, model.deviation) = (vec![1.0, -2.0], vec![0.5, 3.0]);
        (model.weights, model.bias) = (vec![0.7, -1.2], 0.3);
        let row = [1.7, 4.0];
        let before = model.probability(&row);
        model.standardise_like(&rows(vec![0.0, 5.0, 4.0, 5.5, 1.0, 9.0]));
        assert!((model.mean[1] - 6.5).abs() < 1e-12);
        assert!((model.probability(&row) - before).abs() < 1e-12);
    }
}
