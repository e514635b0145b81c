//! Gradient-boosted regression trees (Friedman 2001) with squared loss, one tree in each step.
//!
//! The model's note names the table's columns; the last of them is the number to predict. Trees are added to those that
//! the initial model has, so that training can go on from an earlier result.

mod ensemble;
mod table;
mod tree;

pub use ensemble::Ensemble;
use fedmkt_guest::{Error, Job, Settings, Step, Tensors, Trainer};
pub use table::Table;
pub use tree::Tree;

/// The result with the trained trees.
pub const TREES_FILE: &str = "trees.safetensors";

/// The trainer.
pub struct GradientBoosting {
    table: Table,
    ensemble: Ensemble,
    predictions: Vec<f64>,
    trees: u64,
    rate: f64,
    least_rows: usize,
}

impl Trainer for GradientBoosting {
    type Data = Table;

    fn check(job: &Job) -> Result<Table, Error> {
        let table = Table::read(job.data_file("csv")?)?;
        if table.targets.is_empty() {
            return Err(Error::refused("the table has no rows"));
        }
        Ok(table)
    }

    fn start(job: &mut Job, table: Table) -> Result<Self, Error> {
        let settings = Settings::of(job, &["trees", "rate", "least-rows"])?;
        let mut ensemble = Ensemble::from_tensors(&Tensors::of_model(job)?)?;
        ensemble.check_columns(&table.columns)?;
        if ensemble.trees.is_empty() {
            ensemble.base = table.targets.iter().sum::<f64>() / table.targets.len() as f64;
        }
        Ok(Self {
            predictions: table.rows().map(|row| ensemble.predict(row)).collect(),
            trees: settings.at_least_one("trees", 100)?,
            rate: settings.get("rate", 0.1)?,
            least_rows: settings.at_least_one("least-rows", 1)?,
            table,
            ensemble,
        })
    }

    fn step(&mut self, job: &mut Job) -> Result<Step, Error> {
        // The negative gradient of the squared loss.
        let targets = self.table.targets.iter().zip(&self.predictions);
        let residuals: Vec<f64> = targets.map(|(target, prediction)| target - prediction).collect();
        let mut tree = Tree::grow(&self.table, &residuals, self.least_rows);
        tree.scale(self.rate);
        let mut squares = 0.0;
        for ((row, prediction), target) in self.table.rows().zip(&mut self.predictions).zip(&self.table.targets) {
            *prediction += tree.predict(row);
            squares += (target - *prediction) * (target - *prediction);
        }
        self.ensemble.trees.push(tree);
        job.metric("loss", squares / self.predictions.len() as f64)?;
        Ok(if job.step() < self.trees { Step::More } else { Step::Done })
    }

    fn finish(self, job: &mut Job) -> Result<(), Error> {
        self.ensemble.to_tensors().write_result(job, TREES_FILE)
    }
}
