//! What the sandbox costs, beside a peer in the same run: rounds of both in turn, medians of their ratios.
//!
//! ```text
//! cargo bench -p fedmkt-runtime --bench sandbox -- trainer MODULE MODEL DATA STEPS-PER-SEGMENT [ARGUMENTS]
//! cargo bench -p fedmkt-runtime --bench sandbox -- admitted MODULE MODEL DATA [ARGUMENTS]
//! cargo bench -p fedmkt-runtime --bench sandbox -- read
//! cargo bench -p fedmkt-runtime --bench sandbox -- start
//! cargo bench -p fedmkt-runtime --bench sandbox -- grant [FOLDER]
//! ```
//!
//! `trainer`: processor time of a step under the run's engine, hashing and checkpoints included, to that of the same
//! module in plain Wasmtime with NaN canonicalisation. `admitted`: what admission alone costs, in plain Wasmtime without
//! anything for determinism. `read`: 4 KiB of a file, to a real file under plain Wasmtime. `start`: from the start of the
//! process to the first guest instruction. `grant`: packing 1 GiB, made in FOLDER.
//!
//! Processor time is what is compared where it can be had: it depends little on what else a computer does.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fedmkt_core::admission::{ModuleLimits, admit};
use fedmkt_core::engine::{Engine as _, Instance as _};
use fedmkt_core::manifest::{
    DataRequirement, Disclosure, Limits, Machine, Manifest, PROFILE, ResultFile, SizeClass, VERSION,
};
use fedmkt_core::wasi::{Config, Directories, Files, Function, NewItem, TreeLimits, ValueType, Wasi};
use fedmkt_runtime::checkpoint::Checkpoints;
use fedmkt_runtime::engine::{Native, STACK_BYTES};
use fedmkt_runtime::grant::Grant;
use fedmkt_runtime::home::Home;
use fedmkt_runtime::identity::Identity;
use fedmkt_runtime::job::{Job, Reference};
use fedmkt_runtime::training::{Observer, Session, TrainingError};
use fedmkt_runtime::worker::{self, Worker};
use fedmkt_store::{FolderStore, files, put_value};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use wasmtime::{Caller, Engine, Extern, FuncType, Linker, Memory, Module, OptLevel, Store, Val, ValType};

fn main() {
    worker::enter();
    // What cargo adds.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Guests use more stack than the main thread has.
    let work = || match words.as_slice() {
        ["trainer", module, model, data, steps_per_segment, arguments @ ..] => {
            let steps_per_segment = steps_per_segment.parse().expect("a number of steps");
            trainer(Path::new(module), Path::new(model), Path::new(data), steps_per_segment, arguments);
        }
        ["admitted", module, model, data, arguments @ ..] => {
            admitted(Path::new(module), Path::new(model), Path::new(data), arguments);
        }
        ["read"] => read(),
        ["start"] => start(),
        ["grant"] => grant(&std::env::temp_dir()),
        ["grant", folder] => grant(Path::new(folder)),
        _ => {
            println!("say what to measure: trainer, admitted, read, start or grant; see the head of benches/sandbox.rs")
        }
    };
    thread::scope(|scope| {
        let big = thread::Builder::new().stack_size(STACK_BYTES + (8 << 20));
        big.spawn_scoped(scope, work).expect("a thread").join().expect("no panic");
    });
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it does not go back")
}

/// Processor time of a process that has one thread and is waiting: of one that runs, Linux tells what it was some
/// milliseconds ago.
fn processor_time_of(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/schedstat")).expect("Linux tells");
    Duration::from_nanos(stat.split(' ').next().and_then(|number| number.parse().ok()).expect("a number"))
}

/// A job, a client's home, and data.
struct Setting {
    folder: TempDir,
    manifest: Manifest,
}

impl Setting {
    fn new(module: &[u8], model: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let setting = Self { folder, manifest: manifest() };
        fs::create_dir_all(setting.home()).expect("a folder");
        fs::write(setting.folder.path().join("passphrase"), "correct horse\n").expect("a file");
        let (trainer, model) = (files::add_file(&setting.store(), module), files::add_tree(&setting.store(), model));
        let manifest =
            Manifest { trainer: trainer.expect("added").cid, model: model.expect("added").cid, ..manifest() };
        Self { manifest, ..setting }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn store(&self) -> FolderStore {
        FolderStore::new(self.home().join("store"))
    }

    fn publish(&self) -> String {
        assert_eq!(self.manifest.check(), []);
        put_value(&self.store(), &self.manifest).expect("stored").to_string()
    }

    /// An identity that takes this much work to decrypt: 2 to this power.
    fn identity(&self, log2_work: u8) -> Identity {
        let mut key = age::scrypt::Recipient::new("correct horse".to_owned().into());
        key.set_work_factor(log2_work);
        let secret = [&b"fedmkt secret 1\n"[..], &[7; 32]].concat();
        fs::write(self.home().join("identity.age"), age::encrypt(&key, &secret).expect("encrypted")).expect("a file");
        let path = self.home().join("identity.age");
        Identity::open(&path, |_| Ok("correct horse".to_owned().into())).expect("an identity")
    }

    fn command(&self, job: &str, data: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fedmkt-run"));
        command
            .args([job, "--yes", "--json", "--grant", &format!("data={}", data.display())])
            .arg("--out")
            .arg(self.folder.path().join("out"))
            .env("FEDMKT_HOME", self.home())
            .env("FEDMKT_PASSPHRASE_FILE", self.folder.path().join("passphrase"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

fn manifest() -> Manifest {
    let nothing = fedmkt_core::unixfs::FileCid::new().finish();
    Manifest {
        version: VERSION,
        profile: PROFILE.into(),
        name: "figures".into(),
        description: String::new(),
        trainer: nothing,
        model: nothing,
        arguments: Vec::new(),
        steps_per_segment: 1,
        data: DataRequirement {
            name: "data".into(),
            format: "files".into(),
            columns: None,
            shape: None,
            least_rows: 0,
            most_bytes: 1 << 27,
        },
        limits: Limits { memory: 64 << 20, steps: 256, output: 1 << 20, scratch: 0, open_files: 32, step_seconds: 600 },
        results: vec![ResultFile { name: "metrics.csv".into(), most_bytes: 1 << 20 }],
        disclosure: Disclosure::Open,
        sponsor: None,
        machine: Machine { release: None, class: SizeClass::M },
        reward: None,
    }
}

/// Plain Wasmtime, with NaN canonicalisation as Wasmtime has it or without.
fn plain_engine(canonical: bool) -> Engine {
    let mut config = wasmtime::Config::new();
    config.cranelift_opt_level(OptLevel::Speed).cranelift_nan_canonicalization(canonical).max_wasm_stack(STACK_BYTES);
    config.async_stack_size(STACK_BYTES);
    Engine::new(&config).expect("Wasmtime works here")
}

struct Host {
    wasi: Wasi,
    memory: Option<Memory>,
}

/// A module in plain Wasmtime: not admitted, not metered, in this process. Its files are in memory.
fn plain(engine: &Engine, module: &Module, wasi: Wasi) -> (Store<Host>, wasmtime::Instance) {
    let mut store = Store::new(engine, Host { wasi, memory: None });
    let mut linker = Linker::new(engine);
    for &function in Function::ALL {
        let as_wasm = |ty: &ValueType| match ty {
            ValueType::I32 => ValType::I32,
            ValueType::I64 => ValType::I64,
        };
        let ty = FuncType::new(engine, function.params().iter().map(as_wasm), function.result().iter().map(as_wasm));
        let call = move |mut caller: Caller<'_, Host>, params: &[Val], results: &mut [Val]| {
            let mut args = [0u64; 9];
            for (arg, param) in args.iter_mut().zip(params) {
                *arg = param.i64().map_or_else(|| u64::from(param.unwrap_i32() as u32), |value| value as u64);
            }
            let memory = caller.data().memory.expect("it has memory");
            let (bytes, host) = memory.data_and_store_mut(&mut caller);
            let errno = host.wasi.call(function, &args[..params.len()], bytes).expect("it does not exit");
            if let Some(result) = results.first_mut() {
                *result = Val::I32(errno as i32);
            }
            Ok(())
        };
        linker.func_new("wasi_snapshot_preview1", function.name(), ty, call).expect("a function");
    }
    let instance = linker.instantiate(&mut store, module).expect("an instance");
    store.data_mut().memory = instance.get_memory(&mut store, "memory");
    (store, instance)
}

fn wasi(args: &[&str], items: &[(String, Vec<u8>)]) -> Wasi {
    let limits = TreeLimits { inodes: 10_000, entries: 10_000, name_bytes: 1 << 20 };
    let directories = Directories::new(&["data", "job", "out", "tmp"], 1 << 18, limits).expect("directories");
    let args = ["trainer"].iter().chain(args).map(|arg| arg.as_bytes().to_vec()).collect();
    let files = Files::Directories(directories);
    let mut wasi = Wasi::new(Config { args, env: Vec::new(), files, open_files: 64, random_seed: [0; 32] });
    for (path, content) in items {
        wasi.add(path, NewItem::File(content)).expect("it fits");
    }
    wasi
}

/// Seconds of processor time that a step of a trainer takes in plain Wasmtime, and how many there were.
fn plain_step(engine: &Engine, module: &Module, wasi: Wasi) -> (f64, u32) {
    let (mut store, instance) = plain(engine, module, wasi);
    let mut call = |name: &str| match instance.get_typed_func::<(), i32>(&mut store, name) {
        Ok(function) => function.call(&mut store, ()).expect("no trap"),
        Err(_) => panic!("it is no stepper"),
    };
    if call("fedmkt_init") != 0 {
        panic!("it does not begin");
    }
    let (begin, mut steps) = (processor_time(), 0u32);
    loop {
        steps += 1;
        match call("fedmkt_step") {
            0 => {}
            1 => break,
            code => panic!("a step gives {code}"),
        }
    }
    ((processor_time() - begin).as_secs_f64() / f64::from(steps), steps)
}

/// A trainer's files: the model, and the data in a folder.
fn items(model: &Path, data: &Path) -> Vec<(String, Vec<u8>)> {
    let mut items = vec![("job/model".to_owned(), fs::read(model).expect("the model"))];
    for entry in fs::read_dir(data).expect("data") {
        let entry = entry.expect("an entry");
        items.push((format!("data/{}", entry.file_name().display()), fs::read(entry.path()).expect("a file")));
    }
    items
}

/// Counts processor time of host and worker from the end of step 0 on.
struct Clock {
    begin: Option<(u64, Duration)>,
    end: (u64, Duration),
}

impl Observer for Clock {
    fn starts(&mut self, _: &Worker) -> Result<(), TrainingError> {
        Ok(())
    }

    fn advanced(&mut self, worker: &mut Worker) {
        let now = processor_time() + processor_time_of(worker.process_id());
        self.end = (worker.steps(), now);
        self.begin.get_or_insert(self.end);
    }

    fn stop(&self) -> bool {
        false
    }
}

fn trainer(module: &Path, model: &Path, data: &Path, steps_per_segment: u64, arguments: &[&str]) {
    let wasm = fs::read(module).expect("a module");
    let mut setting = Setting::new(&wasm, model);
    setting.manifest.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    setting.manifest.steps_per_segment = steps_per_segment;
    setting.manifest.limits.steps = steps_per_segment * 256;
    let identity = setting.identity(1);
    let home = Home::open(setting.home()).expect("a home");
    let job: Reference = setting.publish().parse().expect("a CID");
    let job = Job::load(&job, &setting.store(), &home).expect("a job");
    let grant = Grant::survey(data).expect("a grant");
    let capsule = grant.pack(&job.manifest, &identity, &home.capsules().expect("a folder"), &mut |_| {});
    let capsule = capsule.expect("a capsule");

    let items = items(model, data);
    let engine = plain_engine(true);
    let compiled = Module::new(&engine, &wasm).expect("a module");
    let mut ratios = Vec::new();
    for _ in 0..9 {
        let (peer, steps) = plain_step(&engine, &compiled, wasi(arguments, &items));

        let folder = tempfile::tempdir().expect("a folder");
        let mut checkpoints = Checkpoints::open(folder.path()).expect("a folder").expect("unlocked");
        let mut clock = Clock { begin: None, end: (0, Duration::ZERO) };
        let session = Session::local(&job, &capsule);
        let finished = session.train(&mut checkpoints, Duration::from_secs(30), &mut clock).expect("trained");
        assert_eq!(finished.expect("not stopped").header.status.name(), "done");
        let (first, begin) = clock.begin.expect("it advanced");
        let (last, end) = clock.end;
        let ours = (end - begin).as_secs_f64() / (last - first) as f64;
        println!("{steps} steps: ours {:.3} ms, plain {:.3} ms a step", ours * 1e3, peer * 1e3);
        ratios.push(ours / peer);
    }
    println!("ratio of a step's processor time, median of {}: {:.3}", ratios.len(), median(ratios));
}

fn admitted(module: &Path, model: &Path, data: &Path, arguments: &[&str]) {
    let wasm = fs::read(module).expect("a module");
    let limits = ModuleLimits { max_memory_bytes: 64 << 20 };
    let admitted = admit(&wasm, &limits).expect("admitted").wasm;
    let items = items(model, data);
    let forms =
        [("as it is", &wasm, false), ("admitted", &admitted, false), ("canonical NaNs of the engine", &wasm, true)];
    let mut forms = forms.map(|(name, wasm, canonical)| {
        let engine = plain_engine(canonical);
        let module = Module::new(&engine, wasm).expect("a module");
        (name, engine, module, Vec::new())
    });
    for _ in 0..10 {
        for (_, engine, module, times) in &mut forms {
            times.push(plain_step(engine, module, wasi(arguments, &items)).0);
        }
    }
    println!("{} bytes, admitted {}", wasm.len(), admitted.len());
    let medians = forms.map(|(name, _, _, times)| (name, median(times)));
    for (name, seconds) in medians {
        println!("{name}: {:.4} ms a step, speed {:.3}", seconds * 1e3, medians[0].1 / seconds);
    }
}

/// Opens a file at `data/f` and reads 4 KiB of it at rotating offsets.
const READER: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 32) "data/f")
  (func (export "_initialize"))
  (func (export "fedmkt_init") (result i32)
    (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 4096))
    (call $path_open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 6) (i32.const 0) (i64.const 6) (i64.const 0)
      (i32.const 0) (i32.const 16)))
  (func (export "fedmkt_step") (result i32) (local $n i32)
    (loop $more
      (if (call $pread (i32.load (i32.const 16)) (i32.const 0) (i32.const 1)
            (i64.extend_i32_u (i32.and (i32.shl (local.get $n) (i32.const 12)) (i32.const 0xff000))) (i32.const 8))
        (then (unreachable)))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100000))))
    (i32.const 0)))"#;

fn read() {
    let wasm = wat::parse_str(READER).expect("wasm text");
    let content: Vec<u8> = (0..1u32 << 20).map(|n| (n >> 3) as u8).collect();
    let mut real = tempfile::tempfile().expect("a file");
    real.write_all(&content).expect("written");
    let items = [("data/f".to_owned(), content)];

    let native = Native::new().expect("an engine");
    let admitted = admit(&wasm, &ModuleLimits { max_memory_bytes: 1 << 20 }).expect("admitted");
    let ours = native.compile(&admitted).expect("compiled");
    let mut ours = native.instantiate(&ours, wasi(&[], &items)).expect("the host can").expect("an instance");
    ours.call("fedmkt_init").expect("the host can");

    let engine = plain_engine(true);
    let module = Module::new(&engine, &wasm).expect("a module");
    let mut store = Store::new(&engine, real);
    let mut linker = Linker::<File>::new(&engine);
    let open = |_: Caller<'_, File>, _: i32, _: i32, _: i32, _: i32, _: i32, _: i64, _: i64, _: i32, _: i32| 0;
    linker.func_wrap("wasi_snapshot_preview1", "path_open", open).expect("a function");
    // As little as any WASI with real files can do: look up the buffer, and one system call into it.
    let pread = |mut caller: Caller<'_, File>, _: i32, list: i32, _: i32, offset: i64, result: i32| -> i32 {
        let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return 8 };
        let (bytes, file) = memory.data_and_store_mut(&mut caller);
        let word = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes")) as usize)
        };
        let (Some(at), Some(length)) = (word(bytes, list as usize), word(bytes, list as usize + 4)) else { return 21 };
        let Some(buffer) = bytes.get_mut(at..at + length) else { return 21 };
        let Ok(count) = file.read_at(buffer, offset as u64) else { return 29 };
        let Some(room) = bytes.get_mut(result as usize..result as usize + 4) else { return 21 };
        room.copy_from_slice(&(count as u32).to_le_bytes());
        0
    };
    linker.func_wrap("wasi_snapshot_preview1", "fd_pread", pread).expect("a function");
    let instance = linker.instantiate(&mut store, &module).expect("an instance");
    let call = |store: &mut Store<File>, name| {
        let function = instance.get_typed_func::<(), i32>(&mut *store, name).expect("a function");
        function.call(store, ()).expect("no trap")
    };
    call(&mut store, "fedmkt_init");
    let mut ratios = Vec::new();
    for _ in 0..31 {
        let begin = processor_time();
        ours.call("fedmkt_step").expect("the host can");
        let middle = processor_time();
        call(&mut store, "fedmkt_step");
        let end = processor_time();
        // Of one of 100,000 reads, in nanoseconds.
        let (mine, peer) = ((middle - begin).as_secs_f64() * 1e4, (end - middle).as_secs_f64() * 1e4);
        println!("4 KiB: ours {mine:.0} ns, plain Wasmtime with a real file {peer:.0} ns");
        ratios.push(mine / peer);
    }
    println!("ratio, median of {}: {:.3}", ratios.len(), median(ratios));
}

/// What the guest says first.
const FIRST: &str = "the first instruction was executed";

fn start() {
    let text = format!(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 16) "{FIRST}\n") (func (export "_initialize"))
        (func (export "fedmkt_init") (result i32)
          (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const {}))
          (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (func (export "fedmkt_step") (result i32) i32.const 1))"#,
        FIRST.len() + 1
    );
    let wasm = wat::parse_str(text).expect("wasm text");
    let model = tempfile::NamedTempFile::new().expect("a file");
    let setting = Setting::new(&wasm, model.path());
    let data = setting.folder.path().join("data");
    fs::create_dir_all(&data).expect("a folder");
    fs::write(data.join("f"), vec![1; 1 << 20]).expect("a file");
    let job = setting.publish();
    for (log2_work, what) in [(1, "without decrypting the identity"), (18, "with an identity of age's usual work")] {
        setting.identity(log2_work);
        // Once, to pack and compile.
        setting.command(&job, &data).output().expect("it runs");
        // Packed so shortly after the data was written, a capsule is not kept.
        thread::sleep(Duration::from_secs(3));
        setting.command(&job, &data).output().expect("it runs");
        let mut times = Vec::new();
        for _ in 0..15 {
            let begin = Instant::now();
            let mut child = setting.command(&job, &data).arg("--log").spawn().expect("it starts");
            let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
            let mut stderr = child.stderr.take().expect("a pipe");
            while !said.windows(FIRST.len()).any(|window| window == FIRST.as_bytes()) {
                let count = stderr.read(&mut buffer).expect("read");
                assert!(count > 0, "it never began: {}", String::from_utf8_lossy(&said));
                said.extend_from_slice(&buffer[..count]);
            }
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            child.wait().expect("it ends");
        }
        let least = times.iter().copied().fold(f64::MAX, f64::min);
        println!("start, {what}: median {:.1} ms, least {least:.1} ms of {}", median(times.clone()), times.len());
    }
}

fn grant(folder: &Path) {
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    let data = folder.path().join("data");
    fs::create_dir_all(&data).expect("a folder");
    let part: Vec<u8> = (0..(1u32 << 26) - (1 << 14)).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    for number in 0..16 {
        fs::write(data.join(format!("{number}")), &part).expect("a file");
    }
    let bytes = 16 * part.len() as u64;
    drop(part);
    let model = tempfile::NamedTempFile::new().expect("a file");
    // It waits for somebody to look at its memory: a step that takes some time.
    let wasm = wat::parse_str(
        r#"(module (memory (export "memory") 1) (func (export "_initialize"))
        (func (export "fedmkt_init") (result i32) i32.const 0)
        (func (export "fedmkt_step") (result i32) (local $n i64)
          (loop $more (br_if $more (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const 2000000000))))
          i32.const 1))"#,
    );
    let mut setting = Setting::new(&wasm.expect("wasm text"), model.path());
    setting.manifest.machine.class = SizeClass::L;
    setting.manifest.data.most_bytes = 1 << 30;
    setting.manifest.limits.memory = 1 << 20;
    let job = setting.publish();
    let identity = setting.identity(1);
    let mut rates = Vec::new();
    for round in 0..3 {
        let grant = Grant::survey(&data).expect("a grant");
        let cache = folder.path().join(format!("cache-{round}"));
        fs::create_dir_all(&cache).expect("a folder");
        let begin = Instant::now();
        grant.pack(&setting.manifest, &identity, &cache, &mut |_| {}).expect("a capsule");
        let rate = bytes as f64 / 1e6 / begin.elapsed().as_secs_f64();
        fs::remove_dir_all(&cache).expect("removed");
        println!("packing: {rate:.0} MB/s");
        rates.push(rate);
    }
    println!("packing, median of 3: {:.0} MB/s by the clock", median(rates));

    let mut child = setting.command(&job, &data).spawn().expect("it starts");
    let (stop, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let pid = child.id();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(anonymous_bytes(pid), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let mut said = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        child.wait().expect("it ends");
        stop.store(true, Ordering::Relaxed);
        assert!(said.contains("steps in"), "{said}");
    });
    println!(
        "most anonymous memory of host and worker together: {:.1} MiB",
        most.into_inner() as f64 / (1 << 20) as f64
    );
}

/// `RssAnon` of a process and of those that it started.
fn anonymous_bytes(pid: u32) -> u64 {
    let field = |pid: &str, name: &str| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix(name)?.trim().trim_end_matches(" kB").parse().ok())
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let ours = pids.filter(|other| *other == pid.to_string() || field(other, "PPid:") == Some(pid.into()));
    ours.filter_map(|pid| field(&pid, "RssAnon:")).sum::<u64>() << 10
}
