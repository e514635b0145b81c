//! What a client publishes with a submission: its results, encrypted if the job says to whom.
//!
//! A bundle is a UnixFS folder with the result files under their names; each is an age file, with `.age` after its name, if
//! the job names a sponsor's key.

use std::fs;
use std::io::{self, Read, Seek};
use std::str::FromStr;

use anyhow::{Context, anyhow};
use cid::Cid;
use cid::multihash::Multihash;
use fedmkt_contracts::market;
use fedmkt_core::manifest::Manifest;
use fedmkt_core::receipt::Body;
use fedmkt_store::{FolderStore, files};

/// What stands after the name of an encrypted file.
pub const ENCRYPTED: &str = ".age";

const SHA2_256: u64 = 0x12;

/// How many bytes an age file has more than what is in it, at most: the header, and 16 bytes for each chunk of 64 KiB.
pub fn most_overhead(bytes: u64) -> u64 {
    4096 + 16 * (bytes / 65_536 + 1)
}

/// A CID as contracts have it; `None` for none.
pub fn cid_of(cid: &market::Cid) -> Option<Cid> {
    if cid.digest.is_zero() {
        return None;
    }
    let digest = Multihash::wrap(SHA2_256, cid.digest.as_slice()).expect("32 bytes fit a multihash");
    Some(Cid::new_v1(u64::from(cid.codec), digest))
}

/// Publishes the results of a run, and gives the bundle's CID.
///
/// # Errors
/// When they are not in the store, the sponsor's key is none, or something cannot be written.
pub fn publish(store: &FolderStore, manifest: &Manifest, body: &Body) -> anyhow::Result<Cid> {
    let recipient = match &manifest.sponsor {
        None => None,
        Some(key) => Some(
            age::x25519::Recipient::from_str(key)
                .map_err(|error| anyhow!("the job's key for results, {key}, is none: {error}"))?,
        ),
    };
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("bundle");
    fs::create_dir(&bundle)?;
    for result in &body.results {
        let content = files::read_file(store, &result.cid, result.size)
            .with_context(|| format!("the result {} is not in the store", result.name))?;
        match &recipient {
            None => fs::write(bundle.join(&result.name), content)?,
            Some(recipient) => {
                let encrypted = age::encrypt(recipient, &content)?;
                fs::write(bundle.join(format!("{}{ENCRYPTED}", result.name)), encrypted)?;
            }
        }
    }
    let link = files::add_tree(store, &bundle)?;
    store.pin(&link.cid)?;
    Ok(link.cid)
}

/// Encrypts a file to age recipients, keeps it in the store, and gives its CID.
///
/// # Errors
/// When a recipient is none, or something cannot be read or written.
pub fn encrypt(store: &FolderStore, recipients: &[String], mut plain: impl Read) -> anyhow::Result<Cid> {
    let keys = recipients
        .iter()
        .map(|key| age::x25519::Recipient::from_str(key).map_err(|error| anyhow!("{key} is no age key: {error}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let encryptor = age::Encryptor::with_recipients(keys.iter().map(|key| key as &dyn age::Recipient))?;
    let mut file = tempfile::tempfile()?;
    let mut writer = encryptor.wrap_output(&mut file)?;
    io::copy(&mut plain, &mut writer)?;
    writer.finish()?;
    file.seek(io::SeekFrom::Start(0))?;
    let link = files::add_file(store, file)?;
    store.pin(&link.cid)?;
    Ok(link.cid)
}
