//! Training on real data, on data that does not fit, and as a module.

use fedmkt_core::admission::Form;
use fedmkt_guest::{Kind, Tensors};
use gradient_boosting::{Ensemble, GradientBoosting, TREES_FILE, Table};
use sample_test_kit::{Root, admitted, assert_same_in_node, build, dataset};

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn root(model: &Ensemble, table: &[u8]) -> Root {
    Root::new(&model.to_tensors().encode().expect("encoded")).and("data.csv", table)
}

fn ensemble(bytes: &[u8]) -> Ensemble {
    Ensemble::from_tensors(&Tensors::decode(bytes).expect("tensors")).expect("an ensemble")
}

#[test]
fn the_course_of_an_illness_is_predicted_as_well_as_by_scikit_learn() {
    let Some(dataset) = dataset("diabetes") else { return };
    let heldout = Table::read(dataset.join("heldout/data.csv")).expect("a table");
    let table = std::fs::read(dataset.join("train/data.csv")).expect("a table");
    let results = root(&Ensemble::initial(heldout.columns.clone()), &table).train::<GradientBoosting>(&[]);
    let results = results.expect("trained");
    // What `reference.py` prints.
    let reference = 0.3936;
    let r_squared = ensemble(&results[TREES_FILE]).r_squared(&heldout);
    assert!((r_squared - reference).abs() <= 0.01, "{r_squared}");
    let metrics = String::from_utf8(results["metrics.csv"].clone()).expect("text");
    let loss = metrics.lines().last().expect("a line").rsplit(',').next().expect("a value");
    assert!((loss.parse::<f64>().expect("a number") - 821.368_728).abs() < 1e-5, "{loss}");
}

#[test]
fn training_goes_on_from_trees_that_are_there() {
    let columns = columns(&["a", "b", "y"]);
    let rows = (0..60).map(|row| format!("{},{},{}\n", row * 37 % 60, row * 11 % 60, (row * 37 % 60) * (row % 7)));
    let table = format!("a,b,y\n{}", rows.collect::<String>());
    let train = |model: &Ensemble, trees: &str| {
        let results = root(model, table.as_bytes()).train::<GradientBoosting>(&[trees]).expect("trained");
        ensemble(&results[TREES_FILE])
    };
    let whole = train(&Ensemble::initial(columns.clone()), "trees=6");
    let half = train(&Ensemble::initial(columns), "trees=3");
    assert_eq!(half.trees[..], whole.trees[..3]);
    let both = train(&half, "trees=3");
    assert_eq!(both.trees.len(), 6);
    assert_eq!(both, whole);
}

#[test]
fn data_that_does_not_fit_is_refused_with_the_reason() {
    let model = Ensemble::initial(columns(&["a", "b", "y"]));
    let cases: [(&[u8], &str); 5] = [
        (b"a,b,y\n", "no rows"),
        (b"y\n1\n", "two columns"),
        (b"a,c,y\n1,2,3\n", "these are needed: a, b, y"),
        (b"a,b,y\n1,2,3\n1,,3\n", "row 2, column \"b\""),
        (b"a,b,y\n1,2,inf\n", "row 1, column \"y\""),
    ];
    for (table, part) in cases {
        let error = root(&model, table).train::<GradientBoosting>(&[]).expect_err(part);
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
}

#[test]
fn damaged_and_others_models_fail() {
    let table = b"a,b,y\n1,2,3\n2,2,4\n";
    let mut model = Ensemble::initial(columns(&["a", "b", "y"]));
    let results = root(&model, table).train::<GradientBoosting>(&["trees=1"]).expect("trained");
    model = ensemble(&results[TREES_FILE]);
    model.trees[0].questions[0] = Some((2, 0.5));
    let error = root(&model, table).train::<GradientBoosting>(&[]).expect_err("no such feature");
    assert!(error.kind() == Kind::Failed && error.to_string().contains("tree 0 asks for feature 2"), "{error}");
    let root = root(&model, table);
    std::fs::write(root.path().join("job/model"), Tensors::new().encode().expect("encoded")).expect("written");
    assert_eq!(root.train::<GradientBoosting>(&[]).expect_err("no model").kind(), Kind::Failed);
}

#[test]
fn the_module_is_admitted_and_another_runtime_gives_the_same_trees() {
    let Some(wasm) = build("gradient-boosting", "gradient-boosting", &[]) else { return };
    assert_eq!(admitted(&wasm, 8 << 20).form, Form::Stepper { initialize: false });
    let rows = (0..200).map(|row| format!("{},{},{}\n", row * 37 % 200, row * 11 % 60, (row * 37 % 60) * (row % 7)));
    let table = format!("a,b,y\n{}", rows.collect::<String>());
    let root = || root(&Ensemble::initial(columns(&["a", "b", "y"])), table.as_bytes());
    assert_same_in_node::<GradientBoosting>("gradient-boosting", "gradient-boosting", root, &["trees=10"]);
}
