//! The client's secret: 32 random bytes, encrypted on disk, from which every key of the client follows.
//!
//! | key | derived by BLAKE3 in the context |
//! | --- | --- |
//! | Ed25519 key that signs receipts | `fedmkt 2026 receipt signing key` |
//! | key of capsules' salts | `fedmkt 2026 capsule salt` |
//! | key of local caches | `fedmkt 2026 cache` |
//!
//! The file is in age's format, encrypted with a passphrase (scrypt). Whoever has secret and data can find the data
//! behind a data root; whoever has the secret can sign as the client.

use std::io::{self, Write};
use std::path::Path;

use age::secrecy::SecretString;
use ed25519_dalek::SigningKey;
use fedmkt_core::roots::{Hash, Salt};

use crate::atomic_file;

const LABEL: &[u8; 16] = b"fedmkt secret 1\n";

/// Binary logarithm of scrypt's cost: 128 MiB and some tenths of a second for each guess, what OWASP asks for at least.
pub(crate) const LOG2_WORK: u8 = 17;

/// The client's secret.
pub struct Identity {
    secret: [u8; 32],
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("cannot use {0}: {1}")]
    File(String, #[source] io::Error),
    /// The passphrase is wrong, or the file damaged.
    #[error("cannot decrypt {0}: the passphrase is wrong, or the file is damaged")]
    Decrypt(String),
    /// The system has no randomness.
    #[error("the system gives no randomness: {0}")]
    Random(String),
    /// No passphrase could be had.
    #[error("{0}")]
    Passphrase(String),
}

impl Identity {
    /// Reads the identity at `path`, or makes one when there is none. `passphrase` is told whether it is a new one.
    ///
    /// # Errors
    /// When the file cannot be read, decrypted or written.
    pub fn open(
        path: &Path,
        passphrase: impl FnOnce(bool) -> Result<SecretString, IdentityError>,
    ) -> Result<Self, IdentityError> {
        let file_error = |error| IdentityError::File(path.display().to_string(), error);
        let decrypt = |encrypted: &[u8], passphrase| {
            let wrong = || IdentityError::Decrypt(path.display().to_string());
            let plain = age::decrypt(&age::scrypt::Identity::new(passphrase), encrypted).map_err(|_| wrong())?;
            let secret = plain.strip_prefix(LABEL).and_then(|secret| secret.try_into().ok()).ok_or_else(wrong)?;
            Ok(Self { secret })
        };
        match std::fs::read(path) {
            Ok(encrypted) => decrypt(&encrypted, passphrase(false)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(|error| IdentityError::Random(error.to_string()))?;
                let passphrase = passphrase(true)?;
                let mut key = age::scrypt::Recipient::new(passphrase.clone());
                key.set_work_factor(LOG2_WORK);
                let encrypted = age::encrypt(&key, &[LABEL, &secret[..]].concat())
                    .map_err(|error| file_error(io::Error::other(error)))?;
                match atomic_file::make(path, |file| file.write_all(&encrypted)) {
                    Ok(()) => Ok(Self { secret }),
                    // Another command made one meanwhile, and may have used it already.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        decrypt(&std::fs::read(path).map_err(file_error)?, passphrase)
                    }
                    Err(error) => Err(file_error(error)),
                }
            }
            Err(error) => Err(file_error(error)),
        }
    }

    /// The key that signs receipts.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(&blake3::derive_key("fedmkt 2026 receipt signing key", &self.secret))
    }

    /// The salt of the capsule whose root without a salt is `unsalted`.
    pub fn salt(&self, unsalted: &Hash) -> Salt {
        let key = blake3::derive_key("fedmkt 2026 capsule salt", &self.secret);
        Salt(*blake3::keyed_hash(&key, &unsalted.0).as_bytes())
    }

    /// The key by which this client recognises its own cached files.
    pub fn cache_key(&self) -> [u8; 32] {
        blake3::derive_key("fedmkt 2026 cache", &self.secret)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_encrypted_stays_the_same_and_needs_its_passphrase() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.age");
        let right = |_: bool| Ok(SecretString::from("correct".to_owned()));
        let made = Identity::open(&path, right).expect("a new identity");
        let stored = std::fs::read(&path).expect("the file");
        assert!(!stored.windows(8).any(|window| made.secret.starts_with(window)));
        let again = Identity::open(&path, right).expect("the same identity");
        assert_eq!(made.secret, again.secret);
        assert_ne!(made.salt(&Hash([1; 32])), made.salt(&Hash([2; 32])));
        let wrong = Identity::open(&path, |_| Ok(SecretString::from("wrong".to_owned())));
        assert!(matches!(wrong, Err(IdentityError::Decrypt(_))));
        assert_eq!(format!("{made:?}"), "Identity(..)");
    }

    #[test]
    fn of_two_commands_that_make_one_at_once_both_have_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.age");
        let right = |_: bool| Ok(SecretString::from("correct".to_owned()));
        let mut first = None;
        let second = Identity::open(&path, |is_new| {
            assert!(is_new);
            first = Some(Identity::open(&path, right).expect("a new identity"));
            right(is_new)
        });
        let first = first.expect("made meanwhile");
        assert_eq!(second.expect("the same").secret, first.secret);
        assert_eq!(Identity::open(&path, right).expect("the same").secret, first.secret);
    }
}
