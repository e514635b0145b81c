//! How good trained weights are on digits they have not seen: `evaluate-digits mlp|cnn WEIGHTS.safetensors HELDOUT`, with the folder of
//! `images.npy` and `labels.npy`.

use std::path::Path;
use std::process::ExitCode;

use digits::{Cnn, Digits, Mlp, Network};
use fedmkt_guest::{Error, Tensors};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, weights, folder] = &arguments[..] else {
        eprintln!("usage: evaluate-digits mlp|cnn WEIGHTS.safetensors HELDOUT");
        return ExitCode::from(2);
    };
    let accuracy = match kind.as_str() {
        "mlp" => evaluate::<Mlp>(weights, folder),
        "cnn" => evaluate::<Cnn>(weights, folder),
        _ => {
            eprintln!("{kind:?} is neither mlp nor cnn");
            return ExitCode::from(2);
        }
    };
    match accuracy {
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

fn evaluate<N: Network>(weights: &str, folder: &str) -> Result<f64, Error> {
    N::from_tensors(&Tensors::read(weights)?)?.accuracy(&mut Digits::open(Path::new(folder))?)
}
