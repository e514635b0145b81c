//! All trees together.

use fedmkt_guest::{Error, Tensors};

use crate::table::Table;
use crate::tree::{LEAVES, QUESTIONS, Tree};

/// A number and trees, of which all that they say is added up.
#[derive(Clone, PartialEq, Debug)]
pub struct Ensemble {
    /// The names of the features and, last, of the number to predict.
    pub columns: Vec<String>,
    /// What is predicted without trees.
    pub base: f64,
    /// The trees, in the order in which they were grown.
    pub trees: Vec<Tree>,
}

/// Stands for "no question" where a feature's number is stored.
const NO_FEATURE: f64 = -1.0;

impl Ensemble {
    /// No trees yet.
    pub fn initial(columns: Vec<String>) -> Self {
        Self { columns, base: 0.0, trees: Vec::new() }
    }

    /// What is predicted for a row of features.
    pub fn predict(&self, row: &[f64]) -> f64 {
        // In the order in which training adds, so that it can go on where it stopped.
        self.trees.iter().fold(self.base, |sum, tree| sum + tree.predict(row))
    }

    /// The share of the targets' variance that the predictions explain.
    pub fn r_squared(&self, table: &Table) -> f64 {
        let mean = table.targets.iter().sum::<f64>() / table.targets.len() as f64;
        let square = |value: f64| value * value;
        let missed: f64 =
            table.rows().zip(&table.targets).map(|(row, target)| square(target - self.predict(row))).sum();
        1.0 - missed / table.targets.iter().map(|target| square(target - mean)).sum::<f64>()
    }

    /// Checks that a table has this model's columns.
    ///
    /// # Errors
    /// When it has others.
    pub fn check_columns(&self, columns: &[String]) -> Result<(), Error> {
        if self.columns == columns {
            return Ok(());
        }
        let (ours, theirs) = (self.columns.join(", "), columns.join(", "));
        Err(Error::refused(format!("the table has the columns {theirs}; these are needed: {ours}")))
    }

    /// The ensemble as it is stored: `base`, and for each tree `feature` and `threshold` of its questions (feature -1: no
    /// question) and the values of its `leaves`.
    pub fn to_tensors(&self) -> Tensors {
        let count = self.trees.len();
        let questions = || self.trees.iter().flat_map(|tree| tree.questions);
        let features = questions().map(|question| question.map_or(NO_FEATURE, |(feature, _)| feature as f64));
        let thresholds = questions().map(|question| question.map_or(0.0, |(_, threshold)| threshold));
        let mut tensors = Tensors::new();
        tensors.set_note(self.columns.join(","));
        tensors.insert_f64("base", &[1], vec![self.base]);
        tensors.insert_f64("feature", &[count, QUESTIONS], features.collect());
        tensors.insert_f64("threshold", &[count, QUESTIONS], thresholds.collect());
        tensors.insert_f64("leaves", &[count, LEAVES], self.trees.iter().flat_map(|tree| tree.leaves).collect());
        tensors
    }

    /// A stored ensemble.
    ///
    /// # Errors
    /// When it is another trainer's model, or a tree asks for a feature that is not there.
    pub fn from_tensors(tensors: &Tensors) -> Result<Self, Error> {
        let columns: Vec<String> = tensors.note().unwrap_or_default().split(',').map(str::to_string).collect();
        if columns.len() < 2 {
            return Err(Error::failed("the model's note does not name the table's columns: is it another's model?"));
        }
        let count = tensors.shape("leaves")?.first().copied().unwrap_or(0);
        let features = tensors.f64("feature", &[count, QUESTIONS])?;
        let thresholds = tensors.f64("threshold", &[count, QUESTIONS])?;
        let leaves = tensors.f64("leaves", &[count, LEAVES])?;
        let mut ensemble = Self { base: tensors.f64("base", &[1])?[0], columns, trees: Vec::with_capacity(count) };
        for index in 0..count {
            let mut tree = Tree { questions: [None; QUESTIONS], leaves: [0.0; LEAVES] };
            tree.leaves.copy_from_slice(&leaves[index * LEAVES..][..LEAVES]);
            for (place, question) in tree.questions.iter_mut().enumerate() {
                let feature = features[index * QUESTIONS + place];
                if feature == NO_FEATURE {
                    continue;
                }
                let number = feature as usize;
                if number as f64 != feature || number >= ensemble.columns.len() - 1 {
                    return Err(Error::failed(format!("tree {index} asks for feature {feature}, which is not there")));
                }
                *question = Some((number, thresholds[index * QUESTIONS + place]));
            }
            ensemble.trees.push(tree);
        }
        Ok(ensemble)
    }
}
