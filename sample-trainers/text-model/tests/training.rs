//! Training on real messages, on data that does not fit, and as modules.

use fedmkt_core::admission::Form;
use fedmkt_guest::{Kind, Tensors, Trainer};
use sample_test_kit::{Root, admitted, assert_same_in_node, assert_same_without_vectors, build, dataset};
use text_model::markov::Markov;
use text_model::{ADAPTERS_FILE, Adapters, CONTEXT, Text, Transformer, WEIGHTS_FILE, WholeModel, apply};

fn model() -> Vec<u8> {
    Transformer::initial(7).parameters.to_tensors().encode().expect("encoded")
}

#[test]
fn the_model_beats_a_markov_chain_and_adapters_bring_it_closer_to_other_messages() {
    let (Some(messages), Some(others)) = (dataset("messages"), dataset("computer-messages")) else { return };
    let text = |folder: &std::path::Path, part: &str| {
        Text::open(&folder.join(part).join("messages.txt"), CONTEXT + 1).expect("a text")
    };
    let chain = Markov::learn(&mut text(&messages, "train")).expect("learned");
    let baseline = chain.bits(&mut text(&messages, "heldout")).expect("measured");
    let root = Root::with_data(&model(), &messages.join("train"));
    let weights = root.train::<WholeModel>(&[]).expect("trained").remove(WEIGHTS_FILE).expect("weights");
    let mut trained = Transformer::from_tensors(&Tensors::decode(&weights).expect("tensors")).expect("a model");
    let bits = trained.bits(&mut text(&messages, "heldout")).expect("measured");
    assert!(bits < baseline, "{bits} bits per character, the chain needs {baseline}");

    let before = trained.bits(&mut text(&others, "heldout")).expect("measured");
    let root = Root::with_data(&weights, &others.join("train"));
    let adapters = root.train::<Adapters>(&["steps=150"]).expect("trained").remove(ADAPTERS_FILE).expect("adapters");
    assert!(adapters.len() * 12 < weights.len(), "{} of {} bytes leave", adapters.len(), weights.len());
    apply(&mut trained, &Tensors::decode(&adapters).expect("tensors")).expect("they fit");
    let after = trained.bits(&mut text(&others, "heldout")).expect("measured");
    assert!(after < before - 0.25, "{before} bits per character before, {after} after");
}

#[test]
fn data_that_does_not_fit_is_refused_with_the_reason() {
    let long = "0123456789 abcdef\n".repeat(1000);
    for (text, part) in [
        (b"short\n".to_vec(), "6 characters, at least 10000"),
        (Vec::new(), "0 characters"),
        (format!("{long}caf\u{e9}\n").into_bytes(), "line 1001, column 4: the byte 0xc3"),
        (format!("{long}\0").into_bytes(), "line 1001, column 1: the byte 0x00"),
    ] {
        let error = Root::new(&model()).and("a.txt", &text).train::<WholeModel>(&[]).expect_err(part);
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
    let two = Root::new(&model()).and("a.txt", long.as_bytes()).and("b.txt", long.as_bytes());
    assert!(two.train::<Adapters>(&[]).expect_err("two files").to_string().contains("2 files *.txt"));
}

#[test]
fn training_that_diverges_and_others_models_fail() {
    let text = "0123456789 abcdef\n".repeat(1000);
    let root = |model: &[u8]| Root::new(model).and("a.txt", text.as_bytes());
    let error = root(&model()).train::<WholeModel>(&["rate=1e38", "batch=2"]).expect_err("diverged");
    assert_eq!(error.kind(), Kind::Failed);
    assert!(error.to_string().contains("row 0 of the batch"), "{error}");
    let other = Tensors::new().encode().expect("encoded");
    assert_eq!(root(&other).train::<Adapters>(&[]).expect_err("no model").kind(), Kind::Failed);
}

fn assert_same_everywhere<T: Trainer>(module: &str) {
    let Some(wasm) = build("text-model", module, &[]) else { return };
    assert_eq!(admitted(&wasm, 64 << 20).form, Form::Stepper { initialize: false });
    let text = "The quick brown fox jumps over the lazy dog; 0123456789!\n".repeat(200);
    let root = || Root::new(&model()).and("a.txt", text.as_bytes());
    assert_same_in_node::<T>("text-model", module, root, &["steps=3", "batch=2"]);
    assert_same_without_vectors::<T>("text-model", module, root, &["steps=3", "batch=2"]);
}

#[test]
fn the_model_learns_the_same_in_another_runtime_and_without_vectors() {
    assert_same_everywhere::<WholeModel>("text-model");
}

#[test]
fn adapters_learn_the_same_in_another_runtime_and_without_vectors() {
    assert_same_everywhere::<Adapters>("text-adapters");
}
