//! From a finished run to its receipt.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cid::Cid;
use fedmkt_core::manifest::Manifest;
use fedmkt_core::receipt::Body;
use fedmkt_store::{FolderStore, StoreError, files, put_value};

use crate::atomic_file;
use crate::engine::Native;
use crate::envelope::Envelope;
use crate::identity::Identity;
use crate::training::Finished;

/// A receipt that was just made.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The envelope's CID.
    pub cid: Cid,
    /// The envelope.
    pub envelope: Envelope,
    /// The body.
    pub body: Body,
}

/// Why a finished run has no receipt yet. The same command makes it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// The store cannot take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A result file cannot be written.
    #[error("cannot write {}: {error}", .path.display())]
    Result {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
}

/// Writes the results of a finished run to the folder `out` and to the store, then makes and pins the receipt.
///
/// # Errors
/// When something cannot be written.
///
/// # Panics
/// When the store computes another CID for a result than its commitment has, with which the contents were compared.
pub fn finish(
    store: &FolderStore,
    identity: &Identity,
    job: Cid,
    manifest: &Manifest,
    finished: &Finished,
    out: &Path,
    took: Duration,
) -> Result<Receipt, FinishError> {
    let body = Body::new(job, manifest, &finished.header, finished.segments.clone());
    atomic_file::sweep(out);
    for (content, record) in finished.results.iter().zip(&body.results) {
        let link = files::add_file(store, &content[..])?;
        assert_eq!(link.cid, record.cid, "run and store compute the same CID");
        let path = out.join(&record.name);
        std::fs::create_dir_all(out)
            .and_then(|()| atomic_file::replace(&path, |file| file.write_all(content)))
            .map_err(|error| FinishError::Result { path, error })?;
    }
    let body_cid = put_value(store, &body)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let envelope = Envelope::sign(body_cid, Native::name(), now, took.as_secs(), &identity.signing_key());
    let cid = put_value(store, &envelope)?;
    store.pin(&cid)?;
    Ok(Receipt { cid, envelope, body })
}
