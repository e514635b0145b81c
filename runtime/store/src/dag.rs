//! Links between blocks.

use std::collections::BTreeSet;

use cid::Cid;
use fedmkt_core::unixfs::{DAG_PB, RAW};
use ipld_core::ipld::Ipld;

use crate::{BlockStore, Counted, DAG_CBOR, StoreError, files};

/// The most blocks that a walk visits.
const MAX_BLOCKS: usize = 1 << 22;

/// The CIDs that a block links to, in the order in which they stand in it.
///
/// # Errors
/// When the block is not of the form that its codec says.
pub fn links(cid: &Cid, block: &[u8]) -> Result<Vec<Cid>, StoreError> {
    match cid.codec() {
        RAW => Ok(Vec::new()),
        DAG_PB => Ok(files::Node::decode(cid, block)?.links.into_iter().map(|link| link.cid).collect()),
        DAG_CBOR => {
            let value: Ipld = serde_ipld_dagcbor::from_slice(block).map_err(|error| StoreError::Malformed {
                cid: *cid,
                what: format!("is not DAG-CBOR: {error}").into(),
            })?;
            let mut found = Vec::new();
            let mut open = vec![&value];
            while let Some(value) = open.pop() {
                match value {
                    Ipld::Link(link) => found.push(*link),
                    Ipld::List(list) => open.extend(list.iter().rev()),
                    Ipld::Map(map) => open.extend(map.values().rev()),
                    _ => {}
                }
            }
            Ok(found)
        }
        _ => Err(StoreError::Unsupported(*cid)),
    }
}

/// Visits each block below `roots` once, depth first, parents before children.
///
/// # Errors
/// When a block is missing, damaged or malformed, there are too many, and what `visit` returns.
pub fn walk(
    store: &impl BlockStore,
    roots: &[Cid],
    mut visit: impl FnMut(&Cid, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut open: Vec<Cid> = roots.iter().rev().copied().collect();
    let mut seen = BTreeSet::new();
    while let Some(cid) = open.pop() {
        if !seen.insert(cid) {
            continue;
        }
        if seen.len() > MAX_BLOCKS {
            return Err(StoreError::TooMuch { cid: roots[0], what: Counted::Blocks, most: MAX_BLOCKS as u64 });
        }
        let block = store.get(&cid)?;
        visit(&cid, &block)?;
        open.extend(links(&cid, &block)?.into_iter().rev());
    }
    Ok(())
}
