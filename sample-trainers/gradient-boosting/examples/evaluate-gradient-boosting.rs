//! How good trees are on rows they have not seen: `evaluate-gradient-boosting TREES.safetensors HELDOUT.csv`.

use std::process::ExitCode;

use fedmkt_guest::{Error, Tensors};
use gradient_boosting::{Ensemble, Table};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [trees, table] = &arguments[..] else {
        eprintln!("usage: evaluate-gradient-boosting TREES.safetensors HELDOUT.csv");
        return ExitCode::from(2);
    };
    match r_squared(trees, table) {
        Ok(r_squared) => {
            println!("R2 {r_squared:.4}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn r_squared(trees: &str, table: &str) -> Result<f64, Error> {
    let ensemble = Ensemble::from_tensors(&Tensors::read(trees)?)?;
    let table = Table::read(table)?;
    ensemble.check_columns(&table.columns)?;
    Ok(ensemble.r_squared(&table))
}
