//! Times of files and what sets them.

use super::*;

const SET_ACCESS: u64 = 1;
const ACCESS_NOW: u64 = 2;
const SET_MODIFICATION: u64 = 4;
const MODIFICATION_NOW: u64 = 8;

impl Guest {
    /// Lets time pass; gives "now".
    fn tick(&mut self) -> u64 {
        self.call(Function::ClockTimeGet, &[0, 0, 0]).expect("a time");
        self.u64(0)
    }

    fn times(&mut self, path: &str) -> [u64; 3] {
        self.full_stat(path, NO_FOLLOW).expect("a stat").times
    }

    fn set_path_times(&mut self, path: &str, lookup: u64, flags: u64) -> Answer<()> {
        let [pointer, length] = self.put(1024, path.as_bytes());
        self.call(Function::PathFilestatSetTimes, &[3, lookup, pointer, length, 1, 2, flags])
    }
}

#[test]
fn flags_say_which_time_is_set_to_what() {
    let mut guest = Guest::new();
    let made = guest.tick();
    let fd = guest.open("out/f", CREATE, rights::FILE).expect("open");
    assert_eq!(guest.times("out/f"), [made; 3]);
    for (flags, access, modification) in [
        (SET_ACCESS, Some(1), None),
        (SET_MODIFICATION, None, Some(2)),
        (SET_ACCESS | SET_MODIFICATION, Some(1), Some(2)),
        (ACCESS_NOW, Some(0), None),
        (ACCESS_NOW | SET_MODIFICATION, Some(0), Some(2)),
        (MODIFICATION_NOW | ACCESS_NOW, Some(0), Some(0)),
    ] {
        let [old_access, old_modification, _] = guest.times("out/f");
        let now = guest.tick();
        let expected = |set: Option<u64>, old| set.map_or(old, |time| if time == 0 { now } else { time });
        guest.call(Function::FdFilestatSetTimes, &[fd.into(), 1, 2, flags]).expect("set");
        let expected = [expected(access, old_access), expected(modification, old_modification), now];
        assert_eq!(guest.times("out/f"), expected, "{flags}");
    }
    let before = guest.saved();
    for flags in [SET_ACCESS | ACCESS_NOW, SET_MODIFICATION | MODIFICATION_NOW, 16, 1 << 16] {
        assert_eq!(guest.call(Function::FdFilestatSetTimes, &[fd.into(), 1, 2, flags]), Err(Errno::Inval));
        assert_eq!(guest.set_path_times("out/f", 0, flags), Err(Errno::Inval));
    }
    guest.call(Function::FdFilestatSetTimes, &[fd.into(), 1, 2, 0]).expect("nothing to set");
    assert!(guest.saved() == before);
}

#[test]
fn a_link_has_times_of_its_own() {
    let mut guest = Guest::new();
    guest.put_file("out/f", b"").expect("written");
    guest.symlink("f", "out/l").expect("linked");
    guest.set_path_times("out/l", NO_FOLLOW, SET_ACCESS | SET_MODIFICATION).expect("set");
    assert_eq!(guest.times("out/l")[..2], [1, 2]);
    assert_eq!(guest.times("out/f"), [REALTIME_START; 3]);
    guest.set_path_times("out/l", FOLLOW, SET_MODIFICATION).expect("set");
    assert_eq!(guest.times("out/f")[1], 2);
    guest.restore();
    assert_eq!(guest.times("out/l")[..2], [1, 2]);
    assert_eq!(guest.set_path_times("out/l", 2, 0), Err(Errno::Inval));
    for path in ["data/a.csv", "data", ".", "job/model"] {
        assert_eq!(guest.set_path_times(path, NO_FOLLOW, SET_ACCESS), Err(Errno::Rofs), "{path}");
        assert_eq!(guest.times(path), [REALTIME_START; 3], "{path}");
    }
}

#[test]
fn changes_set_the_times_of_what_they_change() {
    let mut guest = Guest::new();
    guest.mkdir("out/d").expect("made");
    guest.put_file("out/f", b"content").expect("written");
    let fd = guest.open("out/f", 0, WRITE).expect("open");
    let began = guest.times("out/f")[0];
    let now = guest.tick();
    guest.write(fd, b"").expect("nothing");
    guest.seek(fd, 0, 0).expect("moved");
    guest.read(fd, 3).expect("read");
    guest.list("out", 100).expect("a list");
    assert_eq!(guest.times("out/f"), [began; 3]);
    guest.write(fd, b"x").expect("written");
    assert_eq!(guest.times("out/f"), [began, now, now]);
    let now = guest.tick();
    guest.call(Function::FdFilestatSetSize, &[fd.into(), 3]).expect("cut");
    assert_eq!(guest.times("out/f"), [began, now, now]);
    let modified = now;
    let now = guest.tick();
    guest.link("out/f", "out/d/g").expect("linked");
    assert_eq!(guest.times("out/f"), [began, modified, now], "a link more");
    assert_eq!(guest.times("out/d"), [began, now, now], "an entry more");
    let linked = now;
    let now = guest.tick();
    guest.rename("out/d/g", "out/h").expect("renamed");
    assert_eq!(guest.times("out/d"), [began, now, now]);
    assert_eq!(guest.times("out"), [began, now, now]);
    assert_eq!(guest.times("out/f"), [began, modified, linked], "a rename does not touch it");
    let now = guest.tick();
    guest.unlink("out/h").expect("removed");
    assert_eq!(guest.times("out/f"), [began, modified, now]);
    assert_eq!(guest.times("out"), [began, now, now]);
}
