//! Compares engines on modules full of NaNs until it is stopped: `nan-soak [FIRST_SEED [CPU_SECONDS]]`.
//!
//! Prints a line every thousand modules, when it ends, and when a module shows a difference, which also ends it. What has
//! been run is written down in `docs/src/decisions/nan.md`.

use std::process::ExitCode;

use fedmkt_tests::nan_modules::{Engines, module};
use rustix::time::{ClockId, clock_gettime};

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let first = numbers.next().unwrap_or(0);
    let seconds = numbers.next().unwrap_or(u64::MAX);
    let used = || clock_gettime(ClockId::ProcessCPUTime).tv_sec.cast_unsigned();
    let engines = Engines::new();
    let mut seed: u64 = first;
    let mut seen = 0;
    while used() < seconds {
        let size = 50 + (seed % 8) as usize * 100;
        match engines.compare(&module(seed, size)) {
            Ok(compared) => seen += u64::from(compared.nans_seen),
            Err(difference) => {
                println!("seed {seed}, size {size}: {difference}");
                return ExitCode::FAILURE;
            }
        }
        seed += 1;
        if seed.is_multiple_of(1000) {
            println!("seeds {first} to {seed}: {seen} see NaNs, {} s of CPU time", used());
        }
    }
    println!("seeds {first} to {seed}: {seen} see NaNs, {} s of CPU time", used());
    ExitCode::SUCCESS
}
