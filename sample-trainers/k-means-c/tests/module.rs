//! The trainer in C: built, admitted and run under Node.

use std::path::{Path, PathBuf};
use std::process::Command;

use fedmkt_core::admission;
use k_means_c::{Table, assign, purity};
use sample_test_kit::{Form, Results, Root, admitted, dataset};

/// Builds the module; `None` when there is no compiler for it.
fn build(name: &str) -> Option<Vec<u8>> {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.wasm"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.sh");
    let libc = Path::new("/usr/include/wasm32-wasi").exists();
    if !libc || Command::new("clang").arg("--version").output().is_err() {
        eprintln!("SKIPPED: Debian's clang and wasi-libc are not installed");
        return None;
    }
    let build = Command::new(script).arg(&out).output().expect("a shell runs");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    Some(std::fs::read(out).expect("the module"))
}

#[test]
fn the_module_is_admitted_as_a_stepper() {
    let Some(wasm) = build("admitted") else { return };
    assert_eq!(admitted(&wasm, 8 << 20).form, admission::Form::Stepper { initialize: false });
}

/// Lloyd's iterations, as another program would write them.
fn reference(data: &Table, mut centres: Table) -> (Table, f64) {
    let deviations = data.deviations();
    loop {
        let assigned = assign(data, &centres, &deviations);
        let before = centres.clone();
        for (index, centre) in centres.rows.iter_mut().enumerate() {
            let members: Vec<_> = data.rows.iter().zip(&assigned).filter(|(_, (at, _))| *at == index).collect();
            for (column, value) in centre.iter_mut().enumerate() {
                *value = members.iter().map(|(row, _)| row[column]).sum::<f64>() / members.len() as f64;
            }
        }
        if centres == before {
            return (centres, assigned.iter().map(|(_, distance)| distance).sum());
        }
    }
}

#[test]
fn wines_fall_into_clusters_by_vineyard_and_both_forms_agree() {
    let (Some(wasm), Some(dataset)) = (build("wine"), dataset("wine")) else { return };
    let heldout = Table::read(dataset.join("heldout/data.csv")).expect("a table");
    let columns = heldout.columns[..heldout.columns.len() - 1].to_vec();
    let mut model = heldout.with_columns(&columns);
    model.rows = [0, 22, 44].map(|row| model.rows[row].clone()).to_vec();
    let train = |form| -> Option<Results> {
        let root = Root::with_data(model.to_csv().as_bytes(), &dataset.join("train"));
        root.train_in_node(&wasm, form, &["steps=50"])
    };
    let (Some(started), Some(stepped)) = (train(Form::Start), train(Form::Steps)) else { return };
    assert!(started == stepped, "by _start and by steps");
    let data = Table::read(dataset.join("train/data.csv")).expect("a table").with_columns(&columns);
    let (expected, inertia) = reference(&data, model);
    let folder = Root::new(b"").and("centres.csv", &started["centres.csv"]);
    let centres = Table::read(folder.path().join("data/centres.csv")).expect("centres");
    assert_eq!(centres, expected);
    let metrics = String::from_utf8(started["metrics.csv"].clone()).expect("text");
    let last: f64 = metrics.lines().last().and_then(|line| line.rsplit(',').next()?.parse().ok()).expect("a value");
    assert!((last / inertia - 1.0).abs() < 1e-12, "{last}, not {inertia}");
    let clusters = assign(&heldout.with_columns(&columns), &centres, &data.deviations());
    let clusters: Vec<usize> = clusters.into_iter().map(|(cluster, _)| cluster).collect();
    let labels: Vec<usize> = heldout.rows.iter().map(|row| row[row.len() - 1] as usize).collect();
    assert!(purity(&clusters, &labels) > 0.9);
}

#[test]
fn a_column_that_is_always_the_same_parts_nothing_and_empty_lines_are_no_rows() {
    let Some(wasm) = build("same") else { return };
    // The mean of 0.1 three times is not 0.1, and the first centre is a little nearer in that column.
    let (model, data) = (b"a,b\n0,0.1\n10,0.10000000001\n", b"a,b\n9,0.1\n\n1,0.1\r\n\r\n11,0.1\n");
    let Some(results) = Root::new(model).and("data.csv", data).train_in_node(&wasm, Form::Steps, &[]) else { return };
    assert_eq!(
        String::from_utf8_lossy(&results["centres.csv"]),
        "a,b\n1,0.10000000000000001\n10,0.10000000000000001\n"
    );
    let mut table = Table { columns: vec!["b".into()], rows: vec![vec![0.1]; 3] };
    assert_eq!(table.deviations(), [1.0]);
    table.rows.push(vec![0.7]);
    assert!(table.deviations()[0] < 0.5);
}

#[test]
fn data_and_models_that_do_not_fit_end_with_their_codes() {
    let Some(wasm) = build("refused") else { return };
    let good = b"a,b\n1,2\n3,4\n5,6\n";
    let cases: [(&[u8], &[u8], i32, &str); 8] = [
        (b"a,b\n1,2\n3,4\n", b"a\n1\n", 2, "no column \"b\""),
        (b"a,b\n1,2\n3,4\n", b"a,b\n1,x\n", 2, "row 1, column \"b\": a finite number is needed, not \"x\""),
        (b"a,b\n1,2\n3,4\n", b"a,b\n1,nan\n", 2, "row 1, column \"b\""),
        (b"a,b\n1,2\n3,4\n", b"a,b\n1,2\n3\n", 2, "row 2: 1 fields, but the header has 2"),
        (b"a,b\n1,2\n3,4\n", b"a,b\n1,2\n", 2, "has 1 rows, 2 are needed"),
        (b"a,b\n1,2\n3,4\n", b"", 2, "no header"),
        (b"a,b\n", good, 3, "no centres"),
        (b"a,b\n1,inf\n", good, 3, "/job/model, row 1"),
    ];
    for (model, data, code, part) in cases {
        let Some(ended) = Root::new(model).and("data.csv", data).run_in_node(&wasm, Form::Steps, &[]) else { return };
        assert_eq!(ended.status.code(), Some(code), "{part}");
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(errors.contains(part), "{errors} lacks {part}");
    }
}
