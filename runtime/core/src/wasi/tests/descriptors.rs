//! Rights, and calls on open descriptors.

use std::vec;
use std::vec::Vec;

use super::*;

#[test]
fn the_root_is_preopened_and_nothing_else() {
    let mut guest = Guest::new();
    guest.call(Function::FdPrestatGet, &[3, 0]).expect("preopened");
    assert_eq!(guest.u32(4), 1);
    guest.call(Function::FdPrestatDirName, &[3, 100, 1]).expect("a name");
    assert_eq!(guest.memory[100], b'/');
    assert_eq!(guest.call(Function::FdPrestatGet, &[4, 0]), Err(Errno::Badf));
    assert_eq!(guest.call(Function::FdPrestatGet, &[0, 0]), Err(Errno::Badf));
}

#[test]
fn reading_goes_on_where_it_stopped_and_seeking_moves() {
    let mut guest = Guest::new();
    let fd = guest.open("data/a.csv", 0, READ).expect("open");
    assert_eq!(guest.read(fd, 3), Ok(b"1,2".to_vec()));
    assert_eq!(guest.read(fd, 100), Ok(b"\n3,4\n".to_vec()));
    assert_eq!(guest.read(fd, 100), Ok(vec![]));
    assert_eq!(guest.seek(fd, -3, 2), Ok(5));
    assert_eq!(guest.read(fd, 100), Ok(b",4\n".to_vec()));
    assert_eq!(guest.seek(fd, -9, 1), Err(Errno::Inval));
    assert_eq!(guest.seek(fd, 0, 3), Err(Errno::Inval));
    assert_eq!(guest.seek(fd, 1000, 0), Ok(1000));
    assert_eq!(guest.read(fd, 1), Ok(vec![]));
}

#[test]
fn files_grow_are_cut_and_overwritten() {
    let mut guest = Guest::new();
    guest.put_file("out/x", &[1; 5000]).expect("written");
    assert_eq!(guest.stat("out/x"), Ok((4, 5000, 1)));
    let fd = guest.open("out/x", 0, WRITE).expect("open");
    guest.call(Function::FdFilestatSetSize, &[fd.into(), 100]).expect("cut");
    guest.call(Function::FdFilestatSetSize, &[fd.into(), 200]).expect("extended");
    guest.seek(fd, 300, 0).expect("moved");
    guest.write(fd, &[2; 10]).expect("written");
    let content = [vec![1; 100], vec![0; 200], vec![2; 10]].concat();
    assert_eq!(guest.get_file("out/x"), Ok(content));
    guest.put_file("out/x", b"new").expect("truncated");
    assert_eq!(guest.get_file("out/x"), Ok(b"new".to_vec()));
    assert_eq!(guest.open("out/x", CREATE | EXCLUSIVE, WRITE), Err(Errno::Exist));
}

#[test]
fn a_full_mount_takes_what_fits_and_then_nothing() {
    let mut guest = Guest::new();
    let fd = guest.open("out/x", CREATE, WRITE).expect("open");
    assert_eq!(guest.write(fd, &[1; 20_000]), Ok(4 * 4096));
    assert_eq!(guest.write(fd, &[1]), Err(Errno::Nospc));
    assert_eq!(guest.call(Function::FdAllocate, &[fd.into(), 0, 5 * 4096]), Err(Errno::Fbig));
    guest.put_file("tmp/y", &[2; 4096]).expect("another mount");
    guest.unlink("out/x").expect("unlinked");
    let other = guest.open("out/z", CREATE, WRITE).expect("open");
    assert_eq!(guest.write(other, &[1]), Err(Errno::Nospc), "the unlinked file is still open");
    guest.close(fd).expect("closed");
    assert_eq!(guest.write(other, &[1]), Ok(1));
}

#[test]
fn too_many_open_files_are_refused() {
    let mut guest = Guest::new();
    for _ in 0..4 {
        guest.open("data/a.csv", 0, READ).expect("open");
    }
    assert_eq!(guest.open("data/a.csv", 0, READ), Err(Errno::Mfile));
    guest.close(5).expect("closed");
    assert_eq!(guest.open("data/a.csv", 0, READ), Ok(5));
}

#[test]
fn pointers_outside_of_memory_are_faults() {
    let mut guest = Guest::new();
    assert_eq!(guest.call(Function::ArgsGet, &[65_534, 0]), Err(Errno::Fault));
    assert_eq!(guest.call(Function::FdRead, &[0, u32::MAX.into(), 1, 0]), Err(Errno::Fault));
    assert_eq!(guest.call(Function::FdRead, &[0, 0, 1025, 0]), Err(Errno::Inval));
    let fd = guest.open("data/a.csv", 0, READ).expect("open");
    guest.put(0, &[65_530u32.to_le_bytes(), 100u32.to_le_bytes()].concat());
    assert_eq!(guest.call(Function::FdRead, &[fd.into(), 0, 1, 16]), Err(Errno::Fault));
    assert_eq!(guest.call(Function::PathUnlinkFile, &[3, 65_535, 2]), Err(Errno::Fault));
    guest.memory[1024] = 0xff;
    assert_eq!(guest.call(Function::PathUnlinkFile, &[3, 1024, 1]), Err(Errno::Ilseq));
}

#[test]
fn rights_are_held_to() {
    let mut guest = Guest::new();
    let fd = guest.open("out/x", CREATE, rights::FD_WRITE).expect("open");
    assert_eq!(guest.read(fd, 1), Err(Errno::Notcapable));
    guest.call(Function::FdFdstatSetRights, &[fd.into(), 0, 0]).expect("narrowed");
    assert_eq!(guest.write(fd, b"x"), Err(Errno::Notcapable));
    assert_eq!(guest.call(Function::FdFdstatSetRights, &[fd.into(), 1, 0]), Err(Errno::Notcapable));
    let directory = guest.open("out", 2, rights::PATH_OPEN | rights::FD_READ).expect("open");
    assert_eq!(guest.open_from(directory, "x", 0, WRITE), Err(Errno::Notcapable));
}

#[test]
fn the_preopened_directory_is_named_into_any_buffer_with_room() {
    let mut guest = Guest::new();
    assert_eq!(guest.call(Function::FdPrestatDirName, &[3, 0, 0]), Err(Errno::Nametoolong));
    guest.call(Function::FdPrestatDirName, &[3, 0, 100]).expect("a larger buffer");
    assert_eq!(guest.call(Function::FdPrestatDirName, &[3, 65_536, 1]), Err(Errno::Fault));
    guest.close(3).expect("closed");
    assert_eq!(guest.call(Function::FdPrestatGet, &[3, 0]), Err(Errno::Badf));
    assert_eq!(guest.open("out", 0, 0), Err(Errno::Badf), "there is no way in any more");
}

/// A call on a descriptor with arguments that are right, and the rights that it needs.
const NEEDS: &[(Function, &[u64], Rights)] = &[
    (Function::FdAdvise, &[0, 0, 0], rights::FD_ADVISE),
    (Function::FdAllocate, &[0, 1], rights::FD_ALLOCATE),
    (Function::FdDatasync, &[], rights::FD_DATASYNC),
    (Function::FdSync, &[], rights::FD_SYNC),
    (Function::FdFdstatSetFlags, &[0], rights::FD_FDSTAT_SET_FLAGS),
    (Function::FdFilestatGet, &[256], rights::FD_FILESTAT_GET),
    (Function::FdFilestatSetSize, &[1], rights::FD_FILESTAT_SET_SIZE),
    (Function::FdFilestatSetTimes, &[0, 0, 0], rights::FD_FILESTAT_SET_TIMES),
    (Function::FdPread, &[0, 0, 0, 16], rights::FD_READ | rights::FD_SEEK),
    (Function::FdPwrite, &[0, 0, 0, 16], rights::FD_WRITE | rights::FD_SEEK),
    (Function::FdRead, &[0, 0, 16], rights::FD_READ),
    (Function::FdWrite, &[0, 0, 16], rights::FD_WRITE),
    (Function::FdSeek, &[1, 0, 16], rights::FD_SEEK),
    (Function::FdSeek, &[0, 1, 16], rights::FD_TELL),
    (Function::FdTell, &[16], rights::FD_TELL),
];

/// As [`NEEDS`], on a directory; paths are at 1024 (`new`) and 1040 (`old`, a file), 1056 (`dir`), 1072 (`link`).
const DIRECTORY_NEEDS: &[(Function, &[u64], Rights)] = &[
    (Function::FdReaddir, &[8192, 100, 0, 16], rights::FD_READDIR),
    (Function::PathCreateDirectory, &[1024, 3], rights::PATH_CREATE_DIRECTORY),
    (Function::PathFilestatGet, &[0, 1040, 3, 256], rights::PATH_FILESTAT_GET),
    (Function::PathFilestatSetTimes, &[0, 1040, 3, 0, 0, 0], rights::PATH_FILESTAT_SET_TIMES),
    (Function::PathOpen, &[0, 1040, 3, 0, 0, 0, 0, 16], rights::PATH_OPEN),
    (Function::PathOpen, &[0, 1024, 3, 1, 0, 0, 0, 16], rights::PATH_OPEN | rights::PATH_CREATE_FILE),
    (Function::PathOpen, &[0, 1040, 3, 8, 0, 0, 0, 16], rights::PATH_OPEN | rights::PATH_FILESTAT_SET_SIZE),
    (Function::PathReadlink, &[1072, 4, 8192, 10, 16], rights::PATH_READLINK),
    (Function::PathRemoveDirectory, &[1056, 3], rights::PATH_REMOVE_DIRECTORY),
    (Function::PathUnlinkFile, &[1040, 3], rights::PATH_UNLINK_FILE),
];

#[test]
fn each_call_needs_its_rights_and_no_other() {
    for (needs, directory) in [(NEEDS, false), (DIRECTORY_NEEDS, true)] {
        for &(function, rest, needed) in needs {
            let try_with = |allowed: Rights| {
                let mut guest = Guest::new();
                guest.mkdir("out/dir").expect("made");
                guest.put_file("out/old", b"content").expect("written");
                guest.symlink("old", "out/link").expect("linked");
                let fd = if directory { guest.open("out", 0, allowed) } else { guest.open("out/old", 0, allowed) };
                let fd = fd.expect("open");
                for (at, name) in [(1024, "new"), (1040, "old"), (1056, "dir"), (1072, "link")] {
                    guest.put(at, name.as_bytes());
                }
                guest.call(function, &[&[fd.into()], rest].concat())
            };
            assert_eq!(try_with(needed), Ok(()), "{function:?}");
            for right in (0..28).map(|bit| 1 << bit).filter(|right| needed & right != 0) {
                // Writing rights cannot be asked for with a directory, and the right to seek is also that to tell.
                let others = if directory { rights::DIRECTORY } else { rights::FILE } & !right;
                let others = if needed == rights::FD_TELL { others & !rights::FD_SEEK } else { others };
                assert_eq!(try_with(others), Err(Errno::Notcapable), "{function:?} {right:#x}");
            }
        }
    }
}

#[test]
fn calls_on_two_directories_need_rights_on_each() {
    for (function, source, target) in [
        (Function::PathLink, rights::PATH_LINK_SOURCE, rights::PATH_LINK_TARGET),
        (Function::PathRename, rights::PATH_RENAME_SOURCE, rights::PATH_RENAME_TARGET),
    ] {
        for (first, second, expected) in [
            (source, target, Ok(())),
            (source, source, Err(Errno::Notcapable)),
            (target, target, Err(Errno::Notcapable)),
            (rights::DIRECTORY & !source, target, Err(Errno::Notcapable)),
            (source, rights::DIRECTORY & !target, Err(Errno::Notcapable)),
        ] {
            let mut guest = Guest::new();
            guest.put_file("out/old", b"").expect("written");
            let first = guest.open("out", 0, first).expect("open").into();
            let second = guest.open("out", 0, second).expect("open").into();
            guest.put(1024, b"oldnew");
            let args: &[u64] = if function == Function::PathLink {
                &[first, 0, 1024, 3, second, 1027, 3]
            } else {
                &[first, 1024, 3, second, 1027, 3]
            };
            assert_eq!(guest.call(function, args), expected, "{function:?}");
        }
    }
    let mut guest = Guest::new();
    let no_links = guest.open("out", 0, rights::DIRECTORY & !rights::PATH_SYMLINK).expect("open");
    guest.put(1024, b"to");
    assert_eq!(guest.call(Function::PathSymlink, &[1024, 2, no_links.into(), 1024, 2]), Err(Errno::Notcapable));
}

#[test]
fn what_is_opened_through_a_directory_has_at_most_its_inheriting_rights() {
    let mut guest = Guest::new();
    guest.put_file("out/f", b"content").expect("written");
    guest.mkdir("out/d").expect("made");
    let inheriting = rights::FD_READ | rights::PATH_OPEN;
    let fd = guest.open_with("out", FOLLOW, 0, rights::PATH_OPEN, inheriting, 0).expect("open");
    let mut open = |base, inherited, flags: u16| {
        let [path, length] = guest.put(1024, b"f");
        guest.call(Function::PathOpen, &[fd.into(), 0, path, length, 0, base, inherited, flags.into(), 512])?;
        Ok(guest.u32(512))
    };
    assert_eq!(open(rights::FD_READ | rights::FD_TELL, 0, 0), Err(Errno::Notcapable));
    assert_eq!(open(0, rights::FD_TELL, 0), Err(Errno::Notcapable));
    let file = open(rights::FD_READ, inheriting, 0).expect("open");
    // Files hand nothing on.
    assert_eq!(guest.fdstat(file), Ok((4, 0, rights::FD_READ, 0)));
    let [path, length] = guest.put(1024, b"d");
    guest.call(Function::PathOpen, &[fd.into(), 0, path, length, 0, 0, rights::FD_READ, 0, 512]).expect("open");
    let directory = guest.u32(512);
    assert_eq!(guest.fdstat(directory), Ok((3, 0, 0, rights::FD_READ)));
    guest.restore();
    assert_eq!(guest.fdstat(directory), Ok((3, 0, 0, rights::FD_READ)));
}

#[test]
fn writing_through_needs_the_right_to_sync() {
    for (flags, right) in [(2, rights::FD_DATASYNC), (8, rights::FD_SYNC), (16, rights::FD_SYNC)] {
        let mut guest = Guest::new();
        guest.put_file("out/f", b"").expect("written");
        for (inheriting, expected) in [(right, Ok(flags)), (ALL_RIGHTS & !right, Err(Errno::Notcapable))] {
            let fd = guest.open_with("out", FOLLOW, 0, rights::PATH_OPEN, inheriting, 0).expect("open");
            let [path, length] = guest.put(1024, b"f");
            let opened = guest.call(Function::PathOpen, &[fd.into(), 0, path, length, 0, 0, 0, flags, 512]);
            let found = opened.and_then(|()| guest.fdstat(guest.u32(512))).map(|stat| stat.1.into());
            assert_eq!(found, expected, "{flags}");
        }
    }
}

#[test]
fn rights_are_only_ever_taken_away() {
    let mut guest = Guest::new();
    let fd = guest.open_with("out", FOLLOW, 0, rights::PATH_OPEN | rights::FD_READDIR, READ, 0).expect("open");
    let mut set = |base, inheriting| guest.call(Function::FdFdstatSetRights, &[fd.into(), base, inheriting]);
    assert_eq!(set(rights::PATH_SYMLINK, 0), Err(Errno::Notcapable));
    assert_eq!(set(0, rights::FD_WRITE), Err(Errno::Notcapable));
    assert_eq!(set(rights::FD_READDIR, rights::FD_READ), Ok(()));
    assert_eq!(set(rights::PATH_OPEN, 0), Err(Errno::Notcapable), "it is gone");
    assert_eq!(guest.fdstat(fd), Ok((3, 0, rights::FD_READDIR, rights::FD_READ)));
}

#[test]
fn rights_that_do_not_fit_what_is_opened_are_left_out() {
    let mut guest = Guest::new();
    guest.put_file("out/f", b"").expect("written");
    let file = guest.open("out/f", 0, ALL_RIGHTS).expect("open");
    assert_eq!(guest.fdstat(file), Ok((4, 0, rights::FILE, 0)));
    let read_only = guest.open("data/a.csv", 0, ALL_RIGHTS & !rights::FD_WRITE).expect("open");
    assert_eq!(guest.fdstat(read_only).expect("stat").2, rights::FILE & !rights::CHANGES_CONTENT);
    let directory = guest.open("out", 0, ALL_RIGHTS & !rights::FD_WRITE).expect("open");
    assert_eq!(guest.fdstat(directory).expect("stat").2, rights::DIRECTORY);
    assert_eq!(guest.read(directory, 1), Err(Errno::Notcapable));
    assert_eq!(guest.seek(directory, 0, 0), Err(Errno::Notcapable));
    assert_eq!(guest.tell(directory), Err(Errno::Notcapable));
}

#[test]
fn descriptors_that_are_not_open_are_told_first() {
    let mut guest = Guest::new();
    guest.put(1024, b"out");
    for &function in Function::ALL {
        let args: Vec<u64> = match function {
            Function::FdRenumber => vec![9, 3],
            Function::PathLink => vec![9, 0, 1024, 3, 3, 1024, 3],
            Function::PathRename => vec![9, 1024, 3, 3, 1024, 3],
            Function::PathSymlink => vec![1024, 3, 9, 1024, 3],
            _ if function.name().starts_with("fd_") || function.name().starts_with("sock_") => {
                vec![9; function.params().len()]
            }
            Function::PathReadlink => vec![9, 1024, 3, 0, 0, 0],
            Function::PathOpen => vec![9, 0, 1024, 3, 0, 0, 0, 0, 16],
            Function::PathFilestatGet | Function::PathFilestatSetTimes => vec![9, 0, 1024, 3, 0, 0, 0],
            _ if function.name().starts_with("path_") => vec![9, 1024, 3],
            _ => continue,
        };
        assert_eq!(guest.call(function, &args), Err(Errno::Badf), "{function:?}");
    }
    assert_eq!(guest.call(Function::FdRenumber, &[3, 9]), Err(Errno::Badf));
}

#[test]
fn a_new_descriptor_has_the_lowest_free_number() {
    let mut guest = Guest::new();
    for fd in 4..8 {
        assert_eq!(guest.open("out", 0, 0), Ok(fd));
    }
    guest.close(6).expect("closed");
    guest.close(4).expect("closed");
    guest.close(0).expect("closed");
    assert_eq!(guest.open("out", 0, 0), Ok(4));
    guest.restore();
    assert_eq!(guest.open("out", 0, 0), Ok(6));
    assert_eq!(guest.open("out", 0, 0), Ok(8));
}

#[test]
fn renumbering_moves_a_descriptor_over_another() {
    let mut guest = Guest::new();
    let file = guest.open("out/x", CREATE, WRITE).expect("open");
    let other = guest.open("data/a.csv", 0, READ).expect("open");
    guest.write(file, b"12345").expect("written");
    assert_eq!(guest.call(Function::FdRenumber, &[file.into(), file.into()]), Ok(()));
    guest.call(Function::FdRenumber, &[file.into(), other.into()]).expect("moved");
    assert_eq!(guest.tell(file), Err(Errno::Badf));
    assert_eq!(guest.tell(other), Ok(5));
    assert_eq!(guest.call(Function::FdRenumber, &[other.into(), file.into()]), Err(Errno::Badf), "it is not open");
    // The file that is closed by it goes, if nothing else leads to it.
    guest.put_file("out/y", &[1; 3 * 4096]).expect("written");
    let unlinked = guest.open("out/y", 0, READ).expect("open");
    guest.unlink("out/y").expect("unlinked");
    let full = guest.open("out/z", CREATE, WRITE).expect("open");
    assert_eq!(guest.write(full, &[1]), Err(Errno::Nospc));
    guest.call(Function::FdRenumber, &[other.into(), unlinked.into()]).expect("moved");
    assert_eq!(guest.write(full, &[1]), Ok(1));
}

#[test]
fn flags_are_kept_and_append_is_obeyed() {
    let mut guest = Guest::new();
    let fd = guest.open_with("out/x", 0, CREATE, WRITE | rights::FD_FDSTAT_SET_FLAGS, 0, 1 | 4).expect("open");
    assert_eq!(guest.fdstat(fd).expect("stat").1, 5);
    guest.write(fd, b"one").expect("written");
    guest.seek(fd, 0, 0).expect("moved");
    guest.restore();
    guest.write(fd, b"two").expect("written");
    assert_eq!(guest.tell(fd), Ok(6));
    // The offset given is the offset meant.
    assert_eq!(guest.pwrite(fd, b"1", 0), Ok(1));
    assert_eq!(guest.tell(fd), Ok(6));
    // Nothing is appended nowhere.
    guest.seek(fd, 2, 0).expect("moved");
    assert_eq!(guest.write(fd, b""), Ok(0));
    assert_eq!(guest.tell(fd), Ok(2));
    guest.call(Function::FdFdstatSetFlags, &[fd.into(), 0]).expect("set");
    guest.seek(fd, 1, 0).expect("moved");
    guest.write(fd, b"N").expect("written");
    assert_eq!(guest.get_file("out/x"), Ok(b"1Netwo".to_vec()));
    assert_eq!(guest.call(Function::FdFdstatSetFlags, &[fd.into(), 32]), Err(Errno::Inval));
    assert_eq!(guest.call(Function::FdFdstatSetFlags, &[fd.into(), 1 << 16]), Err(Errno::Inval));
    assert_eq!(guest.open_with("out/x", 0, 0, 0, 0, 32), Err(Errno::Inval));
}

#[test]
fn reading_and_writing_at_an_offset_does_not_move() {
    let mut guest = Guest::new();
    let fd = guest.open("out/x", CREATE, WRITE).expect("open");
    assert_eq!(guest.pwrite(fd, b"abc", 4094), Ok(3));
    assert_eq!(guest.tell(fd), Ok(0));
    assert_eq!(guest.pread(fd, 10, 4090), Ok(b"\0\0\0\0abc".to_vec()));
    assert_eq!(guest.tell(fd), Ok(0));
    assert_eq!(guest.pread(fd, 10, 4097), Ok(vec![]));
    assert_eq!(guest.pread(fd, 10, i64::MAX as u64), Ok(vec![]));
    for offset in [1 << 63, u64::MAX] {
        assert_eq!(guest.pread(fd, 10, offset), Err(Errno::Inval));
        assert_eq!(guest.pwrite(fd, b"x", offset), Err(Errno::Inval));
    }
    assert_eq!(guest.pwrite(fd, b"x", i64::MAX as u64), Err(Errno::Nospc));
    assert_eq!(guest.pwrite(fd, b"", i64::MAX as u64), Ok(0));
}

#[test]
fn scattered_buffers_are_handled_in_order() {
    let mut guest = Guest::new();
    let fd = guest.open("out/x", CREATE, WRITE).expect("open");
    guest.put(8192, b"oneTWOthree");
    let list = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    guest.put(0, &list(&[8198, 5, 0, 0, 8192, 3, 8195, 3]));
    guest.call(Function::FdWrite, &[fd.into(), 0, 4, 64]).expect("written");
    assert_eq!(guest.u32(64), 11);
    assert_eq!(guest.get_file("out/x"), Ok(b"threeoneTWO".to_vec()));
    guest.seek(fd, 0, 0).expect("moved");
    guest.put(0, &list(&[9000, 2, 9100, 4, 9200, 100, 9300, 100]));
    guest.call(Function::FdRead, &[fd.into(), 0, 4, 64]).expect("read");
    assert_eq!(guest.u32(64), 11);
    assert_eq!(&guest.memory[9000..9002], b"th");
    assert_eq!(&guest.memory[9100..9104], b"reeo");
    assert_eq!(&guest.memory[9200..9205], b"neTWO");
    assert_eq!(guest.tell(fd), Ok(11));
    // No buffers at all.
    guest.call(Function::FdRead, &[fd.into(), 0, 0, 64]).expect("read");
    assert_eq!(guest.u32(64), 0);
}

#[test]
fn a_fault_in_any_buffer_moves_nothing() {
    let mut guest = Guest::new();
    let fd = guest.open("out/x", CREATE, WRITE).expect("open");
    guest.write(fd, b"content").expect("written");
    guest.seek(fd, 0, 0).expect("moved");
    let before = guest.saved();
    let bad: Vec<u8> = [8192u32, 4, 65_530, 7].iter().flat_map(|word| word.to_le_bytes()).collect();
    guest.put(0, &bad);
    let memory = guest.memory.clone();
    for (function, rest) in [
        (Function::FdRead, &[0, 2, 64][..]),
        (Function::FdWrite, &[0, 2, 64]),
        (Function::FdPread, &[0, 2, 0, 64]),
        (Function::FdPwrite, &[0, 2, 0, 64]),
        (Function::FdRead, &[0, 1, 65_533]),
        (Function::FdWrite, &[0, 1, 65_533]),
        (Function::FdRead, &[65_530, 1, 64]),
    ] {
        assert_eq!(guest.call(function, &[&[fd.into()], rest].concat()), Err(Errno::Fault), "{function:?}");
    }
    assert_eq!(guest.call(Function::FdWrite, &[1, 0, 2, 64]), Err(Errno::Fault));
    assert!(guest.saved() == before && guest.memory == memory);
}

#[test]
fn allocating_extends_and_never_cuts() {
    let mut guest = Guest::new();
    let fd = guest.open("out/x", CREATE, rights::FILE).expect("open");
    let mut allocate = |offset: u64, length: u64| guest.call(Function::FdAllocate, &[fd.into(), offset, length]);
    assert_eq!(allocate(10, 90), Ok(()));
    assert_eq!(allocate(0, 50), Ok(()));
    assert_eq!(allocate(0, 0), Err(Errno::Inval));
    assert_eq!(allocate(u64::MAX, 2), Err(Errno::Fbig));
    assert_eq!(allocate(0, 4 * 4096 + 1), Err(Errno::Fbig));
    assert_eq!(guest.get_file("out/x"), Ok(vec![0; 100]));
    guest.put_file("out/y", &[1; 3 * 4096]).expect("written");
    assert_eq!(guest.call(Function::FdAllocate, &[fd.into(), 0, 4097]), Err(Errno::Nospc));
    assert_eq!(guest.call(Function::FdFilestatSetSize, &[fd.into(), 4097]), Err(Errno::Nospc));
    assert_eq!(guest.call(Function::FdFilestatSetSize, &[fd.into(), u64::MAX]), Err(Errno::Fbig));
    guest.call(Function::FdAllocate, &[fd.into(), 0, 4096]).expect("the page that it has");
    assert_eq!(guest.call(Function::FdAdvise, &[fd.into(), 0, 0, 5]), Ok(()));
    assert_eq!(guest.call(Function::FdAdvise, &[fd.into(), 0, 0, 6]), Err(Errno::Inval));
}

#[test]
fn a_write_that_fits_in_part_is_told_as_such() {
    let mut guest = Guest::new();
    let fd = guest.open("out/x", CREATE, WRITE).expect("open");
    let list: Vec<u8> = [8192u32, 10_000, 8192, 10_000].iter().flat_map(|word| word.to_le_bytes()).collect();
    guest.put(0, &list);
    guest.call(Function::FdWrite, &[fd.into(), 0, 2, 64]).expect("a part");
    assert_eq!(guest.u32(64), 4 * 4096);
    assert_eq!(guest.tell(fd), Ok(4 * 4096));
    assert_eq!(guest.call(Function::FdWrite, &[fd.into(), 0, 2, 64]), Err(Errno::Nospc));
    guest.seek(fd, 0, 0).expect("moved");
    assert_eq!(guest.write(fd, b"over"), Ok(4), "there is room for what is there");
}

#[test]
fn pages_that_were_given_back_are_zero_again() {
    let mut guest = Guest::new();
    guest.put_file("out/x", &[0xff; 3 * 4096]).expect("written");
    guest.unlink("out/x").expect("unlinked");
    let fd = guest.open("out/y", CREATE, WRITE).expect("open");
    guest.call(Function::FdFilestatSetSize, &[fd.into(), 4 * 4096]).expect("extended");
    assert_eq!(guest.get_file("out/y"), Ok(vec![0; 4 * 4096]));
    guest.pwrite(fd, &[0xff; 100], 4090).expect("written");
    guest.call(Function::FdFilestatSetSize, &[fd.into(), 4095]).expect("cut");
    guest.call(Function::FdFilestatSetSize, &[fd.into(), 8192]).expect("extended");
    let content = guest.get_file("out/y").expect("read");
    assert_eq!(content[4090..4095], [0xff; 5]);
    assert_eq!(content[4095..], [0; 4097]);
    guest.restore();
}

#[test]
fn directories_take_no_calls_for_files() {
    let mut guest = Guest::new();
    for (function, rest) in [
        (Function::FdRead, &[0, 0, 16][..]),
        (Function::FdWrite, &[0, 0, 16]),
        (Function::FdPread, &[0, 0, 0, 16]),
        (Function::FdPwrite, &[0, 0, 0, 16]),
        (Function::FdSeek, &[0, 1, 16]),
        (Function::FdTell, &[16]),
        (Function::FdAllocate, &[0, 1]),
        (Function::FdAdvise, &[0, 0, 0]),
        (Function::FdFilestatSetSize, &[0]),
    ] {
        assert_eq!(guest.call(function, &[&[3], rest].concat()), Err(Errno::Notcapable), "{function:?}");
    }
    let file = guest.open("data/a.csv", 0, READ).expect("open");
    assert_eq!(guest.call(Function::FdReaddir, &[file.into(), 0, 10, 0, 16]), Err(Errno::Notcapable));
}
