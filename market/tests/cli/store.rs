//! `fedmkt store`.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use fedmkt_test_kit::accidents::limited;

use crate::sandbox::{Done, Sandbox};

const EMPTY_FILE: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

#[test]
fn what_is_added_comes_back() {
    let sandbox = Sandbox::new();
    sandbox.write("folder/a/file", "content");
    sandbox.write("folder/empty", "");
    let added = sandbox.run(&["store", "add", "folder", "folder/empty", "-"]);
    let cids: Vec<_> = added.text().lines().map(str::to_string).collect();
    assert_eq!(cids[1..], [EMPTY_FILE, EMPTY_FILE]);
    assert_eq!(added.stderr, "");
    sandbox.run(&["store", "get", &cids[0], "--output", "back"]).text();
    assert_eq!(fs::read(sandbox.path("back/a/file")).expect("a file"), b"content");
    sandbox.run(&["store", "get", &cids[0]]).text();
    assert!(sandbox.path(&cids[0]).join("empty").is_file());
    let objects = sandbox.run(&["store", "add", "--json", "folder"]).json();
    assert_eq!(objects, serde_json::json!([{ "cid": cids[0], "path": "folder" }]));
}

#[test]
fn pipes_work_in_both_directions() {
    let sandbox = Sandbox::new();
    let content: Vec<u8> = (0..3_000_000u32).map(|index| index as u8).collect();
    let cid = sandbox.run_with(&["store", "add", "-"], &content).line();
    let done = sandbox.run(&["store", "get", &format!("ipfs://{cid}"), "--output", "-"]);
    assert_eq!(done.code, Some(0));
    assert!(done.stdout == content);
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let sandbox = Sandbox::new();
    let cid = sandbox.run_with(&["store", "add", "-"], &vec![7; 3_000_000]).line();
    let mut command = sandbox.command(&["store", "get", &cid, "--output", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("fedmkt runs");
    let mut start = [0; 10];
    child.stdout.take().expect("a pipe").read_exact(&mut start).expect("bytes");
    let output = child.wait_with_output().expect("fedmkt runs");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn get_writes_over_nothing_and_stops_at_its_limit() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "0123456789");
    let cid = sandbox.run(&["store", "add", "file"]).line();
    sandbox.run(&["store", "get", &cid, "--output", "file"]).fails(3, "file exists already");
    sandbox.run(&["store", "get", &cid, "--output", "back", "--most-bytes", "9"]).fails(3, "--most-bytes");
    assert!(!sandbox.path("back").exists());
    sandbox.run(&["store", "get", &cid, "--output", "back", "--most-bytes", "10"]).text();
    sandbox.run(&["store", "get", &cid, "--output", "no/such/folder"]).fails(3, "no/such/folder");
}

#[test]
fn what_cannot_be_added_is_named() {
    let sandbox = Sandbox::new();
    sandbox.run(&["store", "add", "nowhere"]).fails(3, "cannot look at nowhere");
    fs::create_dir(sandbox.path("folder")).expect("a folder");
    std::os::unix::fs::symlink("/etc/passwd", sandbox.path("folder/link")).expect("a link");
    sandbox.run(&["store", "add", "folder"]).fails(3, "folder/link: only files and folders can be added");
}

#[test]
fn lists_tell_pins_blocks_and_contents() {
    let sandbox = Sandbox::new();
    assert!(sandbox.run(&["store", "ls"]).stderr.contains("nothing is pinned"));
    let job = sandbox.publish();
    sandbox.write("folder/a/file", "content");
    let folder = sandbox.run(&["store", "add", "folder"]).line();
    let pins = sandbox.run(&["store", "ls", "--json"]).json();
    assert_eq!(pins.as_array().map(Vec::len), Some(2));
    let listed = sandbox.run(&["store", "ls", &folder]);
    let paths: Vec<_> = listed.text().lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(paths, [".", "a", "a/file"]);
    let entries = sandbox.run(&["store", "ls", &folder, "--json"]).json();
    assert_eq!((&entries[2]["path"], &entries[2]["bytes"]), (&"a/file".into(), &7.into()));
    assert_eq!(sandbox.run(&["store", "ls", &job]).text().lines().count(), 2, "trainer and model");
    let blocks = sandbox.run(&["store", "ls", "--blocks"]);
    assert_eq!(blocks.text().lines().count(), 6);
    assert!(blocks.stderr.contains("6 blocks"), "{}", blocks.stderr);
    sandbox.run(&["store", "ls", &job, "--blocks"]).fails(2, "cannot be used with");
}

#[test]
fn an_archive_moves_a_job_to_another_store() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    sandbox.run(&["store", "export", &job, "--output", "job.car"]).text();
    let piped = sandbox.run(&["store", "export", &job]);
    assert_eq!(piped.stdout, fs::read(sandbox.path("job.car")).expect("an archive"));
    let through = sandbox.run(&["store", "export", &job, "--output", "/dev/stdout"]);
    assert_eq!(through.stdout, piped.stdout);
    assert_eq!(sandbox.run(&["--store", "other", "store", "import", "job.car"]).line(), job);
    assert_eq!(sandbox.run_with(&["--store", "third", "store", "import"], &piped.stdout).line(), job);
    let mut command = sandbox.command(&["--store", "fourth", "store", "import", "-", "--json"]);
    let output = command.stdin(sandbox.open("job.car")).output().expect("fedmkt runs");
    assert_eq!(Done::from(output).json(), serde_json::json!([job]));
    let (here, there) = (sandbox.run(&["inspect", &job]), sandbox.run(&["--store", "third", "inspect", &job]));
    assert_eq!(here.text(), there.text());
}

#[test]
fn an_archive_that_cannot_be_made_leaves_what_was_there() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    sandbox.run(&["store", "export", EMPTY_FILE, "--output", "job.car"]).fails(3, "is not in the store");
    assert!(!sandbox.path("job.car").exists(), "half an archive is none");
    sandbox.run(&["store", "export", &job, "--output", "job.car"]).text();
    let archive = fs::read(sandbox.path("job.car")).expect("an archive");
    // What a killed process left.
    sandbox.write(".fedmkt-unfinished-1", "half");
    let mut full = limited(sandbox.command(&["store", "export", &job, "--output", "job.car"]), 100);
    let done: Done = full.output().expect("fedmkt runs").into();
    done.fails(3, "cannot write job.car");
    done.fails(3, "File too large");
    assert_eq!(fs::read(sandbox.path("job.car")).expect("the archive"), archive);
    assert!(!sandbox.path(".fedmkt-unfinished-1").exists());

    // Through a link, into the file that it leads to.
    std::os::unix::fs::symlink("job.car", sandbox.path("link")).expect("a link");
    fs::write(sandbox.path("job.car"), "older").expect("a file");
    sandbox.run(&["store", "export", &job, "--output", "link"]).text();
    assert_eq!(fs::read(sandbox.path("job.car")).expect("the archive"), archive);
    assert!(sandbox.path("link").is_symlink());
}

#[test]
fn an_archive_can_have_its_piece_commitment() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    let exported = sandbox.run(&["store", "export", &job, "--output", "job.car", "--commp"]);
    let archive = fs::read(sandbox.path("job.car")).expect("an archive");
    let mut piece = fedmkt_store::piece::PieceWriter::new();
    std::io::Write::write_all(&mut piece, &archive).expect("there is room");
    let piece = piece.finish();
    assert_eq!(exported.line(), piece.cid.to_string());
    let sizes = format!("piece of {} bytes, archive of {} bytes", piece.piece_bytes, archive.len());
    assert!(exported.stderr.contains(&sizes), "{}", exported.stderr);
    // In a pipe the archive has standard output to itself.
    let piped = sandbox.run(&["store", "export", &job, "--commp"]);
    assert_eq!(piped.stdout, archive);
    assert!(piped.stderr.contains(&format!("{} {sizes}", piece.cid)), "{}", piped.stderr);
}

#[test]
fn archives_that_are_cut_or_none_are_refused() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    let archive = sandbox.run(&["store", "export", &job]).stdout;
    let import = |bytes: &[u8]| sandbox.run_with(&["--store", "other", "store", "import"], bytes);
    import(&archive[..archive.len() - 1]).fails(3, "it is cut short");
    import(b"").fails(3, "not a CAR archive: it is empty");
    import(b"hello").fails(3, "not a CAR archive");
    sandbox.run(&["store", "import", "nowhere.car"]).fails(3, "cannot read nowhere.car");
    // The header and the first block alone: whole blocks, but not all of them.
    let header = 1 + usize::from(archive[0]);
    let length = usize::from(archive[header] & 0x7f) | usize::from(archive[header + 1]) << 7;
    let first = &archive[..header + 2 + length];
    let partial = import(first);
    partial.fails(3, "is not pinned");
    partial.fails(3, "is not in the store");
    let done = sandbox.run_with(&["--store", "other", "store", "import", "--no-pin"], first);
    assert_eq!(done.line(), job);
}

#[test]
fn damage_is_found_and_repaired() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    assert!(sandbox.run(&["store", "verify"]).text().contains("3 blocks, 0 damaged, 0 missing"));
    let shards = fs::read_dir(sandbox.path("home/store/blocks")).expect("blocks");
    let block = shards.map(|shard| shard.expect("a folder").path().join(&job)).find(|path| path.exists());
    fs::write(block.expect("the job's block"), "damage").expect("a file");
    let found = sandbox.run(&["store", "verify"]);
    found.fails(1, "`fedmkt store verify --repair` removes what is damaged");
    assert!(String::from_utf8_lossy(&found.stdout).contains("1 damaged"));
    sandbox.run(&["inspect", &job]).fails(3, "is damaged");
    let repaired = sandbox.run(&["store", "verify", "--repair", "--json"]);
    assert_eq!(repaired.code, Some(1));
    let object: serde_json::Value = serde_json::from_slice(&repaired.stdout).expect("JSON");
    assert_eq!(object["missing"], serde_json::json!([job]));
    assert_eq!(sandbox.publish(), job);
    sandbox.run(&["store", "verify"]).text();
}

#[test]
fn collection_removes_what_is_not_pinned() {
    let sandbox = Sandbox::new();
    let job = sandbox.publish();
    let cid = sandbox.run_with(&["store", "add", "--no-pin", "-"], b"loose").line();
    assert!(sandbox.run(&["store", "gc"]).text().starts_with("0 blocks"), "what is young stays");
    let object = sandbox.run(&["store", "gc", "--now", "--json"]).json();
    assert_eq!(object, serde_json::json!({ "blocks": 1, "bytes": 5 }));
    sandbox.run(&["store", "get", &cid]).fails(3, "is not in the store");
    sandbox.run(&["store", "pin", &cid]).fails(3, "is not in the store");
    sandbox.run(&["store", "unpin", &job]).text();
    sandbox.run(&["store", "unpin", &job]).fails(3, "is not pinned");
    sandbox.run(&["store", "pin", &job]).text();
    assert!(sandbox.run(&["store", "gc", "--now"]).text().starts_with("0 blocks"));
}

#[test]
fn a_quota_is_set_shown_held_and_removed() {
    let sandbox = Sandbox::new();
    assert!(sandbox.run(&["store", "quota"]).text().contains("no quota"));
    sandbox.run(&["store", "quota", "10"]).text();
    sandbox.run_with(&["store", "add", "-"], b"12345678901").fails(3, "beyond its quota of 10 bytes");
    sandbox.run_with(&["store", "add", "-"], b"1234567890").line();
    let object = sandbox.run(&["store", "quota", "--json"]).json();
    assert_eq!(object, serde_json::json!({ "quota": 10, "used": 10 }));
    sandbox.run(&["store", "quota", "none"]).text();
    sandbox.run_with(&["store", "add", "-"], b"12345678901").line();
}

#[test]
fn a_store_that_cannot_be_written_says_so() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "content");
    sandbox.run(&["--store", "file", "store", "add", "file"]).fails(3, "cannot lock file/lock");
}
