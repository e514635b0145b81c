//! Training on real data, and on data that does not fit.

use fedmkt_guest::{Error, Kind, Tensors};
use logistic_regression::{LogisticRegression, Model, Rows, WEIGHTS_FILE};
use sample_test_kit::{Root, dataset};

fn train(root: &Root, arguments: &[&str]) -> Result<Model, Error> {
    let results = root.train::<LogisticRegression>(arguments)?;
    Model::from_tensors(&Tensors::decode(&results[WEIGHTS_FILE])?)
}

fn root(table: &[u8], model: &Model) -> Root {
    Root::new(&model.to_tensors().encode().expect("encoded")).and("data.csv", table)
}

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn tumours_that_were_not_seen_are_told_apart() {
    let Some(dataset) = dataset("breast-cancer") else { return };
    let heldout = Rows::read(dataset.join("heldout/data.csv")).expect("rows");
    let initial = Model::initial(heldout.columns.clone());
    let root = root(&std::fs::read(dataset.join("train/data.csv")).expect("a table"), &initial);
    let trained = train(&root, &["epochs=300"]).expect("trained");
    // scikit-learn reaches 0.9790: see the README.
    assert!(initial.accuracy(&heldout) < 0.7);
    assert!(trained.accuracy(&heldout) >= 0.97, "{}", trained.accuracy(&heldout));
    let metrics = std::fs::read_to_string(root.path().join("out/metrics.csv")).expect("metrics");
    assert_eq!(metrics.lines().count(), 301);
}

#[test]
fn data_that_does_not_fit_is_refused_with_the_reason() {
    let model = Model::initial(columns(&["a", "b", "label"]));
    let cases: [(&[u8], &str); 8] = [
        (b"", "empty"),
        (b"a,b,label\n", "0 of 0 rows"),
        (b"a,b,label\n1,2,1\n2,2,1\n", "2 of 2 rows have the label 1"),
        (b"a,b,label\n1,2,0\n2,2,2\n", "row 2, column \"label\""),
        (b"a,b,label\n1,2,0\n2,NaN,1\n", "row 2, column \"b\""),
        (b"a,c,label\n1,2,0\n2,2,1\n", "\"c\" where \"b\""),
        (b"a,b\n1,0\n2,1\n", "2 columns, 3 are needed"),
        (b"label\n0\n1\n", "two columns"),
    ];
    for (table, part) in cases {
        let error = train(&root(table, &model), &[]).expect_err(part);

        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
}

#[test]
fn a_rate_at_which_training_diverges_fails() {
    let table = b"a,b,label\n1,2,0\n2,3,1\n3,3,0\n2,5,1\n";
    let model = Model::initial(columns(&["a", "b", "label"]));
    let error = train(&root(table, &model), &["rate=1e300", "epochs=50"]).expect_err("diverged");
    assert_eq!(error.kind(), Kind::Failed);
    assert!(error.to_string().contains("diverged"), "{error}");
}

#[test]
fn another_trainers_model_fails() {
    let table = b"a,b,label\n1,2,0\n2,3,1\n";
    let root = root(table, &Model::initial(columns(&["a", "b", "label"])));
    for bytes in [b"not a model".to_vec(), Tensors::new().encode().expect("encoded")] {
        std::fs::write(root.path().join("job/model"), bytes).expect("written");
        assert_eq!(train(&root, &[]).expect_err("refused").kind(), Kind::Failed);
    }
}
