//! DAG-CBOR values as JSON for scripts: links as CIDs, bytes as `0x` and hexadecimal digits.

use std::fmt::Write;

use ipld_core::ipld::Ipld;
use serde_json::{Map, Number, Value};

/// The value as JSON.
pub fn to_json(value: &Ipld) -> Value {
    match value {
        Ipld::Null => Value::Null,
        Ipld::Bool(truth) => Value::Bool(*truth),
        // JSON has no bounds for integers, but whoever reads it does.
        Ipld::Integer(number) => Number::from_i128(*number).map_or_else(|| number.to_string().into(), Value::Number),
        Ipld::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Ipld::String(text) => Value::String(text.clone()),
        Ipld::Bytes(bytes) => Value::String(hex(bytes)),
        Ipld::List(items) => Value::Array(items.iter().map(to_json).collect()),
        Ipld::Map(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), to_json(value))).collect::<Map<_, _>>())
        }
        Ipld::Link(cid) => Value::String(cid.to_string()),
    }
}

/// `0x` and hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("0x"), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn links_are_cids_and_bytes_are_hexadecimal() {
        let cid = fedmkt_core::unixfs::FileCid::new().finish();
        let map = [
            ("bytes".to_string(), Ipld::Bytes(vec![0, 255])),
            ("link".to_string(), Ipld::Link(cid)),
            ("number".to_string(), Ipld::Integer(i128::from(u64::MAX))),
        ];
        let expected = json!({ "bytes": "0x00ff", "link": cid.to_string(), "number": u64::MAX });
        assert_eq!(to_json(&Ipld::Map(map.into())), expected);
    }
}
