//! `fd_readdir` and its cookies.

use std::string::String;
use std::vec::Vec;

use super::*;

#[test]
fn every_entry_is_listed_once_whatever_the_buffer() {
    let mut guest = Guest::new();
    let names: Vec<String> = (0..30).map(|n| std::format!("file-{}", n * 7 % 30)).collect();
    for name in &names {
        guest.put_file(&std::format!("out/{name}"), b"").expect("written");
    }
    for buffer in [60, 100, 4000] {
        assert_eq!(guest.list("out", buffer).expect("a list")[2..], names, "{buffer}");
    }
}

#[test]
fn listing_goes_on_while_entries_go() {
    let mut guest = Guest::new();
    for n in 0..20 {
        guest.put_file(&std::format!("out/{n}"), b"").expect("written");
    }
    let fd = guest.open("out", 2, READ).expect("open");
    let mut cookie = 0;
    let mut removed = 0;
    loop {
        let (found, _) = guest.list_some(fd, 80, cookie).expect("a list");
        let Some((last, _)) = found.last() else { break };
        cookie = *last;
        for (_, name) in found.into_iter().filter(|(_, name)| !name.starts_with('.')) {
            guest.unlink(&std::format!("out/{name}")).expect("removed");
            removed += 1;
        }
    }
    assert_eq!(removed, 20);
}

#[test]
fn listing_ends_while_entries_are_renamed() {
    let mut guest = Guest::new();
    for n in 0..20 {
        guest.put_file(&std::format!("out/{n}"), b"").expect("written");
    }
    guest.put_file("out/replaced", b"").expect("written");
    let fd = guest.open("out", DIRECTORY, READ).expect("open");
    let (mut cookie, mut seen) = (0, 0);
    loop {
        let (found, _) = guest.list_some(fd, 80, cookie).expect("a list");
        let Some((last, _)) = found.last() else { break };
        cookie = *last;
        for (_, name) in found.into_iter().filter(|(_, name)| !name.starts_with('.')) {
            seen += 1;
            assert!(seen <= 21, "it meets its own new names");
            let new = if seen == 1 { "replaced" } else { &["new-", &name].concat() };
            guest.rename(&["out/", &name].concat(), &["out/", new].concat()).expect("renamed");
        }
        guest.restore();
    }
    assert_eq!(seen, 20, "each once, and what was replaced not at all");
    // From elsewhere it comes last.
    guest.mkdir("out/d").expect("made");
    guest.rename("out/replaced", "out/d/x").expect("renamed");
    guest.rename("out/d/x", "out/x").expect("renamed");
    assert_eq!(guest.list("out", 8000).expect("a list").last().map(String::as_str), Some("x"));
}

/// Names from a cookie on, with a buffer that has room for all.
fn names(guest: &mut Guest, fd: u32, cookie: u64) -> Vec<String> {
    guest.list_some(fd, 8000, cookie).expect("a list").0.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn a_cookie_goes_on_behind_its_entry_whatever_came_and_went() {
    let mut guest = Guest::new();
    for name in ["a", "b", "c", "d"] {
        guest.put_file(&["out/", name].concat(), b"").expect("written");
    }
    let fd = guest.open("out", DIRECTORY, READ).expect("open");
    let after_b = guest.list_some(fd, 8000, 0).expect("a list").0[3].0;
    guest.unlink("out/a").expect("removed");
    guest.unlink("out/b").expect("removed");
    assert_eq!(names(&mut guest, fd, after_b), ["c", "d"]);
    guest.put_file("out/b", b"").expect("written");
    guest.rename("out/c", "out/e").expect("renamed");
    guest.restore();
    assert_eq!(
        names(&mut guest, fd, after_b),
        ["e", "d", "b"],
        "what was made anew comes last, what was renamed does not"
    );
    assert_eq!(names(&mut guest, fd, 0), [".", "..", "e", "d", "b"]);
    assert_eq!(names(&mut guest, fd, 1), ["..", "e", "d", "b"]);
    assert_eq!(names(&mut guest, fd, u64::MAX), [""; 0]);
    assert_eq!(names(&mut guest, fd, 1 << 40), [""; 0]);
}

#[test]
fn entries_tell_inode_and_type_as_stat_does() {
    let mut guest = Guest::new();
    guest.mkdir("out/d").expect("made");
    guest.put_file("out/f", b"").expect("written");
    guest.symlink("f", "out/l").expect("linked");
    for (directory, parent) in [
        (".", "."),
        ("job", "."),
        ("out", "."),
        ("data", "."),
        ("job/model", "job"),
        ("data/more", "data"),
        ("out/d", "out"),
    ] {
        let fd = guest.open(directory, DIRECTORY, READ).expect("open");
        guest.call(Function::FdReaddir, &[fd.into(), 8192, 8000, 0, 16]).expect("a list");
        let mut at = 8192;
        let end = at + guest.u32(16) as usize;
        while at < end {
            let (inode, length, kind) = (guest.u64(at + 8), guest.u32(at + 16) as usize, guest.memory[at + 20]);
            let name = String::from_utf8(guest.memory[at + 24..][..length].to_vec()).expect("UTF-8");
            let path = if name == ".." { parent.into() } else { std::format!("{directory}/{name}") };
            let [pointer, path_length] = guest.put(1024, path.as_bytes());
            guest.call(Function::PathFilestatGet, &[3, 0, pointer, path_length, 256]).expect("a stat");
            assert_eq!((guest.u64(264), guest.memory[272]), (inode, kind), "{path}");
            at += 24 + length;
        }
        guest.close(fd).expect("closed");
    }
}

#[test]
fn a_buffer_is_filled_to_its_end() {
    let mut guest = Guest::new();
    guest.put_file("out/name", b"").expect("written");
    let fd = guest.open("out", DIRECTORY, READ).expect("open");
    let all = 25 + 26 + 28;
    let mut whole = Vec::new();
    for length in (0..=all + 5).rev() {
        guest.memory[8192..8392].fill(0xee);
        guest.call(Function::FdReaddir, &[fd.into(), 8192, length, 0, 16]).expect("a list");
        let used = guest.u32(16) as usize;
        assert_eq!(used as u64, length.min(all));
        if whole.is_empty() {
            whole = guest.memory[8192..][..used].to_vec();
        }
        assert_eq!(guest.memory[8192..][..used], whole[..used], "{length}");
        assert!(guest.memory[8192 + used..8392].iter().all(|&byte| byte == 0xee), "{length}");
    }
    assert_eq!(guest.call(Function::FdReaddir, &[fd.into(), 65_536 - 10, 11, 0, 16]), Err(Errno::Fault));
    let before = guest.memory.clone();
    assert_eq!(guest.call(Function::FdReaddir, &[fd.into(), 8192, 100, 0, 65_533]), Err(Errno::Fault));
    assert!(guest.memory == before);
}
