//! Grants that are odd, or mean harm to whoever packs them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{self, Client, Done};

fn run_on(client: &Client, job: &str, grant: &Path) -> Done {
    let mut command = client.command(job);
    let program = command.get_program().to_owned();
    let mut granted = std::ffi::OsString::from("data=");
    granted.push(grant);
    let arguments: Vec<_> = command
        .get_args()
        .map(|argument| if argument.as_bytes().starts_with(b"data=") { granted.as_os_str() } else { argument })
        .map(OsStr::to_owned)
        .collect();
    let mut changed = std::process::Command::new(program);
    changed.args(arguments).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command = changed;
    command.stdin(std::process::Stdio::null());
    Done::of(command.output().expect("starts"))
}

/// Everything that cannot be packed: exit code 4, a message with the path, and no capsule.
#[test]
fn what_is_no_plain_data_is_refused_by_name() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let make = |name: &str, make: &dyn Fn(&Path)| {
        let grant = root.join(name);
        fs::create_dir_all(&grant).expect("a folder");
        fs::copy(client.data().join("table.csv"), grant.join("table.csv")).expect("copied");
        make(&grant);
        grant
    };
    let link = make("link", &|grant| symlink("/etc/passwd", grant.join("odd")).expect("a link"));
    let loops = make("loop", &|grant| symlink("odd", grant.join("odd")).expect("a link"));
    let socket = make("socket", &|grant| drop(UnixListener::bind(grant.join("odd")).expect("a socket")));
    let pipe = make("pipe", &|grant| {
        rustix::fs::mkfifoat(rustix::fs::CWD, grant.join("odd"), rustix::fs::Mode::RUSR).expect("a pipe");
    });
    let name = make("name", &|grant| drop(File::create(grant.join(OsStr::from_bytes(b"odd\xff"))).expect("a file")));
    let control = make("control", &|grant| drop(File::create(grant.join("odd\x1b[2J")).expect("a file")));
    let deep = make("deep", &|grant| fs::create_dir_all(grant.join("odd/".repeat(80))).expect("folders"));
    let huge = make("huge", &|grant| File::create(grant.join("odd")).expect("a file").set_len(1 << 40).expect("set"));
    let cases = [
        (link, "odd is a symbolic link"),
        (loops, "odd is a symbolic link"),
        (socket, "odd is a device, pipe or socket"),
        (pipe, "odd is a device, pipe or socket"),
        (name, "not UTF-8"),
        (control, "control characters"),
        (deep, "64"),
        (huge, "takes at most"),
        (root.join("missing"), "No such file"),
        ("/dev/null".into(), "device"),
        // It looks like an empty file, and cannot be read.
        ("/proc/self/mem".into(), "/proc/self/mem"),
    ];
    for (grant, says) in cases {
        let done = run_on(&client, &job, &grant);
        assert_eq!(done.code, Some(4), "{}: {}", grant.display(), done.stderr);
        let last = done.stderr.split("fedmkt-run: ").last().unwrap_or_default();
        assert!(last.contains(says), "{}: {says:?} is not in {last:?}", grant.display());
        assert!(!done.stderr.contains('\u{1b}'), "{}", grant.display());
        assert!(support::find(&client.home().join("capsules"), ".pack").is_empty(), "{}", grant.display());
    }
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let secret = client.data().join("a.txt");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("set");
    if File::open(&secret).is_ok() {
        println!("SKIPPED: whoever runs the tests may read everything; /proc/self/mem stood for unreadable files");
        return;
    }
    let done = client.run(&job);
    assert_eq!(done.code, Some(4), "{}", done.stderr);
    assert!(done.stderr.contains("a.txt") && done.stderr.contains("denied"), "{}", done.stderr);
}

#[test]
fn an_empty_folder_is_no_data_and_an_empty_file_is() {
    let client = Client::new();
    let text = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    let job = client.publish(&wat::parse_str(text).expect("wasm text"), |_| {}).to_string();
    let empty = tempfile::tempdir().expect("a folder");
    let done = run_on(&client, &job, empty.path());
    assert_eq!(done.code, Some(4), "{}", done.stderr);
    assert!(done.stderr.contains("there are no files in it"), "{}", done.stderr);
    let nothing = empty.path().join("nothing.csv");
    File::create(&nothing).expect("a file");
    assert_eq!(run_on(&client, &job, &nothing).object(6)["status"], "results-refused", "it ran, and made none");
}

#[test]
fn a_symbolic_link_to_the_grant_and_hard_links_in_it_are_plain_data() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let expected = client.run(&job).object(0)["data_root"].clone();
    let folder = tempfile::tempdir().expect("a folder");
    symlink(client.data(), folder.path().join("link")).expect("a link");
    assert_eq!(run_on(&client, &job, &folder.path().join("link")).object(0)["data_root"], expected);
    let linked = client.data().join("a.txt");
    fs::remove_file(&linked).expect("removed");
    let outside = folder.path().join("outside");
    fs::write(&outside, (0..500).map(|row| format!("a.txt,{row},{}\n", row * row % 97)).collect::<String>())
        .expect("a file");
    fs::hard_link(&outside, &linked).expect("a link");
    assert_eq!(client.run(&job).object(0)["data_root"], expected);
}

#[test]
fn a_grant_that_changes_all_the_time_is_packed_whole_or_refused() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |manifest| manifest.data.most_bytes = 1 << 24).to_string();
    let before = client.run(&job).object(0)["data_root"].clone();
    let stop = AtomicBool::new(false);
    let path = client.data().join("changing");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut length = 0;
            while !stop.load(Ordering::Relaxed) {
                length = (length + 4321) % 1_000_000;
                let next = path.with_extension("next");
                // Grows, shrinks, is replaced and is gone.
                let _ = fs::write(&path, vec![1; length]);
                let _ = fs::write(&next, vec![2; length / 2]);
                let _ = fs::rename(&next, &path);
                let _ = fs::remove_file(&path);
            }
        });
        for _ in 0..20 {
            let done = client.run(&job);
            match done.code {
                Some(0) => {}
                Some(4) => assert!(
                    ["changed", "No such file", "changing"].iter().any(|says| done.stderr.contains(says)),
                    "{}",
                    done.stderr
                ),
                code => panic!("{code:?}: {}", done.stderr),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let _ = fs::remove_file(path.with_extension("next"));
    let _ = fs::remove_file(&path);
    assert_eq!(client.run(&job).object(0)["data_root"], before, "what was there before is there again");
}
