//! Help, and arguments that make no sense.

use crate::sandbox::Sandbox;

const COMMANDS: &[&[&str]] = &[
    &[],
    &["publish"],
    &["inspect"],
    &["check"],
    &["new"],
    &["build"],
    &["report"],
    &["exec"],
    &["store"],
    &["store", "add"],
    &["store", "get"],
    &["store", "ls"],
    &["store", "export"],
    &["store", "import"],
    &["store", "verify"],
    &["store", "pin"],
    &["store", "upload"],
    &["store", "unpin"],
    &["store", "gc"],
    &["store", "quota"],
    &["job"],
    &["job", "post"],
    &["job", "list"],
    &["job", "show"],
    &["job", "cancel"],
    &["job", "submissions"],
    &["job", "fetch"],
    &["job", "approve"],
    &["accept"],
    &["submit"],
    &["disclose"],
    &["status"],
    &["claim"],
    &["defend"],
    &["challenge"],
    &["challenge", "list"],
    &["challenge", "show"],
    &["challenge", "open"],
    &["challenge", "conclude"],
    &["wallet"],
    &["wallet", "new"],
    &["wallet", "import"],
    &["wallet", "address"],
    &["wallet", "balance"],
    &["config"],
    &["backup"],
    &["devnet"],
];

#[test]
fn every_command_explains_itself() {
    let sandbox = Sandbox::new();
    for &command in COMMANDS {
        let help = sandbox.run(&[command, &["--help"]].concat());
        assert!(help.text().contains("Usage: fedmkt"), "{command:?}");
        assert_eq!(help.stderr, "");
    }
    let help = sandbox.run(&["--help"]);
    for said in ["Examples:", "Exit codes:", "FEDMKT_HOME", "fedmkt publish job.toml"] {
        assert!(help.text().contains(said), "{said}");
    }
    assert!(!sandbox.path("home").exists(), "help writes nothing");
}

#[test]
fn wrong_arguments_end_with_2() {
    let sandbox = Sandbox::new();
    sandbox.run(&[]).fails(2, "Usage:");
    sandbox.run(&["store"]).fails(2, "Usage:");
    sandbox.run(&["frobnicate"]).fails(2, "unrecognized subcommand");
    sandbox.run(&["inspect"]).fails(2, "<CID>");
    sandbox.run(&["inspect", "job.toml"]).fails(2, "not a CID");
    sandbox.run(&["inspect", "ipfs://nonsense"]).fails(2, "not a CID");
    let with_path = "ipfs://bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku/model";
    sandbox.run(&["inspect", with_path]).fails(2, "a path after the CID is not supported");
    sandbox.run(&["check", "module.wasm", "--memory", "much"]).fails(2, "is no size");
    sandbox.run(&["store", "quota", "1.5GiB"]).fails(2, "is no size");
    sandbox.run(&["store", "add"]).fails(2, "PATHS");
}

#[test]
fn without_a_home_it_says_what_to_set() {
    let sandbox = Sandbox::new();
    let done = sandbox.command(&["store", "ls"]).env_clear().env("HOME", "").output().expect("fedmkt runs");
    // Where the system knows a home folder for this user without HOME, there is nothing to say.
    if !done.status.success() {
        crate::sandbox::Done::from(done).fails(3, "FEDMKT_HOME");
    }
}

#[test]
fn the_store_is_in_the_home_folder_unless_it_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "content");
    let user = sandbox.path("user");
    std::fs::create_dir(&user).expect("a folder");
    let mut command = sandbox.command(&["store", "add", "file"]);
    let output = command.env_remove("FEDMKT_HOME").env("HOME", &user).output().expect("fedmkt runs");
    assert!(output.status.success());
    assert!(sandbox.path("user/.fedmkt/store/blocks").is_dir());
    sandbox.run(&["store", "add", "file"]).text();
    assert!(sandbox.path("home/store/blocks").is_dir());
    sandbox.run(&["--store", "named", "store", "add", "file"]).text();
    sandbox.run(&["store", "add", "file", "--store", "named2"]).text();
    assert!(sandbox.path("named/blocks").is_dir() && sandbox.path("named2/blocks").is_dir());
}
