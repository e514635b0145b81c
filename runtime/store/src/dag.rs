//! Links between blocks.

use std::collections::BTreeSet;

use cid::Cid;
use fedmkt_core::unixfs::{DAG_PB, RAW};
use ipld_core::ipld::Ipld;

use crate::{BlockStore, Counted, DAG_CBOR, StoreError, files};

/// The most blocks that a walk visits, and links that it has still to follow.
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
    each_once(roots, |cid| {
        let block = store.get(cid)?;
        visit(cid, &block)?;
        links(cid, &block)
    })
}

/// Visits the CID of each block below `roots` once, in the order of [`walk`]. Blocks that have no links are not read,
/// and may be missing.
///
/// # Errors
/// When a block with links is missing, damaged or malformed, there are too many, and what `visit` returns.
pub fn reach(
    store: &impl BlockStore,
    roots: &[Cid],
    mut visit: impl FnMut(&Cid) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    each_once(roots, |cid| {
        visit(cid)?;
        if cid.codec() == RAW { Ok(Vec::new()) } else { links(cid, &store.get(cid)?) }
    })
}

/// Goes through a DAG; `enter` gives the links of a block.
fn each_once(roots: &[Cid], mut enter: impl FnMut(&Cid) -> Result<Vec<Cid>, StoreError>) -> Result<(), StoreError> {
    let mut open: Vec<Cid> = roots.iter().rev().copied().collect();
    let mut seen = BTreeSet::new();
    while let Some(cid) = open.pop() {
        if seen.insert(cid) {
            let links = enter(&cid)?;
            open.extend(links.into_iter().rev().filter(|link| !seen.contains(link)));
            if seen.len() + open.len() > MAX_BLOCKS {
                return Err(StoreError::TooMuch { cid: roots[0], what: Counted::Blocks, most: MAX_BLOCKS as u64 });
            }
        }
    }
    Ok(())
}
