//! `fedmkt-verify watch` and `stake`: the settings, the wallet, the data folder, and then the work.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use anyhow::{Context, anyhow};
use fedmkt_market::chain::Chain;
use fedmkt_market::records::Records;
use fedmkt_market::send::Sender;
use fedmkt_market::settings::Settings;
use fedmkt_market::wallet;
use fedmkt_runtime::auditor::{self, AuditorKeys};
use fedmkt_runtime::home::Home;
use fedmkt_runtime::passphrase::passphrase_of;
use fedmkt_runtime::worker::Program;
use fedmkt_verifier::watch::committee::committee;
use fedmkt_verifier::watch::database::State;
use fedmkt_verifier::watch::metrics::Metrics;
use fedmkt_verifier::watch::policy::Policy;
use fedmkt_verifier::watch::work::{Entrusted, Place, remove_leftovers};
use fedmkt_verifier::watch::{Watcher, http, lock, lock_account};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::arguments::{self, AuditorAct, Change};
use crate::progress::interruptible;
use crate::{Exit, OrExit, Outcome};

/// What is on its way to the chain, in the data folder.
const JOURNAL: &str = "journal.redb";

/// The data folder: the one that was named, else `watch` in the home.
pub fn data(named: Option<&PathBuf>) -> Outcome<PathBuf> {
    match named {
        Some(folder) => Ok(folder.clone()),
        None => Ok(fedmkt_store::home().context("there is no home folder").or_exit(Exit::Host)?.join("watch")),
    }
}

pub fn watch(arguments: &arguments::Watch) -> Outcome<()> {
    tracing_subscriber::fmt().with_max_level(arguments.log).with_writer(std::io::stderr).with_ansi(false).init();
    let stop = interruptible()?;
    begin(arguments, stop).or_exit(Exit::Host)
}

fn begin(arguments: &arguments::Watch, stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    let settings = Settings::read(arguments.market.clone())?;
    let folder = data(arguments.place.data.as_ref()).map_err(|ended| ended.1)?;
    let home = Home::open(&folder).with_context(|| format!("cannot use {}", folder.display()))?;
    let _lock = lock(&folder)?;
    remove_leftovers(&folder).with_context(|| format!("cannot clean {}", folder.display()))?;
    let policy = Policy::read(&arguments.policy.clone().unwrap_or_else(|| folder.join("policy.toml")))?;
    let chain = Chain::connect(&settings)?;
    for address in &policy.committee.contracts {
        committee(&chain, *address)?;
    }
    if policy.challenge.enabled && !policy.trusts_somebody() {
        tracing::warn!(
            "nothing will be challenged: the policy names no arbitrator; add those you trust to challenge.arbitrators"
        );
    }
    let keys = AuditorKeys::open(&folder.join(auditor::FILE), || passphrase_of(None))?;
    let key = wallet::open(&settings)?;
    let _account = lock_account(settings.home.path(), key.address())?;
    let journal = Records::open(&folder.join(JOURNAL))?;
    let store = arguments.store.clone().unwrap_or_else(|| folder.join("store"));
    if arguments.store.is_none() {
        fedmkt_store::FolderStore::new(&store).set_quota(Some(policy.limits.disk_bytes))?;
    }
    let metrics = Arc::new(Metrics::default());
    let pause = Duration::from_secs(arguments.pause.max(1));
    if let Some(address) = arguments.http {
        let bound = http::serve(address, metrics.clone(), 60 + 3 * pause.as_secs())?;
        tracing::info!("http://{bound}/healthz and /metrics");
    }
    let place = Place {
        home,
        store,
        backends: arguments.backends.clone(),
        policy,
        program: Program::this(),
        seal: State::of(&folder).seed()?,
        keys: keys.map(Arc::new),
        entrusted: Entrusted::default(),
        stop,
    };
    if !place.policy.committee.contracts.is_empty()
        && let Err(why) = place.check_machine()
    {
        tracing::warn!("no question about a step can be answered, which costs the stake of a round: {why:#}");
    }
    let mut watcher = Watcher::new(&chain, &settings, &journal, key, place, metrics)?;
    tracing::info!("{} watches the market {} on chain {}", watcher.account(), chain.market, chain.id);
    watcher.run(pause)?;
    tracing::info!("ended");
    Ok(())
}

pub fn auditor(arguments: &arguments::Auditor) -> Outcome<()> {
    let folder = data(arguments.place.data.as_ref())?;
    keys_of(&folder, arguments).or_exit(Exit::Host)
}

fn keys_of(folder: &Path, arguments: &arguments::Auditor) -> anyhow::Result<()> {
    Home::open(folder).with_context(|| format!("cannot use {}", folder.display()))?;
    let path = folder.join(auditor::FILE);
    let keys = match arguments.act {
        AuditorAct::New => {
            let made = "A key is made for you: clients encrypt to it what they disclose to you.";
            AuditorKeys::make(&path, || passphrase_of(Some(made)))?
        }
        AuditorAct::Show => AuditorKeys::open(&path, || passphrase_of(None))?
            .with_context(|| format!("there is no {}: `fedmkt-verify auditor new`", path.display()))?,
    };
    let mut out = std::io::stdout().lock();
    if arguments.place.json {
        writeln!(out, "{}", json!({ "recipients": keys.recipients().collect::<Vec<_>>() }))?;
    } else {
        keys.recipients().try_for_each(|recipient| writeln!(out, "{recipient}"))?;
    }
    Ok(())
}

pub fn stake(arguments: &arguments::Stake) -> Outcome<()> {
    change_stake(arguments).or_exit(Exit::Host)
}

fn change_stake(arguments: &arguments::Stake) -> anyhow::Result<()> {
    let (market, place) = (&arguments.market, &arguments.place);
    let settings = Settings::read(market.clone())?;
    let folder = data(place.data.as_ref()).map_err(|ended| ended.1)?;
    let chain = Chain::connect(&settings)?;
    let contract = committee(&chain, arguments.committee)?;
    let account = wallet::address(&settings)?;
    if arguments.change != Change::Show {
        Home::open(&folder).with_context(|| format!("cannot use {}", folder.display()))?;
        let _lock = lock(&folder)?;
        let _account = lock_account(settings.home.path(), account)?;
        let journal = Records::open(&folder.join(JOURNAL))?;
        let sender = Sender { chain: &chain, journal: &journal, key: wallet::open(&settings)? };
        let key = format!("stake {} {} {account}", chain.id, arguments.committee);
        let (mut change, goes_on) = Changing::begin(&sender, arguments.committee, key, &arguments.change)?;
        if goes_on {
            eprintln!(
                "The same command was begun before and has not ended: this goes on, and does not do again what is done."
            );
        }
        match &arguments.change {
            Change::Show => {}
            Change::Add { amount, seats } => {
                change.next("deposit", |name| deposit(&chain, &sender, arguments.committee, *amount, name))?;
                for _ in 0..*seats {
                    change.sends("take a seat", contract.takeSeat().calldata().to_vec())?;
                }
            }
            Change::Withdraw { amount, seats } => {
                for _ in 0..*seats {
                    change.next("leave a seat", |name| {
                        // It was perhaps given up before this goes on.
                        if goes_on && chain.call(contract.getMember(account))?.seats == 0 {
                            return Ok(());
                        }
                        let position = seat_of(&chain, arguments.committee, account)?;
                        let call = contract.leaveSeat(U256::from(position)).calldata().to_vec();
                        sender.send_and_keep(name, arguments.committee, call).map(drop)
                    })?;
                }
                if let Some(amount) = amount {
                    change.sends("unstake", contract.unstake(*amount).calldata().to_vec())?;
                }
                let member = chain.call(contract.getMember(account))?;
                let leave_at: u64 = member.leaveAt.to();
                if member.leaving > 0 && leave_at < chain.latest()?.time {
                    change.sends("withdraw stake", contract.withdraw(account).calldata().to_vec())?;
                } else if member.leaving > 0 {
                    let until = fedmkt_market::receipt::utc(leave_at);
                    eprintln!(
                        "{} leave after {until}: `withdraw` without an amount and without --seats fetches them.",
                        member.leaving
                    );
                }
            }
        }
        change.end()?;
    }
    let member = chain.call(contract.getMember(account))?;
    let token = chain.token(chain.call(contract.token())?)?;
    let seat = chain.call(contract.seatStake())?;
    if arguments.place.json {
        let (stake, leaving) = (member.stake.to_string(), member.leaving.to_string());
        let leave_at: u64 = member.leaveAt.to();
        println!(
            "{}",
            json!({ "account": account, "stake": stake, "leaving": leaving, "leave_at": leave_at,
            "seats": member.seats, "seat_stake": seat.to_string() })
        );
    } else {
        let amount = |units: u128| token.amount(U256::from(units));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{account}: stake {}, {} seats of {}", amount(member.stake), member.seats, amount(seat))?;
        if member.leaving > 0 {
            writeln!(out, "  {} are leaving", amount(member.leaving))?;
        }
    }
    Ok(())
}

/// The last change of a stake, in the journal.
#[derive(Debug, Serialize, Deserialize)]
struct LastChange {
    number: u64,
    change: Change,
    /// How many of its deeds count.
    done: u64,
    /// Whether all do.
    has_ended: bool,
}

/// A change of a stake. Its number is in the names of its deeds, so that each is done once, however often the command is
/// interrupted.
struct Changing<'a> {
    sender: &'a Sender<'a>,
    committee: Address,
    key: String,
    last: LastChange,
    /// How many of its deeds were come to.
    step: u64,
}

impl<'a> Changing<'a> {
    /// Begins a change, or goes on with the last one if that is the same and has not ended. Whether it does.
    fn begin(sender: &'a Sender<'a>, committee: Address, key: String, change: &Change) -> anyhow::Result<(Self, bool)> {
        let last: Option<LastChange> = sender.journal.get(&key)?;
        let (last, goes_on) = match last {
            Some(last) if !last.has_ended && last.change == *change => (last, true),
            last => {
                let number = last.map_or(0, |last| last.number + 1);
                (LastChange { number, change: change.clone(), done: 0, has_ended: false }, false)
            }
        };
        sender.journal.put(&key, &last)?;
        Ok((Self { sender, committee, key, last, step: 0 }, goes_on))
    }

    /// Comes to the next deed, which is done under a name and [kept](Sender::send_and_keep), unless it is done.
    fn next(&mut self, what: &str, act: impl FnOnce(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
        if self.step == self.last.done {
            let name = format!("{what} {} {}.{}", self.committee, self.last.number, self.step);
            act(&name)?;
            self.last.done += 1;
            self.sender.journal.put(&self.key, &self.last)?;
            // Not before: whoever is killed in between comes to this deed again, and must find that it is done.
            self.sender.forget(&name)?;
        }
        self.step += 1;
        Ok(())
    }

    /// The same with a call of the committee.
    fn sends(&mut self, what: &str, call: Vec<u8>) -> anyhow::Result<()> {
        let (sender, committee) = (self.sender, self.committee);
        self.next(what, |name| sender.send_and_keep(name, committee, call).map(drop))
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.last.has_ended = true;
        self.sender.journal.put(&self.key, &self.last)
    }
}

/// Puts up more, unless the amount is 0. `name` is that of the deposit.
fn deposit(chain: &Chain, sender: &Sender<'_>, address: Address, amount: u128, name: &str) -> anyhow::Result<()> {
    if amount == 0 {
        return Ok(());
    }
    let contract = committee(chain, address)?;
    let token = chain.call(contract.token())?;
    let coins = chain.token_contract(token);
    // Once it was signed it was allowed, and may have been taken.
    if !sender.was_signed(name)? && chain.call(coins.allowance(sender.address(), address))? < U256::from(amount) {
        let name = format!("allow {address} {token} {amount}");
        sender.do_again(&name)?;
        sender.send(&name, token, coins.approve(address, U256::from(amount)).calldata().to_vec())?;
    }
    sender.send_and_keep(name, address, contract.deposit(amount).calldata().to_vec()).map(drop)
}

/// A seat that an account holds.
fn seat_of(chain: &Chain, address: Address, account: Address) -> anyhow::Result<u64> {
    let contract = committee(chain, address)?;
    let count: u64 = chain.call(contract.seatCount())?.saturating_to();
    for position in (0..count).rev() {
        if chain.call(contract.holderOf(U256::from(position)))? == account {
            return Ok(position);
        }
    }
    Err(anyhow!("{account} holds no seat in {address}"))
}
