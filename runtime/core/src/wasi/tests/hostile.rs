//! Calls that are meant to do harm.

use std::vec::Vec;

use super::*;

/// Numbers as a guest has them in memory.
fn words(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

#[test]
fn buffers_that_name_the_same_bytes_again_and_again_move_no_more_than_memory_holds() {
    let mut guest = Guest::new();
    let count = Arc::new(std::sync::Mutex::new(0));
    let sink = count.clone();
    guest.wasi.set_log(Box::new(move |_, bytes| *sink.lock().expect("a count") += bytes.len()));
    guest.put(0, &words((0..1024).flat_map(|_| [0, 65_536])));
    guest.call(Function::FdWrite, &[1, 0, 1024, 16_000]).expect("written");
    assert_eq!(guest.u32(16_000), 65_536);
    assert_eq!(*count.lock().expect("a count"), 65_536);
    guest.put(0, &words((0..1024).flat_map(|_| [0, 65_536])));
    let file = guest.open("tmp/x", CREATE, WRITE).expect("open");
    guest.put(0, &words((0..1024).flat_map(|_| [0, 60_000])));
    guest.call(Function::FdWrite, &[file.into(), 0, 1024, 16_000]).expect("written");
    assert_eq!(guest.u32(16_000), 4 * 4096);
    assert_eq!(guest.call(Function::FdWrite, &[1, 0, 1025, 16_000]), Err(Errno::Inval));
    assert_eq!(guest.call(Function::FdWrite, &[1, 0, u64::from(u32::MAX), 16_000]), Err(Errno::Inval));
}

#[test]
fn reading_over_the_list_of_buffers_does_not_redirect_it() {
    let mut guest = Guest::new();
    // The file holds a list that would send the second buffer elsewhere.
    guest.put_file("tmp/list", &words([0, 8, 40_000, 100, 7, 7, 7, 7])).expect("written");
    let file = guest.open("tmp/list", 0, READ).expect("open");
    guest.put(2000, &words([2000, 16, 50_000, 16]));
    guest.call(Function::FdRead, &[file.into(), 2000, 2, 16]).expect("read");
    assert_eq!(guest.u32(16), 32);
    assert_eq!(guest.memory[2000..2016], words([0, 8, 40_000, 100])[..]);
    assert_eq!(guest.memory[50_000..50_016], words([7; 4])[..]);
    assert_eq!(guest.memory[40_000..40_100], [0; 100]);
}

#[test]
fn a_result_within_a_buffer_is_written_last() {
    let mut guest = Guest::new();
    let file = guest.open("data/a.csv", 0, READ).expect("open");
    guest.put(2000, &words([3000, 8]));
    guest.call(Function::FdRead, &[file.into(), 2000, 1, 3002]).expect("read");
    assert_eq!(guest.memory[3000..3008], *b"1,\x08\0\0\x004\n");
}

#[test]
fn pointers_at_the_end_of_the_address_space_are_faults() {
    let mut guest = Guest::new();
    guest.put(1024, b"out/x");
    let (end, most) = (u64::from(u32::MAX), u64::from(u32::MAX));
    for (function, args) in [
        (Function::RandomGet, &[0, most][..]),
        (Function::RandomGet, &[end, most]),
        (Function::FdRead, &[0, end, 1, 0]),
        (Function::FdReaddir, &[3, end, most, 0, 0]),
        (Function::FdPrestatDirName, &[3, end, most]),
        (Function::PathOpen, &[3, 0, end, most, 0, 0, 0, 0, 0]),
        (Function::PathOpen, &[3, 0, 1024, 5, 1, 0, 0, 0, end]),
        (Function::PathReadlink, &[3, 0, most, 0, 0, 0]),
        (Function::PathSymlink, &[0, most, 3, 1024, 5]),
        (Function::PathRename, &[3, 0, most, 3, 0, most]),
        (Function::PollOneoff, &[end, end, 1, end]),
        (Function::ClockTimeGet, &[0, 0, end]),
        (Function::ArgsGet, &[end, end]),
        (Function::EnvironSizesGet, &[end, end]),
        (Function::FdFilestatGet, &[3, end]),
    ] {
        assert_eq!(guest.call(function, args), Err(Errno::Fault), "{function:?} {args:?}");
    }
    // The upper half of a narrow argument means nothing.
    guest.call(Function::FdFilestatGet, &[3 | 1 << 32, 256 | 1 << 63]).expect("a stat");
}

#[test]
fn a_guest_without_memory_gets_faults() {
    let mut wasi = Wasi::new(config());
    for &function in Function::ALL.iter().filter(|function| **function != Function::ProcExit) {
        let answer = wasi.call(function, &[0; 9], &mut []);
        assert!(matches!(answer, Ok(errno) if errno != Errno::Io), "{function:?}: {answer:?}");
    }
}

#[test]
fn long_paths_are_refused_before_they_are_read() {
    let mut guest = Guest::new();
    guest.memory[1024..].fill(0xff);
    assert_eq!(guest.call(Function::PathUnlinkFile, &[3, 1024, 4097]), Err(Errno::Nametoolong));
    assert_eq!(guest.call(Function::PathUnlinkFile, &[3, 1024, 4096]), Err(Errno::Ilseq));
    assert_eq!(guest.call(Function::PathRename, &[3, 1024, 50_000, 3, 1024, 50_000]), Err(Errno::Nametoolong));
    let deep = ["out", &"/.".repeat(2046)].concat();
    assert_eq!(guest.stat(&deep), Ok((3, 0, 1)));
    let up = "x/../".repeat(800);
    assert_eq!(guest.stat(&["out/", &up].concat()), Err(Errno::Noent));
}

#[test]
fn links_to_links_with_long_targets_end() {
    let mut guest = Guest::new();
    // Each target goes through the link before it as often as a path can.
    guest.mkdir("out/d").expect("made");
    guest.symlink(".", "out/d/0").expect("linked");
    for n in 1..30 {
        let before = std::format!("{}/", n - 1);
        guest.symlink(&before.repeat(4096 / before.len()), &std::format!("out/d/{n}")).expect("linked");
    }
    for n in 1..30 {
        assert_eq!(guest.stat(&std::format!("out/d/{n}/x")), Err(Errno::Loop), "{n}");
    }
}

#[test]
fn directories_can_be_as_deep_as_there_are_inodes() {
    let mut guest = Guest::new();
    let mut fd = guest.open("out", 0, ALL_RIGHTS & !rights::FD_WRITE).expect("open");
    let [path, length] = guest.put(1024, b"d");
    let mut depth = 0;
    loop {
        match guest.call(Function::PathCreateDirectory, &[fd.into(), path, length]) {
            Ok(()) => depth += 1,
            Err(errno) => break assert_eq!(errno, Errno::Nospc),
        }
        let rights = ALL_RIGHTS & !rights::FD_WRITE;
        guest.call(Function::PathOpen, &[fd.into(), 0, path, length, 0, rights, rights, 0, 512]).expect("open");
        guest.close(fd).expect("closed");
        fd = guest.u32(512);
    }
    assert_eq!(depth, tree::JOB_LIMITS.inodes - 2);
    guest.restore();
    let [old, old_length] = guest.put(1100, b"out/d");
    let within = [3, old, old_length, fd.into(), path, length];
    assert_eq!(guest.call(Function::PathRename, &within), Err(Errno::Inval));
    assert_eq!(guest.stat(&["out", &"/d".repeat(2000)].concat()), Ok((3, 0, 1)));
    assert_eq!(guest.open_from(fd, &"../".repeat(1300), 0, 0), Err(Errno::Perm));
}

#[test]
fn making_and_removing_for_ever_leaves_nothing_behind() {
    let mut guest = Guest::new();
    let before = guest.wasi.tree.nodes.len();
    for n in 0..20_000 {
        guest.put_file("out/x", &[1; 5000]).expect("written");
        let inode = guest.full_stat("out/x", 0).expect("a stat").inode;
        guest.symlink("x", "out/l").expect("linked");
        guest.unlink("out/l").expect("removed");
        guest.unlink("out/x").expect("removed");
        assert_eq!(inode, tree::FIRST_FREE + 2 * n);
    }
    assert_eq!(guest.wasi.tree.nodes.len(), before);
    assert_eq!((guest.wasi.tree.entries, guest.wasi.tree.name_bytes), (0, 0));
    assert!(guest.wasi.file_area().len() <= 2 * PAGE_BYTES);
    guest.wasi.tree.next_inode = (1 << 32) - 1;
    guest.put_file("out/x", b"1").expect("the last number");
    guest.restore();
    let before = guest.saved();
    assert_eq!(guest.mkdir("out/y"), Err(Errno::Nospc), "the next number is that of an entry in a pack");
    assert!(guest.saved() == before);
}

#[test]
fn buffers_may_end_where_four_gibibytes_end() {
    const END: u64 = 1 << 32;
    let mut guest = Guest::new();
    guest.memory = vec![0; END as usize];
    let names = guest.open("data", DIRECTORY, READ).expect("open");
    // `.`, its name and nothing of what follows.
    guest.call(Function::FdReaddir, &[names.into(), END - 25, 25, 0, 16]).expect("a list");
    assert_eq!((guest.u32(16), guest.memory[END as usize - 1]), (25, b'.'));
    let strings = b"trainer\0--epochs\0";
    guest.call(Function::ArgsGet, &[END - 8, 1024]).expect("arguments");
    assert_eq!(guest.u32(END as usize - 4), 1024 + 8);
    guest.call(Function::ArgsGet, &[1024, END - strings.len() as u64]).expect("arguments");
    assert_eq!(guest.memory[END as usize - strings.len()..], strings[..]);
    assert_eq!(guest.call(Function::ArgsGet, &[1024, END - 16]), Err(Errno::Fault));
}
