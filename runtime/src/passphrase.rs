//! Where the passphrase of the client's identity comes from: the file that `FEDMKT_PASSPHRASE_FILE` names, else the
//! terminal. Never an argument and never the environment itself, which other processes may read.

use std::io::{self, IsTerminal};

use age::secrecy::SecretString;

use crate::identity::IdentityError;

/// The variable that names the file.
pub const VARIABLE: &str = "FEDMKT_PASSPHRASE_FILE";

/// The passphrase; asked for twice when it is a new one.
///
/// # Errors
/// When the file cannot be read, or there is neither a file nor a terminal.
pub fn passphrase(is_new: bool) -> Result<SecretString, IdentityError> {
    passphrase_of(is_new.then_some("A secret is made for you: it signs your receipts and hides what data you have."))
}

/// The passphrase; asked for twice when it is for something new, of which `made` tells what it is.
///
/// # Errors
/// When the file cannot be read, or there is neither a file nor a terminal.
pub fn passphrase_of(made: Option<&str>) -> Result<SecretString, IdentityError> {
    let fail = |what: String| IdentityError::Passphrase(what);
    if let Some(path) = std::env::var_os(VARIABLE) {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| fail(format!("cannot read the passphrase from {}: {error}", path.display())))?;
        return not_empty(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    if !io::stdin().is_terminal() {
        return Err(fail(format!("a passphrase is needed: put it into a file and name the file in {VARIABLE}")));
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map_err(|error| fail(format!("no passphrase: {error}")));
    let Some(made) = made else { return not_empty(ask("Passphrase: ")?) };
    eprintln!("{made}");
    let first = ask("New passphrase to encrypt it with: ")?;
    if first != ask("The same again: ")? {
        return Err(fail("these are not the same: run the command again".into()));
    }
    not_empty(first)
}

fn not_empty(text: String) -> Result<SecretString, IdentityError> {
    if text.is_empty() { Err(IdentityError::Passphrase("the passphrase is empty".into())) } else { Ok(text.into()) }
}
