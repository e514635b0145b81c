//! One run, every engine: Wasmtime, wasmi on this computer, and the replayer in QEMU and in the Cartesi Machine come to
//! the same state roots, the same exit and the same files.

mod bad_input;
mod dense;
mod everywhere;
mod generated;
mod job;
mod known;
mod largest;
mod nan;
mod samples;

use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use everywhere::{Machines, compare};
use fedmkt_core::image::Status;
use fedmkt_runtime::engine::Native;
use fedmkt_tests::nan_modules::Engines;
use generated::{Form, Generated, Random};
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
        compare(&job, &native(), &none, u64::MAX, |_| false)
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
    match compare(&job, &native(), machines(), u64::MAX, |step| step == seed % 4) {
        Err(difference) => {
            // The smallest set of calls that still differs.
            let mut least = called.clone();
            for function in called {
                let fewer: Vec<u32> = least.iter().copied().filter(|&other| other != function).collect();
                let job = Job::of(&generated.trainer(&fewer), 8);
                if compare(&job, &native(), machines(), u64::MAX, |_| true).is_err() {
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
        compare(&job, &native(), machines, u64::MAX, |step| step == 1 + seed % 5)
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
    generate(0..40, Form::Stepper);
}

#[test]
fn more_generated_steppers_are_the_same_everywhere() {
    generate(40..80, Form::Stepper);
}

#[test]
fn generated_commands_are_the_same_everywhere() {
    generate(1000..1040, Form::Command);
}

/// Each of these modules has 40 functions.
fn dense_modules(seeds: std::ops::Range<u64>) {
    let mut tally = Tally::default();
    for seed in seeds {
        dense(seed, machines(), &mut tally);
    }
    eprintln!("dense: {tally:?}");
}

#[test]
fn dense_modules_are_the_same_everywhere() {
    dense_modules(0..40);
}

#[test]
fn more_dense_modules_are_the_same_everywhere() {
    dense_modules(40..80);
}

#[test]
fn modules_that_see_nans_are_the_same_everywhere() {
    let (engines, mut seen) = (Engines::new(), nan::Seen::default());
    for seed in 0..60 {
        nan::nans(seed, &engines, machines(), &mut seen);
    }
    eprintln!("NaNs: {seen:?}");
    assert!(seen.states >= 10, "too little is compared: {seen:?}");
}

/// Fresh seeds for as long as `FEDMKT_SOAK_MINUTES` says, written to `soak.log`.
#[test]
#[ignore = "it takes as long as it is told to: `cargo xtask soak MINUTES`"]
fn soak() {
    let minutes: u64 = std::env::var("FEDMKT_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("soak.log");
    let mut log = std::fs::File::options().create(true).append(true).open(&path).expect("a log");
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock");
    let mut random = Random::new(now.as_nanos() as u64);
    let mut say = |text: String| {
        eprintln!("{text}");
        writeln!(log, "{text}").expect("written");
    };
    say(format!("soak of {minutes} minutes, begun {} s after 1970, logged to {}", now.as_secs(), path.display()));
    let (mut tally, begun) = (Tally::default(), Instant::now());
    let (engines, mut seen) = (Engines::new(), nan::Seen::default());
    while begun.elapsed() < Duration::from_secs(60 * minutes) {
        // Written before, so that a crash leaves the seed.
        let seed = random.next() >> 20;
        say(format!("seed {seed}"));
        dense(seed, machines(), &mut tally);
        generated(seed, Form::Stepper, &mut tally);
        generated(seed, Form::Command, &mut tally);
        for seed in seed..seed + 10 {
            nan::nans(seed, &engines, machines(), &mut seen);
        }
    }
    say(format!("no difference: {tally:?}, {seen:?}"));
}
