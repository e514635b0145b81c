//! What a client publishes with a submission: its results, encrypted if the job says to whom.
//!
//! A bundle is a UnixFS folder with the result files under their names; each is an age file, with `.age` after its name, if
//! the job names a sponsor's key.

use std::io::{self, Read, Write};
use std::str::FromStr;

use age::x25519::Recipient;
use alloy::primitives::{B256, b256};
use anyhow::{Context, anyhow, bail};
use cid::Cid;
use cid::multihash::Multihash;
use fedmkt_contracts::market;
use fedmkt_core::manifest::{Disclosure, Manifest, Problem, is_file_name};
use fedmkt_core::receipt::Body;
use fedmkt_core::unixfs::{DAG_PB, FileBuilder, Link, block_cid, directory_block};
use fedmkt_store::{BlockStore, FolderStore, StoreError, files};

/// What stands after the name of an encrypted file.
const ENCRYPTED: &str = ".age";

const SHA2_256: u64 = 0x12;

/// The keys with which every other one agrees on zero, as <https://cr.yp.to/ecdh.html#validate> lists them; bit 255 counts for
/// nothing. age ends the program that encrypts to one of them.
const WEAK_KEYS: [B256; 7] = [
    b256!("0000000000000000000000000000000000000000000000000000000000000000"),
    b256!("0100000000000000000000000000000000000000000000000000000000000000"),
    b256!("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    b256!("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    b256!("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    b256!("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    b256!("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
];

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

/// What keeps a client from submitting the results of a job, or from disclosing its data, although the manifest has the right
/// form: whoever accepts such a job loses its bond. Empty when nothing does.
pub fn obstacles(manifest: &Manifest) -> Vec<Problem> {
    let auditors = match &manifest.disclosure {
        Disclosure::Audited(audit) => audit.auditors.as_slice(),
        _ => &[],
    };
    let auditors = auditors.iter().map(|key| ("disclosure.auditors", key));
    let keys = manifest.sponsor.iter().map(|key| ("sponsor", key)).chain(auditors);
    let mut obstacles: Vec<Problem> =
        keys.filter_map(|(field, key)| Some(Problem { field, what: recipient(key).err()?.to_string() })).collect();
    for result in &manifest.results {
        let name = published_name(manifest, &result.name);
        if !is_file_name(&name) {
            let what = format!("{name:?}, as it is published, is no file name of at most 255 bytes: use a shorter one");
            obstacles.push(Problem { field: "results.name", what });
        }
    }
    obstacles
}

/// The name that a result has in a bundle.
pub fn published_name(manifest: &Manifest, name: &str) -> String {
    let suffix = if manifest.sponsor.is_some() { ENCRYPTED } else { "" };
    format!("{name}{suffix}")
}

/// The key that is written so.
fn recipient(text: &str) -> anyhow::Result<Recipient> {
    let key = Recipient::from_str(text)
        .map_err(|error| anyhow!("{text} is no age recipient ({error}): copy it whole, as `age-keygen` prints it"))?;
    if is_weak(&key) {
        bail!("{text} is an age recipient to which nothing can be encrypted: use one that `age-keygen` makes");
    }
    Ok(key)
}

fn is_weak(key: &Recipient) -> bool {
    // The text is the only way to the bytes.
    let (_, mut bytes) = bech32::decode(&key.to_string()).expect("age writes Bech32");
    bytes[31] &= 0x7f;
    WEAK_KEYS.contains(&B256::from_slice(&bytes))
}

/// Publishes the results of a run, and gives the bundle's CID.
///
/// # Errors
/// When they are not in the store, the sponsor's key is none, or something cannot be written.
pub fn publish(store: &FolderStore, manifest: &Manifest, body: &Body) -> anyhow::Result<Cid> {
    let recipient = manifest.sponsor.as_deref().map(recipient).transpose().context("the job's key for results")?;
    let mut links = Vec::new();
    for result in &body.results {
        let content = files::read_file(store, &result.cid, result.size)
            .with_context(|| format!("the result {} is not in the store", result.name))?;
        let content = match &recipient {
            None => content,
            Some(recipient) => age::encrypt(recipient, &content)?,
        };
        let link = files::add_file(store, &content[..])?;
        links.push(Link { name: published_name(manifest, &result.name), ..link });
    }
    let folder = directory_block(links);
    let bundle = block_cid(DAG_PB, &folder);
    store.put_verified(&bundle, &folder)?;
    store.pin(&bundle)?;
    Ok(bundle)
}

/// Encrypts a file to age recipients, keeps it in the store, and gives its CID.
///
/// # Errors
/// When a recipient is none, or something cannot be read or written.
pub fn encrypt(store: &FolderStore, recipients: &[String], mut plain: impl Read) -> anyhow::Result<Cid> {
    let keys = recipients.iter().map(|key| recipient(key)).collect::<anyhow::Result<Vec<_>>>()?;
    let encryptor = age::Encryptor::with_recipients(keys.iter().map(|key| key as &dyn age::Recipient))?;
    let file = FileBuilder::new(|cid: &Cid, block: &[u8]| store.put_verified(cid, block));
    let mut writer = encryptor.wrap_output(IntoStore(file))?;
    io::copy(&mut plain, &mut writer)?;
    let link = writer.finish()?.0.finish()?;
    store.pin(&link.cid)?;
    Ok(link.cid)
}

/// A file that goes into a store while it is written.
struct IntoStore<F>(FileBuilder<F>);

impl<F: FnMut(&Cid, &[u8]) -> Result<(), StoreError>> Write for IntoStore<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fedmkt_core::manifest::{Audit, ResultFile};
    use fedmkt_core::unixfs::FileCid;

    use super::*;

    const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    /// Fields of what keeps a job from being submitted.
    fn fields(change: impl FnOnce(&mut Manifest)) -> Vec<&'static str> {
        let file = FileCid::new().finish();
        let mut manifest = fedmkt_test_kit::job::manifest(file, file);
        change(&mut manifest);
        assert_eq!(manifest.check(), [], "its form is right");
        obstacles(&manifest).into_iter().map(|obstacle| obstacle.field).collect()
    }

    fn audited(auditors: &[&str]) -> Disclosure {
        let auditors = auditors.iter().map(ToString::to_string).collect();
        Disclosure::Audited(Audit { auditors, per_million: 1 })
    }

    #[test]
    fn every_key_of_a_job_must_be_one() {
        let wrong = KEY.replace("8p", "8q");
        assert_eq!(fields(|job| job.sponsor = Some(KEY.into())), [""; 0]);
        assert_eq!(fields(|job| job.sponsor = Some(wrong.clone())), ["sponsor"]);
        assert_eq!(fields(|job| job.disclosure = audited(&[KEY])), [""; 0]);
        assert_eq!(fields(|job| job.disclosure = audited(&[KEY, &wrong])), ["disclosure.auditors"]);
        let both =
            |job: &mut Manifest| (job.sponsor, job.disclosure) = (Some(wrong.clone()), audited(&[&wrong, &wrong]));
        assert_eq!(fields(both), ["sponsor", "disclosure.auditors", "disclosure.auditors"]);
    }

    #[test]
    fn a_key_that_ends_the_program_that_encrypts_to_it_is_none() {
        for key in WEAK_KEYS {
            // The uppermost bit counts for nothing.
            for uppermost in [0, 0x80] {
                let mut bytes = key.0;
                bytes[31] |= uppermost;
                let key = bech32::encode::<bech32::Bech32>(bech32::Hrp::parse_unchecked("age"), &bytes);
                let key = key.expect("32 bytes are not too long");
                assert!(Recipient::from_str(&key).is_ok(), "age takes {key}");
                assert_eq!(fields(|job| job.sponsor = Some(key.clone())), ["sponsor"], "{key}");
            }
        }
        let own = age::x25519::Identity::generate().to_public().to_string();
        assert_eq!(fields(|job| job.sponsor = Some(own)), [""; 0]);
    }

    #[test]
    fn a_bundle_is_the_folder_of_the_results() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FolderStore::new(folder.path().join("store"));
        let mut manifest = fedmkt_test_kit::job::manifest(Cid::default(), Cid::default());
        let large = vec![7u8; 3 << 20];
        let body = fedmkt_test_kit::job::done(&store, &manifest, &[&large, b"step,loss"]);
        let key = age::x25519::Identity::generate();
        for sponsor in [None, Some(key.to_public().to_string())] {
            manifest.sponsor = sponsor;
            let bundle = publish(&store, &manifest, &body).expect("published");
            assert!(store.pins().expect("pins").contains(&bundle));
            let back = folder.path().join(bundle.to_string());
            files::extract(&store, &bundle, &back, 1 << 24).expect("a folder");
            assert_eq!(files::add_tree(&store, &back).expect("added").cid, bundle);
            for (result, expected) in manifest.results.iter().zip([&large[..], &b"step,loss"[..]]) {
                let content = std::fs::read(back.join(published_name(&manifest, &result.name))).expect("a result");
                let content = match &manifest.sponsor {
                    Some(_) => age::decrypt(&key, &content).expect("the sponsor's"),
                    None => content,
                };
                assert!(content == expected, "{}", result.name);
            }
        }
    }

    #[test]
    fn what_is_encrypted_is_the_whole_file_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FolderStore::new(folder.path().join("store"));
        let keys = [age::x25519::Identity::generate(), age::x25519::Identity::generate()];
        let recipients = keys.each_ref().map(|key| key.to_public().to_string());
        let plain: Vec<u8> = (0..3_000_000u32).map(|number| (number >> 7) as u8).collect();
        let cid = encrypt(&store, &recipients, &plain[..]).expect("encrypted");
        assert!(store.pins().expect("pins").contains(&cid));
        let found = files::read_file(&store, &cid, 1 << 24).expect("a file");
        assert!(found.len() as u64 <= plain.len() as u64 + most_overhead(plain.len() as u64));
        for key in &keys {
            assert!(age::decrypt(key, &found).expect("an auditor's") == plain);
        }
        store.set_quota(Some(1)).expect("set");
        let error = encrypt(&store, &recipients, &plain[..]).expect_err("no room");
        assert!(error.to_string().contains("beyond its quota"), "{error}");
    }

    #[test]
    fn a_result_has_a_name_when_it_is_encrypted() {
        let named = |bytes: usize, sponsor: Option<&str>| {
            fields(|job| {
                job.results = vec![ResultFile { name: "x".repeat(bytes), most_bytes: 1 }];
                job.sponsor = sponsor.map(Into::into);
            })
        };
        assert_eq!(named(255, None), [""; 0]);
        assert_eq!(named(251, Some(KEY)), [""; 0]);
        assert_eq!(named(252, Some(KEY)), ["results.name"]);
    }
}
