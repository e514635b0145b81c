//! `path_rename` over what is there and what is not.

use super::*;

#[test]
fn renaming_replaces_what_may_be_replaced() {
    let mut guest = Guest::new();
    guest.put_file("out/a", b"a").expect("written");
    guest.put_file("out/b", b"b").expect("written");
    guest.mkdir("out/d").expect("made");
    guest.mkdir("out/e").expect("made");
    guest.rename("out/a", "out/b").expect("over a file");
    assert_eq!(guest.get_file("out/b"), Ok(b"a".to_vec()));
    assert_eq!(guest.rename("out/b", "out/d"), Err(Errno::Isdir));
    assert_eq!(guest.rename("out/d", "out/b"), Err(Errno::Notdir));
    guest.rename("out/b", "out/d/f").expect("into a directory");
    assert_eq!(guest.rename("out/e", "out/d"), Err(Errno::Notempty));
    assert_eq!(guest.rename("out/d", "out/d/x"), Err(Errno::Inval));
    guest.rename("out/d", "out/e").expect("over an empty directory");
    assert_eq!(guest.get_file("out/e/f"), Ok(b"a".to_vec()));
    assert_eq!(guest.rename("out/e/f", "tmp/f"), Err(Errno::Xdev));
    assert_eq!(guest.rename("out/none", "out/x"), Err(Errno::Noent));
    guest.restore();
    assert_eq!(guest.get_file("out/e/../e/f"), Ok(b"a".to_vec()));
}

#[test]
fn what_is_replaced_goes_but_stays_open() {
    let mut guest = Guest::new();
    guest.put_file("out/a", b"new").expect("written");
    guest.put_file("out/b", b"old").expect("written");
    let old = guest.open("out/b", 0, READ).expect("open");
    guest.rename("out/a", "out/b").expect("renamed");
    guest.restore();
    assert_eq!(guest.read(old, 10), Ok(b"old".to_vec()));
    assert_eq!(guest.fd_stat(old).map(|stat| stat.links), Ok(0));
    assert_eq!(guest.get_file("out/b"), Ok(b"new".to_vec()));
    assert_eq!(guest.stat("out/a"), Err(Errno::Noent));
    guest.mkdir("out/d").expect("made");
    guest.mkdir("out/e").expect("made");
    guest.put_file("out/d/f", b"f").expect("written");
    let gone = guest.open("out/e", DIRECTORY, READ).expect("open");
    guest.rename("out/d", "out/e").expect("renamed");
    assert_eq!(guest.list("out/e", 1000).expect("a list"), [".", "..", "f"]);
    assert_eq!(guest.list_some(gone, 1000, 0).expect("a list").0.len(), 2, "it is not the same directory");
    guest.restore();
}

#[test]
fn one_node_under_two_names_is_left_alone() {
    let mut guest = Guest::new();
    guest.put_file("out/a", b"a").expect("written");
    guest.link("out/a", "out/b").expect("linked");
    let before = guest.saved();
    guest.rename("out/a", "out/b").expect("nothing to do");
    guest.rename("out/a", "out/a").expect("nothing to do");
    guest.rename("out/../out/a", "out/a").expect("nothing to do");
    assert!(guest.saved() == before);
}

#[test]
fn links_are_renamed_and_replaced_themselves() {
    let mut guest = Guest::new();
    guest.mkdir("out/d").expect("made");
    guest.put_file("out/f", b"f").expect("written");
    guest.symlink("d", "out/l").expect("linked");
    guest.rename("out/l", "out/m").expect("renamed");
    assert_eq!(guest.readlink("out/m", 10), Ok(b"d".to_vec()));
    assert_eq!(guest.rename("out/m/", "out/n"), Err(Errno::Notdir));
    assert_eq!(guest.rename("out/m", "out/n/"), Err(Errno::Notdir));
    assert_eq!(guest.rename("out/d", "out/m"), Err(Errno::Notdir), "a link is no directory");
    assert_eq!(guest.rename("out/d", "out/m/"), Err(Errno::Notdir));
    guest.rename("out/f", "out/m").expect("over the link");
    assert_eq!(guest.stat("out/m"), Ok((4, 1, 1)));
    assert_eq!(guest.list("out/d", 1000).expect("a list"), [".", ".."]);
}

#[test]
fn slashes_at_the_end_ask_for_directories() {
    let mut guest = Guest::new();
    guest.mkdir("out/d").expect("made");
    guest.mkdir("out/empty").expect("made");
    guest.put_file("out/f", b"").expect("written");
    assert_eq!(guest.rename("out/f/", "out/g"), Err(Errno::Notdir));
    assert_eq!(guest.rename("out/f", "out/g/"), Err(Errno::Notdir));
    assert_eq!(guest.rename("out/f", "out/d/"), Err(Errno::Notdir));
    assert_eq!(guest.rename("out/d", "out/f/"), Err(Errno::Notdir));
    guest.rename("out/d/", "out/e/").expect("renamed");
    guest.rename("out/e", "out/empty/").expect("over an empty directory");
    assert_eq!(guest.stat("out/empty"), Ok((3, 0, 1)));
}

#[test]
fn a_directory_cannot_go_below_itself_nor_over_what_is_above() {
    let mut guest = Guest::new();
    guest.mkdir("out/a").expect("made");
    guest.mkdir("out/a/b").expect("made");
    guest.mkdir("out/a/b/c").expect("made");
    guest.symlink("b/c", "out/a/l").expect("linked");
    guest.put_file("out/a/b/f", b"").expect("written");
    for target in ["out/a/x", "out/a/b/x", "out/a/b/c/x", "out/a/l/x", "out/a/b", "out/a/b/c/"] {
        assert_eq!(guest.rename("out/a", target), Err(Errno::Inval), "{target}");
    }
    assert_eq!(guest.rename("out/a/b", "out/a"), Err(Errno::Notempty));
    assert_eq!(guest.rename("out/a/b/c", "out/a/b"), Err(Errno::Notempty));
    assert_eq!(guest.rename("out/a/b/f", "out/a"), Err(Errno::Isdir));
    for (from, to) in [("out/a/.", "out/x"), ("out/a/b/..", "out/x"), ("out/a", "out/."), ("out/a", "out/a/..")] {
        assert_eq!(guest.rename(from, to), Err(Errno::Inval), "{from} {to}");
    }
    assert_eq!(guest.rename("out", "tmp/out"), Err(Errno::Rofs));
    assert_eq!(guest.rename("out/a", "tmp"), Err(Errno::Rofs));
    assert_eq!(guest.rename("out/a", "data/x"), Err(Errno::Rofs));
    guest.rename("out/a/b", "out/b").expect("upwards");
    guest.rename("out/a", "out/b/c/a").expect("and down again");
    guest.restore();
    assert_eq!(guest.list("out/b/c/a", 1000).expect("a list"), [".", "..", "l"]);
    let fd = guest.open("out/b/c/a", DIRECTORY, READ).expect("open");
    let parent = guest.full_stat("out/b/c", 0).expect("a directory").inode;
    guest.list_some(fd, 1000, 0).expect("a list");
    assert_eq!(guest.u64(8192 + 24 + 1 + 8), parent, "`..` leads to the new parent");
}

#[test]
fn a_rename_that_has_no_room_changes_nothing() {
    let mut guest = Guest::new();
    let name = "y".repeat(250);
    let mut full = 0;
    while guest.mkdir(&std::format!("tmp/{full:05}{name}")).is_ok() {
        full += 1;
    }
    let left = tree::JOB_LIMITS.name_bytes - 255 * full;
    guest.mkdir(&["tmp/", &"z".repeat(left)].concat()).expect("the last bytes");
    let old = ["tmp/", &"z".repeat(left)].concat();
    let before = guest.saved();
    assert_eq!(guest.rename(&old, &["tmp/", &"z".repeat(left + 1)].concat()), Err(Errno::Nospc));
    assert_eq!(guest.rename(&old, &["tmp/", &"z".repeat(256)].concat()), Err(Errno::Nametoolong));
    assert!(guest.saved() == before);
    guest.rename(&old, &["tmp/", &"w".repeat(left)].concat()).expect("as long as before");
    // Replacing gives the other's name back.
    guest.rename(&["tmp/", &"w".repeat(left)].concat(), &std::format!("tmp/00000{name}")).expect("replaced");
    guest.restore();
    let mut guest = Guest::new();
    let entries = (0..).find(|n| guest.mkdir(&std::format!("out/{n}")).is_err()).expect("a limit");
    guest.rename("out/0", "out/x").expect("the number of entries stays");
    assert_eq!(guest.mkdir("out/more"), Err(Errno::Nospc));
    assert_eq!(entries, tree::JOB_LIMITS.inodes - 2);
}
