//! A folder before the network.

use cid::Cid;

use crate::{BlockStore, FolderStore, Network, StoreError, Until};

/// A folder of blocks that gets what it lacks from elsewhere, and keeps it.
///
/// Without a network it is the folder.
#[derive(Debug)]
pub struct CachedStore {
    folder: FolderStore,
    network: Option<Network>,
}

impl CachedStore {
    /// The blocks of `folder`, and of `network` if there is one.
    pub fn new(folder: FolderStore, network: Option<Network>) -> Self {
        Self { folder, network }
    }

    /// The same store, whose network is waited for only until then ([`Network::until`]). What the folder has can still be
    /// had afterwards.
    #[must_use]
    pub fn until(self, until: Until) -> Self {
        Self { network: self.network.map(|network| network.until(until)), ..self }
    }

    /// The folder.
    pub fn folder(&self) -> &FolderStore {
        &self.folder
    }

    /// Where blocks come from that the folder lacks.
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// Gets everything below `root` and keeps it from being collected.
    ///
    /// # Errors
    /// As [`BlockStore::prepare`] and [`FolderStore::pin`].
    pub fn pin(&self, root: &Cid, most_bytes: u64) -> Result<(), StoreError> {
        self.prepare(root, most_bytes)?;
        self.folder.pin(root)
    }
}

impl BlockStore for CachedStore {
    fn get(&self, cid: &Cid) -> Result<Vec<u8>, StoreError> {
        match (self.folder.get(cid), &self.network) {
            // A damaged block is written anew.
            (Err(StoreError::Missing(_) | StoreError::Damaged { .. }), Some(network)) => {
                let block = network.block(cid)?;
                self.folder.put_verified(cid, &block)?;
                Ok(block)
            }
            (found, _) => found,
        }
    }

    /// Whether the folder has the block.
    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        self.folder.has(cid)
    }

    fn put_verified(&self, cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
        self.folder.put_verified(cid, block)
    }

    fn prepare(&self, root: &Cid, most_bytes: u64) -> Result<(), StoreError> {
        match &self.network {
            Some(network) => network.fetch(&self.folder, root, most_bytes),
            None => Ok(()),
        }
    }
}
