//! What a client or sponsor must not forget: `journal.redb` in the home.

use std::path::PathBuf;

use alloy::primitives::{Address, B256, Bytes};
use anyhow::Context;
use fedmkt_runtime::home::Home;
use serde::{Deserialize, Serialize};

use crate::records::Records;
use crate::settings::Settings;

/// A slot that this client took, or is about to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// The chain's number.
    pub chain: u64,
    /// The market's contract.
    pub market: Address,
    /// The account.
    pub client: Address,
    /// The slot.
    pub slot: B256,
    /// The job's id in the market.
    pub job: B256,
    /// The job's CID.
    pub cid: String,
    /// Tells this slot from others for the same capsule.
    pub nonce: B256,
    /// Root of the capsule.
    pub data_root: B256,
    /// Keccak-256 of the blind.
    pub blind_hash: B256,
    /// The capsule's file, where it was packed; [`Taken::capsule_file`] finds it. It must not be lost until the slot has ended.
    pub capsule: String,
    /// The header with the randomness, and the run that follows from it.
    pub drawn: Option<Drawn>,
    /// CID of the receipt of the run.
    pub receipt: Option<String>,
    /// The encrypted results. Encrypting again would give others.
    pub bundle: Option<String>,
}

impl Taken {
    /// The capsule's file: where it was packed or, in a home that was moved or comes from a backup, among the home's capsules.
    pub fn capsule_file(&self, home: &Home) -> PathBuf {
        let packed = PathBuf::from(&self.capsule);
        match packed.file_name() {
            Some(name) if !packed.is_file() => home.path().join("capsules").join(name),
            _ => packed,
        }
    }
}

/// The randomness of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Drawn {
    /// The block in which the slot was accepted.
    pub block: u64,
    /// RLP encoding of the header that has the randomness; empty if the chain has fixed the run already.
    pub header: Bytes,
    /// The run.
    pub run_id: B256,
}

/// Opens the journal.
///
/// # Errors
/// When it is damaged, or somebody else uses it for long.
pub fn open(settings: &Settings) -> anyhow::Result<Records> {
    Records::open(&settings.home.path().join("journal.redb"))
}

/// What was written down about a slot when it was accepted.
///
/// # Errors
/// When it was accepted elsewhere, or the record is damaged.
pub fn written(journal: &Records, slot: B256) -> anyhow::Result<Taken> {
    let found = journal.get(&name(slot))?;
    found.with_context(|| format!("slot {slot} was not accepted from here: it is not in the journal"))
}

/// The name under which the journal has the CID of what a slot's client disclosed.
pub fn disclosed(slot: B256) -> String {
    format!("disclosed/{slot}")
}

/// The name of a slot in the journal.
pub fn name(slot: B256) -> String {
    format!("slot/{slot}")
}
