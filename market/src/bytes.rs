//! Numbers of bytes, as people write and read them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bytes(pub u64);

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        // Not logarithms: what is a little less than a unit must not be shown as 1024 of the one below.
        let (mut value, mut unit) = (self.0 as f64, 0);
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
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
        let shown = [(1023, "1023 B"), (1024, "1.0 KiB"), ((1 << 20) - 1, "1.0 MiB"), (3 << 29, "1.5 GiB")];
        shown.iter().for_each(|(bytes, text)| assert_eq!(Bytes(*bytes).to_string(), *text));
    }
}
