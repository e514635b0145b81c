//! The store beside `sha256sum`, in turn on the same file: whole processes, medians of their ratios.
//!
//! `cargo bench -p fedmkt-market --bench store [-- FOLDER]` makes 1 GiB in FOLDER, or where temporary files lie, three
//! times over.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

const BYTES: usize = 1 << 30;

fn main() {
    let folder =
        std::env::args().skip(1).find(|argument| argument != "--bench").map_or(std::env::temp_dir(), PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    let path = folder.path().join("file");
    let mut file = File::create(&path).expect("a file");
    for number in 0..BYTES >> 20 {
        let part: Vec<u8> =
            (0..1u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8 ^ number as u8).collect();
        file.write_all(&part).expect("written");
    }
    let home = folder.path().join("home");
    let fedmkt = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fedmkt"));
        command.args(arguments).env("FEDMKT_HOME", &home).current_dir(folder.path());
        command
    };
    let (mut adds, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let _ = fs::remove_dir_all(&home);
        let (sum, _) = seconds(Command::new("sha256sum").arg(&path));
        let (add, said) = seconds(&mut fedmkt(&["store", "add", "file"]));
        let cid = said.split_whitespace().next().expect("a CID");
        // To nowhere, as `sha256sum` does.
        let (get, _) = seconds(fedmkt(&["store", "get", cid, "--output", "-"]).stdout(Stdio::null()));
        println!("sha256sum {sum:.2} s, add {add:.2} s, get {get:.2} s");
        adds.push(add / sum);
        gets.push(get / sum);
    }
    println!("to sha256sum, median of 5: add {:.2}, get {:.2}", median(adds), median(gets));
}

/// How long a command takes, and what it says.
fn seconds(command: &mut Command) -> (f64, String) {
    let begin = Instant::now();
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (begin.elapsed().as_secs_f64(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
