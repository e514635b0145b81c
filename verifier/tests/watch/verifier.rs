//! A verifier of the tests: the program with a home, a wallet and a policy of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use alloy::primitives::{Address, B256};
use alloy::signers::k256::elliptic_curve::rand_core::OsRng;
use alloy::signers::local::PrivateKeySigner;
use fedmkt_contracts::dev::MOVE_TIME;
use fedmkt_store::{Endpoint, FolderStore};
use fedmkt_test_kit::gateway::Gateway;
use serde_json::{Value, json};
use tempfile::TempDir;
use toml::Table;

use crate::lies::PROGRAM;
use crate::net::{Net, Party};
use crate::until;

/// Makes somebody with coins and tokens whose home is in this folder: the account, and what its programs are told.
pub fn party(net: &Net, folder: &Path) -> (Address, Vec<(&'static str, String)>) {
    let home = folder.join("home");
    fs::create_dir_all(home.join("wallets")).expect("a folder");
    let password = folder.join("password");
    fs::write(&password, "correct horse\n").expect("a file");
    let key = PrivateKeySigner::random();
    let made = folder.join("made");
    fs::create_dir(&made).expect("a folder");
    PrivateKeySigner::encrypt_keystore(&made, &mut OsRng, key.to_bytes(), "correct horse", Some("k")).expect("kept");
    let keystore = fs::read(made.join("k")).expect("a keystore");
    let mut keystore: Value = serde_json::from_slice(&keystore).expect("JSON");
    keystore["address"] = json!(alloy::hex::encode(key.address()));
    fs::write(home.join("wallets/default.json"), keystore.to_string()).expect("a file");
    net.fund(key.address());
    let settings = vec![
        ("FEDMKT_HOME", home.display().to_string()),
        ("FEDMKT_RPC", net.url()),
        ("FEDMKT_CHAIN_ID", "31337".into()),
        ("FEDMKT_MARKET", net.market.to_string()),
        ("FEDMKT_CONFIRMATIONS", "1".into()),
        ("FEDMKT_ARBITRATORS", format!("{},{}", net.committee, net.account(Party::Other))),
        ("FEDMKT_LEAST_MOVE_TIME", MOVE_TIME.to_string()),
        ("FEDMKT_PASSPHRASE_FILE", password.display().to_string()),
        ("FEDMKT_WALLET_PASSWORD_FILE", password.display().to_string()),
    ];
    (key.address(), settings)
}

/// The policy of who votes in the committee and checks nothing.
pub fn votes(net: &Net, engine: &str) -> String {
    format!("[check]\nshare = 0.0\n[committee]\ncontracts = [\"{}\"]\nengine = \"{engine}\"\n", net.committee)
}

pub struct Verifier {
    folder: TempDir,
    pub account: Address,
    settings: Vec<(&'static str, String)>,
    store: PathBuf,
    process: Option<Child>,
}

impl Verifier {
    /// A verifier that has coins and tokens, gets blocks from this folder, and goes by this policy. It trusts the committee,
    /// unless the policy says whom, and is quick.
    pub fn new(net: &Net, store: &Path, policy: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (account, settings) = party(net, folder.path());
        let mut policy: Table = policy.parse().expect("a policy");
        let challenge = policy.entry("challenge").or_insert(Table::new().into()).as_table_mut().expect("a part");
        challenge.entry("arbitrators").or_insert(vec![net.committee.to_string()].into());
        challenge.entry("least-move-time").or_insert(1.into());
        fs::write(folder.path().join("policy.toml"), policy.to_string()).expect("a file");
        Self { folder, account, settings, store: store.to_owned(), process: None }
    }

    /// One that has a store of its own and gets blocks from a gateway.
    pub fn with_gateway(net: &Net, gateway: &Gateway, policy: &str) -> Self {
        Self::with_blocks_from(net, &gateway.endpoint, policy)
    }

    /// The same with whatever is at this address.
    pub fn with_blocks_from(net: &Net, gateway: &Endpoint, policy: &str) -> Self {
        let mut verifier = Self::new(net, Path::new("store"), policy);
        verifier.set("FEDMKT_GATEWAYS", &gateway.to_string());
        verifier
    }

    /// From now on its programs have this variable.
    pub fn set(&mut self, variable: &'static str, value: &str) {
        self.settings.push((variable, value.into()));
    }

    /// Its own store, if it has one.
    pub fn store(&self) -> FolderStore {
        FolderStore::new(self.folder.path().join(&self.store))
    }

    /// Makes it an auditor, and gives the recipient to encrypt to.
    pub fn auditor(&self) -> String {
        let made = self.json(&["auditor", "new"]);
        made["recipients"][0].as_str().expect("a recipient").to_owned()
    }

    /// Puts up a stake in the committee, with these arguments more.
    pub fn stake(&self, net: &Net, amount: &str, more: &[&str]) -> Value {
        let committee = net.committee.to_string();
        self.json(&[&["stake", "--committee", &committee, "add", amount], more].concat())
    }

    /// Takes two seats in the committee.
    pub fn take_seats(&self, net: &Net) -> Value {
        self.stake(net, "1000", &["--seats", "2"])
    }

    /// The folder of all that it keeps.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).stdin(Stdio::null()).current_dir(self.folder.path());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    fn watch(&self) -> Command {
        let store = self.store.to_str().expect("a path").to_owned();
        self.command(&["watch", "--policy", "policy.toml", "--store", &store, "--pause", "1"])
    }

    /// Begins to watch. What it logs is in a file.
    pub fn start(&mut self) {
        assert!(self.process.is_none());
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).expect("a log");
        self.process = Some(self.watch().stdout(Stdio::null()).stderr(log).spawn().expect("it starts"));
    }

    /// What a second process with the same folder says.
    pub fn start_again(&self) -> Output {
        self.watch().output().expect("it starts")
    }

    /// What a second process with the same account and another folder says.
    pub fn start_again_in(&self, folder: &str) -> Output {
        self.watch().args(["--data", folder]).output().expect("it starts")
    }

    /// Ends it at once, wherever it is.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("ended");
        process.wait().expect("ended");
    }

    /// Asks it to end, and waits until it has.
    pub fn end(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("it runs");
        // SAFETY: the process is a child that was not waited for.
        unsafe { libc::kill(process.id() as i32, libc::SIGTERM) };
        let mut ended = None;
        until("the verifier ends", || {
            ended = process.try_wait().expect("a child");
            ended.is_some()
        });
        ended.expect("it has ended").code()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What it has found about a submission; nothing if it has not looked at it yet.
    pub fn finding(&self, slot: B256) -> Value {
        let told = self.command(&["explain", &slot.to_string(), "--json"]).output().expect("it starts");
        let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
        told["submission"]["finding"].clone()
    }

    /// How often it has written down something with this in it.
    pub fn noted(&self, what: &str) -> usize {
        let told = self.json(&["history", "--last", "10000"]);
        let notes = told.as_array().expect("a list").iter();
        notes.filter(|note| note["text"].as_str().is_some_and(|text| text.contains(what))).count()
    }

    /// What a command prints, when it succeeds.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).arg("--json").output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.account, self.log());
        }
    }
}
