//! WASI calls with any arguments on any memory: they never panic, and whatever state they lead to comes back from its
//! image as it was.

use std::sync::{Arc, LazyLock};

use arbitrary::Unstructured;
use fedmkt_core::pack::Pack;
use fedmkt_core::tree::PAGE_BYTES;
use fedmkt_core::wasi::{Config, Files, Function, METADATA_BYTES, Wasi};

use crate::seeds::pack;

/// Pages of `/out` and of `/tmp`.
pub const ROOM: u32 = 4;

/// What such a guest is given.
pub fn config() -> Config {
    static DRIVES: LazyLock<[Arc<Pack>; 2]> = LazyLock::new(|| {
        let open = |bytes| Arc::new(Pack::open(Arc::new(bytes)).expect("a pack"));
        [
            open(pack(&[("job.cbor", b"manifest"), ("model/layer.bin", b"weights"), ("trainer.wasm", b"module")])),
            open(pack(&[("a.csv", b"1,2\n3,4\n"), ("more/b.csv", b"5,6\n")])),
        ]
    });
    let [job, data] = DRIVES.clone();
    let model = job.find("model").expect("the model");
    Config {
        args: vec![b"trainer".to_vec()],
        env: Vec::new(),
        files: Files::Job { model: (job, model), data, out_pages: ROOM, scratch_pages: ROOM },
        open_files: 8,
        random_seed: [7; 32],
    }
}

const MEMORY: usize = 65_536;

/// Texts that stand in memory from [`TEXTS_AT`] on, each in a place of [`TEXT_ROOM`] bytes.
const TEXTS: [&str; 16] = [
    "out/a",
    "out/b",
    "tmp/a",
    "tmp/d",
    "out/d",
    "out/d/x",
    "data/a.csv",
    "job/model",
    "..",
    "out/../tmp/a",
    "out/l/x",
    "a",
    "",
    "/out/a",
    "out/a/",
    "tmp/d/../..",
];
const TEXTS_AT: u64 = 1024;
const TEXT_ROOM: u64 = 32;

/// An argument: mostly one that may mean something.
fn argument(from: &mut Unstructured<'_>) -> arbitrary::Result<u64> {
    Ok(match from.int_in_range(0..=9)? {
        0 | 1 => from.int_in_range(0..=9)?,
        2 | 3 => 3,
        4 => TEXTS_AT + TEXT_ROOM * from.int_in_range(0..=TEXTS.len() as u64 - 1)?,
        5 => TEXTS[from.choose_index(TEXTS.len())?].len() as u64,
        6 => {
            *from.choose(&[0, 64, 256, 4096, 8192, MEMORY as u64 - 8, MEMORY as u64, u64::from(u32::MAX), u64::MAX])?
        }
        7 => 1 << from.int_in_range(0..=63)?,
        8 => 0x1fff_ffff,
        _ => from.arbitrary()?,
    })
}

pub fn wasi(input: &[u8]) -> bool {
    run(&mut Unstructured::new(input)).is_ok()
}

fn run(from: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let mut wasi = Wasi::new(config());
    let mut memory = vec![0; MEMORY];
    for (index, text) in (0..).zip(TEXTS) {
        memory[(TEXTS_AT + TEXT_ROOM * index) as usize..][..text.len()].copy_from_slice(text.as_bytes());
    }
    // A list of buffers, as reading and writing want it.
    for (at, word) in (256..).step_by(4).zip([4096u32, 100, 8192, 5000, 65_000, 1000]) {
        memory[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    let mut calls = 0;
    while !from.is_empty() && calls < 100 {
        calls += 1;
        if from.ratio(1, 8)? {
            let at = from.int_in_range(0..=MEMORY - 4)?;
            memory[at..at + 4].copy_from_slice(&from.arbitrary::<u32>()?.to_le_bytes());
        }
        if from.ratio(1, 40)? {
            wasi = restored(&wasi);
        }
        let function = *from.choose(Function::ALL)?;
        let mut args = Vec::new();
        if function == Function::PathOpen && from.ratio(3, 4)? {
            // Ten arguments that fit by chance are rare.
            let text = from.choose_index(TEXTS.len())?;
            let rights = if from.ratio(3, 4)? { 0x1fff_ffff } else { argument(from)? };
            let how = from.int_in_range(0..=15)?;
            args.extend([3, from.int_in_range(0..=1)?, TEXTS_AT + TEXT_ROOM * text as u64, TEXTS[text].len() as u64]);
            args.extend([how, rights, rights, from.int_in_range(0..=1)?, 512]);
        } else {
            for _ in function.params() {
                args.push(argument(from)?);
            }
        }
        if wasi.call(function, &args, &mut memory).is_err() {
            break;
        }
    }
    restored(&wasi);
    Ok(())
}

/// The state that comes back from the image of this one. It has the same image.
fn restored(wasi: &Wasi) -> Wasi {
    let (metadata, files) = saved(wasi);
    let again = Wasi::restore(config(), &metadata, &files).expect("what was saved");
    assert!(saved(&again) == (metadata, files), "another image");
    again
}

/// Metadata and file area of a state.
pub fn saved(wasi: &Wasi) -> (Vec<u8>, Vec<u8>) {
    let mut metadata = vec![0; METADATA_BYTES];
    wasi.save(&mut metadata);
    let mut files = wasi.file_area().to_vec();
    files.resize(2 * ROOM as usize * PAGE_BYTES, 0);
    (metadata, files)
}
