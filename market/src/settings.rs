//! Where the market is and how it is reached: each setting's value, and who set it. `fedmkt config`.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use alloy::primitives::Address;
use alloy::transports::http::reqwest::Url;
use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use fedmkt_runtime::atomic_file;
use fedmkt_runtime::home::Home;
use serde_json::json;

use fedmkt_runtime::message::printable;

/// A setting: its name in files and after `fedmkt config set`, its variable, its default and what it is.
struct Setting {
    name: &'static str,
    variable: &'static str,
    default: Option<&'static str>,
    what: &'static str,
}

const SETTINGS: &[Setting] = &[
    Setting { name: "rpc", variable: "FEDMKT_RPC", default: None, what: "URL of a node of the chain" },
    Setting { name: "chain-id", variable: "FEDMKT_CHAIN_ID", default: None, what: "the chain's number" },
    Setting { name: "market", variable: "FEDMKT_MARKET", default: None, what: "address of the market's contract" },
    Setting {
        name: "from-block",
        variable: "FEDMKT_FROM_BLOCK",
        default: Some("0"),
        what: "the block in which the market was deployed, or one before",
    },
    Setting {
        name: "confirmations",
        variable: "FEDMKT_CONFIRMATIONS",
        default: Some("2"),
        what: "blocks, that of a transaction included, until it counts",
    },
    Setting {
        name: "replace-after",
        variable: "FEDMKT_REPLACE_AFTER",
        default: Some("90"),
        what: "seconds until a transaction that is in no block is sent again with higher fees",
    },
    Setting {
        name: "most-fee",
        variable: "FEDMKT_MOST_FEE",
        default: Some("500"),
        what: "the most that a unit of gas may cost, tip included, in gwei",
    },
    // A draw in a committee takes 579,495 (`contracts/snapshots/`), an offer with 64 auditors about 1,300,000; some chains
    // count the bytes of a call as gas too.
    Setting {
        name: "most-gas",
        variable: "FEDMKT_MOST_GAS",
        default: Some("5000000"),
        what: "the most gas that a transaction may take",
    },
    Setting {
        name: "arbitrators",
        variable: "FEDMKT_ARBITRATORS",
        default: Some("none"),
        what: "addresses, with commas between them, of contracts and auditors that may rule over your bonds",
    },
    Setting {
        name: "least-move-time",
        variable: "FEDMKT_LEAST_MOVE_TIME",
        default: Some("3600"),
        what: "the fewest seconds for a move in a dispute with which a job is accepted unasked",
    },
    Setting { name: "wallet", variable: "FEDMKT_WALLET", default: Some("default"), what: "name of the wallet" },
];

/// The default of `least-move-time`, in seconds.
pub const LEAST_MOVE_TIME: u32 = 3600;

/// Settings on the command line.
#[derive(Args, Default, Clone, Debug)]
pub struct Flags {
    /// URL of a node of the chain
    #[arg(long, global = true, value_name = "URL", help_heading = "The market")]
    pub rpc: Option<String>,
    /// The chain's number
    #[arg(long, global = true, value_name = "NUMBER", help_heading = "The market")]
    pub chain_id: Option<String>,
    /// Address of the market's contract
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "The market")]
    pub market: Option<String>,
    /// Name of the wallet
    #[arg(long, global = true, value_name = "NAME", help_heading = "The market")]
    pub wallet: Option<String>,
    /// A file with the wallet's password [default: the file that $FEDMKT_WALLET_PASSWORD_FILE names, else it is asked for]
    #[arg(long, global = true, value_name = "FILE", help_heading = "The market")]
    pub password_file: Option<PathBuf>,
}

impl Flags {
    fn value(&self, name: &str) -> Option<&String> {
        match name {
            "rpc" => self.rpc.as_ref(),
            "chain-id" => self.chain_id.as_ref(),
            "market" => self.market.as_ref(),
            "wallet" => self.wallet.as_ref(),
            _ => None,
        }
    }
}

/// Who set a value.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Source {
    Flag,
    Variable(&'static str),
    File(PathBuf),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("the command line"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => path.display().fmt(f),
            Self::Default => f.write_str("default"),
        }
    }
}

/// All settings, from the command line, variables, the file and defaults, the first of these that has one.
pub struct Settings {
    /// The home folder.
    pub home: Home,
    /// What the command line says.
    pub flags: Flags,
    file: toml::Table,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When the home folder cannot be used, or its file is wrong.
    pub fn read(flags: Flags) -> anyhow::Result<Self> {
        Self::in_home(Home::open(fedmkt_store::home()?).context("cannot use the home folder")?, flags)
    }

    /// Reads the settings of this home.
    ///
    /// # Errors
    /// When its file cannot be read, or is wrong.
    pub fn in_home(home: Home, flags: Flags) -> anyhow::Result<Self> {
        let path = Self::path(&home);
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => text.parse().with_context(|| format!("{} is no settings file", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => toml::Table::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        if let Some(unknown) = file.keys().find(|key| SETTINGS.iter().all(|setting| setting.name != key.as_str())) {
            bail!("{} sets {unknown:?}, which is no setting: `fedmkt config` lists them", path.display());
        }
        Ok(Self { home, flags, file })
    }

    fn path(home: &Home) -> PathBuf {
        home.path().join("config.toml")
    }

    fn find(&self, setting: &Setting) -> Option<(String, Source)> {
        if let Some(value) = self.flags.value(setting.name) {
            return Some((value.clone(), Source::Flag));
        }
        if let Some(value) = std::env::var_os(setting.variable) {
            return Some((value.to_string_lossy().into_owned(), Source::Variable(setting.variable)));
        }
        if let Some(value) = self.file.get(setting.name) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return Some((value, Source::File(Self::path(&self.home))));
        }
        setting.default.map(|value| (value.to_owned(), Source::Default))
    }

    /// The value of a setting.
    ///
    /// # Errors
    /// When nobody set it, or it is not one.
    pub fn get<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> anyhow::Result<T> {
        let setting = SETTINGS.iter().find(|setting| setting.name == name).expect("a setting");
        let (value, source) = self.find(setting).ok_or_else(|| {
            anyhow!(
                "{name} is not set ({}): give --{name}, set {}, or run `fedmkt config set {name} ...`",
                setting.what,
                setting.variable
            )
        })?;
        value.trim().parse().map_err(|error| anyhow!("{name} is {:?} (from {source}): {error}", shown(name, &value)))
    }
}

/// Contracts and auditors that may rule over a client's bonds: addresses with commas between them, or `none`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arbitrators(pub Vec<Address>);

impl FromStr for Arbitrators {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let address = |part: &str| part.trim().parse().map_err(|error| format!("{part:?} is no address: {error}"));
        text.split(',').map(address).collect::<Result<_, _>>().map(Self)
    }
}

/// Show where the market is and how it is reached, and who set what; or change it
#[derive(Args)]
#[command(after_help = "\
Examples:
  fedmkt config
  fedmkt config set rpc https://rpc.example
  fedmkt config set market 0x5FbDB2315678afecb367f032d93F642f64180aa3

The command line comes before variables, these before the file, and that before defaults.")]
pub struct Config {
    #[command(subcommand)]
    command: Option<Change>,
    /// Print one object
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Change {
    /// Write a setting to the file
    Set {
        /// Its name
        name: String,
        /// Its value
        value: String,
    },
    /// Remove a setting from the file
    Unset {
        /// Its name
        name: String,
    },
}

/// Runs `fedmkt config`.
///
/// # Errors
/// When a setting is unknown or has no such value, or the file cannot be read or written.
pub fn run(config: &Config, flags: Flags, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut settings = Settings::read(flags)?;
    match &config.command {
        None => show(&settings, config.json, out),
        Some(Change::Set { name, value }) => {
            check(name, value)?;
            settings.file.insert(name.clone(), value.clone().into());
            write(&Settings::path(&settings.home), &settings.file)
        }
        Some(Change::Unset { name }) => {
            known(name)?;
            settings.file.remove(name);
            write(&Settings::path(&settings.home), &settings.file)
        }
    }
}

fn known(name: &str) -> anyhow::Result<()> {
    let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    if !names.contains(&name) {
        bail!("{name:?} is no setting: there are {}", names.join(", "));
    }
    Ok(())
}

fn check(name: &str, value: &str) -> anyhow::Result<()> {
    known(name)?;
    let wrong = match name {
        "market" => value.parse::<Address>().err().map(|error| error.to_string()),
        "rpc" => value.parse::<Url>().err().map(|error| error.to_string()),
        "wallet" => None,
        "arbitrators" => value.parse::<Arbitrators>().err(),
        "least-move-time" => value.parse::<u32>().err().map(|error| error.to_string()),
        _ => value.parse::<u64>().err().map(|error| error.to_string()),
    };
    wrong.map_or(Ok(()), |why| Err(anyhow!("{:?} is no value of {name}: {why}", shown(name, value))))
}

fn write(path: &Path, file: &toml::Table) -> anyhow::Result<()> {
    let text = toml::to_string_pretty(file)?;
    atomic_file::replace(path, |file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A value as it is shown. User, password, path and query of a node's address may be secrets.
fn shown(name: &str, value: &str) -> String {
    if name != "rpc" {
        return value.to_owned();
    }
    match value.trim().parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            let place = url.origin().ascii_serialization();
            if value.trim().trim_end_matches('/') == place { place } else { format!("{place}/...") }
        }
        // Nobody knows where in it they are.
        _ if value.contains(['@', '/', '?']) => "...".to_owned(),
        _ => value.to_owned(),
    }
}

fn show(settings: &Settings, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        let object: serde_json::Map<_, _> = SETTINGS
            .iter()
            .map(|setting| {
                let found = settings.find(setting);
                let value = found
                    .map(|(value, source)| json!({ "value": shown(setting.name, &value), "from": source.to_string() }));
                (setting.name.to_owned(), json!(value))
            })
            .collect();
        return Ok(writeln!(out, "{:#}", json!(object))?);
    }
    for setting in SETTINGS {
        match settings.find(setting) {
            Some((value, source)) => {
                writeln!(out, "{:<15} {}  (from {source})", setting.name, printable(&shown(setting.name, &value)))?;
            }
            None => writeln!(out, "{:<15} not set: {}", setting.name, setting.what)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_time_for_a_move_is_its_settings_default() {
        let setting = SETTINGS.iter().find(|setting| setting.name == "least-move-time").expect("a setting");
        assert_eq!(setting.default.map(str::parse), Some(Ok(LEAST_MOVE_TIME)));
    }

    #[test]
    fn arbitrators_are_addresses_or_none() {
        let (one, two) = (Address::repeat_byte(1), Address::repeat_byte(2));
        assert_eq!("none".parse(), Ok(Arbitrators(Vec::new())));
        assert_eq!(format!("{one},{two}").parse(), Ok(Arbitrators(vec![one, two])));
        assert_eq!(format!(" {one} , {two}").parse(), Ok(Arbitrators(vec![one, two])));
        for wrong in ["", "all", "0x12", &format!("{one},")] {
            assert!(wrong.parse::<Arbitrators>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_node_is_shown_without_what_may_be_secret() {
        for (rpc, as_shown) in [
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            ("https://rpc.example/", "https://rpc.example"),
            ("https://user:secret@rpc.example", "https://rpc.example/..."),
            ("https://rpc.example/v3/secret", "https://rpc.example/..."),
            ("https://rpc.example:8545/?key=secret", "https://rpc.example:8545/..."),
            ("https://user:secret@rpc example", "..."),
            ("//rpc.example/v3/secret", "..."),
            ("localhost:8545", "localhost:8545"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(shown("rpc", rpc), as_shown);
        }
        assert_eq!(shown("wallet", "a/b"), "a/b");
    }
}
