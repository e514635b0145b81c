//! What a worker process could try if a trainer broke out of the engine. For tests only.
//!
//! Started in place of a worker: `ARGUMENT 1` is the memory limit, `ARGUMENT 2` what to try. It first locks itself in as
//! any worker does; what it tries then must fail or end it. It exits with 99 when something succeeded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedmkt_core::dagcbor::{decode, encode};
use fedmkt_core::image::{Header, ResultCommitment, Status};
use fedmkt_core::inputs;
use fedmkt_core::pack::Pack;
use fedmkt_core::roots::{DataRoot, JobRoot, ResultRoot, RunId, StateRoot};
use fedmkt_core::unixfs::FileCid;
use fedmkt_runtime::written_pages::WrittenPages;
use linux_raw_sys::ioctl::UFFDIO_COPY;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags};
use serde::{Deserialize, Serialize};

const SUCCEEDED: i32 = 99;

/// What a worker is told first.
#[derive(Serialize, Deserialize)]
enum Request {
    Open { run_id: RunId, job_root: JobRoot, data_root: DataRoot, bytes: Vec<u64>, log: bool },
}

/// That it is open.
fn opened(compiled: bool) -> Vec<u8> {
    encode(&serde_json::json!({ "Opened": { "compiled": compiled } }))
}

/// How a run stands.
fn at(steps: u64, status: Status) -> Vec<u8> {
    encode(&serde_json::json!({ "At": { "steps": steps, "status": status } }))
}

/// Takes a request, whatever it is, and gives its bytes and the files that come with it.
fn take(channel: &OwnedFd) -> (Vec<u8>, Vec<File>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut packet = vec![0; 1 << 16];
    let slices = &mut [io::IoSliceMut::new(&mut packet)];
    let received = rustix::net::recvmsg(channel, slices, &mut control, RecvFlags::empty()).expect("a request");
    packet.truncate(received.bytes);
    if packet.is_empty() {
        std::process::exit(1);
    }
    let files = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => files.collect(),
        _ => Vec::new(),
    });
    (packet, files.map(File::from).collect())
}

/// Takes a request, whatever it is, and gives the first file that comes with it.
fn take_request(channel: &OwnedFd) -> File {
    take(channel).1.into_iter().next().expect("a file")
}

/// Maps so many bytes, of a file or of nothing.
fn map(flags: i32, bytes: usize, file: Option<&File>) -> Option<*const u8> {
    let descriptor = file.map_or(-1, AsRawFd::as_raw_fd);
    let access = if file.is_some() { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
    // SAFETY: where the kernel puts a new mapping there is nothing.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, descriptor, 0) };
    (address != libc::MAP_FAILED).then_some(address.cast())
}

/// Goes through a run of one step whose last header says what `lie` makes of the truth. Its result is one byte.
fn run_and(
    lie: impl Fn(&mut Header),
    channel: &OwnedFd,
    send: &dyn Fn(&[u8]) -> Result<(), rustix::io::Errno>,
) -> bool {
    let (packet, files) = take(channel);
    let Request::Open { run_id, job_root, data_root, bytes, .. } = decode(&packet).expect("the first request");
    let mut data = vec![0; bytes[1] as usize];
    (&files[1]).read_exact(&mut data).expect("the capsule");
    let blind = inputs::blind(Pack::open(Arc::new(data)).expect("a capsule").salt());
    let status = Status::Done;
    let result = ResultCommitment { size: 1, root: ResultRoot([0; 32]), cid: FileCid::new().finish() };
    let results = vec![result];
    let mut header = Header { run_id, job_root, data_root, blind, steps: 1, status, memory_bytes: 0, results };
    lie(&mut header);
    send(&opened(false)).expect("sent");
    loop {
        let (packet, files) = take(channel);
        let asks = |name: &str| packet.windows(name.len()).any(|part| part == name.as_bytes());
        if asks("Begin") {
            send(&at(0, Status::Running)).expect("sent");
        } else if asks("Advance") {
            send(&at(1, Status::Done)).expect("sent");
        } else if asks("Root") {
            send(&encode(&BTreeMap::from([("Root", StateRoot([0; 32]))]))).expect("sent");
        } else if asks("Header") {
            let page = serde_bytes::ByteBuf::from(header.encode());
            send(&encode(&BTreeMap::from([("Header", page)]))).expect("sent");
        } else {
            (&files[0]).write_all(b"x").expect("written");
            send(&encode(&"Done")).expect("sent");
        }
    }
}

/// Whether a descriptor answers a request.
fn asks(descriptor: i32, request: u32) -> bool {
    let mut argument = [0u64; 16];
    // SAFETY: no request that is made here writes more than this.
    unsafe { libc::ioctl(descriptor, request as _, argument.as_mut_ptr()) == 0 }
}

/// Waits until the host has seen what was sent, and acts.
fn stay_after<E>(sent: Result<(), E>) -> bool {
    while sent.is_ok() {
        std::hint::spin_loop();
    }
    false
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let data_bytes = arguments[1].parse().expect("a number");
    let host = rustix::process::getppid().expect("a host");
    let (walls, account) = fedmkt_runtime::worker::lock_in(data_bytes, true).expect("locked in");
    let ready = serde_json::json!({ "Ready": { "seccomp": walls.seccomp, "landlock": walls.landlock } });
    let ready = encode(&ready);
    // SAFETY: the channel, as for any worker.
    let channel = unsafe { OwnedFd::from_raw_fd(0) };
    let send = |packet: &[u8]| {
        let slices = [io::IoSlice::new(packet)];
        rustix::net::sendmsg(&channel, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL).map(|_| ())
    };
    let attempt = arguments[2].as_str();
    send(&ready).expect("sent");
    let got_somewhere = match attempt {
        "hang" => loop {
            std::hint::spin_loop();
        },
        "read a file" => File::open("/etc/passwd").and_then(|mut file| file.read(&mut [0])).is_ok(),
        "write a file" => File::create("/tmp/fedmkt-hostile").is_ok(),
        "look for a file" => std::fs::metadata("/etc/passwd").is_ok(),
        "list a folder" => std::fs::read_dir("/").is_ok(),
        "connect" => TcpStream::connect("127.0.0.1:80").is_ok(),
        "connect to a socket file" => UnixStream::connect("/run/dbus/system_bus_socket").is_ok(),
        "start a program" => Command::new("/bin/true").status().is_ok(),
        "start a thread" => std::thread::Builder::new().spawn(|| {}).is_ok(),
        "kill its host" => rustix::process::kill_process(host, rustix::process::Signal::KILL).is_ok(),
        "signal a thread of its host" => {
            let host = host.as_raw_nonzero().get();
            // SAFETY: nothing of this process is concerned. The signal 0 only asks whether another one could be sent.
            unsafe { libc::syscall(libc::SYS_tgkill, host, host, 0) == 0 }
        }
        "take shared memory" => map(libc::MAP_SHARED | libc::MAP_ANONYMOUS, 1 << 40, None).is_some(),
        "take memory that grows" => {
            map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_GROWSDOWN, 1 << 30, None).is_some()
        }
        "ask the account of pages for more" => {
            let descriptors = account.iter().flat_map(WrittenPages::requests).map(|(descriptor, _)| descriptor);
            // Where there is none, another descriptor that may not be asked for anything.
            descriptors.chain([1]).any(|descriptor| asks(descriptor, UFFDIO_COPY))
        }
        "ask its channel for more" => asks(0, libc::FIONREAD as u32),
        "take all memory" => {
            let mut all = Vec::new();
            // Up to 64 GiB, touched.
            for _ in 0..64 {
                let mut part: Vec<u8> = Vec::new();
                if part.try_reserve_exact(1 << 30).is_err() {
                    std::process::exit(1);
                }
                part.resize(1 << 30, 1);
                all.push(part);
            }
            true
        }
        "take memory and give up the right to write it" => {
            for _ in 0..512 {
                let Some(part) = map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, 1 << 26, None) else {
                    std::process::exit(1);
                };
                // SAFETY: it is so long, and nothing else is there.
                unsafe { std::slice::from_raw_parts_mut(part.cast_mut(), 1 << 26).fill(1) };
                // SAFETY: nothing writes to it any more.
                if unsafe { libc::mprotect(part.cast_mut().cast(), 1 << 26, libc::PROT_READ) } != 0 {
                    std::process::exit(1);
                }
                // So that the test does not need more memory where its host has to wait for a processor.
                let until = Instant::now() + Duration::from_millis(20);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
            true
        }
        "move the place from which code is read" => {
            take_request(&channel);
            send(&opened(true)).expect("sent");
            let mut code = take_request(&channel);
            code.write_all(&vec![1; 1 << 20]).expect("written");
            send(&encode(&"Done")).expect("sent");
            // Until the host asks for the next thing, which would be read here.
            let mut first = [0];
            while rustix::net::recv(&channel, &mut first[..], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_err() {
                code.rewind().expect("it may");
            }
            false
        }
        "write another image" => {
            take_request(&channel);
            send(&opened(false)).expect("sent");
            loop {
                let (packet, files) = take(&channel);
                match files.first() {
                    Some(file) => {
                        file.set_len(1 << 29).expect("it may");
                        send(&encode(&"Done")).expect("sent");
                    }
                    None if packet.windows(5).any(|part| part == b"Begin") => {
                        send(&at(0, Status::Running)).expect("sent");
                    }
                    None => send(&encode(&BTreeMap::from([("Root", StateRoot([0; 32]))]))).expect("sent"),
                }
            }
        }
        "say nothing later" => {
            take_request(&channel);
            send(&opened(true)).expect("sent");
            loop {
                std::hint::spin_loop();
            }
        }
        "fill the disk" => {
            take_request(&channel);
            send(&opened(true)).expect("sent");
            // Now it is asked to write compiled code to a file.
            take_request(&channel).write_at(&[1], 1 << 30).is_ok()
        }
        "keep every file" => {
            take_request(&channel);
            send(&opened(false)).expect("sent");
            let mut pages = Vec::new();
            for content in [b"1", b"2"] {
                let file = take_request(&channel);
                file.write_all_at(content, 0).expect("written");
                pages.push(map(libc::MAP_PRIVATE, 4096, Some(&file)).expect("a page"));
                send(&encode(&"Done")).expect("sent");
            }
            // SAFETY: the files were written there, and this process unmaps nothing.
            let kept = pages.into_iter().map(|page| unsafe { page.read_volatile() });
            kept.eq(*b"12")
        }
        "talk without listening" => {
            take_request(&channel);
            let mut replies = (0..).map(|steps| at(steps, Status::Running));
            send(&opened(false)).expect("sent");
            while replies.next().is_some_and(|reply| send(&reply).is_ok()) {}
            false
        }
        "stand still" | "run ahead" => {
            let steps = if attempt == "stand still" { 0 } else { u64::MAX };
            take_request(&channel);
            send(&opened(false)).expect("sent");
            take(&channel);
            send(&at(0, Status::Running)).expect("sent");
            loop {
                take(&channel);
                send(&at(steps, Status::Running)).expect("sent");
            }
        }
        "another run" => run_and(|header| header.run_id.0[0] ^= 1, &channel, &send),
        "another blind" => run_and(|header| header.blind.0[0] ^= 1, &channel, &send),
        "no result" => run_and(|header| header.results.clear(), &channel, &send),
        "a huge result" => run_and(|header| header.results[0].size = u64::MAX, &channel, &send),
        "another result" => run_and(|_| {}, &channel, &send),
        "deceive the terminal" => {
            let text = "\u{1b}[2J\u{202e}all is well\nsecond line";
            stay_after(send(&encode(&serde_json::json!({ "Cannot": ["Host", text] }))))
        }
        "nonsense" => stay_after(send(b"\xff\xfenonsense")),
        "empty" => send(b"").is_err(),
        "another reply" => stay_after(send(&ready)),
        "a flood" => {
            while send(&ready).is_ok() {}
            false
        }
        "too large" => stay_after(send(&vec![0; 100_000])),
        "a flood of words" => {
            for _ in 0..10_000 {
                let _ = io::stderr().write_all(b"\x1b[2J\x07 I am your bank\n");
            }
            false
        }
        "exit" => false,
        other => panic!("{other:?} is not known"),
    };
    std::process::exit(if got_somewhere { SUCCEEDED } else { 1 });
}
