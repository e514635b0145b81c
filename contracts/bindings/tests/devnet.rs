//! The contracts on a devnet: anvil, its own blocks and headers, and transactions as clients send them.

use std::path::Path;

use alloy::eips::BlockNumberOrTag;
use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::node_bindings::{Anvil, AnvilInstance};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolValue;
use cid::Cid;
use cid::multihash::Multihash;
use fedmkt_contracts::committee::Committee::{self, CommitteeInstance};
use fedmkt_contracts::dev_token::DevToken::{self, DevTokenInstance};
use fedmkt_contracts::disputes::Disputes::{self, DisputesInstance};
use fedmkt_contracts::market::Market::{self, MarketInstance};
use fedmkt_contracts::market::{Submission, Terms};
use fedmkt_contracts::submission::{self, Claim};
use fedmkt_contracts::{code, ids, randomness, refusal};
use fedmkt_core::image::{Header, ResultCommitment, Status};
use fedmkt_core::inputs::market_run_id;
use fedmkt_core::manifest::{PROFILE, SizeClass};
use fedmkt_core::receipt::{self, Body, ResultRecord};
use fedmkt_core::roots::{Blind, DataRoot, JobRoot, ResultRoot, RunId, StateRoot};
use fedmkt_core::trace::trace_root;
use fedmkt_core::tree;

const REWARD: u128 = 1000;
const BOND: u128 = 10_000;
const CHALLENGE_BOND: u128 = 900;
const COMPENSATION: u128 = 300;
const FEE: u128 = 200;
const FUNDS: u128 = 1_000_000;
const WINDOW: u32 = 3600;

const STEPS: u64 = 8;
const STEPS_PER_SEGMENT: u64 = 3;

const CLASS: SizeClass = SizeClass::S;

/// Who does something on the chain; the number is that of its account.
#[derive(Clone, Copy)]
enum Party {
    Sponsor,
    Client,
    Challenger,
    Verifier,
    Anybody,
}

struct Devnet {
    anvil: AnvilInstance,
    market: Address,
    disputes: Address,
    committee: Address,
    token: Address,
}

/// `None`, and a word about it, where there is no anvil.
async fn devnet() -> Option<Devnet> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("node_modules/.bin/anvil");
    if !program.is_file() {
        eprintln!("SKIPPED: there is no anvil (`cargo xtask setup` installs it)");
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
    let mut profile = B256::ZERO;
    profile[..PROFILE.len()].copy_from_slice(PROFILE.as_bytes());
    let market = Market::deploy(&anybody, profile).await.expect("a market");
    net.market = *market.address();
    net.disputes = market.disputes().call().await.expect("the contract for disputes");
    let rules = Committee::Rules {
        token: net.token,
        seatStake: 500,
        penalty: 50,
        members: 1,
        drawTime: 600,
        commitTime: 600,
        revealTime: 600,
    };
    net.committee = *Committee::deploy(&anybody, net.market, rules).await.expect("a committee").address();
    for party in [Party::Sponsor, Party::Client, Party::Challenger, Party::Verifier] {
        let token = net.token(party);
        sent(token.mint(net.account(party), U256::from(FUNDS))).await;
        sent(token.approve(net.market, U256::MAX)).await;
    }
    Some(net)
}

/// Sends a call, and waits until it is in a block.
async fn sent<D: alloy::contract::CallDecoder>(call: alloy::contract::CallBuilder<&DynProvider, D>) {
    try_sent(call).await.unwrap_or_else(|why| panic!("a call was refused: {why}"));
}

/// The same for calls that may be refused; the error is what the client would be told.
async fn try_sent<D: alloy::contract::CallDecoder>(
    call: alloy::contract::CallBuilder<&DynProvider, D>,
) -> Result<(), String> {
    match call.send().await {
        Ok(pending) => {
            let receipt = pending.get_receipt().await.expect("a receipt");
            assert!(receipt.status(), "a transaction failed");
            Ok(())
        }
        Err(error) => {
            let data = error.as_revert_data().unwrap_or_default();
            Err(refusal::explain(&data).unwrap_or_else(|| error.to_string()))
        }
    }
}
