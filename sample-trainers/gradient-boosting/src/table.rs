//! The table, with its rows sorted by each feature.

use std::path::Path;

use fedmkt_guest::{Error, table};

/// Rows of features and the numbers to predict from them.
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    /// The names of the features and, last, of the number to predict.
    pub columns: Vec<String>,
    /// One number for each row.
    pub targets: Vec<f64>,
    values: Vec<f64>,
    /// For each feature, the rows and their values in rising order; equal values in the order of the table.
    sorted: Vec<Vec<(u32, f64)>>,
}

impl Table {
    /// Reads a CSV file.
    ///
    /// # Errors
    /// When it cannot be read, has less than two columns, or a field that is no number.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let mut file = table::Table::open(path)?;
        let columns = file.columns().to_vec();
        let features = columns.len() - 1;
        if features == 0 {
            return Err(Error::refused("the table needs features and a number to predict: two columns at least"));
        }
        let (mut values, mut targets) = (Vec::new(), Vec::new());
        while let Some(row) = file.next_row()? {
            for column in 0..features {
                values.push(row.number(column)?);
            }
            targets.push(row.number(features)?);
        }
        Ok(Self::new(columns, values, targets))
    }

    /// A table of finite numbers, row by row.
    ///
    /// # Panics
    /// When there is not one feature less than columns for each target.
    pub fn new(columns: Vec<String>, values: Vec<f64>, targets: Vec<f64>) -> Self {
        let features = columns.len() - 1;
        assert_eq!(values.len(), features * targets.len(), "rows of {features} features");
        let sorted = (0..features).map(|feature| {
            let column = values.chunks_exact(features).map(|row| row[feature]);
            let mut rows: Vec<(u32, f64)> = (0..).zip(column).collect();
            rows.sort_by(|(_, one), (_, other)| one.total_cmp(other));
            rows
        });
        let sorted = sorted.collect();
        Self { columns, targets, values, sorted }
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.columns.len() - 1
    }

    /// The features of each row.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.features())
    }

    /// All rows, and their values of a feature, in rising order of these.
    pub(crate) fn sorted(&self, feature: usize) -> &[(u32, f64)] {
        &self.sorted[feature]
    }
}
