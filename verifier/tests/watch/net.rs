//! A chain for one test, with a market, a committee, a sponsor and a client whose keys the test has.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use alloy::contract::{CallBuilder, CallDecoder};
use alloy::eips::BlockNumberOrTag;
use alloy::network::EthereumWallet;
use alloy::node_bindings::{Anvil, AnvilInstance};
use alloy::primitives::aliases::U24;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, TransactionReceipt};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolEvent;
use cid::Cid;
use fedmkt_contracts::committee::Committee::{self, CommitteeInstance};
use fedmkt_contracts::dev;
use fedmkt_contracts::dev_token::DevToken::{self, DevTokenInstance};
use fedmkt_contracts::disputes::Disputes::{ChallengeEnded, ChallengeOpened, DisputesInstance};
use fedmkt_contracts::disputes::Run;
use fedmkt_contracts::market::Market::{self, MarketInstance};
use fedmkt_contracts::market::Terms;
use fedmkt_contracts::submission::Claim;
use fedmkt_contracts::{ids, randomness, submission, terms};
use fedmkt_core::image::Header;
use fedmkt_core::inputs::{self, market_run_id};
use fedmkt_core::manifest::Disclosure;
use fedmkt_core::pack::Pack;
use fedmkt_core::receipt::Body;
use fedmkt_core::roots::{DataRoot, StateRoot};
use fedmkt_core::trace::Level;
use fedmkt_core::tree::keccak256;
use fedmkt_market::submission::{cid_of, publish};
use fedmkt_store::files;

use crate::lies::{STEPS_PER_SEGMENT, Setting};
use crate::until;

pub const FUNDS: u128 = 1_000_000;

/// Who does something on the chain; the number is that of its account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Party {
    Sponsor,
    Client,
    Other,
    Friend,
}

pub struct Net {
    anvil: AnvilInstance,
    runtime: tokio::runtime::Runtime,
    pub market: Address,
    pub disputes: Address,
    pub committee: Address,
    pub token: Address,
}

/// A slot that was accepted, by whom, and the header that has its randomness.
#[derive(Clone)]
pub struct Accepted {
    pub slot: B256,
    pub client: Party,
    header: Bytes,
}

/// A slot with a submission.
pub struct Taken {
    pub slot: B256,
    pub client: Party,
    pub run: Run,
    /// What was published as its results.
    pub bundle: Option<Cid>,
}

impl Net {
    /// `None`, said loudly, where there is no anvil. `members` is how many places a committee's first round has.
    pub fn start(test: &str, members: u16) -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/node_modules/.bin/anvil");
        if !program.is_file() {
            // Not `eprintln!`, which the test harness keeps to itself.
            let message = format!("\nSKIPPED {test}: there is no anvil; `cargo xtask setup` installs it\n");
            io::stderr().write_all(message.as_bytes()).expect("standard error");
            return None;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let anvil =
            Anvil::at(program).block_time_f64(0.4).arg("--hardfork").arg("prague").try_spawn().expect("anvil starts");
        let [market, disputes, committee, token] = [Address::ZERO; 4];
        let mut net = Self { anvil, runtime, market, disputes, committee, token };
        net.deploy(members);
        Some(net)
    }

    fn deploy(&mut self, members: u16) {
        let other = self.provider(Party::Other);
        let (token, market) = self.wait(async {
            let token = *DevToken::deploy(&other).await.expect("a token").address();
            (token, *Market::deploy(&other, dev::profile()).await.expect("a market").address())
        });
        (self.token, self.market) = (token, market);
        self.disputes = self.ask(MarketInstance::new(market, other.clone()).disputes());
        let rules = dev::rules(token, members);
        self.committee = self.wait(async { *Committee::deploy(&other, market, rules).await.expect("made").address() });
        for party in [Party::Sponsor, Party::Client, Party::Other, Party::Friend] {
            self.fund(self.account(party));
            self.allow(party, market);
        }
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn ask<P: Provider, D: CallDecoder + Unpin>(&self, call: CallBuilder<P, D>) -> D::CallOutput {
        self.wait(async { call.call().await }).expect("an answer")
    }

    /// Sends a call, and waits until it is in a block.
    #[track_caller]
    pub fn send<P: Provider, D: CallDecoder>(&self, call: CallBuilder<P, D>) -> TransactionReceipt {
        let receipt = self.wait(async {
            let pending = call.send().await.unwrap_or_else(|why| panic!("a call was refused: {why}"));
            pending.get_receipt().await.expect("a receipt")
        });
        assert!(receipt.status(), "a transaction failed");
        receipt
    }

    /// The selector of the error with which a contract refuses a call.
    #[track_caller]
    pub fn refusal<P: Provider, D: CallDecoder + Unpin>(&self, call: CallBuilder<P, D>) -> [u8; 4] {
        let error = self.wait(async { call.call().await }).err().expect("it is refused");
        let data = error.as_revert_data().unwrap_or_else(|| panic!("no contract refuses it: {error}"));
        data[..4].try_into().expect("a selector")
    }

    fn key(&self, party: Party) -> PrivateKeySigner {
        self.anvil.keys()[party as usize].clone().into()
    }

    pub fn account(&self, party: Party) -> Address {
        self.key(party).address()
    }

    /// A connection of its own each time: one that is kept would not see what others send for the same account.
    pub fn provider(&self, party: Party) -> DynProvider {
        let wallet = EthereumWallet::new(self.key(party));
        ProviderBuilder::new().wallet(wallet).connect_http(self.anvil.endpoint_url()).erased()
    }

    pub fn url(&self) -> String {
        self.anvil.endpoint()
    }

    pub fn market(&self, party: Party) -> MarketInstance<DynProvider> {
        MarketInstance::new(self.market, self.provider(party))
    }

    pub fn disputes(&self, party: Party) -> DisputesInstance<DynProvider> {
        DisputesInstance::new(self.disputes, self.provider(party))
    }

    pub fn committee(&self, party: Party) -> CommitteeInstance<DynProvider> {
        CommitteeInstance::new(self.committee, self.provider(party))
    }

    /// Gives an account a coin and tokens.
    pub fn fund(&self, account: Address) {
        let coins = U256::from(10).pow(U256::from(18));
        self.wait(async { self.provider(Party::Other).anvil_set_balance(account, coins * U256::from(1000)).await })
            .expect("coins");
        self.send(DevTokenInstance::new(self.token, self.provider(Party::Other)).mint(account, U256::from(FUNDS)));
    }

    /// Lets a contract take a party's tokens.
    pub fn allow(&self, party: Party, contract: Address) {
        self.send(DevTokenInstance::new(self.token, self.provider(party)).approve(contract, U256::MAX));
    }

    /// What an account has of the token.
    pub fn tokens(&self, account: Address) -> u128 {
        self.ask(DevTokenInstance::new(self.token, self.provider(Party::Other)).balanceOf(account)).saturating_to()
    }

    /// Puts other code where a contract is.
    pub fn set_code(&self, contract: Address, code: Bytes) {
        self.wait(async { self.provider(Party::Other).anvil_set_code(contract, code).await }).expect("other code");
    }

    /// Lets the chain's time pass.
    pub fn pass(&self, seconds: u64) {
        let provider = self.provider(Party::Other);
        self.wait(async {
            provider.anvil_increase_time(seconds).await.expect("later");
            provider.anvil_mine(Some(1), None).await.expect("a block");
        });
    }

    /// Waits until there are so many more blocks.
    pub fn wait_for_blocks(&self, more: u64) {
        let number = || self.block(BlockNumberOrTag::Latest).header.number;
        let last = number() + more;
        until("blocks", || number() >= last);
    }

    /// Lets it pass up to this moment, in seconds since 1970.
    pub fn pass_until(&self, time: u64) {
        let now = self.block(BlockNumberOrTag::Latest).header.timestamp;
        self.pass(time.saturating_sub(now));
    }

    fn block(&self, number: BlockNumberOrTag) -> alloy::rpc::types::Block {
        let provider = self.provider(Party::Other);
        self.wait(async { provider.get_block_by_number(number).await }).expect("an answer").expect("a block")
    }

    /// Posts the job of a setting with so many slots.
    pub fn post(&self, setting: &Setting, slots: u32) -> B256 {
        self.post_for(setting, slots, &[])
    }

    /// The same for these auditors, unless data is open.
    pub fn post_for(&self, setting: &Setting, slots: u32, auditors: &[Address]) -> B256 {
        let manifest = &setting.job.manifest;
        let longest = self.ask(self.committee(Party::Sponsor).longestAnswer());
        let now = self.block(BlockNumberOrTag::Latest).header.timestamp;
        let (disclosure, per_million) = match &manifest.disclosure {
            Disclosure::Open => (terms::OPEN, 0),
            Disclosure::Audited(audit) => (terms::AUDITED, audit.per_million),
            Disclosure::Private => (terms::PRIVATE, 0),
        };
        let is_private = disclosure == terms::PRIVATE;
        let mut auditors = auditors.to_vec();
        auditors.sort();
        let terms = Terms {
            cid: terms::job_digest(&setting.job.cid).expect("a job"),
            root: setting.job.root().0.into(),
            class: manifest.machine.class as u8,
            stepsPerSegment: STEPS_PER_SEGMENT,
            results: manifest.results.len() as u8,
            slots,
            disclosure,
            auditsPerMillion: U24::from(per_million),
            auditors,
            ..dev::terms(self.token, self.committee, longest, now)
        };
        let terms = match is_private {
            true => Terms {
                arbitrator: Address::ZERO,
                arbitrationTime: 0,
                challengeBond: 0,
                compensation: 0,
                arbitrationFee: 0,
                ..terms
            },
            false => terms,
        };
        assert_eq!(terms::differences(&terms, &setting.job.cid, manifest, setting.job.root()), []);
        self.send(self.market(Party::Sponsor).post(terms.clone()));
        ids::job_id(self.anvil.chain_id(), self.market, self.account(Party::Sponsor), &terms)
    }

    /// The chain as it is now, for [`Self::go_back`].
    pub fn snapshot(&self) -> U256 {
        self.wait(async { self.provider(Party::Other).anvil_snapshot().await }).expect("a snapshot")
    }

    /// Takes back every block since then: the chain goes on with others.
    pub fn go_back(&self, snapshot: U256) {
        assert!(self.wait(async { self.provider(Party::Other).anvil_revert(snapshot).await }).expect("an answer"));
    }

    /// Takes a slot for the client; afterwards the setting has the run's id. `number` tells the slots apart.
    pub fn accept(&self, job: B256, setting: &mut Setting, number: u8) -> Accepted {
        self.accept_as(Party::Client, job, setting, number)
    }

    /// The same for somebody else.
    pub fn accept_as(&self, client: Party, job: B256, setting: &mut Setting, number: u8) -> Accepted {
        let data_root = DataRoot(setting.capsule.root.0);
        let pack = Pack::open(setting.capsule.bytes.clone()).expect("a capsule");
        let blind_hash = B256::from(keccak256(&inputs::blind(pack.salt()).0).0);
        let nonce = B256::repeat_byte(number);
        let receipt = self.send(self.market(client).accept(job, data_root.0.into(), blind_hash, nonce));
        let slot = ids::slot_id(job, self.account(client), data_root.0.into(), blind_hash, nonce);
        let source = randomness::source(receipt.block_number.expect("a block"));
        let provider = self.provider(Party::Other);
        self.wait(async { provider.anvil_mine(Some(randomness::DELAY + 1), None).await }).expect("blocks");
        let block = self.block(source.into());
        setting.run_id = market_run_id(
            self.anvil.chain_id(),
            &self.market,
            &slot,
            &self.account(client),
            data_root,
            &block.header.mix_hash,
        );
        Accepted { slot, client, header: randomness::encoded(&block.header.inner) }
    }

    /// Submits a run with these states, the last of which is this header alone.
    pub fn submit(&self, setting: &Setting, accepted: Accepted, states: &[StateRoot], last: &Header) -> Taken {
        self.submit_with(setting, accepted, states, last, &setting.capsule.bytes, &[])
    }

    /// The same with what is published as data and as results.
    pub fn submit_with(
        &self,
        setting: &Setting,
        accepted: Accepted,
        states: &[StateRoot],
        last: &Header,
        data: &[u8],
        results: &[Vec<u8>],
    ) -> Taken {
        let Accepted { slot, client, header } = accepted;
        let claim = self.claim(setting, states, last, data, results);
        let accepted = submission::accepted(last.data_root, keccak256(&last.blind.0), None);
        let bundle = cid_of(&claim.submission.bundle);
        self.send(self.market(client).submit(slot, accepted, claim.submission, claim.siblings, header));
        Taken { slot, client, run: claim.run.into(), bundle }
    }

    /// Whether the market refuses a run with these states for this slot.
    pub fn refuses(&self, setting: &Setting, accepted: &Accepted, states: &[StateRoot], last: &Header) -> bool {
        let Accepted { slot, client, header } = accepted.clone();
        let claim = self.claim(setting, states, last, &setting.capsule.bytes, &[]);
        let accepted = submission::accepted(last.data_root, keccak256(&last.blind.0), None);
        let market = self.market(client);
        let call = market.submit(slot, accepted, claim.submission, claim.siblings, header);
        self.wait(async { call.call().await }).is_err()
    }

    /// Publishes data and results, and says what is to be submitted.
    fn claim(&self, setting: &Setting, states: &[StateRoot], last: &Header, data: &[u8], results: &[Vec<u8>]) -> Claim {
        let ends = Level::top(states.len() as u64, STEPS_PER_SEGMENT).ends();
        let segments = ends.map(|end| states[end as usize - 1]).collect();
        let body = Body::new(setting.job.cid, &setting.job.manifest, last, segments);
        let store = setting.store();
        let is_open = setting.job.manifest.disclosure == Disclosure::Open;
        let capsule = is_open.then(|| files::add_file(&store, data).expect("added").cid);
        let bundle = (!body.results.is_empty()).then(|| match setting.job.manifest.sponsor {
            None => {
                let folder = tempfile::tempdir().expect("a folder");
                for (file, content) in setting.job.manifest.results.iter().zip(results) {
                    std::fs::write(folder.path().join(&file.name), content).expect("a file");
                }
                files::add_tree(&store, folder.path()).expect("added").cid
            }
            Some(_) => {
                for content in results {
                    files::add_file(&store, &content[..]).expect("added");
                }
                publish(&store, &setting.job.manifest, &body).expect("published")
            }
        });
        submission::claim(&body, bundle.as_ref(), capsule.as_ref()).expect("a claim")
    }

    /// The challenge of a slot by this account, once there is one.
    pub fn challenge_of(&self, slot: B256, challenger: Address) -> Option<B256> {
        let disputes = self.disputes(Party::Other);
        let count: u64 = self.ask(disputes.challengeCount(slot)).saturating_to();
        let mut ids = (0..count).map(|number| ids::challenge_id(slot, challenger, number));
        ids.find(|id| self.ask(disputes.getChallenge(*id)).state != 0)
    }

    /// What an account has sent so far and what came of it: the data of its calls, and topics and data of their events.
    pub fn seen_of(&self, account: Address) -> (Vec<Bytes>, Vec<Bytes>) {
        let provider = self.provider(Party::Other);
        let (mut calls, mut events) = (Vec::new(), Vec::new());
        for number in 0..=self.block(BlockNumberOrTag::Latest).header.number {
            let block = self.wait(async { provider.get_block_by_number(number.into()).full().await });
            let block = block.expect("an answer").expect("a block");
            for sent in block.transactions.txns().filter(|sent| sent.inner.signer() == account) {
                calls.push(alloy::consensus::Transaction::input(sent).clone());
                let hash = *sent.inner.tx_hash();
                let receipt = self.wait(async { provider.get_transaction_receipt(hash).await });
                for log in receipt.expect("an answer").expect("a receipt").logs() {
                    let topics = log.topics().iter().flat_map(|topic| topic.0);
                    events.push(topics.chain(log.data().data.to_vec()).collect());
                }
            }
        }
        (calls, events)
    }

    /// Seconds from a challenge to its end by the chain's clock, and the gas of all transactions since then, by who sent them.
    pub fn dispute(&self, id: B256, whose: impl Fn(Address) -> &'static str) -> (u64, BTreeMap<&'static str, u64>) {
        let provider = self.provider(Party::Other);
        let at = |event: B256| {
            let filter = Filter::new().address(self.disputes).event_signature(event).topic1(id).from_block(0);
            let logs = self.wait(provider.get_logs(&filter)).expect("logs");
            logs[0].block_number.expect("a block")
        };
        let (first, last) = (at(ChallengeOpened::SIGNATURE_HASH), at(ChallengeEnded::SIGNATURE_HASH));
        let time = |number: u64| self.block(number.into()).header.timestamp;
        let mut gas = BTreeMap::new();
        let latest = self.block(BlockNumberOrTag::Latest).header.number;
        for number in first..=latest {
            let receipts = self.wait(async { provider.get_block_receipts(number.into()).await }).expect("receipts");
            for receipt in receipts.unwrap_or_default() {
                *gas.entry(whose(receipt.from)).or_default() += receipt.gas_used;
            }
        }
        (time(last) - time(first), gas)
    }
}

/// Roots as contracts take them.
pub fn words(roots: &[StateRoot]) -> Vec<B256> {
    roots.iter().map(|root| B256::from(root.0)).collect()
}
