//! Writes the initial model for the wines: `initial-k-means-c HELDOUT.csv OUT.csv`. Three of the held-out wines are the
//! centres to begin with.

use std::process::ExitCode;

use k_means_c::Table;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [heldout, out] = &arguments[..] else {
        eprintln!("usage: initial-k-means-c HELDOUT.csv OUT.csv");
        return ExitCode::from(2);
    };
    let table = match Table::read(heldout) {
        Ok(table) => table,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // The vineyard stands last, and wines are in its order.
    let mut model = table.with_columns(&table.columns[..table.columns.len() - 1]);
    let rows = &table.rows;
    model.rows = [0, rows.len() / 2, rows.len() - 1].map(|row| model.rows[row].clone()).to_vec();
    match std::fs::write(out, model.to_csv()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write {out}: {error}");
            ExitCode::FAILURE
        }
    }
}
