//! Where things are in this workspace.

use std::path::{Path, PathBuf};

/// The folder that holds the root `Cargo.toml`, and what lies in it.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
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

    /// Names of the folders in `sample-trainers/` that are crates, sorted.
    pub fn trainers(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.root.join("sample-trainers"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join("Cargo.toml").is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
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
