//! dag-pb blocks with any content, also such as no builder would make.

use cid::Cid;
use fedmkt_core::unixfs::{DAG_PB, block_cid};
use fedmkt_store::BlockStore;

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A protobuf field with a number.
pub fn number(field: u64, number: u64) -> Vec<u8> {
    [varint(field << 3), varint(number)].concat()
}

/// A protobuf field with bytes.
pub fn bytes(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A link of a dag-pb node.
pub fn link(cid: &Cid, name: &str, tree_bytes: u64) -> Vec<u8> {
    bytes(2, &[bytes(1, &cid.to_bytes()), bytes(2, name.as_bytes()), number(3, tree_bytes)].concat())
}

/// UnixFS data of a file: bytes in the node, and the sizes of the parts below.
pub fn file_data(inline: &[u8], parts: &[u64]) -> Vec<u8> {
    let total = parts.iter().fold(inline.len() as u64, |sum, part| sum.wrapping_add(*part));
    let sizes: Vec<u8> = parts.iter().flat_map(|part| number(4, *part)).collect();
    bytes(1, &[number(1, 2), bytes(2, inline), number(3, total), sizes].concat())
}

/// UnixFS data of a folder.
pub fn folder_data() -> Vec<u8> {
    bytes(1, &number(1, 1))
}

/// Keeps a dag-pb block with these fields.
///
/// # Panics
/// When the store cannot keep it.
pub fn put_node(store: &impl BlockStore, fields: &[Vec<u8>]) -> Cid {
    put_block(store, DAG_PB, &fields.concat())
}

/// Keeps a block.
///
/// # Panics
/// When the store cannot keep it.
pub fn put_block(store: &impl BlockStore, codec: u64, block: &[u8]) -> Cid {
    let cid = block_cid(codec, block);
    store.put(&cid, block).expect("the block is what its CID says");
    cid
}

/// Keeps a folder with these entries, in this order.
///
/// # Panics
/// When the store cannot keep it.
pub fn put_folder(store: &impl BlockStore, entries: &[(&str, Cid)]) -> Cid {
    let mut fields: Vec<_> = entries.iter().map(|(name, cid)| link(cid, name, 0)).collect();
    fields.push(folder_data());
    put_node(store, &fields)
}

/// Keeps a file of these parts, which are said to have these sizes.
///
/// # Panics
/// When the store cannot keep it.
pub fn put_file(store: &impl BlockStore, parts: &[(Cid, u64)]) -> Cid {
    let mut fields: Vec<_> = parts.iter().map(|(cid, _)| link(cid, "", 0)).collect();
    fields.push(file_data(b"", &parts.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>()));
    put_node(store, &fields)
}
