//! What somebody learns who keeps every transaction of a client and every block that it publishes, in each mode of
//! disclosure, byte by byte. The client is the real program.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes};
use alloy::sol_types::{SolError, SolInterface};
use cid::Cid;
use fedmkt_contracts::market;
use fedmkt_contracts::market::Market::{self, MarketCalls};
use fedmkt_core::inputs;
use fedmkt_core::manifest::{Audit, Disclosure, Manifest};
use fedmkt_core::pack::Pack;
use fedmkt_core::tree::keccak256;
use fedmkt_core::unixfs::RAW;
use fedmkt_market::submission::{cid_of, most_overhead};
use fedmkt_runtime::auditor::AuditorKeys;
use fedmkt_store::{BlockStore, FolderStore, files};
use serde_json::Value;

use crate::lies::{Liar, PROGRAM, SPONSOR, Setting};
use crate::net::{Net, Party};
use crate::until;
use crate::verifier::party;

/// A client with the real programs, in the home of a setting.
struct Client {
    setting: Setting,
    account: Address,
    settings: Vec<(&'static str, String)>,
}

/// A program of this workspace, which lies beside that of the verifier.
fn program(name: &str) -> PathBuf {
    Path::new(PROGRAM).with_file_name(name)
}

impl Client {
    /// One whose data nobody can guess.
    fn new(net: &Net, setting: Setting) -> Self {
        let (account, settings) = party(net, setting.folder.path());
        let rows = (0..2000u64).map(|row| {
            let noise = keccak256(&row.to_le_bytes()).0;
            noise[..12].iter().map(|byte| format!("{byte},")).collect::<String>() + "\n"
        });
        fs::write(setting.folder.path().join("data/table.csv"), rows.collect::<String>()).expect("a file");
        Self { setting, account, settings }
    }

    fn run(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program(name));
        command.args(arguments).current_dir(self.setting.folder.path()).stdin(Stdio::null());
        let output = command.envs(self.settings.iter().map(|(name, value)| (name, value))).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Accepts, trains and submits; gives the slot.
    fn work(&self) -> B256 {
        let job = self.setting.job.cid.to_string();
        let arguments = [&job, "--grant", "data=data", "--out", "out", "--accept", "--submit", "--yes", "--json"];
        let told: Value = serde_json::from_slice(&self.run("fedmkt-run", &arguments).stdout).expect("an object");
        told["submission"]["slot"].as_str().expect("a slot").parse().expect("an id")
    }

    /// What nobody but its own computer may have: the rows of its data, salt and blind, and the weights.
    fn secrets(&self) -> Secrets {
        let data = fs::read(self.setting.folder.path().join("data/table.csv")).expect("a file");
        let kept = fs::read_dir(self.setting.folder.path().join("home/capsules")).expect("a folder").flatten();
        let packs = kept.map(|entry| fs::read(entry.path()).expect("a file"));
        let mut packs = packs.filter(|pack| pack.windows(64).any(|window| window == &data[..64]));
        let capsule = packs.next().expect("the capsule that the client has packed");
        let salt = Pack::open(Arc::new(capsule)).expect("a capsule").salt();
        let results = ["weights", "metrics.csv"];
        let results = results.map(|name| fs::read(self.setting.folder.path().join("out").join(name)).expect("a file"));
        let digest =
            files::add_file(&self.setting.store(), &results[0][..]).expect("added").cid.hash().digest().to_vec();
        Secrets {
            digest,
            data,
            salt: salt.0.to_vec(),
            blind: inputs::blind(salt).0.to_vec(),
            weights: results[0].clone(),
        }
    }
}

struct Secrets {
    /// In the CID of the weights, which is no secret: it is submitted.
    digest: Vec<u8>,
    data: Vec<u8>,
    salt: Vec<u8>,
    blind: Vec<u8>,
    weights: Vec<u8>,
}

/// All that was seen.
#[derive(Default)]
struct Seen {
    calls: Vec<Bytes>,
    events: Vec<Bytes>,
    results: BTreeMap<Cid, Vec<u8>>,
    capsule: BTreeMap<Cid, Vec<u8>>,
}

fn sum<'a>(pieces: impl IntoIterator<Item = &'a (impl AsRef<[u8]> + 'a)>) -> usize {
    pieces.into_iter().map(|piece| piece.as_ref().len()).sum()
}

impl Seen {
    /// What a client has sent and published so far.
    fn of(net: &Net, client: &Client) -> Self {
        let (calls, events) = net.seen_of(client.account);
        let mut seen = Self { calls, events, ..Self::default() };
        let store = client.setting.store();
        // What others can fetch is what the calls name, and no more.
        for call in seen.calls.iter().flat_map(fields) {
            match call {
                MarketCalls::submit(submit) => {
                    let market::Submission { bundle, capsule, .. } = submit.submission;
                    below(&store, &cid_of(&bundle).expect("results"), &mut seen.results);
                    cid_of(&capsule).into_iter().for_each(|cid| below(&store, &cid, &mut seen.capsule));
                }
                MarketCalls::disclose(disclose) => {
                    below(&store, &cid_of(&disclose.capsule).expect("a capsule"), &mut seen.capsule);
                }
                MarketCalls::permit(_) | MarketCalls::accept(_) | MarketCalls::drawRun(_) => {}
                call => panic!("a client has no reason to send a call with the selector {:?}", call.selector()),
            }
        }
        seen
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let chain = self.calls.iter().chain(&self.events).map(AsRef::as_ref);
        chain.chain(self.results.values().chain(self.capsule.values()).map(Vec::as_slice))
    }

    /// How many pieces of this, of 16 bytes at every place, can be read in what was seen, and how many there are.
    fn tells(&self, secret: &[u8]) -> (usize, usize) {
        let seen: HashSet<&[u8]> = self.pieces().flat_map(|piece| piece.windows(16)).collect();
        // Zeros and the like are everywhere, and tell nothing.
        let tells = |window: &&[u8]| window.iter().collect::<BTreeSet<_>>().len() >= 6;
        let all: Vec<&[u8]> = secret.windows(16).filter(tells).collect();
        (all.iter().filter(|window| seen.contains(**window)).count(), all.len())
    }

    /// Nothing of it can be read.
    #[track_caller]
    fn hides(&self, secret: &[u8]) {
        let (seen, all) = self.tells(secret);
        assert!(all > 0 && seen == 0, "{seen} of {all} pieces can be read");
    }

    /// It can be read to the end.
    #[track_caller]
    fn shows(&self, secret: &[u8]) {
        let (seen, all) = self.tells(secret);
        assert!(all > 0 && seen == all, "{seen} of {all} pieces can be read");
    }

    fn tell(&self, mode: &str) {
        println!(
            "{mode}: {} bytes of calls, {} of events, {} in {} blocks of results, {} in {} blocks of data",
            sum(&self.calls),
            sum(&self.events),
            sum(self.results.values()),
            self.results.len(),
            sum(self.capsule.values()),
            self.capsule.len()
        );
    }
}

/// The calls in a call, every byte of which belongs to a field that has a name.
fn fields(call: &Bytes) -> Vec<MarketCalls> {
    let decoded = MarketCalls::abi_decode(call).expect("a call of the market");
    assert_eq!(decoded.abi_encode(), call[..]);
    match decoded {
        MarketCalls::multicall(several) => several.data.iter().flat_map(fields).collect(),
        call => vec![call],
    }
}

/// All blocks below a CID.
fn below(store: &FolderStore, cid: &Cid, found: &mut BTreeMap<Cid, Vec<u8>>) {
    let block = store.get(cid).expect("a block");
    if cid.codec() != RAW {
        for link in files::Node::decode(cid, &block).expect("a node").links {
            below(store, &link.cid, found);
        }
    }
    found.insert(*cid, block);
}

#[test]
fn what_is_seen_of_a_client_is_what_its_job_says_and_no_byte_more() {
    let Some(net) = Net::start("what is seen of a client", 3) else { return };
    if !program("fedmkt-run").is_file() {
        let why = "\nSKIPPED what is seen of a client: fedmkt-run is not built; `cargo build --workspace` builds it\n";
        return io::stderr().write_all(why.as_bytes()).expect("standard error");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let keys = AuditorKeys::make(&folder.path().join("auditor.age"), || Ok("correct".to_owned().into())).expect("keys");
    let audit = Audit { auditors: keys.recipients().collect(), per_million: 1_000_000 };
    let auditor = [net.account(Party::Other)];
    let sealed = |disclosure: Disclosure| {
        Setting::with(move |manifest: &mut Manifest| {
            (manifest.disclosure, manifest.sponsor) = (disclosure, Some(SPONSOR.into()));
        })
    };

    let submitted = |what: &str, setting: Setting, auditors: &[Address]| {
        net.post_for(&setting, 1, auditors);
        let client = Client::new(&net, setting);
        let slot = client.work();
        let seen = Seen::of(&net, &client);
        seen.tell(what);
        (client, slot, seen)
    };

    // Open: everything, as its client has agreed to. There is no salt.
    let (client, _, seen) = submitted("open", Setting::new(), &[]);
    let secrets = client.secrets();
    seen.shows(&secrets.data);
    seen.shows(&secrets.weights);
    let open = seen;

    // Open, with results for the sponsor alone: these are hidden, the data is not.
    let (client, _, seen) = submitted("open, results to a key", sealed(Disclosure::Open), &[]);
    let secrets = client.secrets();
    seen.shows(&secrets.data);
    seen.hides(&secrets.weights);
    seen.shows(&secrets.digest);

    // Audited, and not or not yet asked for.
    let (client, slot, seen) = submitted("audited", sealed(Disclosure::Audited(audit)), &auditor);
    let secrets = client.secrets();
    for secret in [&secrets.data, &secrets.salt, &secrets.blind, &secrets.weights] {
        seen.hides(secret);
    }
    assert!(seen.capsule.is_empty(), "no block of the data is published");
    seen.shows(&secrets.digest);
    let before = seen;

    // Audited, and disclosed to the auditors.
    let market = net.market(Party::Other);
    net.send(market.requestAudit(slot));
    client.run("fedmkt", &["defend", "--once"]);
    until("the data is disclosed", || net.ask(market.getAudit(slot)).state == 2);
    let seen = Seen::of(&net, &client);
    seen.tell("audited, disclosed");
    for secret in [&secrets.data, &secrets.salt, &secrets.blind, &secrets.weights] {
        seen.hides(secret);
    }
    assert_eq!(before.results, seen.results);
    // What is added is one call, its event, and as many bytes of ciphertext as the data has, with age's header and codes.
    assert_eq!(sum(&seen.calls) - sum(&before.calls), 4 + 3 * 32);
    assert_eq!(sum(&seen.events) - sum(&before.events), 2 * 32 + 3 * 32);
    let (plain, encrypted) = (sum(open.capsule.values()), sum(seen.capsule.values()));
    assert!(
        encrypted > plain && encrypted as u64 <= plain as u64 + most_overhead(plain as u64),
        "{plain}, {encrypted}"
    );

    // Private.
    let (client, _, seen) = submitted("private", sealed(Disclosure::Private), &[]);
    let secrets = client.secrets();
    for secret in [&secrets.data, &secrets.salt, &secrets.blind, &secrets.weights] {
        seen.hides(secret);
    }
    assert!(seen.capsule.is_empty(), "no block of the data is published");
    seen.shows(&secrets.digest);
    assert_eq!(sum(&seen.events), sum(&before.events), "as if audited");
    // The header of a block, which stands in one call, may take a word more.
    assert!(sum(&seen.calls).abs_diff(sum(&before.calls)) <= 32);
}

#[test]
fn nobody_can_have_the_data_of_a_private_job_disclosed_or_its_run_disputed() {
    let Some(net) = Net::start("a private job", 3) else { return };
    let mut setting = Setting::disclosed(Disclosure::Private);
    let job = net.post(&setting, 1);
    let accepted = net.accept(job, &mut setting, 0);
    let liar = Liar::new(&setting);
    let taken = net.submit_with(&setting, accepted, &liar.honest, &liar.last, &[], &liar.results);
    let (slot, cid) = (taken.slot, market::Cid { digest: B256::repeat_byte(7), codec: 0x55 });
    let wrong_disclosure = Market::WrongDisclosure::SELECTOR;
    let not_challengeable = Market::NotChallengeable::SELECTOR;
    for party in [Party::Sponsor, Party::Client, Party::Other] {
        let (market, disputes) = (net.market(party), net.disputes(party));
        assert_eq!(net.refusal(market.requestAudit(slot)), wrong_disclosure);
        assert_eq!(net.refusal(market.drawAudit(slot, Bytes::new())), wrong_disclosure);
        for kind in 0..3 {
            assert_eq!(net.refusal(disputes.open(slot, taken.run.clone(), kind)), not_challengeable);
            let call = market.openChallenge(slot, net.account(party), kind);
            assert_eq!(net.refusal(call), Market::OnlyDisputes::SELECTOR);
        }
        // The client itself has nothing to disclose.
        let expected = match party {
            Party::Client => Market::WrongAuditState::SELECTOR,
            _ => Market::OnlyClient::SELECTOR,
        };
        assert_eq!(net.refusal(market.disclose(slot, cid.clone())), expected);
        assert_eq!(net.refusal(market.forfeit(slot)), Market::WrongAuditState::SELECTOR);
    }
}
