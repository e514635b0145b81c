//! Where things are in this workspace.

use std::path::{Path, PathBuf};

/// The folder that holds the root `Cargo.toml`, and what lies in it.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

/// A sample trainer's crate.
#[derive(Debug, Clone)]
pub struct Trainer {
    /// The crate's name, which is its folder's.
    pub package: String,
    /// Names of its modules, without `.wasm`.
    pub modules: Vec<String>,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub fn this() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the workspace").to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => std::env::current_dir().unwrap_or_default().join(folder),
            None => root.join("target"),
        };
        Self { root, target }
    }

    /// The folder of the root `Cargo.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target folder; everything that xtask makes lies in it too, so that `cargo clean` removes it.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The crates in `sample-trainers/` that have programs, sorted by name.
    pub fn trainers(&self) -> Vec<Trainer> {
        let mut trainers = Vec::new();
        for entry in std::fs::read_dir(self.root.join("sample-trainers")).into_iter().flatten().flatten() {
            let Ok(package) = entry.file_name().into_string() else { continue };
            let mut modules: Vec<String> = self
                .files(&format!("sample-trainers/{package}/src/bin"), "rs")
                .iter()
                .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
                .collect();
            if entry.path().join("src/main.rs").is_file() {
                modules.push(package.clone());
            }
            if entry.path().join("Cargo.toml").is_file() && !modules.is_empty() {
                trainers.push(Trainer { package, modules });
            }
        }
        trainers.sort_by(|one, other| one.package.cmp(&other.package));
        trainers
    }

    /// Scripts that build the sample trainers that are not in Rust: `sample-trainers/*/build.sh`, sorted.
    pub fn scripts(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root.join("sample-trainers")).into_iter().flatten().flatten();
        let mut scripts: Vec<PathBuf> = entries.map(|entry| entry.path().join("build.sh")).collect();
        scripts.retain(|script| script.is_file());
        scripts.sort();
        scripts
    }

    /// Files of a folder that end in `.extension`, sorted; none if there is no such folder.
    pub fn files(&self, folder: &str, extension: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.root.join(folder))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file() && path.extension().is_some_and(|found| found == extension))
            .collect();
        files.sort();
        files
    }
}
