//! The worker's side: a run, and nothing else.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedmkt_core::admission::Admitted;
use fedmkt_core::inputs::{Identity, Inputs};
use fedmkt_core::run::{Run, RunError};
use memmap2::{Mmap, MmapOptions};

use super::channel::Channel;
use super::protocol::{MOST_TEXT, Reason, Reply, Request};
use crate::engine::{Native, NativeError};
use crate::written_pages::WrittenPages;

/// How long a worker advances before it tells how far it came.
const MOMENT: Duration = Duration::from_millis(50);

type Cannot = (Reason, String);

fn cannot<E: ToString>(reason: Reason) -> impl Fn(E) -> Cannot {
    move |error| (reason, error.to_string())
}

/// Answers requests until the host closes the channel.
pub fn serve(channel: &Channel, written: Option<WrittenPages>) -> io::Result<()> {
    let mut state = State { written: written.map(Arc::new), opened: None, run: None };
    loop {
        let (request, descriptors) = match channel.receive::<Request>() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            received => received?,
        };
        let reply = state.answer(request, descriptors).unwrap_or_else(|(reason, mut text)| {
            let mut end = text.len().min(MOST_TEXT);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            Reply::Cannot(reason, text)
        });
        channel.send(&reply, &[])?;
    }
}

struct State {
    written: Option<Arc<WrittenPages>>,
    opened: Option<Opened>,
    run: Option<Run<Native>>,
}

struct Opened {
    engine: Native,
    module: wasmtime::Module,
    admitted: Admitted,
    inputs: Arc<Inputs>,
    identity: Identity,
    log: bool,
}

impl State {
    fn answer(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> Result<Reply, Cannot> {
        let file_error = cannot::<io::Error>(Reason::File);
        let mut files = descriptors.into_iter().map(File::from);
        let mut file = || files.next().ok_or((Reason::Host, "a descriptor is missing".to_owned()));
        match request {
            Request::Open { run_id, job_root, data_root, bytes, log } => {
                let mut bytes = bytes.into_iter();
                let mut bytes = || bytes.next().ok_or((Reason::Host, "a length is missing".to_owned()));
                let job = map(&file()?, bytes()?).map_err(&file_error)?;
                let data = map(&file()?, bytes()?).map_err(&file_error)?;
                let inputs = Inputs::open(Arc::new(job), Arc::new(data)).map_err(cannot(Reason::Inputs))?;
                let admitted = inputs.admit().map_err(cannot(Reason::Refused))?;
                let engine = Native::new().map_err(cannot(Reason::Host))?.told_by(self.written.clone());
                let mut code = Vec::new();
                if let Ok(mut file) = file() {
                    code.resize(bytes()? as usize, 0);
                    file.read_exact(&mut code).map_err(&file_error)?;
                }
                let (module, compiled) = match engine.load(&admitted, &code) {
                    Some(module) => (module, false),
                    None => {
                        (fedmkt_core::engine::Engine::compile(&engine, &admitted).map_err(cannot(Reason::Host))?, true)
                    }
                };
                let identity = inputs.identity(run_id, job_root, data_root);
                self.opened = Some(Opened { engine, module, admitted, inputs: Arc::new(inputs), identity, log });
                self.run = None;
                Ok(Reply::Opened { compiled })
            }
            Request::Code => {
                let opened = self.opened()?;
                let code = opened.engine.store(&opened.admitted, &opened.module).map_err(cannot(Reason::Host))?;
                file()?.write_all(&code).map_err(&file_error)?;
                Ok(Reply::Done)
            }
            Request::Begin => {
                let opened = self.opened()?;
                let run = Run::begin(
                    opened.engine.clone(),
                    opened.module.clone(),
                    opened.admitted.clone(),
                    opened.inputs.clone(),
                    opened.identity,
                );
                self.start(run)
            }
            Request::Resume { bytes } => {
                let opened = self.opened()?;
                let image = map(&file()?, bytes).map_err(&file_error)?;
                let run = Run::resume(
                    opened.engine.clone(),
                    opened.module.clone(),
                    opened.admitted.clone(),
                    opened.inputs.clone(),
                    opened.identity,
                    &image,
                );
                let run = run.map_err(failure)?;
                self.start(run)
            }
            Request::Advance { to } => {
                let run = self.run()?;
                let started = Instant::now();
                while !run.status().is_final() && run.steps() < to {
                    run.step().map_err(failure)?;
                    if started.elapsed() >= MOMENT {
                        break;
                    }
                }
                Ok(at(run))
            }
            Request::Root => Ok(Reply::Root(self.run()?.state_root())),
            Request::Header => Ok(Reply::Header(self.run()?.header().encode().to_vec())),
            Request::Image => {
                let run = self.run()?;
                let mut file = file()?;
                file.set_len(run.layout().total_bytes()).map_err(&file_error)?;
                run.write_image(|offset, bytes| {
                    file.seek(SeekFrom::Start(offset))?;
                    file.write_all(bytes)
                })
                .map_err(&file_error)?;
                Ok(Reply::Done)
            }
            Request::Result { index } => {
                let content = self.run()?.result(index as usize);
                let content = content.ok_or((Reason::Host, "there is no such result".to_owned()))?;
                file()?.write_all(&content).map_err(&file_error)?;
                Ok(Reply::Done)
            }
            Request::Peek { name, most } => {
                let mut content = self.run()?.peek(&name).unwrap_or_default();
                content.truncate(most as usize);
                file()?.write_all(&content).map_err(&file_error)?;
                Ok(Reply::Done)
            }
        }
    }

    fn opened(&self) -> Result<&Opened, Cannot> {
        self.opened.as_ref().ok_or((Reason::Host, "nothing is open".into()))
    }

    fn run(&mut self) -> Result<&mut Run<Native>, Cannot> {
        self.run.as_mut().ok_or((Reason::Host, "no run was started".into()))
    }

    fn start(&mut self, mut run: Run<Native>) -> Result<Reply, Cannot> {
        if self.opened()?.log {
            run.set_log(Box::new(|_, bytes| {
                // A closed stream is no reason to end a run.
                let _ = io::stderr().write_all(bytes);
            }));
        }
        Ok(at(self.run.insert(run)))
    }
}

fn at(run: &Run<Native>) -> Reply {
    Reply::At { steps: run.steps(), status: run.status() }
}

fn failure(error: RunError<NativeError>) -> Cannot {
    match error {
        RunError::Image(error) => (Reason::Image, error.to_string()),
        error => (Reason::Host, error.to_string()),
    }
}

fn map(file: &File, bytes: u64) -> io::Result<Mmap> {
    // SAFETY: the host hands over files of this length that nobody writes to while the worker lives. Mappings that are shared
    // are refused in here.
    unsafe { MmapOptions::new().len(bytes as usize).map_copy_read_only(file) }
}
