//! `fedmkt devnet`: the contracts and a worthless token on a node that is there for tests.

use std::io::Write;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, U256};
use alloy::providers::{Provider, ProviderBuilder, RootProvider};
use alloy::rpc::types::TransactionRequest;
use alloy::transports::http::reqwest::Url;
use anyhow::{Context, bail};
use clap::Args;
use fedmkt_contracts::committee::Committee;
use fedmkt_contracts::dev;
use fedmkt_contracts::dev_token::DevToken;
use fedmkt_contracts::market::Market;
use serde_json::json;

/// The chain id of nodes for tests. On others nothing is done.
const CHAIN: u64 = 31_337;

/// How many tokens each account gets, with 18 decimals; and one coin for gas.
const FUNDS: u64 = 10_000;

/// Put a market, a committee and a worthless token on a node for tests (anvil), and give accounts some of both
#[derive(Args)]
#[command(after_help = "\
Examples:
  anvil --block-time 1
  fedmkt devnet --rpc http://127.0.0.1:8545 --fund 0x...

Prints one object with chain_id, market, committee and token. Uses accounts that the node itself has the keys of.")]
pub struct Devnet {
    /// An account that gets coins and tokens; may be given several times
    #[arg(long = "fund", value_name = "ADDRESS")]
    fund: Vec<Address>,
}

pub fn run(devnet: &Devnet, rpc: Option<&str>, out: &mut dyn Write) -> anyhow::Result<()> {
    let url: Url = rpc.context("which node? Name it with --rpc")?.parse().context("--rpc is no URL")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let deployed = runtime.block_on(deploy(url, &devnet.fund))?;
    Ok(writeln!(out, "{deployed:#}")?)
}

async fn deploy(url: Url, fund: &[Address]) -> anyhow::Result<serde_json::Value> {
    let node: RootProvider = ProviderBuilder::default().connect_http(url);
    let chain = node.get_chain_id().await.context("the node cannot be used")?;
    if chain != CHAIN {
        bail!("the node is on chain {chain}; devnets have {CHAIN}");
    }
    let accounts = node.get_accounts().await?;
    let from = *accounts.first().context("the node has no keys of its own: use anvil")?;
    let deployed = |receipt: alloy::rpc::types::TransactionReceipt| {
        receipt.contract_address.filter(|_| receipt.status()).context("a contract could not be deployed")
    };
    let token = DevToken::deploy_builder(&node).from(from).send().await?.get_receipt().await?;
    let token = deployed(token)?;
    let market = deployed(Market::deploy_builder(&node, dev::profile()).from(from).send().await?.get_receipt().await?)?;
    let committee =
        Committee::deploy_builder(&node, market, dev::rules(token, 1)).from(from).send().await?.get_receipt().await?;
    let committee = deployed(committee)?;
    let amount = U256::from(FUNDS) * U256::from(10).pow(U256::from(18));
    let instance = DevToken::new(token, &node);
    for account in fund {
        let coins = TransactionRequest::default()
            .with_from(from)
            .with_to(*account)
            .with_value(U256::from(10).pow(U256::from(18)));
        node.send_transaction(coins).await?.get_receipt().await?;
        instance.mint(*account, amount).from(from).send().await?.get_receipt().await?;
    }
    Ok(json!({ "chain_id": chain, "market": market, "committee": committee, "token": token }))
}
