//! `fedmkt exec`: a WASI program in the sandbox of jobs, without a job.
//!
//! Admission, WASI and engine are those of a run; what differs is what the program is given: folders of the user's
//! choice in place of model and grant, arguments, environment and standard streams. Folders are read into the sandbox's
//! memory and written back at the end, if at all: the program itself touches no file of the host. Unless folders are to be
//! written back, the process locks itself in as the worker of a run does, before it looks into the module.

mod folder;

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::process::{self, ExitCode};
use std::sync::Barrier;
use std::{io, thread};

use anyhow::{Context, bail};
use fedmkt_core::admission::{self, Admitted, ModuleLimits};
use fedmkt_core::engine::{Called, Engine, Instance};
use fedmkt_core::tree::PAGE_BYTES;
use fedmkt_core::wasi::{Config, Directories, Errno, Files, Stream, TreeLimits, Wasi};
use fedmkt_runtime::engine::{Native, STACK_BYTES};
use fedmkt_runtime::worker;

use self::folder::Folder;
use crate::Refused;
use crate::cli::{self, Exec};
use crate::module::{self, Outline};
use fedmkt_runtime::message::note;

/// How much the folders may hold beside contents.
const LIMITS: TreeLimits = TreeLimits { inodes: 1 << 20, entries: 1 << 20, name_bytes: 256 << 20 };

/// Descriptors that a program may have open.
const OPEN_FILES: u32 = 1024;

/// Native stack beside what guests may use.
const HOST_STACK_BYTES: usize = 8 << 20;

/// Runs a program and passes on how it ended.
pub fn run(arguments: &Exec) -> anyhow::Result<ExitCode> {
    let wasm = module::read(&arguments.module)?;
    let room = u32::try_from(arguments.room.0 / PAGE_BYTES as u64).unwrap_or(u32::MAX);
    let paths: Vec<_> = arguments.dirs.iter().map(|dir| dir.guest.as_str()).collect();
    let config = Config {
        args: program_arguments(arguments),
        env: arguments.env.iter().map(|variable| variable.as_encoded_bytes().to_vec()).collect(),
        files: Files::Directories(Directories::new(&paths, room, LIMITS)?),
        open_files: OPEN_FILES,
        random_seed: [0; 32],
    };
    let mut wasi = Wasi::new(config);
    let mut folders = Vec::new();
    for dir in &arguments.dirs {
        let (folder, left_out) = Folder::load(dir, &mut wasi)?;
        left_out.iter().for_each(|what| notice(what));
        // What is not written back is not kept open.
        folders.extend(arguments.write_back.then_some(folder));
    }
    wasi.set_log(Box::new(write_out));
    wasi.set_input(Box::new(read_in));

    // With memory of its own a thread opens a file before it gives some back, which ends it when it is locked in.
    #[cfg(target_env = "gnu")]
    // SAFETY: there are no other threads yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
    // Guests use more stack than the main thread has.
    let guest = thread::Builder::new().stack_size(STACK_BYTES + HOST_STACK_BYTES);
    let both = Barrier::new(2);
    let lock_in = || {
        let locked = lock_in(arguments);
        both.wait();
        locked
    };
    thread::scope(|scope| {
        let guest = guest.spawn_scoped(scope, || {
            lock_in()?;
            execute(&admit(&wasm, arguments)?, wasi, |wasi| write_back(&folders, wasi))
        });
        let guest = guest.context("cannot start a thread")?;
        // This thread too, before the other goes on.
        lock_in()?;
        guest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Locks the present thread in, unless folders are to be written back.
fn lock_in(arguments: &Exec) -> anyhow::Result<()> {
    if !arguments.write_back {
        let bytes = worker::OWN_BYTES + arguments.memory.0 + arguments.room.0;
        worker::lock_in(bytes, false).context("cannot lock the program in")?;
    }
    Ok(())
}

fn admit(wasm: &[u8], arguments: &Exec) -> anyhow::Result<Admitted> {
    match admission::admit(wasm, &ModuleLimits { max_memory_bytes: arguments.memory.0 }) {
        Ok(admitted) => {
            let starts = Outline::of(wasm)?.exports.iter().any(|(name, kind)| name == "_start" && *kind == "function");
            if starts { Ok(admitted) } else { bail!("the module exports no `_start`: it is no program") }
        }
        Err(refusal) => {
            for line in refusal.to_string().lines() {
                note(&format!("refused: {line}"));
            }
            Err(Refused.into())
        }
    }
}

/// The program's name, then what stands after `--`.
fn program_arguments(arguments: &Exec) -> Vec<Vec<u8>> {
    let name = arguments.module.file_name().map_or(OsString::from("program"), OsString::from);
    [&name].into_iter().chain(&arguments.arguments).map(|argument| argument.as_encoded_bytes().to_vec()).collect()
}

/// Runs the program, then lets `finish` look at the files that it left.
fn execute(
    admitted: &Admitted,
    wasi: Wasi,
    finish: impl FnOnce(&Wasi) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let engine = Native::new()?;
    let module = engine.compile(admitted)?;
    let Some(mut instance) = engine.instantiate(&module, wasi)? else {
        bail!("the program cannot start: a data or element segment does not fit");
    };
    let mut ended = Called::Returned(None);
    for export in admitted.start.into_iter().chain(["_start"]) {
        ended = instance.call(export)?;
        if !matches!(ended, Called::Returned(_)) {
            break;
        }
    }
    finish(instance.wasi())?;
    Ok(match ended {
        Called::Returned(_) => ExitCode::SUCCESS,
        // Nothing but 0 may look like success.
        Called::Exited(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Called::Trapped => {
            note("error: the program trapped");
            ExitCode::from(cli::TRAPPED)
        }
    })
}

fn write_back(folders: &[Folder], wasi: &Wasi) -> anyhow::Result<()> {
    for folder in folders {
        folder.write_back(wasi)?.iter().for_each(|what| notice(what));
    }
    Ok(())
}

fn notice(what: &str) {
    note(&format!("note: {what}"));
}

/// Passes output on. Where nobody reads any more, a program ends.
fn write_out(stream: Stream, bytes: &[u8]) {
    let written = match stream {
        Stream::Output => write_now(&mut io::stdout().lock(), bytes),
        Stream::Error => write_now(&mut io::stderr().lock(), bytes),
    };
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            note(&format!("error: cannot write the program's output: {error}"));
            process::exit(cli::FAILED.into());
        }
    }
}

fn write_now(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

fn read_in(buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut input = io::stdin().lock();
    loop {
        match input.read(buffer) {
            Ok(bytes) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Errno::Io),
        }
    }
}
