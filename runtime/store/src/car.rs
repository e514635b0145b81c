//! CAR archives, version 1: a DAG as one stream.

use std::io::{self, Read, Write};

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::{BlockStore, MAX_BLOCK_BYTES, StoreError, dag};

/// The most bytes of a header: some thousand roots.
const MAX_HEADER_BYTES: u64 = 1 << 18;

/// The most bytes of a CID.
const MAX_CID_BYTES: u64 = 128;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The header of version 2 has none.
    #[serde(default)]
    roots: Vec<Cid>,
    version: u64,
}

/// Writes everything below `roots`: depth first, each block once.
///
/// # Errors
/// When a block cannot be had or `out` cannot be written.
pub fn export(store: &impl BlockStore, roots: &[Cid], mut out: impl Write) -> Result<(), StoreError> {
    let failed = |error| StoreError::Stream("write the archive", error);
    write_header(&mut out, roots).map_err(failed)?;
    dag::walk(store, roots, |cid, block| write_block(&mut out, cid, block).map_err(failed))?;
    out.flush().map_err(failed)
}

/// Begins an archive.
pub(crate) fn write_header(out: &mut impl Write, roots: &[Cid]) -> io::Result<()> {
    let header = fedmkt_core::dagcbor::encode(&Header { roots: roots.to_vec(), version: 1 });
    write_section(out, &[], &header)
}

/// Goes on with a block.
pub(crate) fn write_block(out: &mut impl Write, cid: &Cid, block: &[u8]) -> io::Result<()> {
    write_section(out, &cid.to_bytes(), block)
}

fn write_section(out: &mut impl Write, cid: &[u8], content: &[u8]) -> io::Result<()> {
    let mut length = (cid.len() + content.len()) as u64;
    let mut varint = Vec::new();
    while length >= 0x80 {
        varint.push(length as u8 | 0x80);
        length >>= 7;
    }
    varint.push(length as u8);
    out.write_all(&varint)?;
    out.write_all(cid)?;
    out.write_all(content)
}

/// Keeps all blocks of an archive, each checked against its CID, and gives its roots. Whether everything below the
/// roots is there is not checked; [`FolderStore::pin`](crate::FolderStore::pin) does. Small reads are many: wrap a file
/// into a [`BufReader`](io::BufReader).
///
/// # Errors
/// When the stream is not an archive, a block is not what its CID says, or the store cannot take it. Blocks before
/// that stay in the store.
pub fn import(store: &impl BlockStore, archive: impl Read) -> Result<Vec<Cid>, StoreError> {
    let mut reader = Reader::new(archive)?;
    while let Some(section) = reader.next()? {
        store.put(&section.cid, section.block())?;
    }
    Ok(reader.roots)
}

/// Reads an archive block by block.
pub(crate) struct Reader<R> {
    archive: R,
    /// What the archive says it is about.
    pub roots: Vec<Cid>,
}

/// A block of an archive. Nobody has checked it.
pub(crate) struct Section {
    /// The CID that the archive says it has.
    pub cid: Cid,
    content: Vec<u8>,
    /// Where the block begins.
    at: usize,
}

impl Section {
    pub fn block(&self) -> &[u8] {
        &self.content[self.at..]
    }
}

impl<R: Read> Reader<R> {
    pub fn new(mut archive: R) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Car(what.into());
        let header = read_section(&mut archive, MAX_HEADER_BYTES)?.ok_or_else(|| damaged("it is empty"))?;
        let header: Header = serde_ipld_dagcbor::from_slice(&header)
            .map_err(|error| StoreError::Car(format!("its header is wrong: {error}")))?;
        if header.version != 1 {
            let version = header.version;
            return Err(StoreError::Car(format!(
                "it has version {version}, only 1 is supported, as `ipfs dag export` writes"
            )));
        }
        Ok(Self { archive, roots: header.roots })
    }

    pub fn next(&mut self) -> Result<Option<Section>, StoreError> {
        let most = MAX_BLOCK_BYTES as u64 + MAX_CID_BYTES;
        let Some(content) = read_section(&mut self.archive, most)? else { return Ok(None) };
        let mut rest = content.as_slice();
        let cid =
            Cid::read_bytes(&mut rest).map_err(|error| StoreError::Car(format!("a CID in it is wrong: {error}")))?;
        let at = content.len() - rest.len();
        Ok(Some(Section { cid, content, at }))
    }
}

fn read_section(archive: &mut impl Read, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let failed = |error| StoreError::Stream("read the archive", error);
    let cut = || StoreError::Car("it is cut short".into());
    let (mut length, mut shift) = (0u64, 0);
    loop {
        let mut byte = [0];
        match archive.read(&mut byte) {
            Ok(0) if shift == 0 => return Ok(None),
            Ok(0) => return Err(cut()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        }
        length |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            break;
        }
        shift += 7;
        if shift > 28 {
            return Err(StoreError::Car("it has a section of impossible length".into()));
        }
    }
    if length > most {
        return Err(StoreError::Car(format!("it has a section of {length} bytes, the limit is {most}")));
    }
    let mut section = Vec::with_capacity(length as usize);
    archive.take(length).read_to_end(&mut section).map_err(failed)?;
    if section.len() as u64 == length { Ok(Some(section)) } else { Err(cut()) }
}
