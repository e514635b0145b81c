//! Test vectors of the machine's hashes. `FEDMKT_BLESS=1` writes them anew; the final proofs only where the Cartesi
//! Machine is, for they come from it.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use fedmkt_core::manifest::SizeClass;
use fedmkt_core::roots::{DataRoot, Hash, JobRoot, StateRoot};
use fedmkt_machine::exit::Exit;
use fedmkt_machine::memory_map::Drive;
use fedmkt_verifier::cartesi::Cartesi;
use fedmkt_verifier::machine::Machine;
use fedmkt_verifier::release::Release;
use fedmkt_verifier::step::{Image, Limit, Step};
use fedmkt_verifier::template::{FinalProofs, MachineProof, Template, halted};
use serde_json::{Value, json};

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/reference/vectors/machine.json")
}

fn known() -> Value {
    fs::read_to_string(file()).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// 32 bytes that count up from `first`.
fn bytes(first: u8) -> [u8; 32] {
    std::array::from_fn(|index| first.wrapping_add(index as u8))
}

fn initial_of(class: SizeClass, low: Hash, job: JobRoot, data: DataRoot, state: StateRoot) -> Value {
    let template = Template { class, low };
    json!({
        "class": class, "low": low, "job_root": job, "data_root": data, "state_root": state,
        "hash": template.initial_hash(job, data, state), "template_hash": template.hash(),
    })
}

fn initial() -> Vec<Value> {
    let roots = (JobRoot(bytes(50)), DataRoot(bytes(100)), StateRoot(bytes(150)));
    SizeClass::ALL.map(|class| initial_of(class, Hash(bytes(1)), roots.0, roots.1, roots.2)).to_vec()
}

fn halts() -> Value {
    Value::Array(Exit::ALL.map(|exit| json!({ "exit": exit as u8, "node": halted(exit) })).to_vec())
}

fn proof(value: &Value) -> MachineProof {
    let hash = |value: &Value| Hash::from_str(value.as_str().expect("a hash")).expect("a hash");
    MachineProof {
        address: value["address"].as_u64().expect("an address"),
        log2_bytes: value["log2_size"].as_u64().expect("a size") as u32,
        target: hash(&value["node"]),
        siblings: value["siblings"].as_array().expect("siblings").iter().map(hash).collect(),
    }
}

fn proof_value(proof: &MachineProof) -> Value {
    json!({
        "address": proof.address, "log2_size": proof.log2_bytes, "node": proof.target, "siblings": proof.siblings,
    })
}

/// The proofs of a real machine, and the same with something changed.
fn finals(class: SizeClass, machine: Hash, exit: Exit, state: StateRoot, proofs: &FinalProofs) -> Value {
    let case = |hold: bool, why: &str, proofs: &FinalProofs, exit: Exit, state: StateRoot| {
        assert_eq!(proofs.show(class, &machine, exit, state), hold, "{why}");
        json!({
            "class": class, "machine_hash": machine, "exit": exit as u8, "state_root": state, "hold": hold, "why": why,
            "state_out": proof_value(&proofs.state_out), "halt": proof_value(&proofs.halt),
        })
    };
    let changed = |change: &dyn Fn(&mut FinalProofs)| {
        let mut changed = proofs.clone();
        change(&mut changed);
        changed
    };
    let other = StateRoot(bytes(3));
    let other_exit = if exit == Exit::Done { Exit::State } else { Exit::Done };
    Value::Array(vec![
        case(true, "as the machine gave them", proofs, exit, state),
        case(false, "another state", proofs, exit, other),
        case(
            false,
            "another state, also as the proof's node",
            &changed(&|p| p.state_out.target = Hash(other.0)),
            exit,
            other,
        ),
        case(false, "another exit code", proofs, other_exit, state),
        case(
            false,
            "another exit code, also as the proof's node",
            &changed(&|p| p.halt.target = halted(other_exit)),
            other_exit,
            state,
        ),
        case(
            false,
            "a proof of another drive",
            &changed(&|p| p.state_out.address = Drive::StateIn.start()),
            exit,
            state,
        ),
        case(false, "a proof of other registers", &changed(&|p| p.halt.address += 64), exit, state),
        case(false, "a sibling is missing", &changed(&|p| p.state_out.siblings.truncate(39)), exit, state),
        case(false, "a sibling is changed", &changed(&|p| p.halt.siblings[9].0[0] ^= 1), exit, state),
        case(false, "two siblings are exchanged", &changed(&|p| p.state_out.siblings.swap(0, 9)), exit, state),
    ])
}

fn parse<T: FromStr>(value: &Value) -> T
where
    T::Err: std::fmt::Debug,
{
    value.as_str().expect("text").parse().expect("32 bytes")
}

#[test]
fn the_vectors_are_what_is_computed() {
    let known = known();
    let bless = std::env::var_os("FEDMKT_BLESS").is_some();
    let mut from_a_machine = (known["initial"][3].clone(), known["final"].clone());
    if bless && let Ok(cartesi) = Cartesi::find() {
        from_a_machine = replayed(&cartesi);
    }
    let mut initial = initial();
    initial.push(from_a_machine.0);
    let found = json!({ "initial": initial, "halted": halts(), "final": from_a_machine.1 });
    if bless {
        fs::write(file(), serde_json::to_string_pretty(&found).expect("JSON") + "\n").expect("written");
        return;
    }
    assert_eq!(found, known, "{} is not what was computed", file().display());
    let real = &known["initial"][3];
    let class = serde_json::from_value(real["class"].clone()).expect("a class");
    let low = parse(&real["low"]);
    let again = initial_of(class, low, parse(&real["job_root"]), parse(&real["data_root"]), parse(&real["state_root"]));
    assert_eq!(again, *real);
    let cases = known["final"].as_array().expect("cases");
    assert!(cases.len() >= 10, "there are final proofs");
    for case in cases {
        let class: SizeClass = serde_json::from_value(case["class"].clone()).expect("a class");
        let exit = Exit::from_code(case["exit"].as_u64().expect("a code")).expect("an exit");
        let proofs = FinalProofs { state_out: proof(&case["state_out"]), halt: proof(&case["halt"]) };
        let hold = proofs.show(class, &parse(&case["machine_hash"]), exit, parse(&case["state_root"]));
        assert_eq!(Some(hold), case["hold"].as_bool(), "{}", case["why"]);
    }
}

#[test]
fn templates_of_a_release_are_what_the_emulator_makes() {
    let Ok(image) = Image::find() else {
        eprintln!("SKIPPED: templates are not compared: `cargo xtask machine` builds the image");
        return;
    };
    let Some(release) = Release::of(&image) else {
        eprintln!("SKIPPED: templates are not compared: {} is the image of no release", image.path().display());
        return;
    };
    let cartesi = match Cartesi::find() {
        Ok(cartesi) => cartesi,
        Err(why) => {
            eprintln!("SKIPPED: templates are not compared: {why}");
            return;
        }
    };
    let folder = tempfile::tempdir().expect("a folder");
    for class in SizeClass::ALL {
        let made = cartesi.template(&image, class, folder.path()).expect("a template");
        assert_eq!(made, release.template(class), "{} {class:?}", release.name);
    }
}

/// The bytes of a list of parts: see the page on vectors.
fn parts(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in value.as_array().expect("parts") {
        match (part["zeros"].as_u64(), part["hex"].as_str()) {
            (Some(zeros), _) => bytes.resize(bytes.len() + zeros as usize, 0),
            (_, Some(hex)) => {
                let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
                bytes.extend(digits.map(|digits| u8::from_str_radix(digits, 16).expect("digits")));
            }
            _ => panic!("{part}"),
        }
    }
    bytes
}

/// A step of the run in `whole-run.json`, in the Cartesi Machine: its initial hash, and what is proven at its end.
fn replayed(cartesi: &Cartesi) -> (Value, Value) {
    const STEP: usize = 1;
    let text = fs::read_to_string(file().with_file_name("whole-run.json")).expect("the other vectors");
    let run: Value = serde_json::from_str(&text).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, parts_of: &Value| {
        let path = folder.path().join(name);
        fs::write(&path, parts(parts_of)).expect("written");
        path
    };
    let (job, data) = (put("job", &run["job_drive"]), put("data", &run["capsule"]));
    let state_in = put("state-in", &run["states"][STEP]["image"]);
    let image = Image::find().expect("an image");
    let class = SizeClass::S;
    let step = Step {
        image: &image,
        class,
        job: &job,
        data: &data,
        state_in: &state_in,
        work: folder.path(),
        limit: Limit::of(class),
        hashes: true,
    };
    let replayed = cartesi.replay(&step, &mut |_| ControlFlow::Continue(())).expect("replayed");
    let hashes = replayed.hashes.expect("hashes");
    let state: StateRoot = parse(&run["states"][STEP + 1]["root"]);
    assert_eq!(replayed.state_out.root().expect("a root"), state);
    let template = cartesi.template(&image, class, folder.path()).expect("a template");
    let (job, data, before) = (parse(&run["job_root"]), parse(&run["data_root"]), parse(&run["states"][STEP]["root"]));
    assert_eq!(template.initial_hash(job, data, before), hashes.initial);
    (
        initial_of(class, template.low, job, data, before),
        finals(class, hashes.last, replayed.exit, state, &hashes.proofs),
    )
}
