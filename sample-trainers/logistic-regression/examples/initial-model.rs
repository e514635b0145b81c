//! Writes the initial model for the breast cancer table: `initial-model OUT.safetensors`.

use std::process::ExitCode;

use logistic_regression::Model;

/// The columns of the table, without the kinds of their values.
const MEASURES: [&str; 10] = [
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
];

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: initial-model OUT.safetensors");
        return ExitCode::from(2);
    };
    let features = ["mean", "error", "worst"].iter().flat_map(|kind| MEASURES.map(|name| format!("{name}_{kind}")));
    let model = Model::initial(features.chain(["malignant".to_string()]).collect());
    let bytes = model.to_tensors().encode().expect("zeros are finite");
    match std::fs::write(&path, bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write {path}: {error}");
            ExitCode::FAILURE
        }
    }
}
