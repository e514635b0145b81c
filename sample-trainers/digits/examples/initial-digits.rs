//! Writes an initial model: `initial-digits mlp|cnn OUT.safetensors [SEED]`.

use std::process::ExitCode;

use digits::{Cnn, Mlp, Network};

fn initial<N: Network>(seed: u64) -> Vec<u8> {
    N::initial(seed).parameters().to_tensors().encode().expect("random numbers are finite")
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seed = arguments.get(2).map_or(Ok(7), |seed| seed.parse());
    let ([kind, path, ..], Ok(seed)) = (&arguments[..], seed) else {
        eprintln!("usage: initial-digits mlp|cnn OUT.safetensors [SEED]");
        return ExitCode::from(2);
    };
    let bytes = match kind.as_str() {
        "mlp" => initial::<Mlp>(seed),
        "cnn" => initial::<Cnn>(seed),
        _ => {
            eprintln!("{kind:?} is neither mlp nor cnn");
            return ExitCode::from(2);
        }
    };
    match std::fs::write(path, bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write {path}: {error}");
            ExitCode::FAILURE
        }
    }
}
