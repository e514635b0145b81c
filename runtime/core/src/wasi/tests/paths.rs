//! Lookups, and calls that make and remove what has a name.

use std::vec;
use std::vec::Vec;

use super::*;

#[test]
fn grant_and_model_can_be_read_and_listed() {
    let mut guest = Guest::new();
    assert_eq!(guest.get_file("data/a.csv"), Ok(b"1,2\n3,4\n".to_vec()));
    assert_eq!(guest.get_file("data/more/../more/b.csv"), Ok(b"5,6\n".to_vec()));
    assert_eq!(guest.get_file("job/model/layer.bin"), Ok(b"weights".to_vec()));
    assert_eq!(guest.get_file("job/trainer.wasm"), Err(Errno::Noent));
    assert_eq!(guest.list(".", 1000).expect("a list"), [".", "..", "data", "job", "out", "tmp"]);
    assert_eq!(guest.list("data", 1000).expect("a list"), [".", "..", "a.csv", "more"]);
    assert_eq!(guest.list("job/model", 1000).expect("a list"), [".", "..", "layer.bin"]);
    assert_eq!(guest.stat("data/a.csv"), Ok((4, 8, 1)));
    assert_eq!(guest.stat("data/more"), Ok((3, 0, 1)));
}

#[test]
fn only_out_and_tmp_can_be_written() {
    let mut guest = Guest::new();
    for path in ["x", "data/x", "job/x", "job/model/x", "data/more/x"] {
        assert_eq!(guest.open(path, CREATE, WRITE), Err(Errno::Rofs), "{path}");
        assert_eq!(guest.mkdir(path), Err(Errno::Rofs), "{path}");
    }
    assert_eq!(guest.open("data/a.csv", 0, WRITE), Err(Errno::Rofs));
    assert_eq!(guest.open("data/a.csv", TRUNCATE, READ), Err(Errno::Rofs));
    assert_eq!(guest.unlink("data/a.csv"), Err(Errno::Rofs));
    assert_eq!(guest.rmdir("data/more"), Err(Errno::Rofs));
    assert_eq!(guest.rename("data/a.csv", "out/a.csv"), Err(Errno::Rofs));
    assert_eq!(guest.link("data/a.csv", "out/a.csv"), Err(Errno::Xdev));
    guest.put_file("out/x", b"1").expect("written");
    guest.put_file("tmp/x", b"2").expect("written");
}

#[test]
fn nothing_is_reached_above_the_root() {
    let mut guest = Guest::new();
    for path in ["..", "../etc", "out/../../x", "/etc/passwd", "/"] {
        assert_eq!(guest.open(path, 0, READ), Err(Errno::Perm), "{path}");
    }
    guest.symlink("../..", "out/up").expect("a link");
    assert_eq!(guest.open("out/up/x", 0, READ), Err(Errno::Perm));
    assert_eq!(guest.symlink("/etc", "out/abs"), Err(Errno::Perm));
    let out = guest.open("out", 2, READ).expect("open");
    let wasi_open = guest.open_from(out, "../data/a.csv", 0, 0);
    assert!(matches!(wasi_open, Err(Errno::Perm | Errno::Notcapable)), "{wasi_open:?}");
}

#[test]
fn names_and_entries_have_limits() {
    let mut guest = Guest::new();
    assert_eq!(guest.mkdir(&["out/", &"x".repeat(256)].concat()), Err(Errno::Nametoolong));
    assert_eq!(guest.mkdir(&["out/", &"x/".repeat(2100)].concat()), Err(Errno::Nametoolong));
    assert_eq!(guest.mkdir(""), Err(Errno::Noent));
    let full = (0..).find(|n| guest.mkdir(&std::format!("out/{n}")).is_err()).expect("a limit");
    assert_eq!(full, tree::JOB_LIMITS.inodes - 2);
    assert_eq!(guest.mkdir("out/more"), Err(Errno::Nospc));
    guest.restore();
    guest.rmdir("out/0").expect("removed");
    guest.mkdir("out/more").expect("room again");
    let mut guest = Guest::new();
    let name = "y".repeat(250);
    let full = (0..).find(|n| guest.mkdir(&std::format!("tmp/{n:05}{name}")).is_err()).expect("a limit");
    assert_eq!(full, tree::JOB_LIMITS.name_bytes / 255);
    guest.restore();
}

#[test]
fn directories_come_and_go() {
    let mut guest = Guest::new();
    guest.mkdir("out/a").expect("made");
    guest.mkdir("out/a/b/").expect("made");
    assert_eq!(guest.mkdir("out/a"), Err(Errno::Exist));
    assert_eq!(guest.mkdir("out/x/y"), Err(Errno::Noent));
    assert_eq!(guest.rmdir("out/a"), Err(Errno::Notempty));
    assert_eq!(guest.unlink("out/a"), Err(Errno::Isdir));
    guest.rmdir("out/a/b").expect("removed");
    guest.rmdir("out/a").expect("removed");
    assert_eq!(guest.stat("out/a"), Err(Errno::Noent));
    assert_eq!(guest.rmdir("out"), Err(Errno::Rofs));
}

#[test]
fn links_lead_to_the_same_file() {
    let mut guest = Guest::new();
    guest.put_file("out/a", b"a").expect("written");
    guest.link("out/a", "out/b").expect("linked");
    assert_eq!(guest.stat("out/b"), Ok((4, 1, 2)));
    guest.unlink("out/a").expect("unlinked");
    assert_eq!(guest.get_file("out/b"), Ok(b"a".to_vec()));
    assert_eq!(guest.link("out/b", "tmp/b"), Err(Errno::Xdev));
    assert_eq!(guest.link("out", "out/c"), Err(Errno::Perm));
    guest.symlink("b", "out/s").expect("linked");
    assert_eq!(guest.get_file("out/s"), Ok(b"a".to_vec()));
    assert_eq!(guest.stat("out/s").expect("a link").0, 7);
    guest.symlink("loop", "out/loop").expect("linked");
    assert_eq!(guest.open("out/loop", 0, READ), Err(Errno::Loop));
    guest.symlink("../data", "out/to-data").expect("linked");
    assert_eq!(guest.get_file("out/to-data/a.csv"), Ok(b"1,2\n3,4\n".to_vec()));
}

#[test]
fn dots_and_slashes_lead_where_they_should() {
    let mut guest = Guest::new();
    guest.mkdir("out/a").expect("made");
    guest.mkdir("out/a/b").expect("made");
    guest.put_file("out/a/f", b"f").expect("written");
    for path in ["out/a/f", "out//a///f", "./out/./a/f", "out/a/b/../f", "out/a/b/.././b/../f", "out/../out/a/f"] {
        assert_eq!(guest.get_file(path), Ok(b"f".to_vec()), "{path}");
    }
    for path in ["out/a/", "out/a/.", "out/a/b/..", "out/a//", "."] {
        assert_eq!(guest.stat(path).expect("a directory").0, 3, "{path}");
    }
    for path in ["out/a/f/", "out/a/f/.", "out/a/f/..", "out/a/f/x", "out/a/f//"] {
        assert_eq!(guest.stat(path), Err(Errno::Notdir), "{path}");
        assert_eq!(guest.open(path, 0, READ), Err(Errno::Notdir), "{path}");
    }
    for path in ["out/x/.", "out/x/..", "out/x/y", "out/x/", "out/x"] {
        assert_eq!(guest.stat(path), Err(Errno::Noent), "{path}");
    }
    assert_eq!(guest.stat("out/a\0"), Err(Errno::Inval));
    assert_eq!(guest.stat(""), Err(Errno::Noent));
}

#[test]
fn what_is_looked_up_from_a_directory_stays_below_it() {
    let mut guest = Guest::new();
    guest.mkdir("out/a").expect("made");
    guest.put_file("out/secret", b"1").expect("written");
    guest.symlink("../secret", "out/a/up").expect("linked");
    guest.symlink("..", "out/a/parent").expect("linked");
    assert_eq!(guest.get_file("out/a/up"), Ok(b"1".to_vec()), "from the root it is inside");
    assert_eq!(guest.get_file("out/a/parent/secret"), Ok(b"1".to_vec()));
    let directory = guest.open_with("out/a", FOLLOW, 0, ALL_RIGHTS & !rights::FD_WRITE, ALL_RIGHTS, 0).expect("open");
    for path in ["..", "../secret", "up", "parent", "parent/secret", "../a/up", "x/../.."] {
        let found = guest.open_from(directory, path, 0, 0);
        // A missing directory on the way is told first.
        let expected = if path.starts_with('x') { Errno::Noent } else { Errno::Perm };
        assert_eq!(found, Err(expected), "{path}");
    }
    assert_eq!(guest.open_from(directory, "/", 0, 0), Err(Errno::Perm));
    // The directory may move: what is above it never mattered.
    guest.rename("out/a", "out/b").expect("renamed");
    guest.put_file("out/b/f", b"2").expect("written");
    assert!(guest.open_from(directory, "f", 0, READ).is_ok());
    assert_eq!(guest.open_from(directory, "../secret", 0, 0), Err(Errno::Perm));
}

#[test]
fn links_are_followed_on_the_way_and_at_the_end_if_asked() {
    let mut guest = Guest::new();
    guest.mkdir("out/d").expect("made");
    guest.put_file("out/d/f", b"f").expect("written");
    guest.symlink("d", "out/to-d").expect("linked");
    guest.symlink("d/f", "out/to-f").expect("linked");
    guest.symlink("d/", "out/to-d-slash").expect("linked");
    guest.symlink("d/f/", "out/to-f-slash").expect("linked");
    guest.symlink("to-d/../to-d/f", "out/far").expect("linked");
    let kind = |guest: &mut Guest, path: &str, lookup| guest.full_stat(path, lookup).map(|stat| stat.kind);
    assert_eq!(kind(&mut guest, "out/to-d", NO_FOLLOW), Ok(7));
    assert_eq!(kind(&mut guest, "out/to-d", FOLLOW), Ok(3));
    assert_eq!(kind(&mut guest, "out/to-d/", NO_FOLLOW), Ok(3), "the slash asks for the directory");
    assert_eq!(kind(&mut guest, "out/to-d/.", NO_FOLLOW), Ok(3));
    assert_eq!(kind(&mut guest, "out/to-d/f", NO_FOLLOW), Ok(4));
    assert_eq!(kind(&mut guest, "out/to-d-slash", NO_FOLLOW), Ok(7));
    assert_eq!(kind(&mut guest, "out/to-d-slash", FOLLOW), Ok(3));
    assert_eq!(kind(&mut guest, "out/to-f/", NO_FOLLOW), Err(Errno::Notdir));
    assert_eq!(kind(&mut guest, "out/to-f-slash", FOLLOW), Err(Errno::Notdir));
    assert_eq!(kind(&mut guest, "out/far", FOLLOW), Ok(4));
    assert_eq!(guest.full_stat("out/far", FOLLOW), guest.full_stat("out/d/f", NO_FOLLOW));
    assert_eq!(guest.full_stat("out", 2), Err(Errno::Inval));
    assert_eq!(guest.open_with("out", 2, 0, 0, 0, 0), Err(Errno::Inval));
    assert_eq!(guest.stat("out/to-d").expect("a link").1, 1, "the bytes of the target");
}

#[test]
fn loops_and_long_chains_of_links_end() {
    let mut guest = Guest::new();
    guest.symlink("b", "out/a").expect("linked");
    guest.symlink("a", "out/b").expect("linked");
    guest.symlink("self/x", "out/self").expect("linked");
    for path in ["out/a", "out/a/x", "out/self", "out/self/"] {
        assert_eq!(guest.full_stat(path, FOLLOW), Err(Errno::Loop), "{path}");
        assert_eq!(guest.open(path, CREATE, WRITE), Err(Errno::Loop), "{path}");
    }
    assert_eq!(guest.stat("out/a").expect("the link itself").0, 7);
    guest.put_file("out/0", b"end").expect("written");
    for n in 1..=41 {
        guest.symlink(&std::format!("{}", n - 1), &std::format!("out/{n}")).expect("linked");
    }
    assert_eq!(guest.get_file("out/40"), Ok(b"end".to_vec()));
    assert_eq!(guest.get_file("out/41"), Err(Errno::Loop));
}

#[test]
fn opening_makes_cuts_and_refuses() {
    let mut guest = Guest::new();
    guest.mkdir("out/d").expect("made");
    guest.put_file("out/f", b"content").expect("written");
    guest.symlink("f", "out/to-f").expect("linked");
    guest.symlink("new", "out/dangling").expect("linked");
    for (path, lookup, how, base, expected) in [
        ("out/f", NO_FOLLOW, CREATE | EXCLUSIVE, 0, Errno::Exist),
        ("out/to-f", FOLLOW, CREATE | EXCLUSIVE, 0, Errno::Exist),
        ("out/dangling", FOLLOW, CREATE | EXCLUSIVE, 0, Errno::Exist),
        ("out/d", NO_FOLLOW, CREATE | EXCLUSIVE, 0, Errno::Exist),
        ("out/to-f", NO_FOLLOW, 0, 0, Errno::Loop),
        ("out/to-f", NO_FOLLOW, CREATE, 0, Errno::Loop),
        ("out/to-f", NO_FOLLOW, DIRECTORY, 0, Errno::Notdir),
        ("out/dangling", NO_FOLLOW, CREATE, 0, Errno::Loop),
        ("out/dangling", FOLLOW, 0, 0, Errno::Noent),
        ("out/f", NO_FOLLOW, DIRECTORY, 0, Errno::Notdir),
        ("out/f/", NO_FOLLOW, CREATE, 0, Errno::Notdir),
        ("out/none", NO_FOLLOW, DIRECTORY, 0, Errno::Noent),
        ("out/none/", NO_FOLLOW, CREATE, 0, Errno::Isdir),
        ("out/none/x", NO_FOLLOW, CREATE, 0, Errno::Noent),
        ("out/none", NO_FOLLOW, CREATE | DIRECTORY, 0, Errno::Inval),
        ("out/d", NO_FOLLOW, CREATE | DIRECTORY, 0, Errno::Inval),
        ("out/none", NO_FOLLOW, 16, 0, Errno::Inval),
        ("out/d", NO_FOLLOW, CREATE, 0, Errno::Isdir),
        ("out/d", NO_FOLLOW, TRUNCATE, 0, Errno::Isdir),
        ("out/d", NO_FOLLOW, 0, rights::FD_WRITE, Errno::Isdir),
        ("data", NO_FOLLOW, 0, rights::FD_WRITE, Errno::Isdir),
        ("out/.", NO_FOLLOW, CREATE, 0, Errno::Isdir),
    ] {
        let before = guest.saved();
        assert_eq!(guest.open_with(path, lookup, how, base, 0, 0), Err(expected), "{path} {lookup} {how}");
        assert!(guest.saved() == before, "{path} {lookup} {how}");
    }
    assert_eq!(guest.get_file("out/f"), Ok(b"content".to_vec()));
    let fd = guest.open_with("out/dangling", FOLLOW, CREATE, WRITE, 0, 0).expect("makes what the link leads to");
    guest.write(fd, b"1").expect("written");
    assert_eq!(guest.get_file("out/new"), Ok(b"1".to_vec()));
    // Cutting asks for no right on the file, only for one on the directory.
    let fd = guest.open_with("out/f", NO_FOLLOW, TRUNCATE, 0, 0, 0).expect("cut");
    assert_eq!(guest.stat("out/f"), Ok((4, 0, 1)));
    assert_eq!(guest.write(fd, b"x"), Err(Errno::Notcapable));
}

#[test]
fn a_result_that_cannot_be_told_opens_and_makes_nothing() {
    let mut guest = Guest::new();
    let before = guest.saved();
    let [path, length] = guest.put(1024, b"out/x");
    let args = [3, 0, path, length, CREATE.into(), 0, 0, 0, 65_533];
    assert_eq!(guest.call(Function::PathOpen, &args), Err(Errno::Fault));
    assert!(guest.saved() == before);
}

#[test]
fn the_last_name_is_meant_itself_when_it_is_made_or_removed() {
    let mut guest = Guest::new();
    guest.mkdir("out/d").expect("made");
    guest.put_file("out/f", b"").expect("written");
    guest.symlink("d", "out/to-d").expect("linked");
    guest.symlink("gone", "out/dangling").expect("linked");
    let slashed = [
        ("out/d/", Errno::Exist, Errno::Isdir),
        ("out/f/", Errno::Exist, Errno::Notdir),
        ("out/to-d/", Errno::Exist, Errno::Notdir),
        ("out/dangling/", Errno::Exist, Errno::Notdir),
    ];
    for (path, made, unlinked) in slashed {
        assert_eq!(guest.mkdir(path), Err(made), "{path}");
        assert_eq!(guest.symlink("x", path), Err(made), "{path}");
        assert_eq!(guest.link("out/f", path), Err(made), "{path}");
        assert_eq!(guest.unlink(path), Err(unlinked), "{path}");
    }
    for path in ["out/f", "out/f/", "out/to-d", "out/to-d/", "out/dangling/"] {
        assert_eq!(guest.rmdir(path), Err(Errno::Notdir), "{path}");
    }
    assert_eq!(guest.symlink("x", "out/new/"), Err(Errno::Noent));
    assert_eq!(guest.link("out/f", "out/new/"), Err(Errno::Noent));
    assert_eq!(guest.unlink("out/none/"), Err(Errno::Noent));
    for path in [".", "out/.", "out/d/.."] {
        assert_eq!(guest.mkdir(path), Err(Errno::Exist), "{path}");
        assert_eq!(guest.rmdir(path), Err(Errno::Inval), "{path}");
        assert_eq!(guest.unlink(path), Err(Errno::Isdir), "{path}");
    }
    guest.mkdir("out/e//").expect("made");
    guest.rmdir("out/e/").expect("removed");
    guest.unlink("out/to-d").expect("the link goes");
    assert_eq!(guest.stat("out/d"), Ok((3, 0, 1)), "the directory stays");
}

#[test]
fn symbolic_links_keep_their_target_as_it_is() {
    let mut guest = Guest::new();
    guest.symlink("../x//./y/", "out/l").expect("linked");
    assert_eq!(guest.readlink("out/l", 100), Ok(b"../x//./y/".to_vec()));
    assert_eq!(guest.readlink("out/l", 4), Ok(b"../x".to_vec()));
    assert_eq!(guest.readlink("out/l", 0), Ok(vec![]));
    guest.restore();
    assert_eq!(guest.readlink("out/l", 100), Ok(b"../x//./y/".to_vec()));
    assert_eq!(guest.readlink("out", 100), Err(Errno::Inval));
    assert_eq!(guest.readlink("data/a.csv", 100), Err(Errno::Inval));
    assert_eq!(guest.readlink("out/none", 100), Err(Errno::Noent));
    assert_eq!(guest.symlink("", "out/m"), Err(Errno::Noent));
    assert_eq!(guest.symlink("a\0b", "out/m"), Err(Errno::Inval));
    assert_eq!(guest.symlink(&"x".repeat(4097), "out/m"), Err(Errno::Nametoolong));
    guest.symlink(&"x".repeat(4096), "out/m").expect("linked");
    assert_eq!(guest.full_stat("out/m", FOLLOW), Err(Errno::Nametoolong), "a name of it");
}

#[test]
fn hard_links_count_and_share() {
    let mut guest = Guest::new();
    guest.put_file("out/a", b"a").expect("written");
    guest.symlink("a", "out/s").expect("linked");
    guest.link("out/s", "out/s2").expect("the link itself");
    assert_eq!(guest.stat("out/s2"), Ok((7, 1, 2)));
    guest.link_with(FOLLOW, "out/s", "out/b").expect("what it leads to");
    assert_eq!(guest.stat("out/b"), Ok((4, 1, 2)));
    assert_eq!(guest.full_stat("out/a", 0).map(|stat| stat.inode), guest.full_stat("out/b", 0).map(|stat| stat.inode));
    assert_eq!(guest.link_with(2, "out/a", "out/c"), Err(Errno::Inval));
    assert_eq!(guest.link("out/a", "out/b"), Err(Errno::Exist));
    assert_eq!(guest.link("out/a", "out/a"), Err(Errno::Exist));
    assert_eq!(guest.link("out/none", "out/c"), Err(Errno::Noent));
    assert_eq!(guest.link("out/a", "out/none/c"), Err(Errno::Noent));
    assert_eq!(guest.link("out/a", "data/c"), Err(Errno::Rofs));
    let fd = guest.open("out/b", 0, WRITE).expect("open");
    guest.write(fd, b"new").expect("written");
    assert_eq!(guest.get_file("out/a"), Ok(b"new".to_vec()));
    guest.restore();
    guest.unlink("out/a").expect("unlinked");
    assert_eq!(guest.fd_stat(fd).map(|stat| stat.links), Ok(1));
    guest.unlink("out/b").expect("unlinked");
    assert_eq!(guest.fd_stat(fd).map(|stat| stat.links), Ok(0));
    for n in 1..1000 {
        guest.link("out/s", &std::format!("out/{n}")).expect("linked");
        if n == 998 {
            break;
        }
    }
    let before = guest.saved();
    assert_eq!(guest.link("out/s", "out/more"), Err(Errno::Mlink));
    assert!(guest.saved() == before);
}

#[test]
fn what_is_open_lives_on_without_a_name() {
    let mut guest = Guest::new();
    guest.mkdir("out/d").expect("made");
    let directory = guest.open("out/d", DIRECTORY, ALL_RIGHTS & !rights::FD_WRITE).expect("open");
    let file = guest.open("out/f", CREATE, WRITE).expect("open");
    guest.write(file, b"still").expect("written");
    guest.unlink("out/f").expect("unlinked");
    guest.rmdir("out/d").expect("removed");
    guest.restore();
    assert_eq!(guest.pread(file, 10, 0), Ok(b"still".to_vec()));
    assert_eq!(guest.open_from(directory, "x", CREATE, 0), Err(Errno::Noent));
    let [path, length] = guest.put(1024, b"x");
    assert_eq!(guest.call(Function::PathCreateDirectory, &[directory.into(), path, length]), Err(Errno::Noent));
    assert_eq!(guest.call(Function::PathSymlink, &[path, 1, directory.into(), path, length]), Err(Errno::Noent));
    guest.put_file("out/y", b"").expect("written");
    let [old, old_length] = guest.put(1100, b"out/y");
    let rename = [3, old, old_length, directory.into(), path, length];
    assert_eq!(guest.call(Function::PathRename, &rename), Err(Errno::Noent));
    assert_eq!(
        guest.call(Function::PathLink, &[3, 0, old, old_length, directory.into(), path, length]),
        Err(Errno::Noent)
    );
    assert_eq!(guest.stat("out/y"), Ok((4, 0, 1)));
    let listed = guest.list_some(directory, 1000, 0).expect("a list").0;
    assert_eq!(listed.into_iter().map(|(_, name)| name).collect::<Vec<_>>(), [".", ".."]);
    // The name is free.
    guest.mkdir("out/d").expect("made");
    guest.put_file("out/f", b"other").expect("written");
    guest.close(directory).expect("closed");
    guest.close(file).expect("closed");
    guest.restore();
}
