//! Writes an initial model: `initial-text-model OUT.safetensors [SEED]`.

use std::process::ExitCode;

use text_model::Transformer;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seed = arguments.get(1).map_or(Ok(7), |seed| seed.parse());
    let (Some(path), Ok(seed)) = (arguments.first(), seed) else {
        eprintln!("usage: initial-text-model OUT.safetensors [SEED]");
        return ExitCode::from(2);
    };
    let bytes = Transformer::initial(seed).parameters.to_tensors().encode().expect("random numbers are finite");
    match std::fs::write(path, bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write {path}: {error}");
            ExitCode::FAILURE
        }
    }
}
