//! A dishonest client, for `cargo xtask demo`: changes one state in the trace of a receipt and leaves all else as it was.
//!
//! `false-leaf STORE RECEIPT` prints the CID of the false receipt, which is in the store then.

use anyhow::{Context, bail};
use fedmkt_core::roots::StateRoot;
use fedmkt_core::trace::trace_root;
use fedmkt_market::receipt::Receipt;
use fedmkt_store::{FolderStore, parse_cid, put_value};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, receipt] = &arguments[..] else { bail!("usage: false-leaf STORE RECEIPT") };
    let store = FolderStore::new(store);
    let mut body = Receipt::load(&store, &parse_cid(receipt)?)?.context("this is no receipt")?.body;
    let middle = body.trace.segments.len() / 2;
    // The market computes the last leaf for itself.
    if middle + 1 >= body.trace.segments.len() {
        bail!("the run has too few segments to change one that is not the last");
    }
    body.trace.segments[middle] = StateRoot([7; 32]);
    body.trace.root = trace_root(&body.trace.segments);
    println!("{}", put_value(&store, &body)?);
    Ok(())
}
