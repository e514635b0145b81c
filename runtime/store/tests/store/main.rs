//! The store as others use it: real folders, real archives, Kubo, and what strangers could send.

mod archives;
mod children;
mod folder;
mod hostile;
mod job_drive;
mod kubo;
mod kubo_node;
mod network;
mod server;
mod stream;
mod test_store;
mod vectors;
