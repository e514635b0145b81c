//! Writes the initial model for the diabetes table: `initial-gradient-boosting OUT.safetensors`.

use std::process::ExitCode;

use gradient_boosting::Ensemble;

const COLUMNS: [&str; 11] = ["age", "sex", "bmi", "blood_pressure", "s1", "s2", "s3", "s4", "s5", "s6", "progression"];

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: initial-gradient-boosting OUT.safetensors");
        return ExitCode::from(2);
    };
    let bytes = Ensemble::initial(COLUMNS.map(String::from).to_vec()).to_tensors().encode().expect("no trees");
    match std::fs::write(&path, bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write {path}: {error}");
            ExitCode::FAILURE
        }
    }
}
