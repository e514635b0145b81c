//! Measures what the trainer in `k-means.c` has found.

use std::path::Path;

use fedmkt_guest::{Error, table};

/// A table of numbers: data, or the centres of clusters.
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<f64>>,
}

impl Table {
    /// Reads a CSV file.
    ///
    /// # Errors
    /// When it cannot be read, or a field is no number.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let mut file = table::Table::open(path)?;
        let columns = file.columns().to_vec();
        let mut rows = Vec::new();
        while let Some(row) = file.next_row()? {
            rows.push((0..columns.len()).map(|column| row.number(column)).collect::<Result<_, _>>()?);
        }
        Ok(Self { columns, rows })
    }

    /// The table with these columns alone, in this order.
    ///
    /// # Panics
    /// When one is not there.
    #[must_use]
    pub fn with_columns(&self, columns: &[String]) -> Self {
        let from: Vec<usize> = columns
            .iter()
            .map(|name| self.columns.iter().position(|column| column == name).expect("a column of the table"))
            .collect();
        let rows = self.rows.iter().map(|row| from.iter().map(|&column| row[column]).collect()).collect();
        Self { columns: columns.to_vec(), rows }
    }

    /// The table as CSV. Numbers have the fewest digits that give them again.
    pub fn to_csv(&self) -> String {
        let lines = self.rows.iter().map(|row| row.iter().map(f64::to_string).collect::<Vec<_>>().join(","));
        std::iter::once(self.columns.join(",")).chain(lines).map(|line| line + "\n").collect()
    }

    /// The standard deviation of each column; 1 where it would be 0.
    pub fn deviations(&self) -> Vec<f64> {
        let count = self.rows.len() as f64;
        let deviation = |column: usize| {
            let values = || self.rows.iter().map(|row| row[column]);
            let square = |mean: f64| values().map(|value| (value - mean) * (value - mean)).sum::<f64>();
            // A mean of equal values may be rounded to another one.
            let is_same = self.rows.iter().all(|row| row[column] == self.rows[0][column]);
            let square = if is_same { 0.0 } else { square(values().sum::<f64>() / count) };
            if square > 0.0 { (square / count).sqrt() } else { 1.0 }
        };
        (0..self.columns.len()).map(deviation).collect()
    }
}

/// For each row, the nearest centre and the square of the distance to it, in deviations.
pub fn assign(data: &Table, centres: &Table, deviations: &[f64]) -> Vec<(usize, f64)> {
    let distance = |row: &[f64], centre: &[f64]| -> f64 {
        let parts = row.iter().zip(centre).zip(deviations);
        parts.map(|((value, centre), deviation)| ((value - centre) / deviation).powi(2)).sum()
    };
    let nearest = |row: &Vec<f64>| {
        let distances = centres.rows.iter().map(|centre| distance(row, centre));
        distances.enumerate().fold((0, f64::INFINITY), |best, (index, d)| if d < best.1 { (index, d) } else { best })
    };
    data.rows.iter().map(nearest).collect()
}

/// The share of rows that lie in a cluster of which most have the same label.
pub fn purity(clusters: &[usize], labels: &[usize]) -> f64 {
    let kinds = labels.iter().max().map_or(0, |most| most + 1);
    let groups = clusters.iter().max().map_or(0, |most| most + 1);
    let mut counts = vec![vec![0; kinds]; groups];
    clusters.iter().zip(labels).for_each(|(&cluster, &label)| counts[cluster][label] += 1);
    counts.iter().map(|counts| counts.iter().max().copied().unwrap_or(0)).sum::<usize>() as f64 / labels.len() as f64
}
