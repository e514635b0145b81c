//! State images: one that a run goes on from is one that this run could have written.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use fedmkt_core::admission::{Admitted, MutableGlobal};
use fedmkt_core::engine::{Called, Engine, Instance};
use fedmkt_core::image::{GLOBAL_BYTES, Header, Layout};
use fedmkt_core::inputs::{Identity, Inputs, MANIFEST_PATH, MODEL_PATH, TRAINER_PATH};
use fedmkt_core::manifest::Manifest;
use fedmkt_core::roots::{DataRoot, JobRoot, RunId};
use fedmkt_core::run::Run;
use fedmkt_core::tree::PAGE_BYTES;
use fedmkt_core::wasi::{Function, Wasi};

use crate::calls;
use crate::seeds::{accepted, pack};

/// An engine that executes nothing: a step is a few WASI calls.
#[derive(Clone)]
struct Nothing;

struct Still {
    wasi: Wasi,
    memory: Vec<u8>,
    global: [u8; GLOBAL_BYTES],
}

impl Engine for Nothing {
    type Module = ();
    type Instance = Still;
    type Error = Infallible;

    fn compile(&self, _: &Admitted) -> Result<(), Infallible> {
        Ok(())
    }

    fn instantiate(&self, (): &(), wasi: Wasi) -> Result<Option<Still>, Infallible> {
        Ok(Some(Still { wasi, memory: vec![0; MEMORY], global: [0; GLOBAL_BYTES] }))
    }
}

impl Instance for Still {
    type Error = Infallible;

    fn wasi(&mut self) -> &mut Wasi {
        &mut self.wasi
    }

    fn memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    fn grow_memory(&mut self, bytes: u64) -> Result<(), Infallible> {
        self.memory.resize(bytes as usize, 0);
        Ok(())
    }

    fn global(&mut self, _: &MutableGlobal) -> [u8; GLOBAL_BYTES] {
        self.global
    }

    /// It is an `i32`.
    fn set_global(&mut self, _: &MutableGlobal, bits: [u8; GLOBAL_BYTES]) {
        self.global[..4].copy_from_slice(&bits[..4]);
    }

    fn call(&mut self, _: &str) -> Result<Called, Infallible> {
        let texts = ["out/f", "tmp/d", "tmp/d/l", "out/g", "tmp/d/x"];
        for (at, text) in (0..).step_by(64).zip(texts) {
            self.memory[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        self.memory[512..520].copy_from_slice(&[0, 0, 0, 0, 0, 40, 0, 0]);
        let all = 0x1fff_ffff;
        let calls: [(Function, &[u64]); 9] = [
            (Function::PathCreateDirectory, &[3, 64, 5]),
            (Function::PathOpen, &[3, 0, 0, 5, 1, all, all, 0, 600]),
            (Function::FdWrite, &[4, 512, 1, 608]),
            (Function::PathLink, &[3, 0, 0, 5, 3, 192, 5]),
            (Function::PathSymlink, &[0, 5, 3, 128, 7]),
            (Function::PathOpen, &[3, 0, 256, 7, 1, all, all, 1, 600]),
            (Function::FdWrite, &[5, 512, 1, 608]),
            (Function::RandomGet, &[640, 10]),
            (Function::ClockTimeGet, &[0, 0, 656]),
        ];
        for (function, args) in calls {
            let _ = self.wasi.call(function, args, &mut self.memory);
        }
        Ok(Called::Returned(Some(0)))
    }
}

/// Bytes of a WebAssembly page: all that the module has.
const MEMORY: usize = 65_536;

/// Bytes of the header, of the globals and of memory that stand in an input, before those of the WASI state.
const HEADER: usize = 28 * 32;
const GLOBALS: usize = 2 * GLOBAL_BYTES;
const MEMORY_SHOWN: usize = 16;

struct Setting {
    inputs: Arc<Inputs>,
    admitted: Admitted,
    identity: Identity,
    /// An image after a step.
    image: Vec<u8>,
}

static SETTING: LazyLock<Setting> = LazyLock::new(|| {
    let mut manifest = Manifest::decode(&accepted("manifest")[0]).expect("a manifest");
    manifest.limits.memory = MEMORY as u64;
    manifest.limits.output = u64::from(calls::ROOM) * PAGE_BYTES as u64;
    manifest.limits.scratch = manifest.limits.output;
    manifest.limits.open_files = 8;
    assert!(manifest.check().is_empty());
    let stepper = wat::parse_str(
        r#"(module (memory (export "memory") 1 1) (global (mut i32) (i32.const 0))
            (func (export "_initialize")) (func (export "fedmkt_init") (result i32) i32.const 0)
            (func (export "fedmkt_step") (result i32) i32.const 0))"#,
    );
    let stepper = stepper.expect("a module");
    let job = pack(&[(MANIFEST_PATH, &manifest.encode()), (MODEL_PATH, b"model"), (TRAINER_PATH, &stepper)]);
    let inputs = Inputs::open(Arc::new(job), Arc::new(pack(&[("f", b"1")]))).expect("inputs");
    let identity = inputs.identity(RunId([1; 32]), JobRoot([2; 32]), DataRoot([3; 32]));
    let admitted = inputs.admit().expect("a trainer");
    let mut setting = Setting { inputs: Arc::new(inputs), admitted, identity, image: Vec::new() };
    let (admitted, inputs) = (setting.admitted.clone(), setting.inputs.clone());
    let mut run = Run::begin(Nothing, (), admitted, inputs, identity);
    run.step().expect("a step");
    setting.image = image_of(&mut run);
    setting
});

fn image_of(run: &mut Run<Nothing>) -> Vec<u8> {
    let mut image = vec![0; run.layout().total_bytes() as usize];
    let written = run.write_image(|offset, bytes| {
        image[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok::<_, Infallible>(())
    });
    written.expect("nothing can fail");
    image
}

pub fn state_images() -> Vec<Vec<u8>> {
    let image = &SETTING.image;
    let metadata = &image[Layout::METADATA as usize..Layout::FILES as usize];
    let used = metadata.iter().rposition(|&byte| byte != 0).expect("a state") + 9;
    let globals = &image[Layout::GLOBALS as usize..][..GLOBALS];
    let mut page = [0; PAGE_BYTES];
    page.copy_from_slice(&image[..PAGE_BYTES]);
    let mut header = Header::decode(&page).expect("a header");
    let with = |header: &[u8]| [header, globals, &[0; MEMORY_SHOWN], &metadata[..used]].concat();
    let running = with(&image[..HEADER]);
    header.steps = SETTING.inputs.manifest().limits.steps;
    let too_long = with(&header.encode()[..HEADER]);
    header.steps = 0;
    header.memory_bytes = 0;
    let beginning = header.encode()[..HEADER].to_vec();
    header.steps = 1;
    header.status = fedmkt_core::image::Status::Failed(3);
    let failed = header.encode()[..HEADER].to_vec();
    vec![running, too_long, beginning, failed]
}

/// An image whose header, globals and WASI state begin with these bytes.
pub fn state_image(input: &[u8]) -> bool {
    let setting = &*SETTING;
    let mut image = vec![0; setting.image.len()];
    // What files hold can be anything.
    let (files, memory) = (Layout::FILES as usize, setting.image.len() - MEMORY);
    let (mut rest, areas) = (
        input,
        [
            (0, HEADER),
            (Layout::GLOBALS as usize, GLOBALS),
            (memory, MEMORY_SHOWN),
            (Layout::METADATA as usize, files - Layout::METADATA as usize),
        ],
    );
    for (offset, most) in areas {
        let (here, after) = rest.split_at(most.min(rest.len()));
        image[offset..][..here.len()].copy_from_slice(here);
        rest = after;
    }
    if rest.is_empty() && input.len() > HEADER + GLOBALS + MEMORY_SHOWN {
        image[files..memory].copy_from_slice(&setting.image[files..memory]);
    }
    let resume = |image: &[u8]| {
        let (admitted, inputs) = (setting.admitted.clone(), setting.inputs.clone());
        Run::resume(Nothing, (), admitted, inputs, setting.identity, image)
    };
    let Ok(mut run) = resume(&image) else { return false };
    assert!(image_of(&mut run) == image, "another image");
    let steps = run.steps();
    let finished = run.status().is_final();
    run.step().expect("the engine always can");
    assert_eq!(run.steps(), if finished { steps } else { steps + 1 });
    let next = image_of(&mut run);
    let mut again = resume(&next).unwrap_or_else(|error| panic!("its own image: {error}"));
    assert!(image_of(&mut again) == next, "another image after a step");
    true
}
