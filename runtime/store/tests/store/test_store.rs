//! A store for a test.

use fedmkt_store::FolderStore;

/// A store in a folder that goes away with it.
pub struct TestStore {
    pub store: FolderStore,
    pub folder: tempfile::TempDir,
}

pub fn test_store() -> TestStore {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TestStore { store: FolderStore::new(folder.path().join("store")), folder }
}
