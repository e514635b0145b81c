//! How good trained weights are on rows they have not seen: `evaluate WEIGHTS.safetensors HELDOUT.csv`.

use std::process::ExitCode;

use fedmkt_guest::{Error, Tensors};
use logistic_regression::{Model, Rows};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, table] = &arguments[..] else {
        eprintln!("usage: evaluate WEIGHTS.safetensors HELDOUT.csv");
        return ExitCode::from(2);
    };
    match accuracy(weights, table) {
        Ok(accuracy) => {
            println!("accuracy {accuracy:.4}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn accuracy(weights: &str, table: &str) -> Result<f64, Error> {
    let model = Model::from_tensors(&Tensors::read(weights)?)?;
    let rows = Rows::read(table)?;
    model.check_columns(&rows.columns)?;
    Ok(model.accuracy(&rows))
}
