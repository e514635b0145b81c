//! Lengths of time, as people write and read them.

use std::fmt;
use std::str::FromStr;

/// A number of seconds, as contracts keep it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Seconds(pub u32);

const UNITS: [(&str, u32); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no length of time: write 90s, 30m, 12h or 7d");
        let (unit, seconds) = UNITS.iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(wrong)?;
        let number: u32 = text.strip_suffix(unit).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        number.checked_mul(*seconds).map(Self).ok_or_else(|| format!("{text:?} is too long"))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, seconds) = UNITS.iter().find(|(_, seconds)| self.0.is_multiple_of(*seconds)).expect("seconds");
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(text.parse(), Ok(Seconds(seconds)));
            assert_eq!(Seconds(seconds).to_string(), text);
        }
        for wrong in ["", "5", "m", "-1s", "1.5h", "99999999d", "1w", "1 h"] {
            assert!(wrong.parse::<Seconds>().is_err(), "{wrong}");
        }
    }
}
