//! The connection to the chain and its market, and what an account has there.
//!
//! A node is not trusted to be the right one: chain id and contract code are checked first. Requests that fail on their
//! way are sent again; all that this program sends may arrive twice.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use alloy::contract::{CallBuilder, CallDecoder};
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::Ethereum;
use alloy::primitives::{Address, B256, Bytes, U256, address};
use alloy::providers::{DynProvider, Provider, RootProvider};
use alloy::rpc::client::ClientBuilder;
use alloy::sol_types::SolInterface;
use alloy::transports::RpcError;
use alloy::transports::http::reqwest;
use alloy::transports::layers::{RateLimitRetryPolicy, RetryBackoffLayer, RetryPolicy};
use alloy::transports::{TransportError, TransportErrorKind};
use anyhow::{Context, anyhow, bail};
use fedmkt_contracts::dev_token::DevToken::{DevTokenErrors, DevTokenInstance};
use fedmkt_contracts::disputes::Disputes::DisputesInstance;
use fedmkt_contracts::market::Market::MarketInstance;
use fedmkt_contracts::{code, refusal};
use fedmkt_core::manifest::PROFILE;

use crate::amount::{Amount, GWEI};
use crate::settings::Settings;
use crate::transport::Bounded;

const CONNECT_TIME: Duration = Duration::from_secs(10);
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// How often a request is sent again, and after how many milliseconds each time.
const RETRIES: u32 = 12;
const RETRY_AFTER: u64 = 500;

/// Where chains with EIP-2935 keep the hashes of past blocks.
const HISTORY: Address = address!("0x0000F90827F1C53a10cb7A02335B175320002935");

/// A market on a chain.
pub struct Chain {
    runtime: tokio::runtime::Runtime,
    provider: DynProvider,
    /// The chain's number.
    pub id: u64,
    /// The market's contract.
    pub market: Address,
    /// The market's contract for disputes.
    pub disputes: Address,
    /// The first block that can have events of the market.
    pub from_block: u64,
    /// Blocks until something counts, the one with it included.
    pub confirmations: u64,
    /// How long a transaction may be in no block.
    pub replace_after: Duration,
    /// The most that a unit of gas may cost, in the coin's smallest unit.
    pub most_fee: u128,
    /// The most gas that a call may take.
    pub most_gas: u64,
    tokens: Mutex<HashMap<Address, Amount>>,
}

/// A block, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// How many came before it.
    pub number: u64,
    /// Of its header.
    pub hash: B256,
    /// Seconds since 1970.
    pub time: u64,
}

/// Sends again what failed on its way, and what the node was too busy for.
#[derive(Clone, Copy, Debug)]
struct Again;

impl RetryPolicy for Again {
    fn should_retry(&self, error: &TransportError) -> bool {
        match error {
            RpcError::Transport(TransportErrorKind::HttpError(error)) => error.status == 429 || error.status >= 500,
            RpcError::Transport(kind) => !kind.is_non_retryable(),
            error => RateLimitRetryPolicy::default().should_retry(error),
        }
    }

    fn backoff_hint(&self, error: &TransportError) -> Option<Duration> {
        RateLimitRetryPolicy::default().backoff_hint(error)
    }
}

impl Chain {
    /// Connects to the node that the settings name.
    ///
    /// # Errors
    /// When it cannot be reached, it is on another chain, or there is no market at the address.
    pub fn connect(settings: &Settings) -> anyhow::Result<Self> {
        let url: reqwest::Url = settings.get("rpc")?;
        let (id, market): (u64, Address) = (settings.get("chain-id")?, settings.get("market")?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = reqwest::Client::builder().connect_timeout(CONNECT_TIME).timeout(ANSWER_TIME).build()?;
        // The number of units is no limit: nodes that have one say so.
        let again = RetryBackoffLayer::new_with_policy(RETRIES, RETRY_AFTER, u64::from(u32::MAX), Again);
        let client = ClientBuilder::default().layer(again).transport(Bounded::new(client, url.clone()), false);
        let mut chain = Self {
            runtime,
            provider: RootProvider::<Ethereum>::new(client).erased(),
            id,
            market,
            disputes: Address::ZERO,
            from_block: settings.get("from-block")?,
            confirmations: settings.get::<u64>("confirmations")?.max(1),
            replace_after: Duration::from_secs(settings.get("replace-after")?),
            most_fee: u128::from(settings.get::<u64>("most-fee")?) * GWEI,
            most_gas: settings.get("most-gas")?,
            tokens: Mutex::default(),
        };
        let place = url.host_str().unwrap_or("the node").to_owned();
        let found =
            chain.ask(chain.provider.get_chain_id()).with_context(|| format!("cannot use the node at {place}"))?;
        if found != id {
            bail!("the node at {place} is on chain {found}, not {id}: set rpc or chain-id right; nothing was sent");
        }
        chain.disputes = chain.check_code()?;
        Ok(chain)
    }

    /// Compares the contracts' code, and gives the address of that for disputes.
    fn check_code(&self) -> anyhow::Result<Address> {
        let market = self.market;
        let no_market = |what: &str| {
            anyhow!("{market} on chain {} is no market that this program knows: {what}; nothing was sent", self.id)
        };
        let found = self.ask(self.provider.get_code_at(market))?;
        if found.is_empty() {
            return Err(no_market("there is no contract"));
        }
        if !code::MARKET.is(&found) {
            return Err(no_market("its code is another one"));
        }
        let disputes = self.call(self.market().disputes())?;
        if !code::DISPUTES.is(&self.ask(self.provider.get_code_at(disputes))?) {
            return Err(no_market("the code of its disputes is another one"));
        }
        let profile = self.call(self.market().profile())?;
        let name = profile.as_slice().split(|byte| *byte == 0).next().unwrap_or_default();
        if name != PROFILE.as_bytes() {
            return Err(no_market(&format!("its runs go by the profile {:?}", String::from_utf8_lossy(name))));
        }
        Ok(disputes)
    }

    /// Waits for an answer.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Waits for the answer of the node.
    ///
    /// # Errors
    /// In words.
    pub fn ask<T>(&self, request: impl IntoFuture<Output = Result<T, TransportError>>) -> anyhow::Result<T> {
        self.wait(request.into_future()).map_err(|error| sentence(&error))
    }

    /// Waits for the answer of a contract.
    ///
    /// # Errors
    /// In words; what the contract itself says if it refuses.
    pub fn call<P: Provider, D: CallDecoder + Unpin>(&self, call: CallBuilder<P, D>) -> anyhow::Result<D::CallOutput> {
        self.wait(async { call.call().await }).map_err(|error| match error {
            alloy::contract::Error::TransportError(error) => sentence(&error),
            error => anyhow!("the contract gave a strange answer: {error}"),
        })
    }

    /// The node.
    pub fn node(&self) -> &DynProvider {
        &self.provider
    }

    /// The market's contract.
    pub fn market(&self) -> MarketInstance<DynProvider> {
        MarketInstance::new(self.market, self.provider.clone())
    }

    /// The contract for disputes.
    pub fn disputes(&self) -> DisputesInstance<DynProvider> {
        DisputesInstance::new(self.disputes, self.provider.clone())
    }

    /// A token's contract. Nothing in these calls is special to the devnet's.
    pub fn token_contract(&self, token: Address) -> DevTokenInstance<DynProvider> {
        DevTokenInstance::new(token, self.provider.clone())
    }

    /// How amounts of a token are written.
    ///
    /// # Errors
    /// When there is no contract, or the node does not answer.
    pub fn token(&self, token: Address) -> anyhow::Result<Amount> {
        if let Some(known) = self.tokens.lock().expect("no panic").get(&token) {
            return Ok(known.clone());
        }
        if self.ask(self.provider.get_code_at(token))?.is_empty() {
            bail!("there is no token at {token} on chain {}", self.id);
        }
        let contract = self.token_contract(token);
        // A token need not have these.
        let amount = Amount::of_token(self.call(contract.symbol()).ok(), self.call(contract.decimals()).ok());
        self.tokens.lock().expect("no panic").insert(token, amount.clone());
        Ok(amount)
    }

    /// What an account has of a token.
    pub fn token_balance(&self, token: Address, account: Address) -> anyhow::Result<U256> {
        self.call(self.token_contract(token).balanceOf(account)).with_context(|| format!("asking the token {token}"))
    }

    /// What the market owes an account.
    pub fn owed(&self, token: Address, account: Address) -> anyhow::Result<U256> {
        self.call(self.market().owed(token, account))
    }

    /// Whether the market has a job, at a block.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn has_job(&self, id: B256, at: BlockId) -> anyhow::Result<bool> {
        match self.wait(async { self.market().getJob(id).block(at).call().await }) {
            Ok(_) => Ok(true),
            Err(error) if error.as_revert_data().is_some() => Ok(false),
            Err(alloy::contract::Error::TransportError(error)) => Err(sentence(&error)),
            Err(error) => Err(anyhow!("the contract gave a strange answer: {error}")),
        }
    }

    /// What an account has of the chain's own coin.
    pub fn balance(&self, account: Address) -> anyhow::Result<U256> {
        self.ask(self.provider.get_balance(account))
    }

    /// The latest block.
    pub fn latest(&self) -> anyhow::Result<Block> {
        self.block(BlockNumberOrTag::Latest)?.context("the node has no block")
    }

    /// A block; `None` if it is still to come.
    pub fn block(&self, which: BlockNumberOrTag) -> anyhow::Result<Option<Block>> {
        let block = self.ask(self.provider.get_block(BlockId::Number(which)))?;
        Ok(block.map(|block| Block {
            number: block.header.number,
            hash: block.header.hash,
            time: block.header.timestamp,
        }))
    }

    /// How many blocks later the market can still check a header.
    pub fn reach(&self) -> anyhow::Result<u64> {
        let history = self.ask(self.provider.get_code_at(HISTORY))?;
        Ok(if history.is_empty() { 256 } else { 8191 })
    }
}

/// What an answer of the node means.
pub fn sentence(error: &TransportError) -> anyhow::Error {
    if let RpcError::ErrorResp(payload) = error {
        if let Some(data) = payload.as_revert_data() {
            return anyhow!(explained(&data).unwrap_or_else(|| format!("the contract refuses it, and says {data}")));
        }
        if payload.message.contains("insufficient funds") {
            return anyhow!("the account has not enough of the chain's own coin for gas: send it some");
        }
        return anyhow!("the node refuses it: {}", payload.message);
    }
    // Addresses of nodes may hold keys.
    let text = match error {
        RpcError::Transport(TransportErrorKind::Custom(_)) => {
            "it cannot be reached, or breaks the connection".to_owned()
        }
        RpcError::DeserError { .. } => "its answer cannot be read".to_owned(),
        RpcError::NullResp => "its answer is empty".to_owned(),
        error => error.to_string(),
    };
    anyhow!("the chain's node fails: {text}; the same command goes on from here")
}

/// What the data of a refused call means, as far as it is known.
fn explained(data: &Bytes) -> Option<String> {
    if let Some(text) = refusal::explain(data) {
        return Some(text);
    }
    match DevTokenErrors::abi_decode(data).ok()? {
        DevTokenErrors::ERC20InsufficientBalance(e) => {
            Some(format!("{} has {} units of the token, and needs {}", e.sender, e.balance, e.needed))
        }
        DevTokenErrors::ERC20InsufficientAllowance(e) => {
            Some(format!("{} may take {} units of the token, and needs {}", e.spender, e.allowance, e.needed))
        }
        _ => None,
    }
}
