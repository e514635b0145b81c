//! Directories of one's own, outside of a job.

use std::string::String;
use std::vec;
use std::vec::Vec;

use super::*;

const LIMITS: TreeLimits = TreeLimits { inodes: 100, entries: 100, name_bytes: 10_000 };

fn guest(paths: &[&str]) -> Guest {
    let directories = Directories::new(paths, 4, LIMITS).expect("directories");
    let wasi = Wasi::new(Config { files: Files::Directories(directories), open_files: 100, ..config() });
    Guest { wasi, memory: vec![0; 65_536] }
}

/// Paths with `/` at directories, contents and targets.
fn shown(guest: &Guest, path: &str) -> Vec<String> {
    let show = |(path, item): (String, Item<'_>)| match item {
        Item::Directory => std::format!("{path}/"),
        Item::File(contents) => {
            std::format!("{path}={}", String::from_utf8(contents.flatten().copied().collect()).expect("UTF-8"))
        }
        Item::SymbolicLink(target) => std::format!("{path}->{target}"),
    };
    guest.wasi.walk(path).expect("a directory").map(show).collect()
}

#[test]
fn what_is_put_in_is_seen_changed_and_found_again() {
    let mut guest = guest(&["/work", "in/deep/"]);
    guest.wasi.add("work/d", NewItem::Directory).expect("added");
    guest.wasi.add("/work/d/f", NewItem::File(b"content")).expect("added");
    guest.wasi.add("work/l", NewItem::SymbolicLink("d/f")).expect("added");
    guest.wasi.add("in/deep/x", NewItem::File(b"")).expect("added");
    assert_eq!(guest.get_file("work/l"), Ok(b"content".to_vec()));
    guest.put_file("work/d/g", b"new").expect("written");
    guest.unlink("work/l").expect("removed");
    guest.rename("in/deep/x", "work/0").expect("across");
    assert_eq!(shown(&guest, "work"), ["0=", "d/", "d/f=content", "d/g=new"]);
    assert_eq!(shown(&guest, "/in/deep"), [""; 0]);
    guest.wasi.add("work/host", NewItem::SymbolicLink("/etc/passwd")).expect("added");
    assert_eq!(guest.get_file("work/host"), Err(Errno::Perm), "it leads nowhere");
    assert_eq!(guest.readlink("work/host", 100), Ok(b"/etc/passwd".to_vec()));
    guest.unlink("work/host").expect("removed");
    assert!(guest.wasi.walk("work/d/f").is_none());
    assert!(guest.wasi.walk("none").is_none());
    assert_eq!(guest.list(".", 1000).expect("a list"), [".", "..", "in", "work"]);
    assert_eq!(guest.list("in", 1000).expect("a list"), [".", "..", "deep"]);
}

#[test]
fn what_lies_around_the_directories_cannot_be_changed() {
    let mut guest = guest(&["/a/b", "/a/c"]);
    for path in ["x", "a/x"] {
        assert_eq!(guest.open(path, CREATE, WRITE), Err(Errno::Rofs), "{path}");
        assert_eq!(guest.mkdir(path), Err(Errno::Rofs), "{path}");
    }
    for path in ["a", "a/b"] {
        assert_eq!(guest.rmdir(path), Err(Errno::Rofs), "{path}");
        assert_eq!(guest.rename(path, "a/b/x"), Err(Errno::Rofs), "{path}");
    }
    guest.mkdir("a/b/x").expect("made");
    guest.rename("a/b/x", "a/c/y").expect("renamed");
    assert_eq!(guest.stat("a/c/../b/../c/y"), Ok((3, 0, 1)));
    assert_eq!(guest.stat("a/../.."), Err(Errno::Perm));
    assert_eq!(guest.wasi.add("a/x", NewItem::Directory), Err(Errno::Rofs));
}

#[test]
fn the_root_itself_can_be_one() {
    let mut guest = guest(&["/"]);
    guest.put_file("f", b"1").expect("written");
    guest.mkdir("data").expect("made");
    guest.rename("f", "data/f").expect("renamed");
    assert_eq!(shown(&guest, "/"), ["data/", "data/f=1"]);
    assert_eq!(guest.rmdir("."), Err(Errno::Inval));
    assert_eq!(guest.rename("data", "data/x"), Err(Errno::Inval));
    assert_eq!(guest.stat(".."), Err(Errno::Perm));
    let fd = guest.open(".", DIRECTORY, READ).expect("open");
    assert_eq!(guest.list_some(fd, 1000, 0).expect("a list").0.len(), 3);
    assert_eq!(guest.u64(8192 + 25 + 8), guest.u64(8192 + 8), "`..` of the root is the root");
}

#[test]
fn a_guest_without_directories_has_none_open() {
    let mut guest = guest(&[]);
    assert_eq!(guest.call(Function::FdPrestatGet, &[3, 0]), Err(Errno::Badf));
    assert_eq!(guest.open(".", 0, 0), Err(Errno::Badf));
    assert_eq!(guest.write(1, b"but"), Ok(3));
}

#[test]
fn too_much_does_not_fit() {
    let mut guest = guest(&["/"]);
    assert_eq!(guest.wasi.add("big", NewItem::File(&[1; 4 * 4096 + 1])), Err(Errno::Nospc));
    let full = (0..).find(|n| guest.wasi.add(&std::format!("{n}"), NewItem::Directory).is_err());
    assert_eq!(full, Some(98), "the root and `big` count as well");
    assert_eq!(guest.wasi.add("x", NewItem::Directory), Err(Errno::Nospc));
    assert_eq!(guest.wasi.add("0", NewItem::Directory), Err(Errno::Exist));
    assert_eq!(guest.wasi.add("", NewItem::Directory), Err(Errno::Exist));
    assert_eq!(guest.wasi.add("none/x", NewItem::Directory), Err(Errno::Noent));
}

#[test]
fn paths_that_cannot_be_are_refused() {
    let new = |paths: &[&str]| Directories::new(paths, 1, LIMITS).err();
    let long = "x".repeat(256);
    for path in ["..", "a/../b", "/a\0", &long] {
        assert_eq!(new(&[path]), Some(DirectoryError::Path(path.into())));
    }
    for (one, other) in [("/", "/a"), ("/a", "/"), ("a", "/a/"), ("a/b", "a/b/c"), ("/a/b", "/a")] {
        assert_eq!(new(&[one, other]), Some(DirectoryError::Overlap(one.into(), other.into())));
    }
    assert_eq!(new(&["a/b", "a/bc", "./a/d"]), None);
    assert_eq!(new(&[]), None);
}

#[test]
#[should_panic(expected = "only the state of a job's run")]
fn such_a_state_has_no_place_in_an_image() {
    guest(&["/"]).metadata();
}
