//! Modules full of NaNs, admitted: another processor's NaNs change nothing.

use fedmkt_tests::nan_modules::{Engines, module};

use crate::everywhere::{Machines, compare};
use crate::job::Job;
use crate::{native, report};

/// Step 0 prepares, step 1 does what the module does. More steps would only look at the same.
const STEPS: u64 = 2;

/// What came of modules.
#[derive(Default, Debug)]
pub struct Seen {
    /// Modules that were made.
    modules: u32,
    /// Those of them that leave something else where NaNs are others: only these are compared with machines.
    pub nans: u32,
    /// Those of the latter whose state is memory and globals, and not that of a trap.
    pub states: u32,
}

/// Compares the module of a seed everywhere, if it looks at its NaNs.
pub fn nans(seed: u64, engines: &Engines, machines: &Machines, seen: &mut Seen) {
    let wasm = module(seed, 50 + (seed % 8) as usize * 100);
    let compared = engines.compare(&wasm).unwrap_or_else(|difference| panic!("seed {seed}: {difference}"));
    seen.modules += 1;
    if !compared.nans_seen {
        return;
    }
    match compare(&Job::of(&wasm, STEPS + 1), &native(), machines, STEPS, |step| step == STEPS - 1) {
        Ok(Ok(history)) => {
            seen.nans += 1;
            seen.states += u32::from(!history.last.status.is_final());
        }
        Ok(Err(refusal)) => panic!("seed {seed}: {refusal}"),
        Err(difference) => report(&format!("nans-{seed}"), &wasm, &difference),
    }
}
