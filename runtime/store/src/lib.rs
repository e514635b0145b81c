//! A content-addressed block store, with UnixFS files and CAR archives on top.
//!
//! Every block is checked against its CID whenever it is read, wherever it came from.
//!
//! - Blocks by CID: [`BlockStore`], kept in a folder by [`FolderStore`].
//! - Files and folders: [`files::add_file`], [`files::add_tree`], [`files::FileReader`], [`files::visit_tree`],
//!   [`files::extract`].
//! - Values as DAG-CBOR: [`put_value`], [`get_value`].
//! - What a run gets of a job: [`job::JobDrive`], [`job::write_job_drive`].
//! - A DAG as one file: [`car::export`], [`car::import`].
//! - What a Filecoin deal names an archive by: [`piece::PieceWriter`].
//! - What is kept: [`FolderStore::pin`], [`FolderStore::gc`].
//! - Blocks of other computers: [`CachedStore`], which gets what its folder lacks from a [`Network`] of gateways and a
//!   Kubo node; [`Kubo::upload`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use cid::Cid;
use fedmkt_core::dagcbor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

mod address;
mod cached;
pub mod car;
pub mod dag;
pub mod files;
mod folder;
pub mod job;
mod location;
mod network;
pub mod piece;

pub use address::{NotACid, parse_cid};
pub use cached::CachedStore;
pub use folder::{Collected, FolderStore, Verified};
pub use location::home;
pub use network::{Ended, Endpoint, Failure, Kubo, Network, NotAnEndpoint, Patience, Tried, Until, Uploaded};

/// The most bytes of a block: what IPFS nodes exchange.
pub const MAX_BLOCK_BYTES: usize = 2 << 20;

/// The multicodec of DAG-CBOR.
pub const DAG_CBOR: u64 = 0x71;

const SHA2_256: u64 = 0x12;
const IDENTITY: u64 = 0x00;

/// Why a store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file of the store, or one to be added, cannot be read or written.
    #[error("cannot {doing} {}: {error}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
    /// The store does not have a block.
    #[error("block {0} is not in the store: import it or add it first")]
    Missing(Cid),
    /// A block is not what its CID says.
    #[error("block {cid} is damaged{}: run `fedmkt store verify --repair`, then get it again", at(.path))]
    Damaged {
        /// The block.
        cid: Cid,
        /// The file that holds it.
        path: Option<Box<Path>>,
    },
    /// A block is too large.
    #[error("a block of {0} bytes: the limit is {MAX_BLOCK_BYTES}")]
    BlockTooLarge(u64),
    /// The store would become larger than allowed.
    #[error("the store would grow beyond its quota of {quota} bytes: run `fedmkt store gc`, or raise the quota")]
    Quota {
        /// The quota.
        quota: u64,
    },
    /// A CID of a kind that is not supported.
    #[error("{0}: only CIDs with sha2-256 of raw, dag-pb and dag-cbor blocks are supported")]
    Unsupported(Cid),
    /// A block is not of the form that is needed.
    #[error("{cid} {what}")]
    Malformed {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        what: Box<str>,
    },
    /// There is more below a CID than allowed.
    #[error("{cid} has more than {most} {what}")]
    TooMuch {
        /// The root.
        cid: Cid,
        /// Of what.
        what: Counted,
        /// The limit.
        most: u64,
    },
    /// A path that cannot be added.
    #[error("{}: {what}", .path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A stream is not a CAR archive.
    #[error("not a CAR archive: {0}")]
    Car(String),
    /// Neither the store nor any node or gateway that was asked has a block.
    #[error("block {cid} is not in the store, and cannot be had from elsewhere{}", lines(.tried))]
    Unavailable {
        /// The block.
        cid: Cid,
        /// What became of asking others.
        tried: Box<[Tried]>,
    },
    /// It took as long as it may, or was stopped, before a block was there.
    #[error("block {cid} is not there yet, and it is no longer waited for: {why}")]
    Ended {
        /// The block, or what it is below of.
        cid: Cid,
        /// Why not.
        why: Ended,
    },
    /// A node did not do what it was asked for.
    #[error("cannot {doing} {endpoint}: {why}")]
    Network {
        /// What was being done, with a preposition.
        doing: &'static str,
        /// With whom.
        endpoint: String,
        /// What went wrong, and what can be done.
        why: String,
    },
    /// A stream cannot be read or written.
    #[error("cannot {0}: {1}")]
    Stream(&'static str, #[source] io::Error),
}

/// What is counted when something hostile is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Counted {
    /// Bytes of files.
    Bytes,
    /// Blocks.
    Blocks,
    /// Files and folders.
    Entries,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Blocks => "blocks",
            Self::Entries => "files and folders",
        })
    }
}

fn at(path: &Option<Box<Path>>) -> String {
    path.as_ref().map_or_else(String::new, |path| format!(" ({})", path.display()))
}

fn lines(tried: &[Tried]) -> String {
    tried.iter().map(|tried| format!("\n  {} {}", tried.endpoint, tried.failure)).collect()
}

impl StoreError {
    /// Whether a block is not there, neither here nor where it was looked for.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Unavailable { .. })
    }
}

/// Keeps blocks by their CIDs.
pub trait BlockStore {
    /// The block with this CID, verified.
    ///
    /// # Errors
    /// When the store does not have it, or it is damaged.
    fn get(&self, cid: &Cid) -> Result<Vec<u8>, StoreError>;

    /// Whether the store has the block. It is not verified.
    ///
    /// # Errors
    /// When the store cannot be asked.
    fn has(&self, cid: &Cid) -> Result<bool, StoreError>;

    /// Keeps a block whose CID is known to be right.
    ///
    /// # Errors
    /// When the block is too large, or the store cannot take it.
    fn put_verified(&self, cid: &Cid, block: &[u8]) -> Result<(), StoreError>;

    /// Gets ready to read everything below `root`: a store that gets its blocks from elsewhere gets all of them now,
    /// which is quicker than one after the other. Others have nothing to do.
    ///
    /// # Errors
    /// When a block cannot be had or kept, or there are more than `most_bytes` of them together.
    fn prepare(&self, root: &Cid, most_bytes: u64) -> Result<(), StoreError> {
        let _ = (root, most_bytes);
        Ok(())
    }

    /// Keeps a block that comes from elsewhere.
    ///
    /// # Errors
    /// When the block is not what the CID says, and as [`Self::put_verified`].
    fn put(&self, cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
        verify(cid, block)?;
        self.put_verified(cid, block)
    }
}

/// Checks a block against its CID.
///
/// # Errors
/// When they do not match, the block is too large, or the CID is not supported.
pub fn verify(cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
    if block.len() > MAX_BLOCK_BYTES {
        return Err(StoreError::BlockTooLarge(block.len() as u64));
    }
    check_supported(cid)?;
    let right = match cid.hash().code() {
        IDENTITY => cid.hash().digest() == block,
        _ => cid.hash().digest() == Sha256::digest(block).as_slice(),
    };
    if right { Ok(()) } else { Err(StoreError::Damaged { cid: *cid, path: None }) }
}

/// Checks that blocks with this CID can be verified and read.
///
/// # Errors
/// When they cannot.
pub fn check_supported(cid: &Cid) -> Result<(), StoreError> {
    let codec = matches!(cid.codec(), fedmkt_core::unixfs::RAW | fedmkt_core::unixfs::DAG_PB | DAG_CBOR);
    let hash = match cid.hash().code() {
        SHA2_256 => cid.hash().size() == 32,
        // Small blocks may stand in the CID itself.
        IDENTITY => cid.hash().size() <= 32,
        _ => false,
    };
    if codec && hash { Ok(()) } else { Err(StoreError::Unsupported(*cid)) }
}

/// Whether a store has to keep this block: one in its own CID is always there.
fn is_to_be_kept(cid: &Cid, block: &[u8]) -> Result<bool, StoreError> {
    check_supported(cid)?;
    if block.len() > MAX_BLOCK_BYTES {
        return Err(StoreError::BlockTooLarge(block.len() as u64));
    }
    Ok(cid.hash().code() != IDENTITY)
}

/// Keeps a value as a DAG-CBOR block.
///
/// # Errors
/// When the store cannot take it.
pub fn put_value<T: Serialize>(store: &impl BlockStore, value: &T) -> Result<Cid, StoreError> {
    let block = dagcbor::encode(value);
    let cid = fedmkt_core::unixfs::block_cid(DAG_CBOR, &block);
    store.put_verified(&cid, &block)?;
    Ok(cid)
}

/// Reads a value from its DAG-CBOR block.
///
/// # Errors
/// When the block is missing, damaged, or not a canonical block of this type.
pub fn get_value<T: Serialize + DeserializeOwned>(store: &impl BlockStore, cid: &Cid) -> Result<T, StoreError> {
    let malformed = |what: String| StoreError::Malformed { cid: *cid, what: what.into() };
    if cid.codec() != DAG_CBOR {
        return Err(malformed("is not a DAG-CBOR block".into()));
    }
    dagcbor::decode(&store.get(cid)?).map_err(|error| malformed(format!("cannot be read: {error}")))
}
