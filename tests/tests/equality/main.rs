//! One run, every engine: Wasmtime, wasmi on this computer, and the replayer in QEMU and in the Cartesi Machine come to
//! the same state roots, the same exit and the same files.

mod dense;
mod everywhere;
mod generated;
mod job;

use std::path::PathBuf;
use std::sync::OnceLock;

use everywhere::{Machines, compare};
use fedmkt_core::image::Status;
use fedmkt_runtime::engine::Native;
use generated::{Form, Generated};
use job::Job;

fn machines() -> &'static Machines {
    static MACHINES: OnceLock<Machines> = OnceLock::new();
    MACHINES.get_or_init(Machines::find)
}

fn native() -> Native {
    static NATIVE: OnceLock<Native> = OnceLock::new();
    NATIVE.get_or_init(|| Native::new().expect("Wasmtime")).clone()
}

/// What came of a generated module.
#[derive(Default, Debug)]
struct Tally {
    modules: u32,
    done: u32,
    trapped: u32,
    other: u32,
    refused: u32,
    calls: u32,
}

/// Compares the module of a seed everywhere. Functions that trap are left out of most modules: a state after a trap
/// tells nothing of what was computed before.
fn generated(seed: u64, form: Form, tally: &mut Tally) {
    let generated = Generated::new(seed, form);
    let none = Machines::none();
    let trial = |called: &[u32]| {
        let job = Job::of(&generated.trainer(called), 8);
        compare(&job, &native(), &none, |_| false)
    };
    if let Ok(Err(refusal)) = trial(&[]) {
        assert!(form == Form::Stepper, "seed {seed}: a command is refused: {refusal}");
        tally.refused += 1;
        return;
    }
    let mut called: Vec<u32> = (0..generated.functions).collect();
    if !seed.is_multiple_of(8) {
        called.retain(|&function| {
            let history = trial(&[function])
                .unwrap_or_else(|difference| report(&generated.name(), &generated.trainer(&[function]), &difference));
            history.is_ok_and(|history| history.last.status != Status::Trapped)
        });
    }
    let job = Job::of(&generated.trainer(&called), 8);
    match compare(&job, &native(), machines(), |step| step % 2 == seed % 2 || step == 0) {
        Err(difference) => {
            // The smallest set of calls that still differs.
            let mut least = called.clone();
            for function in called {
                let fewer: Vec<u32> = least.iter().copied().filter(|&other| other != function).collect();
                let job = Job::of(&generated.trainer(&fewer), 8);
                if compare(&job, &native(), machines(), |_| true).is_err() {
                    least = fewer;
                }
            }
            report(&generated.name(), &generated.trainer(&least), &difference);
        }
        Ok(Err(refusal)) => panic!("seed {seed}: {refusal}"),
        Ok(Ok(history)) => {
            tally.modules += 1;
            tally.calls += called.len() as u32;
            match history.last.status {
                Status::Done => tally.done += 1,
                Status::Trapped => tally.trapped += 1,
                _ => tally.other += 1,
            }
        }
    }
}

/// Compares the dense module of a seed everywhere.
fn dense(seed: u64, machines: &Machines, tally: &mut Tally) {
    let all: Vec<u32> = (0..dense::FUNCTIONS).collect();
    let trial = |called: &[u32], machines: &Machines| {
        let job = Job::of(&dense::trainer(seed, called), dense::STEPS + 1);
        compare(&job, &native(), machines, |step| step > 0 && step % 5 == seed % 5)
    };
    match trial(&all, machines) {
        Ok(Ok(history)) => {
            assert!(history.last.steps == dense::STEPS + 1, "seed {seed}: {:?}", history.last);
            tally.modules += 1;
            tally.done += 1;
            tally.calls += dense::FUNCTIONS;
        }
        Ok(Err(refusal)) => panic!("seed {seed}: {refusal}"),
        Err(difference) => {
            let mut least = all.clone();
            for function in all {
                let fewer: Vec<u32> = least.iter().copied().filter(|&other| other != function).collect();
                if trial(&fewer, machines).is_err() {
                    least = fewer;
                }
            }
            report(&format!("dense-{seed}"), &dense::trainer(seed, &least), &difference);
        }
    }
}

/// Keeps the module, and fails.
fn report(name: &str, wasm: &[u8], difference: &everywhere::Difference) -> ! {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("differences");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, wasm).expect("written");
    panic!("{difference}\nthe module is {}: reduce it, and keep it in tests/regressions", path.display());
}

fn generate(seeds: std::ops::Range<u64>, form: Form) {
    let mut tally = Tally::default();
    for seed in seeds {
        generated(seed, form, &mut tally);
    }
    eprintln!("{form:?}: {tally:?}");
    assert!(tally.modules > 0 && tally.done > 0 && tally.calls > tally.modules, "too little is compared: {tally:?}");
}

#[test]
fn generated_steppers_are_the_same_everywhere() {
    generate(0..20, Form::Stepper);
}

#[test]
fn generated_commands_are_the_same_everywhere() {
    generate(1000..1020, Form::Command);
}

#[test]
fn dense_functions_are_the_same_in_engines() {
    let mut tally = Tally::default();
    for seed in 0..40 {
        dense(seed, &Machines::none(), &mut tally);
    }
    eprintln!("dense: {tally:?}");
}
