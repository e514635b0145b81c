//! The Cartesi Machine, by its JSON-RPC server.

pub mod client;
mod server;

use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fedmkt_core::manifest::SizeClass;
use fedmkt_machine::exit::Exit;
use fedmkt_machine::memory_map::{self, Drive};
use serde_json::{Value, json};

use crate::machine::{Failure, Hashes, Machine, Progress, Replayed, StateOut};
use crate::process::on_path;
use crate::step::{Image, Step};
use crate::template::{FinalProofs, HALT_ADDRESS, LOG2_HALT, LOG2_LOW, Template};
use client::{BreakReason, Client};
use server::Server;

/// The environment variable that names the server's program.
pub const VARIABLE: &str = "FEDMKT_CARTESI";

const PROGRAM: &str = "cartesi-jsonrpc-machine";

/// The value of `marchid` that the supported versions of the emulator give, 0.21.
const SUPPORTED: u64 = 21;

/// Cycles between two looks at the clock, about half a second.
const SLICE: u64 = 1 << 28;

/// The Cartesi Machine's server, found on this computer.
#[derive(Clone, Debug)]
pub struct Cartesi {
    program: PathBuf,
    name: String,
    snapshots: Option<Snapshots>,
}

/// Where, and how often, a long replay is saved.
#[derive(Clone, Debug)]
struct Snapshots {
    folder: PathBuf,
    every: Duration,
}

impl Cartesi {
    /// Looks for the server at `FEDMKT_CARTESI`, else on `PATH`, and asks its version.
    ///
    /// # Errors
    /// When it is not there, does not start, or is not of a supported version.
    pub fn find() -> Result<Self, Failure> {
        let remedy = "install the Cartesi Machine emulator 0.21 from its publisher's packages \
                      (github.com/cartesi/machine-emulator), or name its JSON-RPC server in FEDMKT_CARTESI";
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        let program = named.or_else(|| on_path(PROGRAM)).ok_or(Failure::Missing { program: PROGRAM, remedy })?;
        Self::at(&program)
    }

    /// The server that is this program.
    ///
    /// # Errors
    /// When it does not start, or is not of a supported version.
    pub fn at(program: &Path) -> Result<Self, Failure> {
        let server = Server::start(program)?;
        let version = server.client().architecture().map_err(|failure| server.explain(failure))?;
        if version != SUPPORTED {
            let found = format!("0.{version}");
            return Err(Failure::Version { program: PROGRAM, found, wanted: "0.21" });
        }
        Ok(Self { program: program.to_owned(), name: format!("Cartesi Machine 0.{version}"), snapshots: None })
    }

    /// Saves a replay to `folder` whenever `every` has passed; a replay of the same step goes on from there.
    #[must_use]
    pub fn with_snapshots(mut self, folder: &Path, every: Duration) -> Self {
        self.snapshots = Some(Snapshots { folder: folder.to_owned(), every });
        self
    }

    /// Builds a machine with zero drives and gives its template.
    ///
    /// # Errors
    /// When the machine cannot be built.
    pub fn template(&self, image: &Image, class: SizeClass, work: &Path) -> Result<Template, Failure> {
        let folder = tempfile::tempdir_in(work).map_err(Failure::file("make a folder in", work))?;
        let ram = write_ram(image, class, folder.path())?;
        let server = Server::start(&self.program)?;
        let built = (|| {
            let client = server.client();
            client.create(&config(class, &ram, |_| None), &json!({}))?;
            let low = client.node_hash(0, LOG2_LOW)?;
            let template = Template { class, low };
            if client.root_hash()? != template.hash() {
                return Err(Failure::Nonsense("the template's hash is not what its parts make".into()));
            }
            Ok(template)
        })();
        built.map_err(|failure| server.explain(failure))
    }
}

/// The RAM's file: the image at its beginning.
fn write_ram(image: &Image, class: SizeClass, folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join("ram");
    std::fs::write(&path, image.bytes())
        .and_then(|()| OpenOptions::new().write(true).open(&path)?.set_len(memory_map::ram_bytes(class)))
        .map_err(Failure::file("write", &path))?;
    Ok(path)
}

/// The machine's configuration. Nothing but what `drive` names may depend on the step: it is hashed.
fn config(class: SizeClass, ram: &Path, drive: impl Fn(Drive) -> Option<Value>) -> Value {
    let drives = Drive::ALL.map(|which| {
        let mut range = json!({ "label": which.name(), "start": which.start(), "length": which.bytes(class) });
        if let Some(store) = drive(which) {
            range["backing_store"] = store;
        }
        range
    });
    json!({
        "ram": { "length": memory_map::ram_bytes(class), "backing_store": { "data_filename": ram } },
        "dtb": { "bootargs": memory_map::boot_argument(class) },
        "flash_drive": drives,
    })
}

impl Machine for Cartesi {
    fn name(&self) -> &str {
        &self.name
    }

    fn replay(&self, step: &Step<'_>, watch: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Replayed, Failure> {
        let folder = tempfile::tempdir_in(step.work).map_err(Failure::file("make a folder in", step.work))?;
        let start = Instant::now();
        let server = Server::start(&self.program)?;
        let halted = self.run(server.client(), step, folder.path(), watch);
        let Halted { cycles, code, hashes } = halted.map_err(|failure| server.explain(failure))?;
        let text = std::fs::read(folder.path().join(CONSOLE)).unwrap_or_default();
        let said = String::from_utf8_lossy(&text).into_owned();
        let Some(exit) = Exit::from_code(code) else { return Err(Failure::UnknownExit { code, said }) };
        let state_out = StateOut {
            file: folder.path().join(Drive::StateOut.name()),
            offset: 0,
            log2_bytes: step.class.log2_state(),
            _folder: folder,
        };
        Ok(Replayed { exit, said, cycles: Some(cycles), took: start.elapsed(), state_out, hashes })
    }
}

/// The console's file in the folder of a replay.
const CONSOLE: &str = "console";

/// A machine that halted and was ended.
struct Halted {
    cycles: u64,
    code: u64,
    hashes: Option<Hashes>,
}

impl Cartesi {
    /// Makes the machine, runs it until it halts, and leaves the state-out drive in `folder`.
    fn run(
        &self,
        client: &Client,
        step: &Step<'_>,
        folder: &Path,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Halted, Failure> {
        let start = Instant::now();
        let ram = write_ram(step.image, step.class, folder)?;
        let path_of = |drive: Drive| folder.join(drive.name());
        for drive in Drive::ALL {
            let path = path_of(drive);
            let write = || Failure::file("write", &path);
            let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(write())?;
            file.set_len(drive.bytes(step.class)).map_err(write())?;
            step.copy(drive, &mut file, 0, &path)?;
        }
        let runtime =
            json!({ "console": { "output_destination": "to_file", "output_filename": folder.join(CONSOLE) } });
        let config = config(step.class, &ram, |drive| {
            Some(json!({ "data_filename": path_of(drive), "shared": drive == Drive::StateOut }))
        });
        client.create(&config, &runtime)?;
        let initial = step.hashes.then(|| client.root_hash()).transpose()?;
        let snapshot = match &self.snapshots {
            Some(snapshots) => Some(Snapshot::of(step, snapshots)?),
            None => None,
        };
        let mut cycles = 0;
        if let Some(snapshot) = &snapshot
            && snapshot.folder.is_dir()
        {
            client.destroy()?;
            client.load(&snapshot.folder, &runtime)?;
            cycles = client.register("mcycle")?;
        }
        let resumed = cycles > 0;
        let mut saved = Instant::now();
        loop {
            if cycles >= step.limit.cycles {
                return Err(Failure::Endless(format!("{cycles} cycles")));
            }
            let reason = client.run((cycles + SLICE).min(step.limit.cycles))?;
            cycles = client.register("mcycle")?;
            match reason {
                BreakReason::Halted => break,
                BreakReason::ReachedTargetMcycle => {}
                other => return Err(Failure::Stopped(format!("{other:?} after {cycles} cycles"))),
            }
            let interrupted = watch(Progress { cycles: Some(cycles), elapsed: start.elapsed() }).is_break();
            if let Some(snapshot) = &snapshot
                && (interrupted || saved.elapsed() >= snapshot.every)
            {
                snapshot.save(client)?;
                saved = Instant::now();
            }
            if interrupted {
                return Err(Failure::Interrupted);
            }
        }
        let code = client.register("htif_tohost_data")? >> 1;
        let hashes = match initial {
            Some(initial) => Some(Hashes {
                initial,
                last: client.root_hash()?,
                proofs: FinalProofs {
                    state_out: client.proof(Drive::StateOut.start(), step.class.log2_state())?,
                    halt: client.proof(HALT_ADDRESS, LOG2_HALT)?,
                },
            }),
            None => None,
        };
        if resumed {
            // A loaded machine has its drives in memory.
            copy_out(client, step.class, &path_of(Drive::StateOut))?;
        }
        // Closes the drives' files, and the console's.
        client.destroy()?;
        if let Some(snapshot) = snapshot {
            snapshot.remove()?;
        }
        Ok(Halted { cycles, code, hashes })
    }
}

/// Copies the state-out drive from the machine into a file that has zeros.
fn copy_out(client: &Client, class: SizeClass, path: &Path) -> Result<(), Failure> {
    const PART: u64 = 4 << 20;
    let write = || Failure::file("write", path);
    let mut file = OpenOptions::new().write(true).open(path).map_err(write())?;
    for offset in (0..Drive::StateOut.bytes(class)).step_by(PART as usize) {
        let part = client.read_memory(Drive::StateOut.start() + offset, PART)?;
        if part.iter().any(|&byte| byte != 0) {
            file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&part)).map_err(write())?;
        }
    }
    Ok(())
}

/// The saved machine of one step.
struct Snapshot {
    folder: PathBuf,
    every: Duration,
}

impl Snapshot {
    /// Named by everything that the step depends on.
    fn of(step: &Step<'_>, snapshots: &Snapshots) -> Result<Self, Failure> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(memory_map::boot_argument(step.class).as_bytes()).update(step.image.bytes());
        for path in [step.job, step.data, step.state_in] {
            let file = blake3::Hasher::new().update_mmap(path).map_err(Failure::file("read", path))?.finalize();
            hasher.update(file.as_bytes());
        }
        std::fs::create_dir_all(&snapshots.folder).map_err(Failure::file("make", &snapshots.folder))?;
        let folder = snapshots.folder.join(hasher.finalize().to_hex().as_str());
        Ok(Self { folder, every: snapshots.every })
    }

    /// Replaces the saved machine; whenever this is interrupted, there is a whole one or none.
    fn save(&self, client: &Client) -> Result<(), Failure> {
        let new = self.folder.with_extension("new");
        remove_folder(&new)?;
        client.store(&new)?;
        remove_folder(&self.folder)?;
        std::fs::rename(&new, &self.folder).map_err(Failure::file("rename", &new))
    }

    fn remove(self) -> Result<(), Failure> {
        remove_folder(&self.folder.with_extension("new"))?;
        remove_folder(&self.folder)
    }
}

fn remove_folder(folder: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::file("remove", folder)(error)),
        _ => Ok(()),
    }
}
