//! The keys of an auditor: who has them can read what clients disclose to the age recipients that a job names.
//!
//! The file is in age's format, encrypted with a passphrase (scrypt), and holds an ordinary age identity file: a line
//! for each key, lines with `#` say something. So keys that were made elsewhere can be used
//! (`age -p -o auditor.age KEYS`), and an old key stays beside a new one as long as jobs name it.

use std::io::{self, BufRead, Write};
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use age::stream::StreamReader;
use age::x25519;

use crate::atomic_file;
use crate::identity::{IdentityError, LOG2_WORK};

/// The file's name in the home.
pub const FILE: &str = "auditor.age";

/// The keys of an auditor.
pub struct AuditorKeys(Vec<x25519::Identity>);

impl AuditorKeys {
    /// Reads the keys at `path`; `None` when there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or decrypted, or holds no keys.
    pub fn open(
        path: &Path,
        passphrase: impl FnOnce() -> Result<SecretString, IdentityError>,
    ) -> Result<Option<Self>, IdentityError> {
        let name = || path.display().to_string();
        let encrypted = match std::fs::read(path) {
            Ok(encrypted) => encrypted,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(IdentityError::File(name(), error)),
        };
        let plain = age::decrypt(&age::scrypt::Identity::new(passphrase()?), &encrypted);
        let plain = plain.map_err(|_| IdentityError::Decrypt(name()))?;
        // What is wrong with a line is not told: it may be most of a key.
        let no_keys = || {
            let why = "after decrypting, it is no list of age keys (AGE-SECRET-KEY-1...), one a line";
            IdentityError::File(name(), io::Error::new(io::ErrorKind::InvalidData, why))
        };
        let text = std::str::from_utf8(&plain).map_err(|_| no_keys())?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<x25519::Identity> =
            lines.map(|line| line.parse().map_err(|_| no_keys())).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(no_keys()) } else { Ok(Some(Self(keys))) }
    }

    /// Makes a key and writes it to `path`.
    ///
    /// # Errors
    /// When there is a file already, or it cannot be written.
    pub fn make(
        path: &Path,
        passphrase: impl FnOnce() -> Result<SecretString, IdentityError>,
    ) -> Result<Self, IdentityError> {
        let file_error = |error| IdentityError::File(path.display().to_string(), error);
        if path.try_exists().map_err(file_error)? {
            return Err(file_error(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already, and stays")));
        }
        let key = x25519::Identity::generate();
        let text = format!("# public key: {}\n{}\n", key.to_public(), key.to_string().expose_secret());
        let mut lock = age::scrypt::Recipient::new(passphrase()?);
        lock.set_work_factor(LOG2_WORK);
        let encrypted = age::encrypt(&lock, text.as_bytes()).map_err(|error| file_error(io::Error::other(error)))?;
        atomic_file::make(path, |file| file.write_all(&encrypted)).map_err(file_error)?;
        Ok(Self(vec![key]))
    }

    /// The age recipients that sponsors name in jobs, in the order of the file.
    pub fn recipients(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|key| key.to_public().to_string())
    }

    /// What an age file holds, if it is encrypted to one of these keys.
    ///
    /// # Errors
    /// When it is not, or is no age file.
    pub fn decrypt<R: BufRead>(&self, encrypted: R) -> Result<StreamReader<R>, age::DecryptError> {
        age::Decryptor::new_buffered(encrypted)?.decrypt(self.0.iter().map(|key| key as &dyn age::Identity))
    }
}

impl std::fmt::Debug for AuditorKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditorKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn right() -> Result<SecretString, IdentityError> {
        Ok("correct".to_owned().into())
    }

    /// Writes a file as `age -p` does, but cheaper.
    fn write(path: &Path, text: &str) {
        let mut lock = age::scrypt::Recipient::new("correct".to_owned().into());
        lock.set_work_factor(1);
        std::fs::write(path, age::encrypt(&lock, text.as_bytes()).expect("encrypted")).expect("written");
    }

    #[test]
    fn keys_are_made_once_encrypted_and_read_what_was_encrypted_to_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        assert!(AuditorKeys::open(&path, || panic!("nothing to decrypt")).expect("nothing").is_none());
        let made = AuditorKeys::make(&path, right).expect("a key");
        let again = AuditorKeys::make(&path, || panic!("not asked")).expect_err("refused").to_string();
        assert!(again.contains("is there already"), "{again}");
        let stored = std::fs::read(&path).expect("the file");
        assert!(!stored.windows(15).any(|window| window == b"AGE-SECRET-KEY-"));
        let keys = AuditorKeys::open(&path, right).expect("opened").expect("keys");
        let recipient = made.recipients().next().expect("a recipient");
        assert_eq!(keys.recipients().collect::<Vec<_>>(), [recipient.as_str()]);
        let recipient: x25519::Recipient = recipient.parse().expect("a recipient");
        let encrypted = age::encrypt(&recipient, b"a capsule").expect("encrypted");
        let mut plain = Vec::new();
        keys.decrypt(&encrypted[..]).expect("ours").read_to_end(&mut plain).expect("whole");
        assert_eq!(plain, b"a capsule");
        let wrong = AuditorKeys::open(&path, || Ok("wrong".to_owned().into()));
        assert!(matches!(wrong, Err(IdentityError::Decrypt(_))));
        assert_eq!(format!("{made:?}"), "AuditorKeys(..)");
    }

    #[test]
    fn files_of_several_keys_are_read_and_what_is_none_is_refused_without_telling_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let keys = [x25519::Identity::generate(), x25519::Identity::generate()];
        let lines: Vec<String> = keys.iter().map(|key| key.to_string().expose_secret().to_owned()).collect();
        write(&path, &format!("# old\n{}\n\n# new\r\n{}\r\n", lines[0], lines[1]));
        let found = AuditorKeys::open(&path, right).expect("opened").expect("keys");
        assert_eq!(found.recipients().collect::<Vec<_>>(), keys.map(|key| key.to_public().to_string()));
        for text in ["", "# nothing\n", &format!("{}x\n", lines[0]), "AGE-SECRET-KEY-1"] {
            write(&path, text);
            let error = AuditorKeys::open(&path, right).expect_err("refused").to_string();
            assert!(error.contains("no list of age keys") && !error.contains("KEY-1Q"), "{error}");
            assert!(!error.contains(&lines[0][16..40]), "{error}");
        }
    }
}
