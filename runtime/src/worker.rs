//! The process in which a stranger's code runs.
//!
//! Wasmtime is one wall around a trainer; the process that it runs in is the second. The worker is this same program,
//! started again; before it reads anything foreign it locks itself in: no new files, no network, no other processes, a
//! short list of system calls, bounded memory. What it needs it gets as open descriptors through a channel, one request
//! and one reply at a time. The host believes what a worker says about the states of a run, as a receipt is the client's own
//! claim, but not which run it is, and is never harmed by it: packets are bounded, files that a worker wrote are bounded and
//! checked, and a worker that takes too long or does not get on is ended.

mod channel;
mod inside;
mod protocol;
mod walls;

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fedmkt_core::image::{Header, Layout, ResultCommitment, Status};
use fedmkt_core::inputs::{self, Identity};
use fedmkt_core::manifest::Manifest;
use fedmkt_core::pack::Pack;
use fedmkt_core::roots::{DataRoot, JobRoot, ResultRoot, RunId, StateRoot};
use fedmkt_core::tree::{self, PAGE_BYTES};
use fedmkt_core::unixfs::FileCid;
use rustix::event::{PollFd, PollFlags, Timespec};

use channel::Channel;
pub use protocol::{Reason, Walls};
use protocol::{Reply, Request};
pub use walls::lock_in;

use crate::atomic_file;
use crate::message::{about, printable, printable_lines};
use crate::packed::Packed;

/// By this name a program knows that it is to be a worker.
const NAME: &str = "fedmkt-worker";

/// Memory beside the guest's, in bytes: the engine, compiling, hashing.
pub const OWN_BYTES: u64 = 3 << 30;

/// The most bytes of compiled code, for which there is more memory: what cannot be written is not counted by the system's limit.
const CODE_BYTES: u64 = 1 << 29;

/// How often the host looks how much memory a worker has that does not answer.
const LOOK: Duration = Duration::from_millis(100);

/// How long the host waits for what is not a step of the trainer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For starting a process, then for reading, admitting and compiling a trainer.
    pub start: Duration,
    /// For anything else: hashing, writing images and results.
    pub service: Duration,
}

impl Default for Limits {
    /// Five and ten minutes: no honest job needs as much.
    fn default() -> Self {
        Self { start: Duration::from_secs(300), service: Duration::from_secs(600) }
    }
}

/// Bytes of the seal before compiled code.
const SEAL_BYTES: u64 = 32;

/// The last bytes of a worker's standard error that are kept, to tell why it died.
const LAST_WORDS: usize = 4096;

/// What a program that starts workers calls first in `main`: when it was started as one, it never returns.
pub fn enter() {
    let mut arguments = std::env::args_os();
    if arguments.next().as_deref() != Some(OsStr::new(NAME)) {
        return;
    }
    let data_bytes = arguments.next().and_then(|bytes| bytes.to_str()?.parse().ok());
    let served = (|| {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        let (walls, written) = lock_in(data_bytes.ok_or(io::ErrorKind::InvalidInput)?, true)?;
        // SAFETY: the host put the channel there, and nothing else in this process uses it.
        let channel = Channel::new(unsafe { OwnedFd::from_raw_fd(0) });
        channel.send(&Reply::Ready(walls), &[])?;
        inside::serve(&channel, written)
    })();
    if let Err(error) = &served {
        let _ = writeln!(io::stderr(), "{error}");
    }
    std::process::exit(i32::from(served.is_err()));
}

/// Why a worker gave no answer. There is no result, and nothing is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// It cannot be started.
    #[error("cannot start a worker process: {0}")]
    Start(#[source] io::Error),
    /// It says that it cannot.
    #[error("{prefix}{1}", prefix = if *.0 == Reason::Refused { "the trainer is refused:\n" } else { "" })]
    Cannot(Reason, String),
    /// It takes too long.
    #[error("{what} takes longer than {} s: the worker was ended, there is no result", .limit.as_secs())]
    TooLong {
        /// What.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// It has more memory than its job needs.
    #[error("the worker process has {} MiB of memory, more than it may: it was ended, there is no result", .0 >> 20)]
    TooLarge(u64),
    /// It is gone.
    #[error("the worker process died ({0}): there is no result")]
    Died(String),
    /// It said something that makes no sense.
    #[error("the worker process sent nonsense ({0}): it was ended, there is no result")]
    Nonsense(String),
    /// The system lacks a wall that was asked for.
    #[error("this system has no {0}: without --require-isolation the trainer runs behind one wall less")]
    NotIsolated(String),
    /// A file that it is to write to, or wrote to, fails.
    #[error("cannot {0}: {1}")]
    File(&'static str, #[source] io::Error),
}

impl WorkerError {
    /// The same, with the folder of the file that cannot be written, which the worker does not know.
    pub(crate) fn in_folder(self, folder: &Path) -> Self {
        match self {
            Self::Cannot(Reason::File, text) => Self::Cannot(Reason::File, format!("{text} (in {})", folder.display())),
            other => other,
        }
    }
}

/// How to start workers.
#[derive(Clone, Debug)]
pub struct Program {
    /// A program that calls [`enter`].
    pub path: PathBuf,
    /// Arguments after the memory limit; a worker has none.
    pub arguments: Vec<String>,
}

impl Program {
    /// The present program.
    pub fn this() -> Self {
        Self { path: "/proc/self/exe".into(), arguments: Vec::new() }
    }
}

/// Where compiled code is kept. Only a locked-in worker runs what is found there; the seal tells files of this client
/// from others.
#[derive(Clone, Debug)]
pub struct CodeCache {
    /// The folder.
    pub folder: PathBuf,
    /// The key of the seals.
    pub key: [u8; 32],
}

/// What a worker is to run.
pub struct Setup<'a> {
    /// The job drive.
    pub job: &'a Packed,
    /// The capsule.
    pub capsule: &'a Packed,
    /// What the job asks for.
    pub manifest: &'a Manifest,
    /// The run.
    pub run_id: RunId,
    /// Whether the guest's standard streams are passed on to standard error.
    pub log: bool,
    /// Where compiled code is kept.
    pub cache: Option<&'a CodeCache>,
    /// How long to wait.
    pub limits: Limits,
    /// Whether to refuse where the system lacks a wall, before anything foreign is read.
    pub require_isolation: bool,
}

/// A worker process with an open run. It ends with this value, or with the thread that opened it.
pub struct Worker {
    child: Child,
    channel: Channel,
    walls: Walls,
    last_words: Arc<Mutex<Vec<u8>>>,
    limits: Limits,
    step_limit: Duration,
    /// The most bytes of memory that it may have.
    most_memory: u64,
    /// Bytes of a state image.
    image_bytes: u64,
    most_steps: u64,
    /// The most bytes of each result.
    most_results: Vec<u64>,
    identity: Identity,
    /// A folder on whose file system there is room for what it writes.
    folder: PathBuf,
    /// What it writes to for the host, one thing after the other: it could keep every file that it ever had.
    scratch: Option<File>,
    steps: u64,
    status: Status,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Worker(process {}, {} steps)", self.child.id(), self.steps)
    }
}

impl Worker {
    /// Starts a worker that has read, admitted and compiled what it is to run.
    ///
    /// # Errors
    /// When it cannot be started, or the inputs are refused.
    pub fn open(program: &Program, setup: &Setup<'_>) -> Result<Self, WorkerError> {
        let mut worker = Self::start(program, setup)?;
        if let Some(missing) = worker.walls.missing().filter(|_| setup.require_isolation) {
            return Err(WorkerError::NotIsolated(missing));
        }
        let open = |path: &Path| File::open(path).map_err(|error| WorkerError::File("open a drive", error));
        let (job, data) = (open(&setup.job.path)?, open(&setup.capsule.path)?);
        let cached = setup.cache.map(|cache| (cache, cache.path(setup)));
        let code = cached.as_ref().and_then(|(cache, path)| cache.unsealed(path));
        let mut bytes = vec![setup.job.bytes.len() as u64, setup.capsule.bytes.len() as u64];
        if let Some(file) = &code {
            // What stands before the code is the seal.
            let metadata = file.metadata().map_err(|error| WorkerError::File("look at compiled code", error))?;
            bytes.push(metadata.len() - SEAL_BYTES);
        }
        let Identity { run_id, job_root, data_root, .. } = worker.identity;
        let request = Request::Open { run_id, job_root, data_root, bytes, log: setup.log };
        let descriptors = [Some(job.as_fd()), Some(data.as_fd()), code.as_ref().map(File::as_fd)];
        let descriptors: Vec<_> = descriptors.into_iter().flatten().collect();
        match worker.ask("reading and compiling the trainer", setup.limits.start, &request, &descriptors)? {
            Reply::Opened { compiled: false } => {}
            Reply::Opened { compiled: true } => {
                if let Some((cache, path)) = cached {
                    // A cache that cannot be written costs time only.
                    match worker.written("writing compiled code", &Request::Code, |code| cache.seal(&path, code)) {
                        Ok(()) | Err(WorkerError::File(..) | WorkerError::Cannot(Reason::File, _)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            other => return Err(worker.nonsense(&other)),
        }
        Ok(worker)
    }

    fn start(program: &Program, setup: &Setup<'_>) -> Result<Self, WorkerError> {
        let limits = &setup.manifest.limits;
        let data_bytes = OWN_BYTES + limits.memory + limits.output + limits.scratch;
        let log = setup.log;
        let capsule = Pack::open(setup.capsule.bytes.clone());
        let capsule = capsule.map_err(|error| WorkerError::Cannot(Reason::Inputs, error.to_string()))?;
        let identity = Identity {
            run_id: setup.run_id,
            job_root: JobRoot(setup.job.root.0),
            data_root: DataRoot(setup.capsule.root.0),
            blind: inputs::blind(capsule.salt()),
        };
        let (channel, theirs) = Channel::pair().map_err(WorkerError::Start)?;
        let mut child = Command::new(&program.path)
            .arg0(NAME)
            .arg(data_bytes.to_string())
            .args(&program.arguments)
            .env_clear()
            .current_dir("/")
            // Ctrl-C is for the host, which then ends the worker in its own time.
            .process_group(0)
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(WorkerError::Start)?;
        let last_words = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("it is piped");
        let words = last_words.clone();
        thread::spawn(move || pass_on(stderr, log, &words));
        let mut worker = Self {
            child,
            channel,
            walls: Walls::default(),
            last_words,
            limits: setup.limits,
            step_limit: Duration::from_secs(limits.step_seconds),
            most_memory: data_bytes + CODE_BYTES,
            image_bytes: Layout::of(limits).total_bytes(),
            most_steps: limits.steps,
            most_results: setup.manifest.results.iter().map(|result| result.most_bytes).collect(),
            identity,
            folder: setup.job.path.parent().unwrap_or(Path::new("/")).to_owned(),
            scratch: None,
            steps: 0,
            status: Status::Running,
        };
        match worker.reply("starting a worker process", setup.limits.start)? {
            Reply::Ready(walls) => worker.walls = walls,
            other => return Err(worker.nonsense(&other)),
        }
        Ok(worker)
    }

    /// What keeps it in.
    pub fn walls(&self) -> Walls {
        self.walls
    }

    /// The process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Steps executed since the beginning of the run.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How the run stands.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Goes to the state before step 0.
    ///
    /// # Errors
    /// When the worker gives no answer.
    pub fn begin(&mut self) -> Result<(), WorkerError> {
        self.move_to("beginning", self.limits.service, &Request::Begin, &[], 0..=0)
    }

    /// Goes to the state in this image.
    ///
    /// # Errors
    /// When the image is not one of this run, or the worker gives no answer.
    pub fn resume(&mut self, image: &File) -> Result<(), WorkerError> {
        let bytes = image.metadata().map_err(|error| WorkerError::File("look at a checkpoint", error))?.len();
        let request = Request::Resume { bytes };
        self.move_to("reading a checkpoint", self.limits.service, &request, &[image.as_fd()], 0..=self.most_steps)
    }

    /// Executes steps of a run that is not finished, until so many have been executed since the beginning, which are more than there
    /// were, or a moment has passed.
    ///
    /// # Errors
    /// When a step takes longer than the job allows, or the worker gives no answer.
    pub fn advance(&mut self, to: u64) -> Result<Status, WorkerError> {
        // A reply is due a moment after the end of the step that goes on at the moment's end.
        let limit = self.step_limit + Duration::from_millis(100);
        // At least one step: a worker that only says that it goes on would do so for ever.
        let steps = self.steps + 1..=to.min(self.most_steps);
        self.move_to("a step of the trainer", limit, &Request::Advance { to }, &[], steps)?;
        Ok(self.status)
    }

    /// Executes steps until exactly so many have been executed since the beginning, or the run is finished.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn advance_to(&mut self, steps: u64) -> Result<Status, WorkerError> {
        while !self.status.is_final() && self.steps < steps {
            self.advance(steps)?;
        }
        Ok(self.status)
    }

    /// The root of the present state.
    ///
    /// # Errors
    /// When the worker gives no answer.
    pub fn state_root(&mut self) -> Result<StateRoot, WorkerError> {
        match self.ask("hashing the state", self.limits.service, &Request::Root, &[])? {
            Reply::Root(root) => Ok(root),
            other => Err(self.nonsense(&other)),
        }
    }

    /// The header of the present state, which is of this run and has as many results as the job wants, none of them too large.
    ///
    /// # Errors
    /// When the worker gives no answer.
    pub fn header(&mut self) -> Result<Header, WorkerError> {
        let reply = self.ask("reading the header", self.limits.service, &Request::Header, &[])?;
        let header = match &reply {
            Reply::Header(page) => page.as_slice().try_into().ok(),
            _ => None,
        };
        let header = header.and_then(|page: &[u8; PAGE_BYTES]| Header::decode(page).ok());
        let is_right = |header: &Header| {
            let Header { run_id, job_root, data_root, blind, steps, status, .. } = *header;
            let wanted = if status == Status::Done { self.most_results.as_slice() } else { &[] };
            Identity { run_id, job_root, data_root, blind } == self.identity
                && (steps, status) == (self.steps, self.status)
                && header.results.len() == wanted.len()
                && header.results.iter().zip(wanted).all(|(result, most)| result.size <= *most)
        };
        header.filter(is_right).ok_or_else(|| self.nonsense(&reply))
    }

    /// Writes the present state's image to a file, which is empty.
    ///
    /// # Errors
    /// When the worker gives no answer, or writes a file that is no image, or the disk is full.
    pub fn write_image(&mut self, file: &File) -> Result<(), WorkerError> {
        match self.ask("writing a checkpoint", self.limits.service, &Request::Image, &[file.as_fd()])? {
            Reply::Done => {}
            other => return Err(self.nonsense(&other)),
        }
        let bytes = file.metadata().map_err(|error| WorkerError::File("look at a checkpoint", error))?.len();
        if bytes == self.image_bytes {
            return Ok(());
        }
        // What it fills the disk with is not kept.
        let _ = file.set_len(0);
        Err(self.ended(format!("a state image of {bytes} bytes, not {}", self.image_bytes)))
    }

    /// The content of a result of a run that is done.
    ///
    /// # Errors
    /// When the worker gives no answer, or another content than it committed to.
    pub fn result(&mut self, index: usize, committed: &ResultCommitment) -> Result<Vec<u8>, WorkerError> {
        let request = Request::Result { index: index as u64 };
        let most = committed.size.saturating_add(1);
        let content = self.written("writing a result", &request, |file| Written::new(file, most).whole())?;
        if commitment(&content) != *committed {
            return Err(self.ended("a result that is not the one in its header".into()));
        }
        Ok(content)
    }

    /// What there is so far of a file in `/out`, from its beginning and at most so many bytes.
    ///
    /// # Errors
    /// When the worker gives no answer.
    pub fn peek(&mut self, name: &str, most_bytes: u64) -> Result<Vec<u8>, WorkerError> {
        let request = Request::Peek { name: name.into(), most: most_bytes };
        self.written("reading a file", &request, |file| Written::new(file, most_bytes).whole())
    }

    /// Asks the worker to write to a file, and reads that.
    fn written<T>(
        &mut self,
        what: &'static str,
        request: &Request,
        read: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<T, WorkerError> {
        let folder = self.folder.clone();
        let file_error = |error| WorkerError::File("use a temporary file", about(&folder)(error));
        let scratch = self.scratch.take().map_or_else(|| tempfile::tempfile_in(&folder), Ok);
        let mut scratch = scratch.map_err(file_error)?;
        let emptied = scratch.set_len(0).and_then(|()| scratch.rewind());
        emptied.map_err(file_error)?;
        let content = match self.ask(what, self.limits.service, request, &[scratch.as_fd()]) {
            Ok(Reply::Done) => read(&scratch).map_err(file_error),
            Ok(other) => Err(self.nonsense(&other)),
            Err(error) => Err(error.in_folder(&folder)),
        };
        self.scratch = Some(scratch);
        content
    }

    fn move_to(
        &mut self,
        what: &'static str,
        limit: Duration,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
        possible: RangeInclusive<u64>,
    ) -> Result<(), WorkerError> {
        match self.ask(what, limit, request, descriptors)? {
            Reply::At { steps, status } if possible.contains(&steps) => {
                (self.steps, self.status) = (steps, status);
                Ok(())
            }
            other => Err(self.nonsense(&other)),
        }
    }

    fn ask(
        &mut self,
        what: &'static str,
        limit: Duration,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Reply, WorkerError> {
        match self.channel.send(request, descriptors) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(self.ended("replies, and it takes no requests".into()));
            }
            Err(error) => return Err(self.died(&error)),
        }
        match self.reply(what, limit)? {
            Reply::Cannot(reason, text) => {
                let text = printable_lines(&text);
                // The worker knows nothing of names.
                let text = if reason == Reason::File { format!("cannot go on {what}: {text}") } else { text };
                Err(WorkerError::Cannot(reason, text))
            }
            reply => Ok(reply),
        }
    }

    fn reply(&mut self, what: &'static str, limit: Duration) -> Result<Reply, WorkerError> {
        let deadline = Instant::now() + limit;
        loop {
            let memory = self.memory();
            if memory > self.most_memory {
                self.end();
                return Err(WorkerError::TooLarge(memory));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.min(LOOK);
            let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
            match rustix::event::poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Some(&timeout)) {
                Ok(0) if left.is_zero() => {
                    self.end();
                    return Err(WorkerError::TooLong { what, limit });
                }
                Ok(0) => {}
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(self.died(&error.into())),
            }
        }
        match self.channel.receive() {
            Ok((reply, _)) => Ok(reply),
            Err(error) if error.kind() == io::ErrorKind::Other => Err(self.ended(error.to_string())),
            Err(error) => Err(self.died(&error)),
        }
    }

    /// Bytes of memory that it has and no file has; 0 if the system does not tell.
    fn memory(&self) -> u64 {
        let pages = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap_or_default();
        let pages: Vec<u64> = pages.split(' ').map_while(|count| count.parse().ok()).collect();
        let [_, resident, of_files, ..] = pages[..] else { return 0 };
        resident.saturating_sub(of_files) * rustix::param::page_size() as u64
    }

    fn nonsense(&mut self, reply: &Reply) -> WorkerError {
        let mut text = format!("{reply:?}");
        text.truncate(text.floor_char_boundary(100));
        self.ended(text)
    }

    fn ended(&mut self, text: String) -> WorkerError {
        self.end();
        WorkerError::Nonsense(printable(&text))
    }

    fn died(&mut self, error: &io::Error) -> WorkerError {
        self.end();
        let status = self.child.wait().map_or_else(|_| error.to_string(), |status| status.to_string());
        // What it said last is on its way through the pipe until the pipe is closed.
        thread::sleep(Duration::from_millis(50));
        let words = self.last_words.lock().map(|words| String::from_utf8_lossy(&words).trim().to_owned());
        let words = words.unwrap_or_default();
        let separator = if words.is_empty() { "" } else { "; its last words: " };
        WorkerError::Died(format!("{status}{separator}{}", printable(&words)))
    }

    fn end(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
        let _ = self.child.wait();
    }
}

/// What commits to a result with this content.
fn commitment(content: &[u8]) -> ResultCommitment {
    let size = content.len() as u64;
    let mut cid = FileCid::new();
    cid.push(content);
    let root = ResultRoot(tree::bytes_root(content, tree::log2_size_for(size)).0);
    ResultCommitment { size, root, cid: cid.finish() }
}

/// What a worker has written to a file, from its beginning: it shares the place where the descriptor stands, and can move it.
struct Written<'a> {
    file: &'a File,
    at: u64,
    most: u64,
}

impl<'a> Written<'a> {
    /// At most so many bytes of it.
    fn new(file: &'a File, most: u64) -> Self {
        Self { file, at: 0, most }
    }

    fn whole(mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.read_to_end(&mut content)?;
        Ok(content)
    }
}

impl Read for Written<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.most - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Passes a worker's standard error on, made safe for terminals, and keeps its end.
fn pass_on(mut stderr: impl Read, log: bool, last_words: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let bytes = &buffer[..count];
        if log {
            let text = String::from_utf8_lossy(bytes);
            for line in text.split_inclusive('\n') {
                let end = if line.ends_with('\n') { "\n" } else { "" };
                // That nobody hears it is no reason to end.
                let _ = write!(io::stderr(), "{}{end}", printable(line.trim_end_matches('\n')));
            }
        }
        let Ok(mut words) = last_words.lock() else { return };
        words.extend_from_slice(bytes);
        let surplus = words.len().saturating_sub(LAST_WORDS);
        words.drain(..surplus);
    }
}

impl CodeCache {
    /// What was compiled depends on the trainer and the memory that the job allows; the worker checks that it is right.
    fn path(&self, setup: &Setup<'_>) -> PathBuf {
        let mut name = blake3::Hasher::new_keyed(&self.key);
        name.update(setup.manifest.trainer.to_string().as_bytes());
        name.update(&setup.manifest.limits.memory.to_le_bytes());
        self.folder.join(format!("{}.code", name.finalize().to_hex()))
    }

    /// The code in a file of this client, the descriptor standing after the seal.
    fn unsealed(&self, path: &Path) -> Option<File> {
        let mut file = File::open(path).ok()?;
        let mut seal = [0; SEAL_BYTES as usize];
        file.read_exact(&mut seal).ok()?;
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update_reader(&mut file).ok()?;
        (hasher.finalize() == seal).then_some(())?;
        file.seek(SeekFrom::Start(SEAL_BYTES)).ok()?;
        Some(file)
    }

    fn seal(&self, path: &Path, code: &File) -> io::Result<()> {
        if code.metadata()?.len() > CODE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // Once: what is sealed is what is kept, whatever the worker writes meanwhile.
        let mut code = Written::new(code, CODE_BYTES);
        let mut buffer = vec![0; 1 << 16];
        atomic_file::replace(path, |file| {
            file.write_all(&[0; SEAL_BYTES as usize])?;
            loop {
                let bytes = match code.read(&mut buffer)? {
                    0 => break,
                    read => &buffer[..read],
                };
                hasher.update(bytes);
                file.write_all(bytes)?;
            }
            file.write_all_at(hasher.finalize().as_bytes(), 0)
        })?;
        Ok(())
    }
}
