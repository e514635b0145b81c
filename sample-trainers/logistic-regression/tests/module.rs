//! The module that sponsors publish: it is admitted, and learns the same as natively under another WASI runtime.

use fedmkt_core::admission::Form;
use logistic_regression::{LogisticRegression, Model};
use sample_test_kit::{Root, admitted, assert_same_in_node, build};

/// A job with a small table.
fn root() -> Root {
    let columns = ["width", "weight", "ripe"].map(String::from).to_vec();
    let mut table = columns.join(",");
    for row in 0..200u32 {
        // Numbers without a visible pattern, and a label that depends on both.
        let [width, weight] = [row * 7919 % 211, row * 104_729 % 307].map(f64::from);
        let ripe = u8::from(width / 211.0 + weight / 307.0 > 1.0);
        table += &format!("\n{width},{},{ripe}", weight / 10.0);
    }
    Root::new(&Model::initial(columns).to_tensors().encode().expect("encoded")).and("fruit.csv", table.as_bytes())
}

#[test]
fn the_module_is_admitted_as_a_stepper() {
    let Some(wasm) = build("logistic-regression", "logistic-regression", &[]) else { return };
    let admitted = admitted(&wasm, 8 << 20);
    assert_eq!(admitted.form, Form::Stepper { initialize: false });
    assert_eq!(admitted.warnings, []);
}

#[test]
fn another_runtime_gives_the_same_weights_and_so_does_stepping() {
    assert_same_in_node::<LogisticRegression>("logistic-regression", "logistic-regression", root, &["epochs=40"]);
}
