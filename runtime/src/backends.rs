//! Where blocks come from that the store lacks, as the commands are told.

use clap::Args;
use fedmkt_store::{CachedStore, Endpoint, FolderStore, Network, Patience, StoreError};

/// A node and gateways.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "IPFS")]
pub struct Backends {
    /// The RPC of a Kubo node, such as http://127.0.0.1:5001
    ///
    /// What the store lacks comes from there, and uploads go there. Every block is checked.
    #[arg(long, global = true, value_name = "URL", env = "FEDMKT_IPFS", hide_env_values = true)]
    pub ipfs: Option<Endpoint>,

    /// A trustless gateway for what the store lacks; may be given several times
    ///
    /// The first one that answers is taken, every block is checked. In FEDMKT_GATEWAYS they are separated by commas.
    #[arg(
        long = "gateway",
        global = true,
        value_name = "URL",
        env = "FEDMKT_GATEWAYS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub gateways: Vec<Endpoint>,
}

impl Backends {
    /// A store that gets from them what `folder` lacks.
    ///
    /// # Errors
    /// When this computer cannot make connections.
    pub fn before(&self, folder: FolderStore) -> Result<CachedStore, StoreError> {
        let network = if self.ipfs.is_none() && self.gateways.is_empty() {
            None
        } else {
            Some(Network::new(self.ipfs.clone(), self.gateways.clone(), Patience::default())?)
        };
        Ok(CachedStore::new(folder, network))
    }
}
