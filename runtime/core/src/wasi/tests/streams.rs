//! Arguments, clocks, randomness, standard streams, polling, and what there is not.

use std::vec;
use std::vec::Vec;

use super::*;

#[test]
fn arguments_are_those_of_the_job() {
    let mut guest = Guest::new();
    guest.call(Function::ArgsSizesGet, &[0, 4]).expect("sizes");
    assert_eq!((guest.u32(0), guest.u32(4)), (2, 17));
    guest.call(Function::ArgsGet, &[0, 100]).expect("arguments");
    assert_eq!(&guest.memory[100..117], b"trainer\0--epochs\0");
    assert_eq!((guest.u32(0), guest.u32(4)), (100, 108));
    guest.call(Function::EnvironSizesGet, &[0, 4]).expect("sizes");
    assert_eq!((guest.u32(0), guest.u32(4)), (0, 0));
}

#[test]
fn clocks_advance_with_each_reading_and_with_sleep() {
    let mut guest = Guest::new();
    let mut read = |clock: u64| {
        guest.call(Function::ClockTimeGet, &[clock, 0, 0]).expect("a time");
        guest.u64(0)
    };
    assert_eq!(read(1), 1_000_000);
    assert_eq!(read(0), REALTIME_START + 2_000_000);
    assert_eq!(read(2), 3_000_000);
    assert_eq!(guest.call(Function::ClockTimeGet, &[9, 0, 0]), Err(Errno::Inval));
    // A relative sleep of five seconds on the monotonic clock.
    guest.memory[0..48].fill(0);
    guest.put(16, &1u32.to_le_bytes());
    guest.put(24, &5_000_000_000u64.to_le_bytes());
    guest.call(Function::PollOneoff, &[0, 100, 1, 200]).expect("slept");
    assert_eq!(guest.u32(200), 1);
    guest.call(Function::ClockTimeGet, &[1, 0, 0]).expect("a time");
    assert_eq!(guest.u64(0), 5_004_000_000);
}

#[test]
fn randomness_is_the_keystream_whatever_the_pieces() {
    let mut one = Guest::new();
    one.call(Function::RandomGet, &[0, 200]).expect("random bytes");
    let mut pieces = Guest::new();
    for (start, length) in [(0, 1), (1, 63), (64, 64), (128, 72)] {
        pieces.call(Function::RandomGet, &[start, length]).expect("random bytes");
        pieces.restore();
    }
    assert_eq!(one.memory[..200], pieces.memory[..200]);
    assert!(one.memory[..200].iter().any(|&byte| byte != 0));
    assert_eq!(one.call(Function::RandomGet, &[65_000, 1000]), Err(Errno::Fault));
}

#[test]
fn standard_streams_go_to_the_log_and_input_is_empty() {
    let mut guest = Guest::new();
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = log.clone();
    guest.wasi.set_log(Box::new(move |stream, bytes| sink.lock().expect("a log").push((stream, bytes.to_vec()))));
    let before = guest.metadata();
    assert_eq!(guest.write(1, b"out"), Ok(3));
    assert_eq!(guest.write(2, b"err"), Ok(3));
    assert_eq!(guest.read(0, 10), Ok(vec![]));
    assert_eq!(guest.metadata(), before);
    let expected = [(Stream::Output, b"out".to_vec()), (Stream::Error, b"err".to_vec())];
    assert_eq!(*log.lock().expect("a log"), expected);
    assert_eq!(guest.seek(1, 0, 0), Err(Errno::Spipe));
}

#[test]
fn sockets_are_none_and_exit_ends() {
    let mut guest = Guest::new();
    assert_eq!(guest.call(Function::SockShutdown, &[1, 0]), Err(Errno::Notsock));
    assert_eq!(guest.call(Function::SockShutdown, &[99, 0]), Err(Errno::Badf));
    assert_eq!(guest.wasi.call(Function::ProcExit, &[3], &mut []), Err(Exit(3)));
}

#[test]
fn arguments_that_do_not_fit_into_memory_write_nothing() {
    let mut guest = Guest::new();
    let before = guest.memory.clone();
    assert_eq!(guest.call(Function::ArgsGet, &[0, 65_536 - 16]), Err(Errno::Fault));
    assert_eq!(guest.call(Function::ArgsGet, &[65_536 - 4, 0]), Err(Errno::Fault));
    assert_eq!(guest.call(Function::ArgsSizesGet, &[0, 65_533]), Err(Errno::Fault));
    assert!(guest.memory == before);
}

#[test]
fn every_clock_has_a_resolution_and_no_other_exists() {
    let mut guest = Guest::new();
    for clock in 0..4 {
        guest.call(Function::ClockResGet, &[clock, 0]).expect("a resolution");
        assert_eq!(guest.u64(0), TICK);
    }
    for clock in [4, u64::from(u32::MAX)] {
        assert_eq!(guest.call(Function::ClockResGet, &[clock, 0]), Err(Errno::Inval));
        assert_eq!(guest.call(Function::ClockTimeGet, &[clock, 0, 0]), Err(Errno::Inval));
    }
}

#[test]
fn a_clock_that_cannot_be_told_does_not_advance() {
    let mut guest = Guest::new();
    assert_eq!(guest.call(Function::ClockTimeGet, &[1, 0, 65_529]), Err(Errno::Fault));
    guest.call(Function::ClockTimeGet, &[1, 0, 0]).expect("a time");
    assert_eq!(guest.u64(0), TICK);
}

/// A subscription to a clock.
fn on_clock(user_data: u64, clock: u32, timeout: u64, flags: u16) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[0..8].copy_from_slice(&user_data.to_le_bytes());
    bytes[16..20].copy_from_slice(&clock.to_le_bytes());
    bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
    bytes[40..42].copy_from_slice(&flags.to_le_bytes());
    bytes
}

/// A subscription to reading (1) or writing (2).
fn on_descriptor(user_data: u64, kind: u8, fd: u32) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[0..8].copy_from_slice(&user_data.to_le_bytes());
    bytes[8] = kind;
    bytes[16..20].copy_from_slice(&fd.to_le_bytes());
    bytes
}

/// User data, errno, type and bytes of each event.
fn poll(guest: &mut Guest, subscriptions: &[[u8; 48]]) -> Answer<Vec<(u64, u16, u8, u64)>> {
    guest.put(1024, &subscriptions.concat());
    guest.call(Function::PollOneoff, &[1024, 8192, subscriptions.len() as u64, 16])?;
    let event = |at: usize| {
        let errno = u16::from_le_bytes([guest.memory[at + 8], guest.memory[at + 9]]);
        (guest.u64(at), errno, guest.memory[at + 10], guest.u64(at + 16))
    };
    Ok((0..guest.u32(16) as usize).map(|index| event(8192 + 32 * index)).collect())
}

fn monotonic(guest: &mut Guest) -> u64 {
    guest.call(Function::ClockTimeGet, &[1, 0, 0]).expect("a time");
    guest.u64(0)
}

#[test]
fn sleeping_advances_the_clock_to_the_earliest_deadline() {
    let mut guest = Guest::new();
    let slept = poll(&mut guest, &[on_clock(7, 1, 9_000_000, 0), on_clock(8, 0, 5_000_000, 0)]);
    assert_eq!(slept, Ok(vec![(8, 0, 0, 0)]));
    assert_eq!(monotonic(&mut guest), 6_000_000);
    // Two that are due at once; absolute times count by the clock's own zero.
    let (on_monotonic, on_realtime) = (on_clock(1, 1, 20_000_000, 1), on_clock(2, 0, REALTIME_START + 20_000_000, 1));
    assert_eq!(poll(&mut guest, &[on_monotonic, on_realtime]), Ok(vec![(1, 0, 0, 0), (2, 0, 0, 0)]));
    // What is over already does not turn the clock back.
    assert_eq!(poll(&mut guest, &[on_clock(3, 1, 1, 1), on_clock(4, 0, 1, 1)]).expect("events").len(), 2);
    assert_eq!(monotonic(&mut guest), 21_000_000);
}

#[test]
fn sleeping_for_ever_ends_at_the_end_of_time_and_is_saved() {
    let mut guest = Guest::new();
    assert_eq!(poll(&mut guest, &[on_clock(1, 1, u64::MAX, 0)]), Ok(vec![(1, 0, 0, 0)]));
    guest.restore();
    assert_eq!(monotonic(&mut guest), u64::MAX);
    guest.put_file("out/x", b"1").expect("written at the end of time");
    guest.restore();
    assert_eq!(poll(&mut guest, &[on_clock(1, 1, u64::MAX, 0)]), Ok(vec![(1, 0, 0, 0)]));
}

#[test]
fn files_and_streams_are_ready_at_once() {
    let mut guest = Guest::new();
    let file = guest.open("data/a.csv", 0, READ | rights::POLL_FD_READWRITE).expect("open");
    guest.seek(file, 3, 0).expect("moved");
    let no_poll = guest.open("data/a.csv", 0, READ).expect("open");
    let subscriptions = [
        on_descriptor(1, 1, file),
        on_descriptor(2, 2, file),
        on_descriptor(3, 1, 0),
        on_descriptor(4, 2, 1),
        on_descriptor(5, 2, 0),
        on_descriptor(6, 1, 99),
        on_descriptor(7, 1, no_poll),
        on_clock(8, 1, 1_000_000, 0),
        on_clock(9, 1, 0, 0),
        on_clock(10, 77, 0, 0),
        on_clock(11, 1, 0, 2),
    ];
    let capability = Errno::Notcapable as u16;
    let expected = [
        (1, 0, 1, 5),
        (2, capability, 2, 0),
        (3, 0, 1, 0),
        (4, 0, 2, 1),
        (5, capability, 2, 0),
        (6, Errno::Badf as u16, 1, 0),
        (7, capability, 1, 0),
        (10, Errno::Inval as u16, 0, 0),
        (11, Errno::Inval as u16, 0, 0),
        (9, 0, 0, 0),
    ];
    assert_eq!(poll(&mut guest, &subscriptions), Ok(expected.to_vec()));
    assert_eq!(monotonic(&mut guest), TICK, "nobody slept");
}

#[test]
fn polling_for_nothing_too_much_or_the_unknown_is_refused() {
    let mut guest = Guest::new();
    assert_eq!(poll(&mut guest, &[]), Err(Errno::Inval));
    assert_eq!(poll(&mut guest, &[on_descriptor(1, 3, 0)]), Err(Errno::Inval));
    for (args, errno) in [
        ([0, 8192, u64::from(u32::MAX), 16], Errno::Inval),
        ([0, 8192, u64::from(MAX_SUBSCRIPTIONS) + 1, 16], Errno::Inval),
        ([0, 8192, u64::from(MAX_SUBSCRIPTIONS), 16], Errno::Fault),
        ([0, 65_520, 1, 16], Errno::Fault),
        ([0, 8192, 1, 65_533], Errno::Fault),
    ] {
        assert_eq!(guest.call(Function::PollOneoff, &args), Err(errno), "{args:?}");
    }
}

#[test]
fn the_random_stream_ends_where_its_counter_does() {
    let mut guest = Guest::new();
    let end = 64 * ((1 << 32) - 1);
    guest.wasi.random = end - 10;
    guest.restore();
    guest.memory[..20].fill(9);
    assert_eq!(guest.call(Function::RandomGet, &[0, 11]), Err(Errno::Io));
    assert_eq!(guest.memory[..20], [9; 20]);
    guest.call(Function::RandomGet, &[0, 10]).expect("the last");
    assert_ne!(guest.memory[..10], [9; 10]);
    guest.call(Function::RandomGet, &[0, 0]).expect("nothing");
    assert_eq!(guest.call(Function::RandomGet, &[0, 1]), Err(Errno::Io));
}

#[test]
fn input_is_read_once_for_a_call_into_the_first_buffer_with_room() {
    let mut guest = Guest::new();
    let mut pieces = vec![b"three".to_vec(), b"two".to_vec(), b"one".to_vec()];
    guest.wasi.set_input(Box::new(move |buffer| {
        let piece = pieces.pop().unwrap_or_default();
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }));
    assert_eq!(guest.read(0, 10), Ok(b"one".to_vec()));
    let buffers: Vec<u8> = [0u32, 0, 8192, 10, 8300, 10].iter().flat_map(|word| word.to_le_bytes()).collect();
    guest.put(0, &buffers);
    guest.call(Function::FdRead, &[0, 0, 3, 24]).expect("read");
    assert_eq!((guest.u32(24), &guest.memory[8192..8195]), (3, &b"two"[..]));
    assert_eq!(guest.read(0, 10), Ok(b"three".to_vec()));
    assert_eq!(guest.read(0, 10), Ok(vec![]));
    assert_eq!(guest.read(0, 10), Ok(vec![]));
    assert_eq!(guest.tell(0), Err(Errno::Spipe));
    guest.wasi.set_input(Box::new(|_| Err(Errno::Io)));
    assert_eq!(guest.read(0, 10), Err(Errno::Io));
    assert_eq!(guest.read(0, 0), Ok(vec![]), "nothing is asked for");
}

#[test]
fn streams_go_one_way_and_can_be_closed_and_replaced() {
    let mut guest = Guest::new();
    assert_eq!(guest.write(0, b"x"), Err(Errno::Notcapable));
    assert_eq!(guest.read(1, 1), Err(Errno::Notcapable));
    assert_eq!(guest.pwrite(1, b"x", 0), Err(Errno::Spipe));
    assert_eq!(guest.pread(0, 1, 0), Err(Errno::Spipe));
    for fd in 0..3 {
        assert_eq!(guest.fd_stat(fd).map(|stat| stat.kind), Ok(2));
        for function in [Function::FdSync, Function::FdDatasync] {
            assert_eq!(guest.call(function, &[fd.into()]), Ok(()));
        }
        assert_eq!(guest.call(Function::FdAdvise, &[fd.into(), 0, 0, 0]), Err(Errno::Spipe));
        assert_eq!(guest.call(Function::FdAllocate, &[fd.into(), 0, 1]), Err(Errno::Spipe));
        assert_eq!(guest.call(Function::FdFilestatSetSize, &[fd.into(), 1]), Err(Errno::Spipe));
        assert_eq!(guest.call(Function::FdReaddir, &[fd.into(), 0, 10, 0, 16]), Err(Errno::Notcapable));
        assert_eq!(guest.call(Function::PathUnlinkFile, &[fd.into(), 0, 1]), Err(Errno::Notdir));
    }
    let file = guest.open("out/log", CREATE, WRITE).expect("open");
    guest.call(Function::FdRenumber, &[file.into(), 1]).expect("replaced");
    assert_eq!(guest.write(1, b"to a file"), Ok(9));
    guest.restore();
    assert_eq!(guest.write(1, b" more"), Ok(5));
    assert_eq!(guest.get_file("out/log"), Ok(b"to a file more".to_vec()));
    guest.close(0).expect("closed");
    assert_eq!(guest.read(0, 1), Err(Errno::Badf));
}

#[test]
fn what_is_beyond_this_machine_is_not_supported() {
    let mut guest = Guest::new();
    assert_eq!(guest.call(Function::ProcRaise, &[6]), Err(Errno::Notsup));
    guest.call(Function::SchedYield, &[]).expect("nothing happens");
    for (function, rest) in [
        (Function::SockAccept, &[0, 0][..]),
        (Function::SockRecv, &[0, 0, 0, 0, 0]),
        (Function::SockSend, &[0, 0, 0, 0]),
        (Function::SockShutdown, &[0]),
    ] {
        for (fd, errno) in [(0, Errno::Notsock), (3, Errno::Notsock), (9, Errno::Badf)] {
            assert_eq!(guest.call(function, &[&[fd], rest].concat()), Err(errno), "{function:?}");
        }
    }
}
