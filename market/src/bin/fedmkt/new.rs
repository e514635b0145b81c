//! `fedmkt new`: a trainer crate to begin with.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use fedmkt_runtime::message::note;

use crate::cli::New;

/// The files of a new trainer: where they go, and what is in them but for [`Names::fill`].
const FILES: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("../../../template/Cargo.toml.in")),
    (".gitignore", include_str!("../../../template/gitignore.in")),
    ("README.md", include_str!("../../../template/README.md.in")),
    ("job.toml", include_str!("../../../template/job.toml.in")),
    ("src/lib.rs", include_str!("../../../template/src/lib.rs.in")),
    ("src/main.rs", include_str!("../../../template/src/main.rs.in")),
    ("tests/training.rs", include_str!("../../../template/tests/training.rs.in")),
    ("example-data/data.csv", include_str!("../../../template/data.csv.in")),
];

const MODEL_FILE: &str = "model/initial.safetensors";

/// Names that crates cannot have, or that would hide one that the trainer needs.
const TAKEN: [&str; 7] = ["test", "core", "std", "alloc", "fedmkt-guest", "fedmkt_guest", "tempfile"];

pub fn run(arguments: &New, out: &mut dyn Write) -> anyhow::Result<()> {
    let folder = &arguments.folder;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    let names = Names::new(&name, &sdk(arguments.sdk.as_deref(), folder)?)?;
    if fs::symlink_metadata(folder).is_ok() {
        bail!("{} exists already: choose another name", folder.display());
    }
    let write = |path: &str, content: &[u8]| {
        let path = folder.join(path);
        let parent = path.parent().expect("a file in a folder");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, content))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    for (path, content) in FILES {
        write(path, names.fill(content).as_bytes())?;
    }
    write(MODEL_FILE, &initial_model())?;
    writeln!(out, "{}", folder.display())?;
    note(&format!("made the trainer {name}: its README says how to test, build, publish and run it"));
    Ok(())
}

/// What stands for the template's placeholders.
struct Names {
    name: String,
    library: String,
    /// The trainer's type.
    type_name: String,
    /// The dependency on the guest SDK, in TOML.
    sdk: String,
}

impl Names {
    fn new(name: &str, sdk: &str) -> anyhow::Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || !name.chars().all(plain) || name.len() > 64 {
            bail!(
                "{name:?} cannot name a trainer: use a-z, 0-9, - and _, a letter first (--name, if the folder's differs)"
            );
        }
        if TAKEN.contains(&name) {
            bail!("{name:?} is the name of another crate: choose another");
        }
        let type_name = name.split(['-', '_']).map(capitalised).collect();
        Ok(Self { name: name.into(), library: name.replace('-', "_"), type_name, sdk: sdk.into() })
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{ {{type}}, ", "{{{type}}, ")
            .replace("{{name}}", &self.name)
            .replace("{{library}}", &self.library)
            .replace("{{type}}", &self.type_name)
            .replace("{{sdk}}", &self.sdk)
    }
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + characters.as_str())
}

/// The dependency on the guest SDK: in the folder that was named, in a checkout around the new folder, else by its
/// repository.
fn sdk(named: Option<&Path>, folder: &Path) -> anyhow::Result<String> {
    let found = match named {
        Some(path) => Some(path.to_owned()),
        None => checkout_around(folder).map(|root| root.join("guest-sdk")),
    };
    let Some(path) = found else {
        let (repository, tag) = (env!("CARGO_PKG_REPOSITORY"), env!("CARGO_PKG_VERSION"));
        return Ok(format!("{{ git = {repository:?}, tag = \"v{tag}\" }}"));
    };
    if !is_sdk(&path) {
        bail!("{} is not the guest SDK: name the folder guest-sdk of a checkout of fedmkt", path.display());
    }
    let path = fs::canonicalize(&path).with_context(|| format!("cannot find {}", path.display()))?;
    let path = path.to_str().context("the path of the guest SDK is not UTF-8")?;
    Ok(format!("{{ path = {} }}", toml::Value::from(path)))
}

fn is_sdk(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"fedmkt-guest\""))
}

fn checkout_around(folder: &Path) -> Option<PathBuf> {
    let folder = std::path::absolute(folder).ok()?;
    folder.ancestors().skip(1).find(|folder| is_sdk(&folder.join("guest-sdk"))).map(Path::to_owned)
}

/// One weight and a bias, both zero, in the safetensors format: bytes of the header, the header, the numbers.
fn initial_model() -> Vec<u8> {
    let header = "{\"bias\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},\
                  \"weights\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]}}";
    let padded = format!("{header:width$}", width = header.len().next_multiple_of(8));
    [&(padded.len() as u64).to_le_bytes()[..], padded.as_bytes(), &[0; 16]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_crates_and_types() {
        let names = Names::new("my-first_trainer2", "{}").expect("a name");
        assert_eq!((names.library.as_str(), names.type_name.as_str()), ("my_first_trainer2", "MyFirstTrainer2"));
        for name in ["", "-x", "2x", "X", "a b", "a/b", "é", "test", "fedmkt-guest", &"a".repeat(65)] {
            assert!(Names::new(name, "").is_err(), "{name}");
        }
        for (path, content) in FILES {
            assert!(!names.fill(content).contains("{{"), "{path}");
        }
    }
}
