//! The 32-byte values that commitments are made of, each with a type of its own.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! bytes32 {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(Bytes32).map(Self)
                } else {
                    deserializer.deserialize_bytes(Bytes32).map(Self)
                }
            }
        }

        impl core::str::FromStr for $name {
            type Err = NotBytes32;

            fn from_str(text: &str) -> Result<Self, NotBytes32> {
                from_hex(text).map(Self)
            }
        }
    )*};
}

/// The text is not `0x` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotBytes32;

impl fmt::Display for NotBytes32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected 0x and 64 hexadecimal digits")
    }
}

impl core::error::Error for NotBytes32 {}

fn from_hex(text: &str) -> Result<[u8; 32], NotBytes32> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if digits.len() != 64 {
        return Err(NotBytes32);
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).ok_or(NotBytes32);
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0])? << 4 | nibble(pair[1])?) as u8;
    }
    Ok(bytes)
}

/// Reads 32 bytes, or their hexadecimal form in formats for people.
struct Bytes32;

impl de::Visitor<'_> for Bytes32 {
    type Value = [u8; 32];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<[u8; 32], E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<[u8; 32], E> {
        from_hex(text).map_err(E::custom)
    }
}

bytes32! {
    /// A node of a hash tree, or any other Keccak-256 digest.
    Hash;
    /// Hash-tree root of a job drive.
    JobRoot;
    /// Hash-tree root of a capsule.
    DataRoot;
    /// Hash-tree root of a state image.
    StateRoot;
    /// Hash-tree root of the top level of a trace.
    TraceRoot;
    /// Hash-tree root of a result file.
    ResultRoot;
    /// Names one run: binds slot, client, data and randomness.
    RunId;
    /// Secret 32 bytes in a capsule's header; zero for open data.
    Salt;
    /// A word of the state header, derived from the salt, that keeps guessable states from being recognised.
    Blind;
}
