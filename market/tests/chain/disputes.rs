//! Disputes: a challenger that goes by the library, clients that defend themselves with `fedmkt defend`, and an arbitrator
//! that says what the test wants.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use alloy::primitives::B256;
use fedmkt_contracts::submission;
use fedmkt_core::roots::StateRoot;
use fedmkt_core::trace::Level;
use fedmkt_market::board::{Board, Follower};
use fedmkt_market::chain::Chain;
use fedmkt_market::dispute::{self, Answer, Challenge, Kind, Moved, State};
use fedmkt_market::journal;
use fedmkt_market::records::Records;
use fedmkt_market::send::Sender;
use fedmkt_market::settings::{Flags, Settings};
use fedmkt_market::wallet;
use fedmkt_runtime::home::Home;

use crate::devnet::{CLIENT_RIGHT, CLIENT_WRONG, Devnet, EXECUTED};
use crate::party::{Done, FUNDS, Party, TOKEN, killed_after};

// What follows from a reward of 100 tokens, unless the sponsor says otherwise.
const REWARD: u128 = 100 * TOKEN;
const BOND: u128 = 100 * TOKEN;
const COMPENSATION: u128 = 10 * TOKEN;
const FEE: u128 = 5 * TOKEN;
const CHALLENGE_BOND: u128 = COMPENSATION + FEE;

/// Steps of the trainer of the tests, and of a segment.
const STEPS: u64 = 61;
const SEGMENT: u64 = 7;

/// A sponsor's job, a client that has submitted an honest run, and a challenger.
struct Scene {
    net: Devnet,
    sponsor: Party,
    client: Party,
    challenger: Party,
    job: String,
    slot: B256,
}

impl Scene {
    fn begin(test: &str) -> Option<Self> {
        let mut net = Devnet::start(test)?;
        net.committee = net.scripted_arbitrator();
        let (sponsor, client, challenger) = (Party::new(&net), Party::new(&net), Party::new(&net));
        let (cid, job) = sponsor.offers(&net, &client, 1);
        let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs"));
        assert!(done.stderr.contains("fedmkt defend"), "the effort of a dispute is told: {}", done.stderr);
        let slot = done.json()["submission"]["slot"].as_str().expect("a slot").parse().expect("an id");
        assert_eq!(net.tokens(&client.account), FUNDS - BOND);
        Some(Self { net, sponsor, client, challenger, job, slot })
    }

    /// After the last window: everybody takes what it is owed. What is left is the arbitrator's fees and what is burned.
    fn settle(&self, client: u128, challenger: u128, sponsor: u128, left: u128) {
        self.net.wait(3601);
        for party in [&self.client, &self.challenger] {
            party.fedmkt(&["claim"]).text();
        }
        self.sponsor.fedmkt(&["job", "cancel", &self.job]).text();
        self.sponsor.fedmkt(&["claim"]).text();
        let has = |party: &Party| self.net.tokens(&party.account);
        assert_eq!((has(&self.client), has(&self.challenger), has(&self.sponsor)), (client, challenger, sponsor));
        assert_eq!(self.net.tokens(&self.net.market), left);
        assert_eq!(client + challenger + sponsor + left, 3 * FUNDS, "every unit is somewhere");
    }

    fn defend(&self) -> Done {
        self.client.fedmkt(&["defend", "--once", "--json"])
    }
}

/// A party that uses the library.
pub struct Program {
    pub settings: Settings,
    pub chain: Chain,
    journal: Records,
}

impl Program {
    pub fn of(party: &Party, net: &Devnet) -> Self {
        let flags = Flags {
            rpc: Some(party.rpc.clone()),
            chain_id: Some("31337".into()),
            market: Some(net.market.clone()),
            wallet: None,
            password_file: Some(party.path("password")),
        };
        let settings = Settings::in_home(Home::open(party.path("home")).expect("a home"), flags).expect("settings");
        let chain = Chain::connect(&settings).expect("a market");
        let journal = journal::open(&settings).expect("a journal");
        Self { settings, chain, journal }
    }

    pub fn sender(&self) -> Sender<'_> {
        Sender { chain: &self.chain, journal: &self.journal, key: wallet::open(&self.settings).expect("a key") }
    }

    fn board(&self) -> Board {
        Board::read(&self.chain, &self.settings).expect("events")
    }

    fn challenge(&self, id: B256) -> Challenge {
        self.board().challenges[&id].clone()
    }

    fn open(&self, slot: B256, kind: Kind) -> B256 {
        let board = self.board();
        let found = &board.slots[&slot];
        dispute::open(&self.sender(), &board.jobs[&found.job], found, kind).expect("a challenge")
    }
}

/// Why something was refused.
fn refusal<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.err().expect("refused"))
}

fn changed(leaves: &[StateRoot], index: usize) -> Vec<StateRoot> {
    let mut leaves = leaves.to_vec();
    leaves[index].0[5] ^= 1;
    leaves
}

#[test]
fn an_honest_client_is_narrowed_down_to_a_step_defends_itself_and_is_paid() {
    let Some(scene) = Scene::begin("a defence") else { return };
    let (net, client) = (&scene.net, &scene.client);
    assert_eq!(scene.defend().text(), "", "nothing is disputed");
    let program = Program::of(&scene.challenger, net);
    let sender = program.sender();
    let mut follower = Follower::new(&program.chain, &program.settings).expect("a folder");
    assert!(follower.read(&program.chain).expect("events").challenges.is_empty());

    let id = program.open(scene.slot, Kind::Step);
    assert_eq!(program.open(scene.slot, Kind::Step), id, "a challenge that has not ended is gone on with");
    assert_eq!(net.tokens(&scene.challenger.account), FUNDS - CHALLENGE_BOND, "one bond");
    let board = follower.read(&program.chain).expect("events");
    let run = board.slots[&scene.slot].submission.clone().expect("a submission").0;
    let challenge = &board.challenges[&id];
    assert_eq!((challenge.state, challenge.kind, challenge.slot), (State::WantsLeaves, Kind::Step, scene.slot));
    assert_eq!(challenge.level, Some(Level::top(STEPS, SEGMENT)));
    assert_eq!(client.fedmkt(&["challenge", "list", "--json"]).json()[0]["challenge"], id.to_string());
    assert!(client.fedmkt(&["status"]).text().contains("it is disputed: `fedmkt defend`"));

    // Not its turn yet; and leaves that are none.
    assert_eq!(dispute::choose(&sender, &run, id, &[], 0).expect("asked"), Moved::NotWanted(State::WantsLeaves));
    let nonsense = vec![StateRoot(run.lastState.0); 9];
    assert!(refusal(dispute::post_leaves(&sender, id, &nonsense)).contains("not the leaves of the trace"));
    assert!(refusal(dispute::post_leaves(&sender, id, &nonsense[1..])).contains("8 leaves were computed"));
    assert!(refusal(dispute::post_leaves(&sender, id, &changed(&nonsense, 8))).contains("but what was submitted says"));
    assert!(
        refusal(dispute::resolve(&sender, id).and_then(|moved| match moved {
            Moved::NotWanted(state) => anyhow::bail!("{state}"),
            moved => Ok(moved),
        }))
        .contains("wants leaves")
    );
    assert!(refusal(dispute::conclude(&sender, id)).contains("too early"));

    let before = net.nonce(&client.account);
    let posted = scene.defend();
    let events: Vec<&str> = posted.text().lines().collect();
    assert!(events.len() == 2 && events[1].contains(r#""event":"leaves""#), "{events:?}");
    assert!(scene.defend().text().lines().count() == 1, "only told that there is a challenge");
    assert_eq!(net.nonce(&client.account), before + 1, "posted once");

    let top = program.challenge(id);
    assert_eq!((top.state, top.leaves.len()), (State::WantsChoice, 9));
    assert_eq!(dispute::first_wrong(&top.leaves, &changed(&top.leaves, 3)), Some(3));
    assert!(refusal(dispute::choose(&sender, &run, id, &changed(&top.leaves, 3), 3)).contains("not the leaves"));
    assert!(refusal(dispute::choose(&sender, &run, id, &top.leaves, 9)).contains("there is no leaf 9"));
    // What the contract says to a proof that is none.
    let mut choice = submission::choice(&top.leaves, 3, top.state_in);
    choice.siblings[2].0[7] ^= 1;
    let disputes = program.chain.disputes();
    let call = disputes.choose(id, run.clone().into(), choice).from(sender.address());
    assert!(refusal(program.chain.call(call)).contains("does not lead to the root"));
    let other = fedmkt_contracts::market::Run { steps: run.steps - 1, ..run.clone() };
    assert!(refusal(dispute::choose(&sender, &other, id, &top.leaves, 3)).contains("is not what the market knows"));
    assert_eq!(dispute::choose(&sender, &run, id, &top.leaves, 3).expect("chosen"), Moved::Yes);
    assert_eq!(
        dispute::choose(&sender, &run, id, &top.leaves, 3).expect("asked"),
        Moved::NotWanted(State::WantsLeaves)
    );

    // The client must compute this level, and is killed again and again while it does.
    let level = Level::top(STEPS, SEGMENT).below(3).expect("steps");
    assert_eq!(program.challenge(id).level, Some(level));
    let before = net.nonce(&client.account);
    for pause in [50, 300, 700, 1500, 2500] {
        killed_after(client.command("fedmkt", &["defend"]), pause);
    }
    scene.defend().text();
    assert_eq!(net.nonce(&client.account), before + 1, "posted once");
    let below = program.challenge(id);
    assert_eq!((below.state, below.leaves.len()), (State::WantsChoice, 7));
    assert_eq!((below.state_in, below.leaves[6]), (top.leaves[2], top.leaves[3]), "it leads from leaf to leaf");

    assert_eq!(dispute::choose(&sender, &run, id, &below.leaves, 2).expect("chosen"), Moved::Yes);
    let board = follower.read(&program.chain).expect("events");
    let asked = &board.challenges[&id];
    assert_eq!(asked.level, Some(Level { first: 23, steps: 1, part: 1 }));
    assert_eq!((asked.state, asked.state_in, asked.state_out), (State::WantsRuling, below.leaves[1], below.leaves[2]));
    let (_, question) = asked.question.clone().expect("a question");
    assert_eq!((question.step, question.stateIn.0), (23, below.leaves[1].0));
    let terms = &board.jobs[&board.slots[&scene.slot].job].terms;
    assert_eq!(dispute::answer(&program.chain, terms, id).expect("asked"), None);
    assert!(refusal(dispute::resolve(&sender, id)).contains("has not answered"));
    let shown = client.fedmkt(&["challenge", "show", &id.to_string(), "--json"]).json();
    assert_eq!((shown["state"].as_str(), shown["level"]["first"].as_u64()), (Some("wants a ruling"), Some(23)));

    net.rule(EXECUTED, below.leaves[2].0);
    assert_eq!(dispute::answer(&program.chain, terms, id).expect("asked"), Some(Answer::Executed(below.leaves[2])));
    assert!(scene.defend().text().contains(r#""event":"resolved""#));
    assert_eq!(follower.read(&program.chain).expect("events").challenges[&id].state, State::Lost);
    assert_eq!(dispute::conclude(&sender, id).expect("asked"), Moved::NotWanted(State::Lost));
    drop(sender);
    drop(program);
    scene.settle(FUNDS + REWARD + COMPENSATION, FUNDS - CHALLENGE_BOND, FUNDS - REWARD, FEE);
}

#[test]
fn a_client_that_posts_false_leaves_is_refuted() {
    let Some(scene) = Scene::begin("false leaves") else { return };
    let net = &scene.net;
    let program = Program::of(&scene.challenger, net);
    let sender = program.sender();
    let id = program.open(scene.slot, Kind::Step);
    scene.defend().text();
    let run = program.board().slots[&scene.slot].submission.clone().expect("a submission").0;
    let top = program.challenge(id);
    assert_eq!(dispute::choose(&sender, &run, id, &top.leaves, 0).expect("chosen"), Moved::Yes);

    // Only the last leaf of a lower level can be checked; the others are as the client likes.
    let mut leaves = vec![StateRoot([7; 32]); SEGMENT as usize];
    let cheat = Program::of(&scene.client, net);
    assert!(refusal(dispute::post_leaves(&cheat.sender(), id, &leaves)).contains("but what was submitted says"));
    leaves[SEGMENT as usize - 1] = top.leaves[0];
    assert!(refusal(dispute::post_leaves(&sender, id, &leaves)).contains("only the client"));
    assert_eq!(dispute::post_leaves(&cheat.sender(), id, &leaves).expect("posted"), Moved::Yes);
    drop(cheat);
    let below = program.challenge(id);
    assert_eq!((below.state_in, &below.leaves), (top.state_in, &leaves));
    // The first state is known to everybody: there is no leaf before.
    assert_eq!(dispute::choose(&sender, &run, id, &leaves, 0).expect("chosen"), Moved::Yes);
    let asked = program.challenge(id);
    assert_eq!((asked.state_in, asked.state_out), (top.state_in, StateRoot([7; 32])));

    let mut command = scene.client.command("fedmkt", &["defend"]);
    let mut watching = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    // Who stops reading what it prints does not stop it.
    BufReader::new(watching.stdout.take().expect("piped")).read_line(&mut line).expect("it talks");
    assert!(line.contains(&id.to_string()), "{line}");
    net.rule(EXECUTED, [8; 32]);
    assert_eq!(dispute::resolve(&sender, id).expect("resolved"), Moved::Yes);
    let ended = program.challenge(id);
    assert_eq!((ended.state, ended.ruling), (State::Won, Some(StateRoot([8; 32]))));
    let done = Done::from(watching.wait_with_output().expect("it ends"));
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("is lost: refuted"), "{}", done.stderr);
    drop(sender);
    drop(program);
    scene.settle(FUNDS - BOND, FUNDS + COMPENSATION, FUNDS, BOND - COMPENSATION);
}

#[test]
fn a_client_defends_itself_though_what_it_prints_has_no_room() {
    let Some(scene) = Scene::begin("a full disk in a dispute") else { return };
    let slot = scene.slot.to_string();
    let id = scene.challenger.fedmkt(&["challenge", "open", &slot, "--yes"]).text().to_owned();
    let full = std::fs::File::create("/dev/full").expect("a device");
    let done = scene.client.command("fedmkt", &["defend", "--once"]).stdout(full).output().expect("fedmkt runs");
    let done = Done::from(done);
    assert_eq!(done.stderr.matches("it goes on all the same").count(), 1, "said once: {}", done.stderr);
    let shown = scene.challenger.fedmkt(&["challenge", "show", &id, "--json"]).json();
    assert_eq!(shown["state"], "wants a choice", "{}", done.stderr);
}

#[test]
fn a_client_that_does_not_answer_loses_its_bond() {
    let Some(scene) = Scene::begin("silence") else { return };
    let challenger = &scene.challenger;
    let slot = scene.slot.to_string();
    challenger.fedmkt(&["challenge", "open", &slot]).fails(3, "nobody is there to agree");
    let id = challenger.fedmkt(&["challenge", "open", &slot, "--yes"]).text().to_owned();
    challenger.fedmkt(&["challenge", "conclude", &id]).fails(3, "too early");
    scene.net.wait(3601);
    let late = scene.defend();
    assert!(late.stderr.contains("the time to post leaves has passed"), "{}", late.stderr);
    assert_eq!(challenger.fedmkt(&["challenge", "conclude", &id]).text(), "won");
    assert_eq!(challenger.fedmkt(&["challenge", "conclude", &id]).text(), "won", "it stays so");
    assert_eq!(scene.client.fedmkt(&["status", "--all", "--json"]).json()[0]["state"], "refuted");
    scene.settle(FUNDS - BOND, FUNDS + COMPENSATION, FUNDS, BOND - COMPENSATION);
}

#[test]
fn a_challenger_that_does_not_choose_loses_against_a_client_that_only_watches() {
    let Some(scene) = Scene::begin("a challenger's silence") else { return };
    let watching =
        scene.client.command("fedmkt", &["defend", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let watching = watching.expect("it starts");
    let program = Program::of(&scene.challenger, &scene.net);
    let id = program.open(scene.slot, Kind::Step);
    while dispute::standing(&program.chain, id).expect("asked").0 == State::WantsLeaves {
        std::thread::sleep(Duration::from_millis(200));
    }
    scene.net.wait(3601);
    let done = Done::from(watching.wait_with_output().expect("it ends"));
    let said: Vec<serde_json::Value> =
        done.text().lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let events: Vec<&str> = said.iter().filter_map(|object| object["event"].as_str()).collect();
    assert_eq!(events, ["challenged", "leaves", "concluded", "ended"]);
    assert_eq!(said[3]["ending"], "lost");
    drop(program);
    scene.settle(FUNDS + REWARD + COMPENSATION, FUNDS - CHALLENGE_BOND, FUNDS - REWARD, FEE);
}

#[test]
fn results_that_cannot_be_had_cost_the_client_its_bond_and_such_a_lie_the_challenger_s() {
    let Some(scene) = Scene::begin("results") else { return };
    let (net, challenger) = (&scene.net, &scene.challenger);
    let slot = scene.slot.to_string();
    let open = ["challenge", "open", &slot, "--kind", "results", "--yes", "--json"];
    challenger.fedmkt(&["challenge", "open", &slot, "--kind", "weights"]).fails(2, "none of step, results and capsule");
    let id = challenger.fedmkt(&open).json()["challenge"].as_str().expect("an id").to_owned();
    let told = scene.defend();
    assert!(told.stderr.contains("fedmkt store upload"), "{}", told.stderr);
    net.rule(CLIENT_RIGHT, [0; 32]);
    assert!(scene.defend().text().contains(r#""event":"resolved""#));
    assert_eq!(challenger.fedmkt(&["challenge", "show", &id, "--json"]).json()["state"], "lost");

    // The same account may say it again.
    let again = challenger.fedmkt(&open).json()["challenge"].as_str().expect("an id").to_owned();
    assert_ne!(again, id);
    net.rule(CLIENT_WRONG, [0; 32]);
    let told = scene.defend();
    assert!(told.stderr.contains("does not say that you are right"), "{}", told.stderr);
    assert_eq!(challenger.fedmkt(&["challenge", "conclude", &again]).text(), "won");
    // Nobody earns by files that were there when they were looked for.
    scene.settle(FUNDS - BOND, FUNDS - CHALLENGE_BOND + COMPENSATION, FUNDS, FEE + BOND);
}

#[test]
fn two_challenges_are_answered_though_the_receipt_is_lost() {
    let Some(scene) = Scene::begin("two challenges") else { return };
    let client = &scene.client;
    let slot = scene.slot.to_string();
    let open = ["challenge", "open", &slot, "--yes"];
    let ids = [&scene.challenger, &scene.sponsor].map(|party| party.fedmkt(&open).text().to_owned());
    assert_ne!(ids[0], ids[1]);

    // The leaves are in no receipt any more; and without the capsule nothing can be computed.
    for pin in client.fedmkt(&["store", "ls", "--json"]).json().as_array().expect("a list") {
        let cid = pin["cid"].as_str().expect("a CID");
        if client.fedmkt(&["inspect", cid, "--json"]).json()["kind"] == "receipt" {
            client.fedmkt(&["store", "unpin", cid]).text();
        }
    }
    client.fedmkt(&["store", "gc", "--now"]).text();
    let capsules = client.path("home/capsules");
    std::fs::rename(&capsules, client.path("elsewhere")).expect("moved");
    scene.defend().fails(1, "is damaged or gone");
    // What fails is tried again and again, and told once.
    let mut trying = client.command("fedmkt", &["defend"]);
    let mut trying = trying.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut told = BufReader::new(trying.stderr.take().expect("piped")).lines().map(|line| line.expect("text"));
    let (mut failures, mut reasons) = (0, 0);
    while failures < 3 * ids.len() {
        let line = told.next().expect("it does not end");
        failures += usize::from(line.contains("is damaged or gone"));
        reasons += usize::from(line.starts_with("challenge "));
    }
    trying.kill().expect("killed");
    trying.wait().expect("ended");
    assert_eq!(reasons, ids.len());
    std::fs::rename(client.path("elsewhere"), &capsules).expect("moved back");
    let said = scene.defend();
    assert_eq!(said.text().matches(r#""event":"leaves""#).count(), 2, "{}", said.stderr);
    assert_eq!(said.stderr.matches("Computing the leaves").count(), 1, "what was computed is kept");

    scene.net.wait(3601);
    assert_eq!(scene.defend().text().matches(r#""event":"concluded""#).count(), 2);
    let spent = REWARD + CHALLENGE_BOND;
    scene.settle(FUNDS + REWARD + 2 * COMPENSATION, FUNDS - CHALLENGE_BOND, FUNDS - spent, 2 * FEE);
}

#[test]
fn a_client_defends_itself_from_a_backup_that_was_restored_elsewhere() {
    let Some(mut scene) = Scene::begin("a restored home") else { return };
    let slot = scene.slot.to_string();
    scene.client.fedmkt(&["backup", "restored"]).text();
    std::fs::remove_dir_all(scene.client.path("home")).expect("a home");
    scene.client.set("FEDMKT_HOME", scene.client.path("restored").display().to_string());
    let cid = scene.sponsor.fedmkt(&["job", "show", &scene.job, "--json"]).json()["cid"].clone();
    scene.sponsor.hand(cid.as_str().expect("a CID"), &scene.client);
    scene.challenger.fedmkt(&["challenge", "open", &slot, "--yes"]).text();
    let said = scene.defend();
    assert!(said.text().contains(r#""event":"leaves""#), "{}", said.stderr);
    assert!(said.stderr.contains("Computing the leaves"), "there was no receipt: {}", said.stderr);
}

#[test]
fn a_chain_that_goes_back_in_a_dispute_is_told_again() {
    let Some(scene) = Scene::begin("a reorganisation in a dispute") else { return };
    let (net, challenger) = (&scene.net, &scene.challenger);
    let slot = scene.slot.to_string();
    let id = challenger.fedmkt(&["challenge", "open", &slot, "--yes"]).text().to_owned();
    let state = |id: &str| challenger.fedmkt(&["challenge", "show", id, "--json"]).json()["state"].clone();
    let before = net.ask("evm_snapshot", serde_json::json!([]));
    scene.defend().text();
    assert_eq!(state(&id), "wants a choice");
    assert_eq!(net.ask("evm_revert", serde_json::json!([before])), true);
    assert_eq!(state(&id), "wants leaves", "the chain forgot the leaves");
    assert!(scene.defend().text().contains(r#""event":"leaves""#));
    assert_eq!(state(&id), "wants a choice");

    // Another challenge decides the slot: this one is void, and nobody has lost it.
    let other = scene.sponsor.fedmkt(&["challenge", "open", &slot, "--kind", "capsule", "--yes"]).text().to_owned();
    net.rule(CLIENT_WRONG, [0; 32]);
    assert_eq!(scene.sponsor.fedmkt(&["challenge", "conclude", &other]).text(), "won");
    assert_eq!(challenger.fedmkt(&["challenge", "conclude", &id]).text(), "void");
    assert_eq!(challenger.fedmkt(&["challenge", "list", "--json"]).json().as_array().map(Vec::len), Some(0));
    scene.settle(FUNDS - BOND, FUNDS, FUNDS + COMPENSATION, BOND - COMPENSATION);
}

#[test]
fn a_client_whose_slot_is_gone_from_the_chain_does_not_leave() {
    let Some(net) = Devnet::start("a slot that is gone") else { return };
    let (sponsor, client, challenger) = (Party::new(&net), Party::new(&net), Party::new(&net));
    let (cid, _) = sponsor.offers(&net, &client, 1);
    let before = net.ask("evm_snapshot", serde_json::json!([]));
    let done = Done::from(client.work(&cid).output().expect("fedmkt-run runs")).json();
    let slot = done["submission"]["slot"].as_str().expect("a slot").to_owned();
    challenger.fedmkt(&["challenge", "open", &slot, "--yes"]).text();

    let mut command = client.command("fedmkt", &["defend"]);
    let mut watching = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(watching.stdout.take().expect("piped")).lines();
    assert!(said.next().expect("it talks").expect("text").contains("challenge"), "it has seen the slot");
    assert_eq!(net.ask("evm_revert", serde_json::json!([before])), true);
    let told = BufReader::new(watching.stderr.take().expect("piped")).lines();
    let mut told = told.map(|line| line.expect("text"));
    assert!(told.any(|line| line.contains("is gone")), "it ended");
    // The same slot comes back, and its time passes.
    let accepted = client.fedmkt(&["accept", &cid, "--grant", "data=data", "--yes", "--json"]).json();
    assert_eq!(accepted["slot"], slot);
    assert_eq!(watching.try_wait().expect("asked"), None, "it waits for the slot");
    net.wait(3601);
    assert!(told.any(|line| line.contains("Nothing of yours")), "it ends when the slot is over");
    assert_eq!(watching.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_challenger_that_is_killed_again_and_again_puts_up_one_bond() {
    let Some(scene) = Scene::begin("killed challengers") else { return };
    let challenger = &scene.challenger;
    let slot = scene.slot.to_string();
    let open = ["challenge", "open", &slot, "--yes"];
    for pause in [50, 200, 400, 700, 1100, 1600] {
        killed_after(challenger.command("fedmkt", &open), pause);
    }
    let id = challenger.fedmkt(&open).text().to_owned();
    assert_eq!(challenger.fedmkt(&open).text(), id);
    assert_eq!(challenger.fedmkt(&["challenge", "list", "--json"]).json().as_array().map(Vec::len), Some(1));
    assert_eq!(scene.net.tokens(&challenger.account), FUNDS - CHALLENGE_BOND);
    scene.net.wait(3601);
    for pause in [100, 500, 1000] {
        killed_after(challenger.command("fedmkt", &["challenge", "conclude", &id]), pause);
    }
    assert_eq!(challenger.fedmkt(&["challenge", "conclude", &id]).text(), "won");
    scene.settle(FUNDS - BOND, FUNDS + COMPENSATION, FUNDS, BOND - COMPENSATION);
}
