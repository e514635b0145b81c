//! Compares engines on modules full of NaNs until it is stopped: `nan-soak [FIRST_SEED [SECONDS]]`.
//!
//! Prints one line when it ends, or when a module shows a difference, which also ends it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use fedmkt_tests::nan_modules::{Engines, module};

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let first = numbers.next().unwrap_or(0);
    let seconds = numbers.next().unwrap_or(u64::MAX);
    let engines = Engines::new();
    let begin = Instant::now();
    let mut seed: u64 = first;
    let mut seen = 0;
    while begin.elapsed() < Duration::from_secs(seconds) {
        let size = 50 + (seed % 16) as usize * 100;
        match engines.compare(&module(seed, size)) {
            Ok(compared) => seen += u64::from(compared.nans_seen),
            Err(difference) => {
                println!("seed {seed}, size {size}: {difference}");
                return ExitCode::FAILURE;
            }
        }
        seed += 1;
        if seed.is_multiple_of(1000) {
            println!("seeds {first} to {seed}: {seen} see NaNs, {} s", begin.elapsed().as_secs());
        }
    }
    println!("seeds {first} to {seed}: {seen} see NaNs, {} s", begin.elapsed().as_secs());
    ExitCode::SUCCESS
}
