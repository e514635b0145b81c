//! How well a model predicts a text that it has not seen: `evaluate-text-model TRAIN.txt HELDOUT.txt WEIGHTS [ADAPTERS]`.
//!
//! Prints bits for each character of HELDOUT: of a Markov chain of order 3 that has learned TRAIN, and of the model.

use std::path::Path;
use std::process::ExitCode;

use fedmkt_guest::{Error, Tensors};
use text_model::markov::Markov;
use text_model::{CONTEXT, Text, Transformer, apply};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !(3..=4).contains(&arguments.len()) {
        eprintln!("usage: evaluate-text-model TRAIN.txt HELDOUT.txt WEIGHTS.safetensors [ADAPTERS.safetensors]");
        return ExitCode::from(2);
    }
    match evaluate(&arguments) {
        Ok([chain, model]) => {
            println!("Markov chain of order 3: {chain:.4} bits per character\nmodel: {model:.4} bits per character");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn evaluate(arguments: &[String]) -> Result<[f64; 2], Error> {
    let text = |index: usize| Text::open(Path::new(&arguments[index]), CONTEXT + 1);
    let chain = Markov::learn(&mut text(0)?)?.bits(&mut text(1)?)?;
    let mut model = Transformer::from_tensors(&Tensors::read(&arguments[2])?)?;
    if let Some(adapters) = arguments.get(3) {
        apply(&mut model, &Tensors::read(adapters)?)?;
    }
    Ok([chain, model.bits(&mut text(1)?)?])
}
