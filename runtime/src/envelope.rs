//! The signed envelope around a receipt's body: who ran the job, when, and with what.
//!
//! An envelope is a DAG-CBOR block that links to the body. Its `signature` is Ed25519 over the ASCII bytes
//! `fedmkt receipt 1` followed by the DAG-CBOR encoding of the envelope without the field `signature`.

use cid::Cid;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use fedmkt_core::dagcbor;
use serde::{Deserialize, Serialize};

/// The version of the envelope's form.
pub const VERSION: u64 = 1;

const DOMAIN: &[u8] = b"fedmkt receipt 1";

/// A receipt: a link to its body, and what may differ between two honest runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Version of this form: [`VERSION`].
    pub version: u64,
    /// The body, what two honest runs cannot differ in.
    pub body: Cid,
    /// The client's Ed25519 public key, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub client: Vec<u8>,
    /// Engine and version.
    pub engine: String,
    /// When the run finished, in seconds since 1970 by the client's clock.
    pub finished: u64,
    /// Seconds that the run took on the client's machine, interruptions not counted.
    pub seconds: u64,
    /// The signature, 64 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "serde_bytes")]
    pub signature: Vec<u8>,
}

impl Envelope {
    /// Signs a receipt for `body`.
    pub fn sign(body: Cid, engine: &str, finished: u64, seconds: u64, key: &SigningKey) -> Self {
        let mut envelope = Self {
            version: VERSION,
            body,
            client: key.verifying_key().to_bytes().to_vec(),
            engine: engine.into(),
            finished,
            seconds,
            signature: Vec::new(),
        };
        envelope.signature = key.sign(&envelope.message()).to_bytes().to_vec();
        envelope
    }

    fn message(&self) -> Vec<u8> {
        let unsigned = Self { signature: Vec::new(), ..self.clone() };
        [DOMAIN, &dagcbor::encode(&unsigned)].concat()
    }

    /// Whether version and signature are right. It shows that the holder of `client` vouches for the body, not that the
    /// body is true.
    pub fn is_signed(&self) -> bool {
        let key = self.client.as_slice().try_into().ok().and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
        let signature = Signature::from_slice(&self.signature).ok();
        self.version == VERSION
            && key.zip(signature).is_some_and(|(key, signature)| key.verify_strict(&self.message(), &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use fedmkt_core::unixfs::block_cid;

    use super::*;

    #[test]
    fn a_signature_covers_every_field() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let envelope = Envelope::sign(block_cid(0x71, b"body"), "engine", 1_800_000_000, 5, &key);
        assert!(envelope.is_signed());
        let back: Envelope = dagcbor::decode(&dagcbor::encode(&envelope)).expect("its own block");
        assert_eq!(back, envelope);
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes().to_vec();
        let changed = [
            Envelope { version: 2, ..envelope.clone() },
            Envelope { body: block_cid(0x71, b"other"), ..envelope.clone() },
            Envelope { client: other, ..envelope.clone() },
            Envelope { client: Vec::new(), ..envelope.clone() },
            Envelope { engine: "x".into(), ..envelope.clone() },
            Envelope { finished: 0, ..envelope.clone() },
            Envelope { seconds: 0, ..envelope.clone() },
            Envelope { signature: vec![0; 64], ..envelope.clone() },
            Envelope { signature: Vec::new(), ..envelope.clone() },
        ];
        changed.iter().for_each(|changed| assert!(!changed.is_signed(), "{changed:?}"));
    }
}
