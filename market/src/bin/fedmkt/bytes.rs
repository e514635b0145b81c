//! Numbers of bytes, as people write and read them.

use std::fmt;
use std::str::FromStr;

use fedmkt_runtime::consent;

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bytes(pub u64);

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        consent::Bytes(self.0).fmt(f)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write a number of bytes, or one with KiB, MiB, GiB or TiB");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = match text[digits..].trim_start() {
            "" => 0,
            name => UNITS.iter().position(|unit| unit.eq_ignore_ascii_case(name)).ok_or_else(wrong)?,
        };
        number.checked_mul(1 << (10 * unit)).map(Self).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [("0", 0), ("1023", 1023), ("4 KiB", 4096), ("2mib", 2 << 20), ("1TiB", 1 << 40)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
        }
        for text in ["", "KiB", "1.5GiB", "-1", "1 kb", "99999999999TiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert_eq!(Bytes(3 << 29).to_string(), "1.50 GiB");
    }
}
