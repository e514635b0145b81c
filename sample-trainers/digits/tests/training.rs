//! Training on real digits, on data that does not fit, and as a module.

use digits::{Classifier, Cnn, Digits, Mlp, Network, WEIGHTS_FILE};
use fedmkt_core::admission::Form;
use fedmkt_guest::{Kind, Tensors};
use sample_test_kit::{Root, admitted, assert_same_in_node, assert_same_without_vectors, build, dataset};

fn model<N: Network>() -> Vec<u8> {
    N::initial(7).parameters().to_tensors().encode().expect("encoded")
}

fn npy(shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// The accuracy on digits that were not seen, after training as the job says.
fn trained_accuracy<N: Network>() -> Option<f64> {
    let dataset = dataset("digits")?;
    let mut heldout = Digits::open(&dataset.join("heldout")).expect("digits");
    assert!(N::initial(7).accuracy(&mut heldout).expect("measured") < 0.3);
    let root = Root::with_data(&model::<N>(), &dataset.join("train"));
    let results = root.train::<Classifier<N>>(&[]).expect("trained");
    let tensors = Tensors::decode(&results[WEIGHTS_FILE]).expect("tensors");
    Some(N::from_tensors(&tensors).expect("a network").accuracy(&mut heldout).expect("measured"))
}

#[test]
fn the_mlp_reads_digits_that_it_has_not_seen() {
    let Some(accuracy) = trained_accuracy::<Mlp>() else { return };
    assert!(accuracy >= 0.96, "{accuracy}");
}

#[test]
fn the_cnn_reads_digits_that_it_has_not_seen() {
    let Some(accuracy) = trained_accuracy::<Cnn>() else { return };
    assert!(accuracy >= 0.98, "{accuracy}");
}

#[test]
fn data_that_does_not_fit_is_refused_with_the_reason() {
    let images = npy("(2, 8, 8)", &[1; 128]);
    let labels = npy("(2,)", &[3, 9]);
    let none: &[u8] = b"";
    for (images, labels, part) in [
        (&images[..], none, "labels.npy"),
        (&npy("(2, 4, 4)", &[1; 32]), &labels, "[4, 4], [8, 8] is needed"),
        (&npy("(1, 8, 8)", &[1; 64]), &labels, "1 images and 2 labels"),
        (&npy("(0, 8, 8)", &[]), &labels, "empty"),
        (&images, &npy("(2,)", &[3, 10]), "labels.npy, example 1: a class from 0 to 9 is needed, not 10"),
    ] {
        let root = Root::new(&model::<Mlp>()).and("images.npy", images).and("labels.npy", labels);
        let error = root.train::<Classifier<Mlp>>(&[]).expect_err(part);
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
    // Pixels are looked at when they are needed.
    let images = npy("(2, 8, 8)", &[vec![16; 127], vec![17]].concat());
    let root = Root::new(&model::<Mlp>()).and("images.npy", &images).and("labels.npy", &labels);
    let error = root.train::<Classifier<Mlp>>(&[]).expect_err("too dark");
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("an image with a pixel that is not from 0 to 16"), "{error}");
}

#[test]
fn training_that_diverges_and_others_models_fail() {
    let images = npy("(2, 8, 8)", &[(0..64).map(|place| place / 4).collect(), vec![16u8; 64]].concat());
    let root = || Root::new(&model::<Mlp>()).and("images.npy", &images).and("labels.npy", &npy("(2,)", &[3, 9]));
    let error = root().train::<Classifier<Mlp>>(&["rate=1e30"]).expect_err("diverged");
    assert_eq!(error.kind(), Kind::Failed);
    assert!(error.to_string().contains("batch 0: row 0 of the batch"), "{error}");
    let root = root();
    std::fs::write(root.path().join("job/model"), Tensors::new().encode().expect("encoded")).expect("written");
    assert_eq!(root.train::<Classifier<Mlp>>(&[]).expect_err("no model").kind(), Kind::Failed);
}

#[test]
fn modules_are_admitted_as_steppers_and_small() {
    for (name, most_bytes) in [("digits-mlp", 200_000), ("digits-cnn", 220_000)] {
        let Some(wasm) = build("digits", name, &[]) else { return };
        assert_eq!(admitted(&wasm, 8 << 20).form, Form::Stepper { initialize: false });
        assert!(wasm.len() <= most_bytes, "{name} has {} bytes", wasm.len());
    }
}

fn assert_same_everywhere<N: Network>(module: &str) {
    let Some(dataset) = dataset("digits") else { return };
    let root = || Root::with_data(&model::<N>(), &dataset.join("heldout"));
    assert_same_in_node::<Classifier<N>>("digits", module, root, &["epochs=2"]);
    assert_same_without_vectors::<Classifier<N>>("digits", module, root, &["epochs=2"]);
}

#[test]
fn the_mlp_learns_the_same_in_another_runtime_and_without_vectors() {
    assert_same_everywhere::<Mlp>("digits-mlp");
}

#[test]
fn the_cnn_learns_the_same_in_another_runtime_and_without_vectors() {
    assert_same_everywhere::<Cnn>("digits-cnn");
}
