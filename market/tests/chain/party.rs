//! Somebody with a home, a wallet, a store and data.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::str::FromStr;
use std::time::Duration;

use cid::Cid;
use fedmkt_core::manifest::{Audit, Disclosure, Manifest};
use fedmkt_store::{FolderStore, put_value};
use fedmkt_test_kit::job::{stored, trainer};
use serde_json::Value;
use tempfile::TempDir;

use crate::devnet::{Devnet, program};

/// One token, in smallest units.
pub const TOKEN: u128 = 1_000_000_000_000_000_000;

/// What each party begins with.
pub const FUNDS: u128 = 1000 * TOKEN;

pub struct Party {
    pub folder: TempDir,
    pub account: String,
    /// Where this party thinks that the node is.
    pub rpc: String,
    settings: Vec<(&'static str, String)>,
}

/// What a command did.
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Done {
    /// What it printed, when it succeeded.
    #[track_caller]
    pub fn text(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout.trim()
    }

    /// The object that it printed, when it succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// It ended so, and said this.
    #[track_caller]
    pub fn fails(&self, code: i32, said: &str) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(said), "{said:?} is not in {:?}", self.stderr);
    }
}

impl Party {
    /// A party with a new wallet that has coins and tokens.
    pub fn new(net: &Devnet) -> Self {
        let party = Self::poor(net);
        net.fund(&party.account, FUNDS);
        party
    }

    /// A party with a new wallet and nothing in it.
    pub fn poor(net: &Devnet) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("password"), "correct horse\n").expect("a file");
        let settings = vec![
            ("FEDMKT_CHAIN_ID", "31337".to_owned()),
            ("FEDMKT_MARKET", net.market.clone()),
            ("FEDMKT_CONFIRMATIONS", "1".to_owned()),
            ("FEDMKT_ARBITRATORS", net.committee.clone()),
        ];
        let mut party = Self { folder, account: String::new(), rpc: net.url(), settings };
        party.write_identity();
        party.account = party.fedmkt(&["wallet", "new"]).text().to_owned();
        party
    }

    /// Writes an identity that takes no second to decrypt, as those take that the program makes.
    fn write_identity(&self) {
        fs::create_dir_all(self.path("home")).expect("a folder");
        let mut secret = b"fedmkt secret 1\n".to_vec();
        secret.extend(fedmkt_core::tree::keccak256(self.folder.path().as_os_str().as_encoded_bytes()).0);
        let mut key = age::scrypt::Recipient::new("correct horse".to_owned().into());
        key.set_work_factor(1);
        fs::write(self.path("home/identity.age"), age::encrypt(&key, &secret).expect("encrypted")).expect("a file");
    }

    /// From now on this party trusts the committee, and this account.
    pub fn trusts(&mut self, net: &Devnet, account: &str) {
        self.set("FEDMKT_ARBITRATORS", format!("{},{account}", net.committee));
    }

    /// From now on this party's programs have this variable, and no other value of it.
    pub fn set(&mut self, variable: &'static str, value: String) {
        self.settings.retain(|(name, _)| *name != variable);
        self.settings.push((variable, value));
    }

    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn store(&self) -> FolderStore {
        FolderStore::new(self.path("home/store"))
    }

    /// Writes data that no other party has.
    pub fn write_data(&self, seed: u64) {
        fs::create_dir_all(self.path("data")).expect("a folder");
        let table: String = (0..400u64).map(|row| format!("{row},{}\n", (row * row + seed * 31) % 97)).collect();
        fs::write(self.path("data/table.csv"), table).expect("a file");
    }

    /// What this party ran on, as it was packed.
    pub fn capsule(&self) -> Vec<u8> {
        let mut files = fs::read_dir(self.path("home/capsules")).expect("a folder").flatten().map(|entry| entry.path());
        let pack = files.find(|path| path.extension().is_some_and(|found| found == "pack")).expect("a capsule");
        fs::read(pack).expect("a capsule")
    }

    /// A program of the project, as this party starts it.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(name));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("FEDMKT_HOME", self.path("home")).env("FEDMKT_RPC", &self.rpc);
        command.env("FEDMKT_PASSPHRASE_FILE", self.path("password"));
        command.env("FEDMKT_WALLET_PASSWORD_FILE", self.path("password"));
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn fedmkt(&self, arguments: &[&str]) -> Done {
        self.command("fedmkt", arguments).output().expect("fedmkt runs").into()
    }

    /// The whole client side of a job.
    pub fn work(&self, job: &str) -> Command {
        self.command(
            "fedmkt-run",
            &[job, "--grant", "data=data", "--out", "out", "--accept", "--submit", "--yes", "--json"],
        )
    }

    /// Gives another party everything below a CID, as an archive.
    pub fn hand(&self, cid: &str, to: &Self) {
        let archive = self.path("archive.car");
        self.fedmkt(&["store", "export", cid, "--output", archive.to_str().expect("a path")]).text();
        to.fedmkt(&["store", "import", archive.to_str().expect("a path")]).text();
    }

    /// Publishes a job whose manifest went through `change`.
    pub fn publish(&self, change: impl FnOnce(&mut Manifest)) -> String {
        let store = self.store();
        let mut manifest = stored(&store, &trainer());
        change(&mut manifest);
        let job: Cid = put_value(&store, &manifest).expect("stored");
        store.pin(&job).expect("pinned");
        job.to_string()
    }

    /// Offers a hundred tokens for each slot of a job that `client` can do: it has the job, and data. The job's CID, and its id in
    /// the market.
    pub fn offers(&self, net: &Devnet, client: &Self, slots: u32) -> (String, String) {
        let cid = self.publish(|_| {});
        let job = self.post(net, &cid, slots, "100").text().to_owned();
        client.write_data(1);
        self.hand(&cid, client);
        (cid, job)
    }

    /// Has `client` do a job whose only auditor is this sponsor, of which the lottery draws so many in a million. The job's CID, and
    /// the slot.
    pub fn audits(
        &self,
        net: &Devnet,
        client: &mut Self,
        per_million: u64,
        reward: &str,
        more: &[&str],
    ) -> (String, String) {
        let auditors = vec![key().1];
        let cid = self.publish(|manifest| manifest.disclosure = Disclosure::Audited(Audit { auditors, per_million }));
        self.post_with(net, &cid, 1, reward, &[&["--auditor", &self.account], more].concat()).text();
        client.write_data(1);
        self.hand(&cid, client);
        client.trusts(net, &self.account);
        let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs")).json();
        (cid, done["submission"]["slot"].as_str().expect("a slot").to_owned())
    }

    /// Offers a reward for a job.
    pub fn post(&self, net: &Devnet, job: &str, slots: u32, reward: &str) -> Done {
        self.post_with(net, job, slots, reward, &[])
    }

    /// The same with more arguments.
    pub fn post_with(&self, net: &Devnet, job: &str, slots: u32, reward: &str, more: &[&str]) -> Done {
        self.post_command(net, job, slots, reward, more).output().expect("fedmkt runs").into()
    }

    /// The same, not yet started.
    pub fn post_command(&self, net: &Devnet, job: &str, slots: u32, reward: &str, more: &[&str]) -> Command {
        let slots = slots.to_string();
        let arguments = [
            "job",
            "post",
            job,
            "--slots",
            &slots,
            "--reward",
            reward,
            "--token",
            &net.token,
            "--arbitrator",
            &net.committee,
            "--window",
            "1h",
            "--submit-time",
            "1h",
            "--move-time",
            "1h",
            "--yes",
        ];
        self.command("fedmkt", &[&arguments[..], more].concat())
    }
}

/// A key for results, and the recipient that belongs to it.
pub fn key() -> (String, String) {
    use age::secrecy::ExposeSecret;
    let key = age::x25519::Identity::generate();
    let recipient = key.to_public().to_string();
    assert!(age::x25519::Recipient::from_str(&recipient).is_ok());
    (key.to_string().expose_secret().to_owned(), recipient)
}

/// Starts a program and kills it, and whatever it has started, after so many milliseconds. What it did, if it was quicker.
pub fn killed_after(mut command: Command, pause: u64) -> Option<Done> {
    let command = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    std::thread::sleep(Duration::from_millis(pause));
    if child.try_wait().expect("a child").is_some() {
        return Some(child.wait_with_output().expect("it ended").into());
    }
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    let _ = child.wait();
    None
}
