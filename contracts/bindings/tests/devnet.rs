//! The contracts on a devnet: anvil, its own blocks and headers, and transactions as clients send them.

use std::io::{self, Write};
use std::path::Path;

use alloy::contract::{CallBuilder, CallDecoder};
use alloy::eips::BlockNumberOrTag;
use alloy::network::EthereumWallet;
use alloy::node_bindings::{Anvil, AnvilInstance};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::TransactionReceipt;
use alloy::signers::local::PrivateKeySigner;
use cid::Cid;
use cid::multihash::Multihash;
use fedmkt_contracts::committee::Committee;
use fedmkt_contracts::dev::{self, BOND, COMPENSATION, REWARD, WINDOW};
use fedmkt_contracts::dev_token::DevToken::{self, DevTokenInstance};
use fedmkt_contracts::disputes::Disputes::{self, DisputesInstance};
use fedmkt_contracts::market::Market::{self, MarketInstance};
use fedmkt_contracts::market::Terms;
use fedmkt_contracts::submission::{self, Claim};
use fedmkt_contracts::{code, ids, randomness, refusal};
use fedmkt_core::image::{Header, ResultCommitment, Status};
use fedmkt_core::inputs::market_run_id;
use fedmkt_core::manifest::{PROFILE, SizeClass};
use fedmkt_core::receipt::{self, Body, ResultRecord, Trace};
use fedmkt_core::roots::{Blind, DataRoot, Hash, JobRoot, ResultRoot, RunId, StateRoot};
use fedmkt_core::trace::{Level, trace_root};
use fedmkt_core::tree;

const FUNDS: u128 = 1_000_000;

const STEPS: u64 = 8;
const STEPS_PER_SEGMENT: u64 = 3;

const CLASS: SizeClass = SizeClass::S;

/// Who does something on the chain; the number is that of its account.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Party {
    Sponsor,
    Client,
    Challenger,
    Anybody,
}

struct Devnet {
    anvil: AnvilInstance,
    market: Address,
    disputes: Address,
    committee: Address,
    token: Address,
}

/// `None`, said loudly, where there is no anvil.
async fn devnet() -> Option<Devnet> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("node_modules/.bin/anvil");
    if !program.is_file() {
        // Not `eprintln!`, which the test harness keeps to itself.
        let message = b"\nSKIPPED contracts on a devnet: there is no anvil; `cargo xtask setup` installs it\n";
        io::stderr().write_all(message).expect("standard error");
        return None;
    }
    let anvil = Anvil::at(program).arg("--hardfork").arg("prague").try_spawn().expect("anvil starts");
    let mut net = Devnet {
        anvil,
        market: Address::ZERO,
        disputes: Address::ZERO,
        committee: Address::ZERO,
        token: Address::ZERO,
    };
    let anybody = net.provider(Party::Anybody);
    net.token = *DevToken::deploy(&anybody).await.expect("a token").address();
    let market = Market::deploy(&anybody, dev::profile()).await.expect("a market");
    net.market = *market.address();
    net.disputes = market.disputes().call().await.expect("the contract for disputes");
    net.committee =
        *Committee::deploy(&anybody, net.market, dev::rules(net.token, 1)).await.expect("a committee").address();
    for party in [Party::Sponsor, Party::Client, Party::Challenger] {
        let provider = net.provider(party);
        let token = DevTokenInstance::new(net.token, provider.clone());
        sent(token.mint(net.account(party), U256::from(FUNDS))).await;
        sent(token.approve(net.market, U256::MAX)).await;
    }
    Some(net)
}

/// Sends a call, and waits until it is in a block.
async fn sent<D: CallDecoder>(call: CallBuilder<&DynProvider, D>) -> TransactionReceipt {
    let pending = call.send().await.unwrap_or_else(|why| panic!("a call was refused: {why}"));
    let receipt = pending.get_receipt().await.expect("a receipt");
    assert!(receipt.status(), "a transaction failed");
    receipt
}

/// What a client is told when a call is refused.
async fn refused<D: CallDecoder>(call: CallBuilder<&DynProvider, D>) -> String {
    let error = call.call().await.err().expect("the call is refused");
    let data = error.as_revert_data().expect("a custom error");
    refusal::explain(&data).unwrap_or_else(|| panic!("no sentence for {data}"))
}

/// 32 bytes that look random and are always the same for the same label.
fn noise(label: &str) -> [u8; 32] {
    tree::keccak256(label.as_bytes()).0
}

fn cid(label: &str) -> Cid {
    Cid::new_v1(0x55, Multihash::wrap(0x12, &noise(label)).expect("32 bytes fit a multihash"))
}

impl Devnet {
    fn key(&self, party: Party) -> PrivateKeySigner {
        self.anvil.keys()[party as usize].clone().into()
    }

    fn account(&self, party: Party) -> Address {
        self.key(party).address()
    }

    fn provider(&self, party: Party) -> DynProvider {
        let wallet = EthereumWallet::new(self.key(party));
        ProviderBuilder::new().wallet(wallet).connect_http(self.anvil.endpoint_url()).erased()
    }

    async fn balance(&self, party: Party) -> U256 {
        let provider = self.provider(party);
        let token = DevTokenInstance::new(self.token, provider.clone());
        token.balanceOf(self.account(party)).call().await.expect("a balance")
    }

    async fn terms(&self) -> Terms {
        let provider = self.provider(Party::Anybody);
        let committee = Committee::new(self.committee, provider.clone());
        let longest = committee.longestAnswer().call().await.expect("a time");
        let latest = provider.get_block_by_number(BlockNumberOrTag::Latest).await.expect("an answer").expect("a block");
        Terms {
            cid: noise("job cid").into(),
            root: noise("job root").into(),
            class: CLASS as u8,
            stepsPerSegment: STEPS_PER_SEGMENT,
            slots: 2,
            ..dev::terms(self.token, self.committee, longest, latest.header.timestamp)
        }
    }

    /// Posts a job, and gives its id.
    async fn post(&self, terms: &Terms) -> B256 {
        let sponsor = self.provider(Party::Sponsor);
        let market = MarketInstance::new(self.market, sponsor.clone());
        let receipt = sent(market.post(terms.clone())).await;
        let event = receipt.decoded_log::<Market::JobPosted>().expect("the event of a job");
        assert_eq!(event.job, ids::job_id(self.anvil.chain_id(), self.market, self.account(Party::Sponsor), terms));
        assert_eq!(&event.terms, terms);
        event.job
    }

    /// Accepts a job for a capsule; gives the slot, its run id, and the header that has the randomness.
    async fn accept(&self, job: B256, data_root: DataRoot, blind: Blind) -> (B256, RunId, Bytes, u64) {
        let client = self.provider(Party::Client);
        let market = MarketInstance::new(self.market, client.clone());
        let blind_hash = B256::from(tree::keccak256(&blind.0).0);
        let receipt = sent(market.accept(job, data_root.0.into(), blind_hash, B256::ZERO)).await;
        let slot = ids::slot_id(job, self.account(Party::Client), data_root.0.into(), blind_hash, B256::ZERO);
        assert_eq!(market.getSlot(slot).call().await.expect("a slot").state, 1);
        client.anvil_mine(Some(randomness::DELAY + 1), None).await.expect("blocks");
        let source = randomness::source(receipt.block_number.expect("a block"));
        let block = client.get_block_by_number(source.into()).await.expect("an answer").expect("the block");
        let header = randomness::encoded(&block.header.inner);
        assert_eq!(keccak256(&header), block.header.hash);
        let run_id = market_run_id(
            self.anvil.chain_id(),
            &self.market,
            &slot,
            &self.account(Party::Client),
            data_root,
            &block.header.mix_hash,
        );
        (slot, run_id, header, receipt.gas_used)
    }

    async fn wait(&self, seconds: u64) {
        let provider = self.provider(Party::Anybody);
        provider.anvil_increase_time(seconds).await.expect("later");
        provider.anvil_mine(Some(1), None).await.expect("a block");
    }
}

/// What a client would say about a run that nobody made: states are noise, but the last one, which is right.
struct Imagined {
    body: Body,
    first: StateRoot,
}

/// The state after a step.
fn state(step: u64) -> StateRoot {
    StateRoot(noise(&format!("state {step}")))
}

fn imagined(run_id: RunId, data_root: DataRoot, blind: Blind) -> Imagined {
    let first = Header {
        run_id,
        job_root: JobRoot(noise("job root")),
        data_root,
        blind,
        steps: 0,
        status: Status::Running,
        memory_bytes: 0,
        results: Vec::new(),
    };
    let result = ResultCommitment { size: 7, root: ResultRoot(noise("result root")), cid: cid("result") };
    let last = Header { steps: STEPS, status: Status::Done, results: vec![result], ..first.clone() };
    let ends = Level::top(STEPS, STEPS_PER_SEGMENT).ends();
    let mut segments: Vec<StateRoot> = ends.map(state).collect();
    *segments.last_mut().expect("a segment") = last.root_alone(CLASS.log2_state());
    let body = Body {
        version: receipt::VERSION,
        profile: PROFILE.into(),
        job: cid("job cid"),
        run_id,
        job_root: first.job_root,
        data_root,
        blind_hash: tree::keccak256(&blind.0),
        trace: Trace { root: trace_root(&segments), steps: STEPS, steps_per_segment: STEPS_PER_SEGMENT, segments },
        outcome: Status::Done,
        results: vec![ResultRecord { name: "weights".into(), size: result.size, root: result.root, cid: result.cid }],
    };
    Imagined { body, first: first.root_alone(CLASS.log2_state()) }
}

fn claim(body: &Body) -> Claim {
    submission::claim(body, Some(&cid("bundle")), Some(&cid("capsule"))).expect("a consistent body")
}

/// Runs a test on a devnet of its own.
fn on_devnet<F: Future<Output = ()>>(test: impl FnOnce(Devnet) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if let Some(net) = devnet().await {
            test(net).await;
        }
    });
}

#[test]
fn a_client_is_paid_to_the_unit_and_within_the_gas_that_was_promised() {
    on_devnet(|net| async move {
        let (data_root, blind) = (DataRoot(noise("data")), Blind(noise("blind")));
        let anybody = net.provider(Party::Anybody);
        for (address, expected) in
            [(net.market, &code::MARKET), (net.disputes, &code::DISPUTES), (net.committee, &code::COMMITTEE)]
        {
            assert!(expected.is(&anybody.get_code_at(address).await.expect("code")));
            assert!(!expected.is(&anybody.get_code_at(net.token).await.expect("code")));
        }

        let job = net.post(&net.terms().await).await;
        assert_eq!(net.balance(Party::Sponsor).await, U256::from(FUNDS - 2 * REWARD));
        let (slot, run_id, header, accept_gas) = net.accept(job, data_root, blind).await;
        assert_eq!(net.balance(Party::Client).await, U256::from(FUNDS - BOND));

        let client = net.provider(Party::Client);
        let market = MarketInstance::new(net.market, client.clone());
        let claim = claim(&imagined(run_id, data_root, blind).body);
        let run = submission::accepted(data_root, Hash(claim.run.blindHash.0), None);
        let submitted = sent(market.submit(slot, run, claim.submission, claim.siblings, header)).await;
        let event = submitted.logs().iter().find_map(|log| log.log_decode::<Market::Submitted>().ok());
        assert_eq!(event.expect("a submission").inner.run, claim.run, "the market computes the same last state");

        let early = refused(market.finalize(slot)).await;
        assert!(early.contains("too early"), "{early}");
        net.wait(u64::from(WINDOW) + 1).await;
        let finalized = sent(market.finalize(slot)).await;
        let withdrawn = sent(market.withdraw(net.token, net.account(Party::Client))).await;
        assert_eq!(net.balance(Party::Client).await, U256::from(FUNDS + REWARD));
        let gas = accept_gas + submitted.gas_used + finalized.gas_used + withdrawn.gas_used;
        assert!(gas <= 350_000, "the client paid {gas}");

        let sponsor = net.provider(Party::Sponsor);
        let market = MarketInstance::new(net.market, sponsor.clone());
        sent(market.close(job)).await;
        sent(market.withdraw(net.token, net.account(Party::Sponsor))).await;
        assert_eq!(net.balance(Party::Sponsor).await, U256::from(FUNDS - REWARD));
        let held =
            DevTokenInstance::new(net.token, sponsor.clone()).balanceOf(net.market).call().await.expect("a balance");
        assert_eq!(held, U256::ZERO);
    });
}

#[test]
fn what_is_refused_is_told_in_sentences() {
    on_devnet(|net| async move {
        let sponsor = net.provider(Party::Sponsor);
        let market = MarketInstance::new(net.market, sponsor.clone());
        let terms = net.terms().await;
        let cheap = Terms { bond: COMPENSATION, ..terms.clone() };
        let told = refused(market.post(cheap)).await;
        assert!(told.starts_with("the term `compensation` is 300; it must be from 1 to 150"), "{told}");
        let told = refused(market.close(B256::ZERO)).await;
        assert!(told.contains("there is no job"), "{told}");

        let job = net.post(&terms).await;
        let told = refused(market.post(terms)).await;
        assert!(told.contains("was posted already"), "{told}");
        let (data_root, blind) = (DataRoot(noise("data")), Blind(noise("blind")));
        let (slot, run_id, header, _) = net.accept(job, data_root, blind).await;
        let client = net.provider(Party::Client);
        let market = MarketInstance::new(net.market, client.clone());
        let Claim { submission, mut siblings, run } = claim(&imagined(run_id, data_root, blind).body);
        let accepted = submission::accepted(data_root, Hash(run.blindHash.0), None);
        siblings[0] = B256::ZERO;
        let told = refused(market.submit(slot, accepted, submission, siblings, header.clone())).await;
        assert!(told.contains("does not lead to the root"), "{told}");
        let told = refused(market.drawRun(slot, run.clone(), header)).await;
        assert!(told.contains("is not what the market knows"), "{told}");
        let told = refused(market.approve(slot, run)).await;
        assert!(told.ends_with("is accepted"), "{told}");
    });
}

#[test]
fn a_step_is_named_and_its_question_reaches_the_committee() {
    on_devnet(|net| async move {
        let (data_root, blind) = (DataRoot(noise("data")), Blind(noise("blind")));
        let job = net.post(&net.terms().await).await;
        let (slot, run_id, header, _) = net.accept(job, data_root, blind).await;
        let Imagined { body, first } = imagined(run_id, data_root, blind);
        let client = net.provider(Party::Client);
        let market = MarketInstance::new(net.market, client.clone());
        let Claim { submission, siblings, run } = claim(&body);
        let accepted = submission::accepted(data_root, Hash(run.blindHash.0), None);
        sent(market.submit(slot, accepted, submission, siblings, header)).await;

        let challenger = net.provider(Party::Challenger);
        let disputes = DisputesInstance::new(net.disputes, challenger.clone());
        let run: fedmkt_contracts::disputes::Run = run.into();
        sent(disputes.open(slot, run.clone(), 0)).await;
        let challenge = ids::challenge_id(slot, net.account(Party::Challenger), 0);
        let leaves = |roots: &[StateRoot]| roots.iter().map(|root| B256::from(root.0)).collect::<Vec<_>>();
        let top = &body.trace.segments;
        sent(DisputesInstance::new(net.disputes, client.clone()).postLeaves(challenge, leaves(top))).await;
        sent(disputes.choose(challenge, run.clone(), submission::choice(top, 1, first))).await;
        let below: Vec<StateRoot> =
            Level::top(STEPS, STEPS_PER_SEGMENT).below(1).expect("steps").ends().map(state).collect();
        assert_eq!(below.last(), top.get(1));
        sent(DisputesInstance::new(net.disputes, client.clone()).postLeaves(challenge, leaves(&below))).await;
        let choice = submission::choice(&below, 0, top[0]);
        let chosen = sent(disputes.choose(challenge, run, choice)).await;
        let wanted = chosen.logs().iter().find_map(|log| log.log_decode::<Disputes::RulingWanted>().ok());
        let question = wanted.expect("a question").inner.data.question;
        assert_eq!((question.step, question.stateIn.0), (STEPS_PER_SEGMENT, top[0].0));
        let opened = chosen.logs().iter().find_map(|log| log.log_decode::<Committee::RoundOpened>().ok());
        assert_eq!(opened.expect("a round of the committee").inner.data.challenge, challenge);
        let told = refused(disputes.resolve(challenge)).await;
        assert!(told.contains("has not answered"), "{told}");
    });
}
