//! How well clusters tell vineyards apart: `evaluate-k-means-c CENTRES.csv TRAIN.csv HELDOUT.csv`. Distances are measured in the
//! deviations of TRAIN.

use std::process::ExitCode;

use fedmkt_guest::Error;
use k_means_c::{Table, assign, purity};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [centres, train, heldout] = &arguments[..] else {
        eprintln!("usage: evaluate-k-means-c CENTRES.csv TRAIN.csv HELDOUT.csv");
        return ExitCode::from(2);
    };
    match evaluate(centres, train, heldout) {
        Ok((inertia, purity)) => {
            println!("inertia {inertia:.4}\npurity {purity:.4}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn evaluate(centres: &str, train: &str, heldout: &str) -> Result<(f64, f64), Error> {
    let centres = Table::read(centres)?;
    let train = Table::read(train)?.with_columns(&centres.columns);
    let deviations = train.deviations();
    let inertia = assign(&train, &centres, &deviations).iter().map(|(_, distance)| distance).sum();
    let heldout = Table::read(heldout)?;
    let labels: Vec<usize> = heldout.rows.iter().map(|row| row[row.len() - 1] as usize).collect();
    let clusters = assign(&heldout.with_columns(&centres.columns), &centres, &deviations);
    let clusters: Vec<usize> = clusters.into_iter().map(|(cluster, _)| cluster).collect();
    Ok((inertia, purity(&clusters, &labels)))
}
