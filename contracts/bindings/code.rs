//! Whether the code at an address is that of these contracts.
//!
//! Deployment fills immutable values into the code. Everything else must be the same.

use std::sync::LazyLock;

use serde_json::Value;

/// Deployed code, with the places of immutable values.
pub struct Code {
    bytes: Vec<u8>,
    /// Where an immutable value begins and how many bytes it has.
    immutables: Vec<(usize, usize)>,
}

/// Code of the market.
pub static MARKET: LazyLock<Code> = LazyLock::new(|| Code::read(include_str!("../artifacts/Market.json")));

/// Code of the contract for disputes, which a market makes for itself.
pub static DISPUTES: LazyLock<Code> = LazyLock::new(|| Code::read(include_str!("../artifacts/Disputes.json")));

/// Code of a committee.
pub static COMMITTEE: LazyLock<Code> = LazyLock::new(|| Code::read(include_str!("../artifacts/Committee.json")));

impl Code {
    fn read(artifact: &str) -> Self {
        let artifact: Value = serde_json::from_str(artifact).expect("an artifact is JSON");
        let deployed = &artifact["deployedBytecode"];
        let object = deployed["object"].as_str().expect("an artifact has code");
        let bytes = alloy::hex::decode(object).expect("the code has no open links");
        let number = |place: &Value, field: &str| place[field].as_u64().expect("a number") as usize;
        let immutables = deployed["immutables"]
            .as_array()
            .expect("an artifact has places of immutable values")
            .iter()
            .map(|place| (number(place, "start"), number(place, "length")))
            .collect();
        Self { bytes, immutables }
    }

    /// Whether `found` is this code, whatever its immutable values are.
    pub fn is(&self, found: &[u8]) -> bool {
        if found.len() != self.bytes.len() {
            return false;
        }
        let mut found = found.to_vec();
        for &(start, length) in &self.immutables {
            found[start..start + length].copy_from_slice(&self.bytes[start..start + length]);
        }
        found == self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_immutable_values_may_differ() {
        for code in [&MARKET, &DISPUTES, &COMMITTEE] {
            assert!(!code.immutables.is_empty());
            assert!(code.is(&code.bytes));
            let mut deployed = code.bytes.clone();
            let (start, length) = code.immutables[0];
            deployed[start + length - 1] ^= 1;
            assert!(code.is(&deployed));
            deployed[start + length] ^= 1;
            assert!(!code.is(&deployed));
            assert!(!code.is(&code.bytes[1..]));
            assert!(!code.is(&[]));
        }
        assert!(!MARKET.is(&DISPUTES.bytes));
    }
}
