//! Sending transactions so that each is in a block once, whatever happens in between.
//!
//! What is to be done has a name, and under that name the journal keeps account, nonce and the hashes of what was sent,
//! before it is sent. A nonce can be used once, so that whatever is sent again with the same nonce, with the same or
//! higher fees, happens at most once in all. What was begun and left gives way to what is begun next, so that nothing
//! waits behind it.
//!
//! What a unit of gas costs and how much a call takes comes from the node, and nobody may be there to look at it: above the
//! settings `most-fee` and `most-gas` nothing is signed.

use std::time::{Duration, Instant};

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::{TransactionBuilder, TxSignerSync};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::providers::Provider;
use alloy::providers::utils::{Eip1559Estimation, Eip1559Estimator, eip1559_default_estimator};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::RpcError;
use anyhow::{anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::amount::{Amount, GWEI};
use crate::chain::{Chain, sentence};
use crate::permit;
use crate::records::Records;
use fedmkt_runtime::message::note;

/// How often a transaction is replaced before this program gives up for now.
const MOST_REPLACEMENTS: usize = 12;

/// How often a node must say that a transaction can come into no block.
const MOST_DOUBTS: u32 = 10;

/// Sums of a node's numbers up to this do not overflow.
const MOST_SUMMED: u128 = u128::MAX >> 8;

/// How long to wait before the node is asked again.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
const MOST_PAUSE: Duration = Duration::from_secs(4);

/// How the names of records begin that hold what was [left](Sender::leave): then come its nonce and the name of the deed.
const LEFT: &str = "transaction/left ";

/// A transaction that may be on its way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct OnItsWay {
    chain: u64,
    from: Address,
    to: Address,
    data: Bytes,
    nonce: u64,
    gas: u64,
    fee: u128,
    tip: u128,
    /// Of all that was sent with this nonce.
    hashes: Vec<B256>,
    /// Whether the node that it was last sent to has refused it, so that what takes its place need not pay more.
    #[serde(default)]
    refused: bool,
}

impl OnItsWay {
    /// Fees for what is to take its place: higher by a quarter at least, as nodes want it, and what is usual now.
    fn outbid(&self, usual: Eip1559Estimation) -> Eip1559Estimation {
        let fee = usual.max_fee_per_gas.max(self.fee + self.fee / 4 + 1);
        let tip = usual.max_priority_fee_per_gas.max(self.tip + self.tip / 4 + 1).min(fee);
        Eip1559Estimation { max_fee_per_gas: fee, max_priority_fee_per_gas: tip }
    }

    /// Whether its fee is so near to the usual one that it is not signed again: each signature is one more to look for.
    fn is_near(&self, usual: Eip1559Estimation) -> bool {
        let fee = usual.max_fee_per_gas;
        self.fee - self.fee / 5 <= fee && fee <= self.fee + self.fee / 4
    }
}

/// What a unit of gas costs at present, as it would be signed.
///
/// # Errors
/// When it is more than the setting `most-fee` allows, or the node does not answer.
pub fn fees(chain: &Chain) -> anyhow::Result<Eip1559Estimation> {
    let estimator = Eip1559Estimator::new(|base: u128, tips: &[Vec<u128>]| {
        let tips: Vec<Vec<u128>> =
            tips.iter().map(|tips| tips.iter().map(|tip| *tip.min(&MOST_SUMMED)).collect()).collect();
        eip1559_default_estimator(base.min(MOST_SUMMED), &tips)
    });
    affordable(chain, chain.ask(async { chain.node().estimate_eip1559_fees_with(estimator).await })?)
}

/// Fees, if they are not above what a unit of gas may cost.
fn affordable(chain: &Chain, fees: Eip1559Estimation) -> anyhow::Result<Eip1559Estimation> {
    let fee = fees.max_fee_per_gas;
    if fee > chain.most_fee {
        bail!(
            "a unit of gas would cost up to {}, and `most-fee` allows {}: it is not sent so. Wait, or ask another node whether \
             that is true; if it is, `fedmkt config set most-fee {}`, in gwei, allows it",
            Amount::gwei(fee),
            Amount::gwei(chain.most_fee),
            fee.div_ceil(GWEI)
        );
    }
    Ok(Eip1559Estimation { max_priority_fee_per_gas: fees.max_priority_fee_per_gas.min(fee), ..fees })
}

/// An account that sends.
pub struct Sender<'a> {
    /// Where it sends.
    pub chain: &'a Chain,
    /// Where it keeps what is on its way.
    pub journal: &'a Records,
    /// What it signs with.
    pub key: PrivateKeySigner,
}

impl Sender<'_> {
    /// The account.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// Brings a call into a block, unless it is in one already, and waits until it counts. `name` is what is done, as in
    /// "accept 0x12..": the same name is the same deed, even if another process began it.
    ///
    /// # Errors
    /// When the contract refuses, the account has too little, or the chain does not answer. The same call goes on.
    pub fn send(&self, name: &str, to: Address, data: Vec<u8>) -> anyhow::Result<TransactionReceipt> {
        let receipt = self.send_and_keep(name, to, data)?;
        self.forget(name)?;
        Ok(receipt)
    }

    /// As [`Self::send`], but until [`Self::forget`] the same name stays the same deed: for who writes down in between that it is
    /// done.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_and_keep(&self, name: &str, to: Address, data: Vec<u8>) -> anyhow::Result<TransactionReceipt> {
        let key = format!("transaction/{name}");
        let data = Bytes::from(data);
        let mut known: Option<OnItsWay> = self.journal.get(&key)?;
        if known.as_ref().is_some_and(|known| known.from != self.address() || known.chain != self.chain.id) {
            bail!("`{name}` was begun by another wallet or on another chain: finish it there");
        }
        loop {
            let mut sent = match known.take() {
                Some(known) if self.is_free(&known)? || self.receipt(&known)?.is_some() => known,
                // The node says that its nonce was used for something else.
                Some(known) => {
                    self.leave(name, &known)?;
                    self.begin(to, data.clone())?
                }
                None => self.begin(to, data.clone())?,
            };
            let is_in_block = self.receipt(&sent)?.is_some();
            if sent.refused && !is_in_block {
                let usual = fees(self.chain)?;
                if !sent.is_near(usual) {
                    (sent.fee, sent.tip) = (usual.max_fee_per_gas, usual.max_priority_fee_per_gas);
                }
            }
            if !is_in_block {
                self.broadcast(&key, &mut sent)?;
            }
            if let Some(receipt) = self.follow(name, &mut sent)? {
                // What it took the place of can be in no block any more.
                for (begun, other) in self.begun()? {
                    let is_past = other.nonce == sent.nonce || (begun.starts_with(LEFT) && other.nonce < sent.nonce);
                    if begun != key && is_past {
                        self.journal.remove(&begun)?;
                    }
                }
                if !receipt.status() {
                    // If that is not true, it can still come.
                    self.leave(name, &sent)?;
                    // Asking again tells why, unless the reason has gone meanwhile.
                    self.estimate(sent.to, &sent.data)?;
                    bail!("`{name}` was refused by the contract: run the command again");
                }
                return Ok(receipt);
            }
        }
    }

    /// Forgets a deed of [`Self::send_and_keep`].
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn forget(&self, name: &str) -> anyhow::Result<()> {
        self.journal.remove(&format!("transaction/{name}"))
    }

    /// Whether a transaction for a deed was signed that nothing else has taken the place of. Whatever a node says of it, it may
    /// come into a block later.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn was_signed(&self, name: &str) -> anyhow::Result<bool> {
        Ok(!self.signed(name)?.is_empty())
    }

    /// As [`Self::was_signed`], but for what has a nonce that was used, as the node says now.
    ///
    /// # Errors
    /// When the journal cannot be read, or the node does not answer.
    pub fn can_come(&self, name: &str) -> anyhow::Result<bool> {
        self.signed(name)?.iter().try_fold(false, |can, sent| Ok(can || self.is_free(sent)?))
    }

    fn signed(&self, name: &str) -> anyhow::Result<Vec<OnItsWay>> {
        let (deed, left) = (format!("transaction/{name}"), format!(" {name}"));
        let is_its = |begun: &str| begun == deed || (begun.starts_with(LEFT) && begun.ends_with(&left));
        Ok(self.begun()?.into_iter().filter(|(begun, _)| is_its(begun)).map(|(_, sent)| sent).collect())
    }

    /// Keeps what a node says can come into no block, until something else with its nonce is in one: what was signed stays
    /// valid until then. The deed itself can be begun anew.
    fn leave(&self, name: &str, sent: &OnItsWay) -> anyhow::Result<()> {
        self.journal.put(&format!("{LEFT}{} {name}", sent.nonce), sent)?;
        self.forget(name)
    }

    /// Whether a deed is in a block, or can still come into one as it was sent.
    fn is_on_its_way(&self, name: &str) -> anyhow::Result<bool> {
        match self.journal.get::<OnItsWay>(&format!("transaction/{name}"))? {
            Some(known) => Ok(self.is_free(&known)? || self.receipt(&known)?.is_some()),
            None => Ok(false),
        }
    }

    /// Forgets a deed that is in a block, so that [`Self::send`] does it again. For what can be done many times, when it was
    /// found that it must be done now.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub fn do_again(&self, name: &str) -> anyhow::Result<()> {
        let key = format!("transaction/{name}");
        if let Some(known) = self.journal.get::<OnItsWay>(&key)?
            && self.receipt(&known)?.is_some()
        {
            self.journal.remove(&key)?;
        }
        Ok(())
    }

    /// The gas of a call.
    ///
    /// # Errors
    /// With what the contract says, if it refuses the call.
    pub fn estimate(&self, to: Address, data: &Bytes) -> anyhow::Result<u64> {
        let request = TransactionRequest::default().with_from(self.address()).with_to(to).with_input(data.clone());
        self.chain.ask(self.chain.node().estimate_gas(request))
    }

    /// What was begun under other names, is in no block, and is not wanted any more may wait with a fee that is too low,
    /// and all that comes later would wait behind it. Nobody but this follows it: what is begun now takes its place.
    fn begin(&self, to: Address, data: Bytes) -> anyhow::Result<OnItsWay> {
        let gas = self.estimate(to, &data)?;
        if gas > self.chain.most_gas {
            bail!(
                "the node says that this takes {gas} gas, and `most-gas` allows {}: it is not sent. Ask another node, and if \
                 that says the same, use another token",
                self.chain.most_gas
            );
        }
        let mut fees = fees(self.chain)?;
        let used = self.chain.ask(self.chain.node().get_transaction_count(self.address()))?;
        let pending = self.chain.ask(self.chain.node().get_transaction_count(self.address()).pending())?;
        let mut left: Vec<OnItsWay> = self.begun()?.into_iter().map(|(_, sent)| sent).collect();
        left.retain(|left| left.nonce >= used);
        // Not above what the node expects next, or there would be a gap.
        let nonce = left.iter().map(|left| left.nonce).fold(pending, u64::min);
        for left in left.iter().filter(|left| left.nonce == nonce) {
            note("A transaction that was begun before and is in no block gives way to this one.");
            if !left.refused {
                fees = affordable(self.chain, left.outbid(fees))?;
            }
        }
        Ok(OnItsWay {
            chain: self.chain.id,
            from: self.address(),
            to,
            data,
            nonce,
            // What a call costs may change a little until it is in a block.
            gas: gas.saturating_add(gas / 5),
            fee: fees.max_fee_per_gas,
            tip: fees.max_priority_fee_per_gas,
            hashes: Vec::new(),
            refused: false,
        })
    }

    /// What this account has begun on this chain, with its names in the journal.
    fn begun(&self) -> anyhow::Result<Vec<(String, OnItsWay)>> {
        let mut begun = self.journal.all::<OnItsWay>("transaction/")?;
        begun.retain(|(_, sent)| sent.chain == self.chain.id && sent.from == self.address());
        Ok(begun)
    }

    /// Whether nothing with its nonce is in a block.
    fn is_free(&self, sent: &OnItsWay) -> anyhow::Result<bool> {
        Ok(self.chain.ask(self.chain.node().get_transaction_count(sent.from))? <= sent.nonce)
    }

    /// Whether no transaction has the nonce before its own, so that it cannot come into a block. A reorganisation may have taken
    /// that away after it counted.
    fn waits_behind_nothing(&self, sent: &OnItsWay) -> anyhow::Result<bool> {
        Ok(self.chain.ask(self.chain.node().get_transaction_count(sent.from).pending())? < sent.nonce)
    }

    /// The receipt of whatever was sent with its nonce.
    fn receipt(&self, sent: &OnItsWay) -> anyhow::Result<Option<TransactionReceipt>> {
        for hash in sent.hashes.iter().rev() {
            let found = self.chain.ask(self.chain.node().get_transaction_receipt(*hash))?;
            // A node that gives another transaction's receipt gives none.
            let fits = |receipt: &TransactionReceipt| receipt.transaction_hash == *hash && receipt.from == sent.from;
            if let Some(receipt) = found.filter(fits) {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    /// Whether the node has a transaction, in a block or not.
    fn is_known(&self, hash: B256) -> anyhow::Result<bool> {
        Ok(self.chain.ask(self.chain.node().get_transaction_by_hash(hash))?.is_some())
    }

    /// Signs, keeps and sends it.
    fn broadcast(&self, key: &str, sent: &mut OnItsWay) -> anyhow::Result<()> {
        let mut transaction = TxEip1559 {
            chain_id: sent.chain,
            nonce: sent.nonce,
            gas_limit: sent.gas,
            max_fee_per_gas: sent.fee,
            max_priority_fee_per_gas: sent.tip,
            to: TxKind::Call(sent.to),
            value: U256::ZERO,
            access_list: Default::default(),
            input: sent.data.clone(),
        };
        let signature = self.key.sign_transaction_sync(&mut transaction)?;
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        if !sent.hashes.contains(envelope.tx_hash()) {
            sent.hashes.push(*envelope.tx_hash());
        }
        // Until there is an answer a node may have it.
        sent.refused = false;
        self.journal.put(key, sent)?;
        let answer = self.chain.wait(async { self.chain.node().send_raw_transaction(&envelope.encoded_2718()).await });
        match answer.map(drop) {
            Ok(()) => Ok(()),
            // It, or another one with its nonce, was there before: what the receipts say counts.
            Err(RpcError::ErrorResp(payload)) if is_there(&payload.message) => Ok(()),
            // Not every node says so in words that are known.
            Err(RpcError::ErrorResp(_)) if self.is_known(*envelope.tx_hash())? => Ok(()),
            Err(error) => {
                sent.refused = matches!(error, RpcError::ErrorResp(_));
                self.journal.put(key, sent)?;
                Err(sentence(&error))
            }
        }
    }

    /// Waits until it counts, with higher fees if it has to. `None` if its nonce was used for something else, or what came
    /// before it is gone: it is [left](Self::leave) then.
    fn follow(&self, name: &str, sent: &mut OnItsWay) -> anyhow::Result<Option<TransactionReceipt>> {
        let (mut since, mut pause, mut gone, mut missing) = (Instant::now(), LEAST_PAUSE, 0, 0);
        loop {
            if let Some(receipt) = self.receipt(sent)? {
                let latest = self.chain.latest()?.number;
                let number = receipt.block_number.unwrap_or(u64::MAX);
                // After a reorganisation the receipt is another one, or none.
                if latest.saturating_add(1) >= number.saturating_add(self.chain.confirmations) {
                    return Ok(Some(receipt));
                }
                (since, gone, missing) = (Instant::now(), 0, 0);
            } else if !self.is_free(sent)? {
                // Nodes behind one address may differ for a while.
                (gone, missing) = (gone + 1, 0);
                if gone > MOST_DOUBTS {
                    self.leave(name, sent)?;
                    return Ok(None);
                }
            } else if self.waits_behind_nothing(sent)? {
                (gone, missing) = (0, missing + 1);
                if missing > MOST_DOUBTS {
                    note("What came before this transaction is no longer in the chain: it is begun anew.");
                    // What it needs, as an allowance, may be gone too: whoever goes on looks at that first.
                    self.leave(name, sent)?;
                    return Ok(None);
                }
            } else {
                (gone, missing) = (0, 0);
                if since.elapsed() > self.chain.replace_after {
                    self.replace(&format!("transaction/{name}"), sent)?;
                    since = Instant::now();
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(MOST_PAUSE);
        }
    }

    /// Sends it again with higher fees. If they are refused it still has those that it had.
    fn replace(&self, key: &str, sent: &mut OnItsWay) -> anyhow::Result<()> {
        let before = (sent.fee, sent.tip);
        self.raise(sent)?;
        let done = self.broadcast(key, sent);
        if done.is_err() && sent.refused {
            ((sent.fee, sent.tip), sent.refused) = (before, false);
            self.journal.put(key, sent)?;
        }
        done
    }

    /// Raises the fees.
    fn raise(&self, sent: &mut OnItsWay) -> anyhow::Result<()> {
        if sent.hashes.len() > MOST_REPLACEMENTS {
            bail!(
                "a transaction with nonce {} is in no block though its fees were raised {MOST_REPLACEMENTS} times: look \
                 at the node; the same command goes on",
                sent.nonce
            );
        }
        let fees = affordable(self.chain, sent.outbid(fees(self.chain)?))?;
        (sent.fee, sent.tip) = (fees.max_fee_per_gas, fees.max_priority_fee_per_gas);
        note(&format!(
            "A transaction is in no block for {} s: sent again with higher fees.",
            self.chain.replace_after.as_secs()
        ));
        Ok(())
    }
}

/// Whether a node says by this that it has a transaction with the nonce.
fn is_there(message: &str) -> bool {
    let message = message.to_lowercase();
    ["already known", "already imported", "nonce too low", "underpriced", "already in"]
        .iter()
        .any(|known| message.contains(known))
}

/// A call of the market that takes `amount` of a token from the sender. The market is allowed to take it: by a signature
/// in the same transaction if the token knows that ([`permit`]), else by a transaction before.
///
/// # Errors
/// When the account has less, or as [`Sender::send`].
pub fn pay(
    sender: &Sender<'_>,
    name: &str,
    token: Address,
    amount: U256,
    call: Vec<u8>,
) -> anyhow::Result<TransactionReceipt> {
    let market = sender.chain.market;
    if !sender.is_on_its_way(name)? && allowance(sender, token, amount)? < amount {
        if let Some(permit) = permit::call(sender, token, amount)? {
            let both = vec![permit.into(), call.clone().into()];
            let both = sender.chain.market().multicall(both).calldata().to_vec();
            // Some tokens take any call for a permit and do nothing.
            if sender.estimate(market, &both.clone().into()).is_ok() {
                return sender.send(name, market, both);
            }
        }
        allow(sender, token, amount)?;
    }
    sender.send(name, market, call)
}

/// Lets the market take `amount` of a token from the sender, if it may not yet.
///
/// # Errors
/// When the account has less, or as [`Sender::send`].
pub fn allow(sender: &Sender<'_>, token: Address, amount: U256) -> anyhow::Result<()> {
    let allowed = allowance(sender, token, amount)?;
    if allowed >= amount {
        return Ok(());
    }
    let contract = sender.chain.token_contract(token);
    // Some tokens let an allowance change from or to zero only.
    let first = (!allowed.is_zero()).then_some(U256::ZERO);
    for amount in first.into_iter().chain([amount]) {
        let name = format!("allow {token} {amount}");
        sender.do_again(&name)?;
        sender.send(&name, token, contract.approve(sender.chain.market, amount).calldata().to_vec())?;
    }
    Ok(())
}

/// What the market may take of a token from the sender, who must have `amount`.
fn allowance(sender: &Sender<'_>, token: Address, amount: U256) -> anyhow::Result<U256> {
    let chain = sender.chain;
    let kind = chain.token(token)?;
    let has = chain.token_balance(token, sender.address())?;
    if has < amount {
        return Err(anyhow!(
            "{} has {}, and {} are needed: get the rest first",
            sender.address(),
            kind.amount(has),
            kind.amount(amount)
        ));
    }
    chain.call(chain.token_contract(token).allowance(sender.address(), chain.market))
}
