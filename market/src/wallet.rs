//! `fedmkt wallet`: keys of accounts, each in a keystore file of the standard Ethereum form (version 3).
//!
//! Passwords come from a file or the terminal, never from an argument or a variable, which other processes may read.

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use alloy::primitives::{Address, B256};
use alloy::signers::k256::elliptic_curve::rand_core::OsRng;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use fedmkt_runtime::atomic_file;
use serde_json::{Value, json};

use crate::amount::Amount;
use crate::chain::Chain;
use crate::settings::{Flags, Settings};
use fedmkt_runtime::message::note;

/// The variable that names a file with the password.
const VARIABLE: &str = "FEDMKT_WALLET_PASSWORD_FILE";

/// The most bytes of a keystore file.
const MOST_BYTES: u64 = 64 << 10;

/// Keep keys of accounts, encrypted, and look at what they have
#[derive(Subcommand)]
pub enum Wallet {
    /// Make a new key and keep it, encrypted with a password
    #[command(after_help = "\
Examples:
  fedmkt wallet new
  fedmkt wallet new --wallet sponsor --password-file FILE

Whoever has the file and the password has the money. Keep a copy of both: `fedmkt backup`.")]
    New,
    /// Keep a key that you have: a keystore file, or a file with 64 hexadecimal digits
    #[command(after_help = "\
Examples:
  fedmkt wallet import UTC--2026-01-01T00-00-00Z--0123
  fedmkt wallet import key.hex
  pass show key | fedmkt wallet import - --password-file FILE")]
    Import {
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Print the account's address
    Address,
    /// Print what the account has, and what the market owes it
    Balance {
        /// A token; may be given several times
        #[arg(long = "token", value_name = "ADDRESS")]
        tokens: Vec<Address>,
        /// Print one object
        #[arg(long)]
        json: bool,
    },
}

/// Runs `fedmkt wallet`.
///
/// # Errors
/// When a file cannot be read or written, the password is wrong, or the chain does not answer.
pub fn run(wallet: &Wallet, flags: Flags, out: &mut dyn Write) -> anyhow::Result<()> {
    let settings = Settings::read(flags)?;
    match wallet {
        Wallet::New => {
            let path = new_path(&settings)?;
            let key = PrivateKeySigner::random();
            keep(&path, &key, &password(&settings, true)?)?;
            note(&format!("The key is in {}, encrypted. Keep a copy, and the password.", path.display()));
            writeln!(out, "{}", key.address())?;
        }
        Wallet::Import { file } => {
            let path = new_path(&settings)?;
            let text = read(file)?;
            let password = password(&settings, false)?;
            let key = match serde_json::from_str::<Value>(&text) {
                Ok(keystore) if keystore.is_object() => decrypt(file, &keystore, &password)?,
                _ => hexadecimal(&text).ok_or_else(|| {
                    anyhow!("{} is neither a keystore file nor 64 hexadecimal digits", file.display())
                })?,
            };
            keep(&path, &key, &password)?;
            writeln!(out, "{}", key.address())?;
        }
        Wallet::Address => writeln!(out, "{}", address(&settings)?)?,
        Wallet::Balance { tokens, json } => {
            let (account, chain) = (address(&settings)?, Chain::connect(&settings)?);
            balance(&chain, account, tokens, *json, out)?;
        }
    }
    Ok(())
}

fn balance(chain: &Chain, account: Address, tokens: &[Address], json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let own = chain.balance(account)?;
    let mut rows = Vec::new();
    for &token in tokens {
        let kind = chain.token(token)?;
        rows.push((token, kind.clone(), chain.token_balance(token, account)?, chain.owed(token, account)?));
    }
    if json {
        let tokens: Vec<_> = rows
            .iter()
            .map(|(token, kind, has, owed)| {
                json!({ "token": token, "symbol": kind.symbol, "decimals": kind.decimals, "balance": has.to_string(),
                        "owed": owed.to_string() })
            })
            .collect();
        return Ok(writeln!(out, "{:#}", json!({ "account": account, "wei": own.to_string(), "tokens": tokens }))?);
    }
    writeln!(out, "{account}")?;
    writeln!(out, "  {} for gas", Amount::coins(own))?;
    for (token, kind, has, owed) in rows {
        writeln!(out, "  {}, and the market owes {}  ({token})", kind.amount(has), kind.amount(owed))?;
    }
    Ok(())
}

/// The address of the wallet that the settings name. No password is needed.
///
/// # Errors
/// When there is no such wallet, or it is damaged.
pub fn address(settings: &Settings) -> anyhow::Result<Address> {
    let path = path(settings)?;
    let keystore = keystore(&path)?;
    let address = keystore["address"].as_str().and_then(|text| text.parse().ok());
    address.with_context(|| format!("{} does not say its address: import it again", path.display()))
}

/// The key of the wallet that the settings name.
///
/// # Errors
/// When there is no such wallet, it is damaged, or the password is wrong.
pub fn open(settings: &Settings) -> anyhow::Result<PrivateKeySigner> {
    let path = path(settings)?;
    let keystore = keystore(&path)?;
    let key = decrypt(&path, &keystore, &password(settings, false)?)?;
    if keystore["address"].as_str().and_then(|text| text.parse().ok()) != Some(key.address()) {
        bail!("{} holds the key of {}, not of the address that it says", path.display(), key.address());
    }
    Ok(key)
}

/// The folder of wallets.
pub fn folder(settings: &Settings) -> PathBuf {
    settings.home.path().join("wallets")
}

fn path(settings: &Settings) -> anyhow::Result<PathBuf> {
    let name: String = settings.get("wallet")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        bail!("{name:?} cannot name a wallet: use letters, digits, - and _");
    }
    Ok(folder(settings).join(format!("{name}.json")))
}

fn new_path(settings: &Settings) -> anyhow::Result<PathBuf> {
    let path = path(settings)?;
    if path.exists() { Err(is_there(&path)) } else { Ok(path) }
}

fn is_there(path: &Path) -> anyhow::Error {
    anyhow!("{} is there already: --wallet names another", path.display())
}

fn keystore(path: &Path) -> anyhow::Result<Value> {
    if !path.exists() {
        bail!("there is no wallet {}: `fedmkt wallet new` makes one, --wallet names another", path.display());
    }
    serde_json::from_str(&read(path)?).map_err(|_| anyhow!("{} is no keystore file", path.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MOST_BYTES).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

fn hexadecimal(text: &str) -> Option<PrivateKeySigner> {
    let key: B256 = text.trim().parse().ok()?;
    PrivateKeySigner::from_bytes(&key).ok()
}

/// Decrypts a keystore. What it says about its own making is checked first: a stranger's file could ask for all memory.
fn decrypt(path: &Path, keystore: &Value, password: &str) -> anyhow::Result<PrivateKeySigner> {
    let crypto = keystore.get("crypto").or_else(|| keystore.get("Crypto"));
    let parameters = crypto.map(|crypto| &crypto["kdfparams"]);
    let hex =
        |value: &Value| value.as_str().and_then(|text| alloy::hex::decode(text).ok()).map_or(0, |bytes| bytes.len());
    let is_sane = crypto.zip(parameters).is_some_and(|(crypto, kdf)| {
        let number = |name: &str, default: u64| kdf.get(name).map_or(Some(default), Value::as_u64);
        let within = |name, default, least, most| number(name, default).is_some_and(|n| least <= n && n <= most);
        let memory = number("n", 1).zip(number("r", 1)).and_then(|(n, r)| n.checked_mul(r)?.checked_mul(128));
        within("dklen", 0, 32, 32)
            && within("n", 2, 2, 1 << 22)
            && number("n", 2).is_some_and(u64::is_power_of_two)
            && within("r", 1, 1, 64)
            && within("p", 1, 1, 16)
            && within("c", 1, 1, 10_000_000)
            && memory.is_some_and(|bytes| bytes <= 1 << 30)
            && crypto["cipher"] == "aes-128-ctr"
            && hex(&crypto["cipherparams"]["iv"]) == 16
            && hex(&crypto["ciphertext"]) == 32
            && hex(&crypto["mac"]) == 32
    });
    if !is_sane {
        bail!("{} is no keystore file of a form that is known", path.display());
    }
    // The library reads files only.
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("keystore");
    let mut plain = keystore.clone();
    if let (Some(object), Some(crypto)) = (plain.as_object_mut(), crypto) {
        let crypto = crypto.clone();
        object.remove("Crypto");
        object.insert("crypto".into(), crypto);
        object.entry("id").or_insert_with(|| json!("00000000-0000-0000-0000-000000000000"));
    }
    std::fs::write(&copy, plain.to_string())?;
    PrivateKeySigner::decrypt_keystore(&copy, password).map_err(|error| {
        let text = error.to_string();
        if text.to_lowercase().contains("mac") {
            anyhow!("cannot decrypt {}: the password is wrong, or the file is damaged", path.display())
        } else {
            anyhow!("{} is no keystore file: {text}", path.display())
        }
    })
}

/// Writes the key, encrypted, whole or not at all. It takes the place of no other one.
fn keep(path: &Path, key: &PrivateKeySigner, password: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("a file is in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let making = tempfile::tempdir_in(folder)?;
    PrivateKeySigner::encrypt_keystore(making.path(), &mut OsRng, key.to_bytes(), password, Some("keystore"))
        .map_err(|error| anyhow!("cannot encrypt the key: {error}"))?;
    let mut keystore: Value = serde_json::from_slice(&std::fs::read(making.path().join("keystore"))?)?;
    keystore["address"] = json!(alloy::hex::encode(key.address()));
    match atomic_file::make(path, |file| file.write_all(keystore.to_string().as_bytes())) {
        // Another command made one meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(is_there(path)),
        kept => kept.with_context(|| format!("cannot write {}", path.display())),
    }
}

fn password(settings: &Settings, is_new: bool) -> anyhow::Result<String> {
    let file = settings.flags.password_file.clone().or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    let password = if let Some(path) = file {
        let text = read(&path)?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    } else if io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password of the wallet: ")?;
        if is_new && first != rpassword::prompt_password("The same again: ")? {
            bail!("these are not the same: run the command again");
        }
        first
    } else {
        bail!("the wallet's password is needed: put it into a file and name that with --password-file or {VARIABLE}")
    };
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_needs_its_password_and_gives_way_to_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wallets/default.json");
        let key = PrivateKeySigner::random();
        keep(&path, &key, "right").expect("kept");
        let told = keep(&path, &PrivateKeySigner::random(), "right").expect_err("refused").to_string();
        assert!(told.contains("is there already"), "{told}");
        let keystore = keystore(&path).expect("a keystore");
        assert_eq!(decrypt(&path, &keystore, "right").expect("decrypted"), key);
        let wrong = decrypt(&path, &keystore, "wrong").expect_err("refused").to_string();
        assert!(wrong.contains("the password is wrong"), "{wrong}");
        let files = std::fs::read_dir(folder.path().join("wallets")).expect("a folder").count();
        assert_eq!(files, 1, "nothing else is left");
    }

    #[test]
    fn damaged_and_hostile_keystores_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wallets/default.json");
        keep(&path, &PrivateKeySigner::random(), "right").expect("kept");
        let good = keystore(&path).expect("a keystore");
        let change = |pointer: &str, value: Value| {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).expect("a field") = value;
            let told = decrypt(&path, &bad, "right").expect_err("refused").to_string();
            assert!(told.contains("no keystore file"), "{pointer}: {told}");
        };
        change("/crypto/kdfparams/n", json!(1u64 << 40));
        change("/crypto/kdfparams/n", json!(3));
        change("/crypto/kdfparams/r", json!(4_000_000));
        change("/crypto/kdfparams/dklen", json!(1));
        change("/crypto/cipherparams/iv", json!("00"));
        change("/crypto/ciphertext", json!(""));
        change("/crypto/kdf", json!("none"));
        change("/crypto", json!([]));
        change("/version", json!("three"));
    }
}
