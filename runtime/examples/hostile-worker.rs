//! What a worker process could try if a trainer broke out of the engine. For tests only.
//!
//! Started in place of a worker: `ARGUMENT 1` is the memory limit, `ARGUMENT 2` what to try. It first locks itself in as
//! any worker does; what it tries then must fail or end it. It exits with 99 when something succeeded.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use fedmkt_runtime::written_pages::WrittenPages;
use linux_raw_sys::ioctl::UFFDIO_COPY;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags};

const SUCCEEDED: i32 = 99;

/// Takes a request, whatever it is, and gives the first file that comes with it.
fn take_request(channel: &OwnedFd) -> File {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut packet = vec![0; 1 << 16];
    let slices = &mut [io::IoSliceMut::new(&mut packet)];
    rustix::net::recvmsg(channel, slices, &mut control, RecvFlags::empty()).expect("a request");
    let files = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => files.collect(),
        _ => Vec::new(),
    });
    files.map(File::from).next().expect("a file")
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
    let (walls, account) = fedmkt_runtime::worker::lock_in(data_bytes, true).expect("locked in");
    let ready = serde_json::json!({ "Ready": { "seccomp": walls.seccomp, "landlock": walls.landlock } });
    let ready = fedmkt_core::dagcbor::encode(&ready);
    let opened = fedmkt_core::dagcbor::encode(&serde_json::json!({ "Opened": { "compiled": true } }));
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
        "kill its host" => {
            let host = rustix::process::getppid().expect("a host");
            rustix::process::kill_process(host, rustix::process::Signal::KILL).is_ok()
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
        "say nothing later" => {
            take_request(&channel);
            send(&opened).expect("sent");
            loop {
                std::hint::spin_loop();
            }
        }
        "fill the disk" => {
            take_request(&channel);
            send(&opened).expect("sent");
            // Now it is asked to write compiled code to a file.
            take_request(&channel).write_at(&[1], 1 << 30).is_ok()
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
