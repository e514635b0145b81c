//! Where blocks come from that the store lacks, as the commands are told.

use std::process::Command;

use clap::Args;
use fedmkt_store::{CachedStore, Endpoint, FolderStore, Network, Patience, StoreError};

const IPFS: &str = "FEDMKT_IPFS";
const GATEWAYS: &str = "FEDMKT_GATEWAYS";

/// A node and gateways.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "IPFS")]
pub struct Backends {
    /// The RPC of a Kubo node, such as http://127.0.0.1:5001
    ///
    /// What the store lacks comes from there, and uploads go there. Every block is checked.
    #[arg(long, global = true, value_name = "URL", env = IPFS, hide_env_values = true)]
    pub ipfs: Option<Endpoint>,

    /// A trustless gateway for what the store lacks; may be given several times
    ///
    /// The first one that answers is taken, every block is checked. In FEDMKT_GATEWAYS they are separated by commas.
    #[arg(
        long = "gateway",
        global = true,
        value_name = "URL",
        env = GATEWAYS,
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

    /// Lets another program of this project use the same ones. By variables: other processes may read its arguments.
    pub fn pass_to(&self, command: &mut Command) {
        let gateways: Vec<&str> = self.gateways.iter().map(Endpoint::secret).collect();
        for (variable, value) in
            [(IPFS, self.ipfs.as_ref().map(|node| node.secret().to_owned())), (GATEWAYS, Some(gateways.join(",")))]
        {
            match value.filter(|value| !value.is_empty()) {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
    }
}
