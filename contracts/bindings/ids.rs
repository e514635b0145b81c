//! Names of jobs, slots and challenges. The id of a run is `fedmkt_core::inputs::market_run_id`.

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolValue;

use crate::market::Terms;

/// The id of a job that `sponsor` posts with these terms.
pub fn job_id(chain_id: u64, market: Address, sponsor: Address, terms: &Terms) -> B256 {
    let hash = keccak256(terms.abi_encode());
    named(b"fedmkt job", (U256::from(chain_id), market, sponsor, hash).abi_encode())
}

/// The id of the slot that `client` takes with this capsule.
///
/// `nonce` may be anything; it tells apart slots that are else the same.
pub fn slot_id(job: B256, client: Address, data_root: B256, blind_hash: B256, nonce: B256) -> B256 {
    named(b"fedmkt slot", (job, client, data_root, blind_hash, nonce).abi_encode())
}

/// The id of a challenge of a slot that had `number` challenges before.
pub fn challenge_id(slot: B256, challenger: Address, number: u64) -> B256 {
    named(b"fedmkt challenge", (slot, challenger, U256::from(number)).abi_encode())
}

fn named(name: &[u8], words: Vec<u8>) -> B256 {
    keccak256([name, &words].concat())
}
