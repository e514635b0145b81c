//! A run: the pure function from a state to the next, over any [`Engine`].
//!
//! ```text
//! state 0 --step 0--> state 1 --step 1--> state 2 ... --step n-1--> state n (final)
//! ```
//!
//! Step 0 instantiates the module, runs its `start` function, `_initialize` if there is one, and `fedmkt_init`; each
//! later step is one call of `fedmkt_step`. A module with only `_start` is one step. [`Run::begin`] gives state 0,
//! [`Run::resume`] any state from its image, and both continue in the same way: a run that is resumed cannot be told
//! from one that never stopped.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::admission::{Admitted, Form};
use crate::engine::{Called, Engine, Instance};
use crate::image::{GLOBAL_BYTES, Header, HeaderError, Layout, MAX_GLOBALS, ResultCommitment, Status};
use crate::inputs::{Identity, Inputs};
use crate::roots::{ResultRoot, StateRoot};
use crate::tree::{self, HashTree, PAGE_BYTES};
use crate::unixfs::FileCid;
use crate::wasi::{self, Wasi};

const WASM_PAGE: u64 = 65_536;

/// A run between two steps.
pub struct Run<E: Engine> {
    engine: E,
    module: E::Module,
    admitted: Admitted,
    inputs: Arc<Inputs>,
    layout: Layout,
    header: Header,
    /// There from the end of step 0 on; after the last step it holds the results.
    instance: Option<E::Instance>,
    snapshot: Snapshot,
    log: Option<wasi::Log>,
}

/// The areas of the state image that are encoded anew for each root, and the tree over the whole image.
struct Snapshot {
    tree: HashTree,
    /// Header, globals and WASI metadata as the tree knows them.
    front: Vec<u8>,
}

/// A run could not go on; there is no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError<E> {
    /// The engine could not.
    Engine(E),
    /// The state image is not one of this run.
    Image(ImageError),
}

/// Why a state image does not belong to a run, or to no run at all.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ImageError {
    /// The image is shorter than its layout; holds its bytes and those needed.
    TooShort(u64, u64),
    /// The header is wrong.
    Header(HeaderError),
    /// The header is right, but names another run, job, data root or blind.
    OtherRun,
    /// The header names this run, but no run of its job comes to it.
    Unreachable,
    /// The image's memory size or globals cannot be those of this module.
    Module(&'static str),
    /// The WASI state is impossible.
    Wasi(wasi::RestoreError),
    /// Bytes that must be zero are not; holds the offset of the area.
    NotZero(u64),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort(bytes, needed) => write!(f, "the state image has {bytes} bytes, {needed} are needed"),
            Self::Header(error) => error.fmt(f),
            Self::OtherRun => f.write_str("the state image belongs to another run"),
            Self::Unreachable => f.write_str("no run of the job comes to the state image's header"),
            Self::Module(what) => write!(f, "the state image is not one of this module: {what}"),
            Self::Wasi(error) => write!(f, "the state image has an impossible file state: {error}"),
            Self::NotZero(offset) => write!(f, "the state image is not zero where it must be, after byte {offset}"),
        }
    }
}

impl core::error::Error for ImageError {}

impl<E: fmt::Display> fmt::Display for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Image(error) => error.fmt(f),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for RunError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Engine(error) => error.source(),
            Self::Image(error) => Some(error),
        }
    }
}

impl<E: Engine> Run<E> {
    /// The state before step 0.
    ///
    /// `module` is what `engine` compiled from `admitted`, and that is what [`Inputs::admit`] gave.
    pub fn begin(engine: E, module: E::Module, admitted: Admitted, inputs: Arc<Inputs>, identity: Identity) -> Self {
        let manifest = inputs.manifest();
        let layout = Layout::of(&manifest.limits);
        let log2_size = manifest.machine.class.log2_state();
        let Identity { run_id, job_root, data_root, blind } = identity;
        let header = Header {
            run_id,
            job_root,
            data_root,
            blind,
            steps: 0,
            status: Status::Running,
            memory_bytes: 0,
            results: Vec::new(),
        };
        let snapshot = Snapshot { tree: HashTree::new(log2_size), front: vec![0; Layout::FILES as usize] };
        Self { engine, module, admitted, inputs, layout, header, instance: None, snapshot, log: None }
    }

    /// The state that `image` holds.
    ///
    /// # Errors
    /// When the image is not a state of this run, or the engine cannot instantiate the module.
    pub fn resume(
        engine: E,
        module: E::Module,
        admitted: Admitted,
        inputs: Arc<Inputs>,
        identity: Identity,
        image: &[u8],
    ) -> Result<Self, RunError<E::Error>> {
        let mut run = Self::begin(engine, module, admitted, inputs, identity);
        let header = run.check_header(image).map_err(RunError::Image)?;
        run.header = header;
        if run.header.is_alone() {
            check_zero(image, PAGE_BYTES as u64, image.len() as u64).map_err(RunError::Image)?;
        } else {
            run.restore(image)?;
        }
        Ok(run)
    }

    /// Where the guest's standard output and error go. They are no part of the state.
    pub fn set_log(&mut self, log: wasi::Log) {
        match &mut self.instance {
            Some(instance) => instance.wasi().set_log(log),
            None => self.log = Some(log),
        }
    }

    /// The inputs of the run.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The header of the present state.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the run stands.
    pub fn status(&self) -> Status {
        self.header.status
    }

    /// Number of steps executed.
    pub fn steps(&self) -> u64 {
        self.header.steps
    }

    /// Executes one step. Without effect when the run is finished.
    ///
    /// # Errors
    /// When the engine could not; the run has then no state any more and must be dropped.
    pub fn step(&mut self) -> Result<Status, RunError<E::Error>> {
        if self.header.status.is_final() {
            return Ok(self.header.status);
        }
        let ended = match &mut self.instance {
            None => self.first_step(),
            Some(instance) => instance.call("fedmkt_step").map(Ended::of_step),
        }
        .map_err(RunError::Engine)?;
        self.header.steps += 1;
        self.header.status = match ended {
            Ended::More if self.header.steps < self.inputs.manifest().limits.steps => Status::Running,
            Ended::More => Status::StepsExhausted,
            Ended::Success => self.commit_results(),
            Ended::Status(status) => status,
        };
        self.header.memory_bytes = match &mut self.instance {
            Some(instance) if !self.header.status.is_final() => instance.memory().len() as u64,
            _ => 0,
        };
        Ok(self.header.status)
    }

    /// Executes steps until `steps` have been executed since the beginning, or the run is finished. `observe` is
    /// called after each.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn advance_to(&mut self, steps: u64, mut observe: impl FnMut(&mut Self)) -> Result<Status, RunError<E::Error>> {
        while !self.status().is_final() && self.steps() < steps {
            self.step()?;
            observe(self);
        }
        Ok(self.status())
    }

    fn first_step(&mut self) -> Result<Ended, E::Error> {
        let mut wasi = Wasi::new(self.inputs.wasi_config(self.header.run_id));
        if let Some(log) = self.log.take() {
            wasi.set_log(log);
        }
        let Some(instance) = self.engine.instantiate(&self.module, wasi)? else {
            return Ok(Ended::Status(Status::Trapped));
        };
        let instance = self.instance.insert(instance);
        let initialize = matches!(self.admitted.form, Form::Stepper { initialize: true }).then_some("_initialize");
        for export in self.admitted.start.into_iter().chain(initialize) {
            if let ended @ (Ended::Status(_) | Ended::Success) = Ended::of_setup(instance.call(export)?) {
                return Ok(ended);
            }
        }
        match self.admitted.form {
            Form::Command => instance.call("_start").map(Ended::of_command),
            Form::Stepper { .. } => instance.call("fedmkt_init").map(Ended::of_step),
        }
    }

    /// Computes the commitments to the results; this is where "done" is decided.
    fn commit_results(&mut self) -> Status {
        let instance = self.instance.as_mut().expect("a run that finished has an instance");
        let mut results = Vec::new();
        for expected in &self.inputs.manifest().results {
            let Some(contents) =
                instance.wasi().result(&expected.name).filter(|file| file.len() <= expected.most_bytes)
            else {
                return Status::ResultsRefused;
            };
            let size = contents.len();
            let mut root = tree::RootBuilder::new();
            let mut cid = FileCid::new();
            for part in contents {
                root.push(part);
                cid.push(part);
            }
            let root = ResultRoot(root.finish(tree::log2_size_for(size)).root.0);
            results.push(ResultCommitment { size, root, cid: cid.finish() });
        }
        self.header.results = results;
        Status::Done
    }

    /// The bytes of result `index` of a run whose status is "done" and that was finished here, not resumed from its
    /// last image.
    pub fn result(&mut self, index: usize) -> Option<Vec<u8>> {
        let name = &self.inputs.manifest().results.get(index)?.name;
        if self.header.status != Status::Done {
            return None;
        }
        let contents = self.instance.as_mut()?.wasi().result(name)?;
        Some(contents.flatten().copied().collect())
    }

    /// What the guest has written so far to a file in `/out`, for showing progress.
    pub fn peek(&mut self, name: &str) -> Option<Vec<u8>> {
        Some(self.instance.as_mut()?.wasi().result(name)?.flatten().copied().collect())
    }

    /// The root of the present state's image.
    pub fn state_root(&mut self) -> StateRoot {
        let log2_size = self.inputs.manifest().machine.class.log2_state();
        if self.header.is_alone() {
            return self.header.root_alone(log2_size);
        }
        let instance = self.instance.as_mut().expect("a running state after step 0 has an instance");
        self.snapshot.update(&self.header, &self.admitted, &self.layout, instance);
        StateRoot(self.snapshot.tree.root().0)
    }

    /// Passes the parts of the present state's image that may be non-zero to `write`, with their offsets, in rising
    /// order. All other bytes are zero; the image is [`Layout::total_bytes`] long.
    ///
    /// # Errors
    /// What `write` returns.
    pub fn write_image<W>(&mut self, mut write: impl FnMut(u64, &[u8]) -> Result<(), W>) -> Result<(), W> {
        if self.header.is_alone() {
            return write(0, &self.header.encode());
        }
        let instance = self.instance.as_mut().expect("a running state after step 0 has an instance");
        // Nothing is hashed: in the machine, hashing an image takes longer than most steps.
        write(0, &encode_front(&self.header, &self.admitted, instance))?;
        write(Layout::FILES, instance.wasi().file_area())?;
        write(self.layout.memory(), instance.memory())
    }

    /// Where the parts of the image lie.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    fn check_header(&self, image: &[u8]) -> Result<Header, ImageError> {
        let needed = self.layout.total_bytes();
        if (image.len() as u64) < needed {
            return Err(ImageError::TooShort(image.len() as u64, needed));
        }
        let page = image[..PAGE_BYTES].try_into().expect("a page");
        let header = Header::decode(page).map_err(ImageError::Header)?;
        let ours = &self.header;
        let same = header.run_id == ours.run_id
            && header.job_root == ours.job_root
            && header.data_root == ours.data_root
            && header.blind == ours.blind;
        match (same, self.can_reach(&header)) {
            (false, _) => Err(ImageError::OtherRun),
            (true, false) => Err(ImageError::Unreachable),
            (true, true) => Ok(header),
        }
    }

    /// Whether a run of this job's module can come to this header.
    fn can_reach(&self, header: &Header) -> bool {
        let manifest = self.inputs.manifest();
        // A command has one step, whatever the job allows, and cannot ask for another.
        let (asks, most) = match self.admitted.form {
            Form::Command => (false, 1),
            Form::Stepper { .. } => (true, manifest.limits.steps),
        };
        let results_fit = || {
            let (found, asked) = (&header.results, &manifest.results);
            found.len() == asked.len() && found.iter().zip(asked).all(|(found, asked)| found.size <= asked.most_bytes)
        };
        let status_fits = match header.status {
            Status::Running => header.steps < most,
            Status::StepsExhausted => asks && header.steps == most,
            Status::DataRefused => asks,
            Status::Done => results_fit(),
            Status::Failed(_) | Status::Trapped | Status::ResultsRefused => true,
        };
        status_fits && header.steps <= most
    }

    fn restore(&mut self, image: &[u8]) -> Result<(), RunError<E::Error>> {
        let fail = |error| Err(RunError::Image(error));
        let memory_bytes = self.header.memory_bytes;
        let layout = self.layout;
        let bounds = &self.admitted.memory;
        if !memory_bytes.is_multiple_of(WASM_PAGE)
            || !(bounds.initial..=bounds.maximum).contains(&(memory_bytes / WASM_PAGE))
        {
            return fail(ImageError::Module("memory size"));
        }
        let front = &image[..Layout::FILES as usize];
        let files = &image[Layout::FILES as usize..layout.memory() as usize];
        let memory = &image[layout.memory() as usize..][..memory_bytes as usize];
        check_zero(image, layout.memory() + memory_bytes, image.len() as u64).map_err(RunError::Image)?;
        let config = self.inputs.wasi_config(self.header.run_id);
        let wasi = match Wasi::restore(config, &front[Layout::METADATA as usize..], files) {
            Ok(wasi) => wasi,
            Err(error) => return fail(ImageError::Wasi(error)),
        };
        let Some(mut instance) = self.engine.instantiate(&self.module, wasi).map_err(RunError::Engine)? else {
            return fail(ImageError::Module("it traps when it is instantiated"));
        };
        if let Some(log) = self.log.take() {
            instance.wasi().set_log(log);
        }
        let globals = &front[Layout::GLOBALS as usize..Layout::METADATA as usize];
        for (global, bits) in self.admitted.globals.iter().zip(globals.chunks_exact(GLOBAL_BYTES)) {
            instance.set_global(global, bits.try_into().expect("16 bytes"));
        }
        // Narrow globals have bits that do not exist, and modules have fewer globals than there is room for.
        if *encode_globals(&self.admitted, &mut instance) != *globals {
            return fail(ImageError::Module("globals"));
        }
        instance.grow_memory(memory_bytes).map_err(RunError::Engine)?;
        instance.memory().copy_from_slice(memory);
        self.instance = Some(instance);
        Ok(())
    }
}

impl Snapshot {
    fn update<I: Instance>(&mut self, header: &Header, admitted: &Admitted, layout: &Layout, instance: &mut I) {
        let front = encode_front(header, admitted, instance);
        let changed_files = instance.wasi().take_changed_file_pages();
        let changed_memory = instance.changed_pages();
        let mut pages: Vec<(u64, &[u8; PAGE_BYTES])> = Vec::new();
        let old = self.front.chunks_exact(PAGE_BYTES);
        for (index, (page, old)) in (0..).zip(front.chunks_exact(PAGE_BYTES).zip(old)) {
            if page != old {
                pages.push((index, as_page(page)));
            }
        }
        self.tree.update(&pages);
        let first_file = Layout::FILES / PAGE_BYTES as u64;
        let files = instance.wasi().file_area();
        let pages: Vec<_> =
            changed_files.iter().map(|&page| (first_file + u64::from(page), page_of(files, page))).collect();
        self.tree.update(&pages);
        let first_memory = layout.memory() / PAGE_BYTES as u64;
        let memory = instance.memory();
        let pages: Vec<_> =
            changed_memory.iter().map(|&page| (first_memory + u64::from(page), page_of(memory, page))).collect();
        self.tree.update(&pages);
        self.front = front;
    }
}

fn page_of(bytes: &[u8], page: u32) -> &[u8; PAGE_BYTES] {
    as_page(&bytes[page as usize * PAGE_BYTES..][..PAGE_BYTES])
}

fn as_page(bytes: &[u8]) -> &[u8; PAGE_BYTES] {
    bytes.try_into().expect("a page")
}

/// Header, globals and WASI metadata.
fn encode_front<I: Instance>(header: &Header, admitted: &Admitted, instance: &mut I) -> Vec<u8> {
    let mut front = vec![0; Layout::FILES as usize];
    front[..PAGE_BYTES].copy_from_slice(&header.encode());
    front[Layout::GLOBALS as usize..Layout::METADATA as usize].copy_from_slice(&encode_globals(admitted, instance));
    instance.wasi().save(&mut front[Layout::METADATA as usize..]);
    front
}

fn encode_globals<I: Instance>(admitted: &Admitted, instance: &mut I) -> Box<[u8]> {
    let mut bytes = vec![0; MAX_GLOBALS * GLOBAL_BYTES].into_boxed_slice();
    for (global, room) in admitted.globals.iter().zip(bytes.chunks_exact_mut(GLOBAL_BYTES)) {
        room.copy_from_slice(&instance.global(global));
    }
    bytes
}

fn check_zero(image: &[u8], from: u64, to: u64) -> Result<(), ImageError> {
    // In words: a drive has hundreds of megabytes after a small image.
    // SAFETY: every pattern of bits is a number.
    let (before, words, after) = unsafe { image[from as usize..to as usize].align_to::<u64>() };
    let (lines, rest) = words.as_chunks::<8>();
    let zero = before.iter().chain(after).all(|&byte| byte == 0)
        && rest.iter().all(|&word| word == 0)
        && lines.iter().all(|line| line.iter().fold(0, |any, word| any | word) == 0);
    if zero { Ok(()) } else { Err(ImageError::NotZero(from)) }
}

/// What a step came to, before limits and results are looked at.
enum Ended {
    More,
    Success,
    Status(Status),
}

impl Ended {
    fn of_exit(called: Called, returned: impl FnOnce(Option<i32>) -> Self) -> Self {
        match called {
            Called::Returned(value) => returned(value),
            Called::Exited(0) => Self::Success,
            Called::Exited(code) => Self::Status(Status::Failed(code)),
            Called::Trapped => Self::Status(Status::Trapped),
        }
    }

    fn of_setup(called: Called) -> Self {
        Self::of_exit(called, |_| Self::More)
    }

    fn of_command(called: Called) -> Self {
        Self::of_exit(called, |_| Self::Success)
    }

    fn of_step(called: Called) -> Self {
        Self::of_exit(called, |value| match value {
            Some(0) => Self::More,
            Some(1) => Self::Success,
            Some(2) => Self::Status(Status::DataRefused),
            code => Self::Status(Status::Failed(code.unwrap_or(0))),
        })
    }
}
