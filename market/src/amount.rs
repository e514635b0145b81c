//! Amounts of tokens, as people write and read them.

use alloy::primitives::U256;

/// The most decimals with which amounts are written as numbers with a point; with more, digits are of no use to anybody.
const MOST_DECIMALS: u8 = 36;

/// In what the price of gas is given, in a coin's smallest unit.
pub const GWEI: u128 = 1_000_000_000;

/// The suffix of amounts that are given in a token's smallest unit.
const UNITS: &str = "units";

/// How a token's amounts are written. Both come from the token, which may say anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Amount {
    /// Short, harmless on a terminal.
    pub symbol: String,
    /// `None` if the token says nothing, or nothing of use.
    pub decimals: Option<u8>,
}

impl Amount {
    /// The form of a token's amounts, from what the token says.
    pub fn of_token(symbol: Option<String>, decimals: Option<u8>) -> Self {
        let harmless = |c: &char| c.is_alphanumeric() || matches!(c, '$' | '.' | '-' | '_' | '+');
        let symbol: String = symbol.unwrap_or_default().chars().filter(harmless).take(12).collect();
        let symbol = if symbol.is_empty() { "tokens".into() } else { symbol };
        Self { symbol, decimals: decimals.filter(|decimals| *decimals <= MOST_DECIMALS) }
    }

    /// An amount of the chain's own coin, in which gas is paid.
    pub fn coins(wei: U256) -> String {
        Self { symbol: "coins".into(), decimals: Some(18) }.amount(wei)
    }

    /// A price of gas.
    pub fn gwei(wei: u128) -> String {
        Self { symbol: "gwei".into(), decimals: Some(9) }.amount(U256::from(wei))
    }

    /// An amount, with its symbol.
    pub fn amount(&self, units: impl Into<U256>) -> String {
        let units = units.into();
        match self.decimals {
            None => format!("{units} {UNITS} of {}", self.symbol),
            Some(decimals) => format!("{} {}", with_point(units, decimals), self.symbol),
        }
    }

    /// Reads an amount: a number with at most as many digits after the point as the token has decimals, or a whole number
    /// of smallest units with `units` after it.
    ///
    /// # Errors
    /// With what is wrong, when it is no such number.
    pub fn parse(&self, text: &str) -> Result<u128, String> {
        let text = text.trim();
        let whole = |digits: &str| -> Result<u128, String> {
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!("{text:?} is no amount: write a number like 12.5, or 12{UNITS}"));
            }
            digits.parse().map_err(|_| format!("{text:?} is too much: amounts have 128 bits"))
        };
        if let Some(units) = text.strip_suffix(UNITS) {
            return whole(units.trim_end());
        }
        let Some(decimals) = self.decimals else {
            return Err(format!(
                "the token does not say how many decimals it has: write {text:?} in {UNITS}, as 12{UNITS}"
            ));
        };
        let (front, back) = text.split_once('.').unwrap_or((text, ""));
        if back.len() > usize::from(decimals) {
            return Err(format!("{text:?} has more digits after the point than {} has ({decimals})", self.symbol));
        }
        whole(&format!("{front}{back}"))?;
        whole(&format!("{front}{back:0<width$}", width = usize::from(decimals)))
    }
}

fn with_point(units: U256, decimals: u8) -> String {
    let width = usize::from(decimals) + 1;
    let digits = format!("{:0>width$}", units.to_string());
    let (front, back) = digits.split_at(digits.len() - usize::from(decimals));
    let back = back.trim_end_matches('0');
    if back.is_empty() { front.to_owned() } else { format!("{front}.{back}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_and_read() {
        let token = Amount::of_token(Some("DEV".into()), Some(6));
        for (text, units) in [("1", 1_000_000), ("0.5", 500_000), ("12.000001", 12_000_001), ("7units", 7), ("0", 0)] {
            assert_eq!(token.parse(text), Ok(units));
        }
        assert_eq!(token.amount(U256::from(12_500_000)), "12.5 DEV");
        assert_eq!(token.amount(U256::from(1)), "0.000001 DEV");
        assert_eq!(token.amount(U256::ZERO), "0 DEV");
        let zero = Amount::of_token(Some("Z".into()), Some(0));
        assert_eq!((zero.parse("3"), zero.amount(U256::from(10))), (Ok(3), "10 Z".into()));
        for wrong in ["", ".", "-1", "1e3", "1,5", "0x10", "1.0000001", "units", "1.5units", &"9".repeat(50)] {
            assert!(token.parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tokens_that_say_nonsense_are_counted_in_units() {
        let token = Amount::of_token(Some("\u{1b}[2Jfree\u{202e} money for everybody".into()), Some(77));
        assert_eq!(token.amount(U256::from(5)), "5 units of 2Jfreemoneyf");
        assert!(token.parse("1").is_err());
        assert_eq!(token.parse("1 units"), Ok(1));
        assert_eq!(Amount::of_token(None, None).symbol, "tokens");
    }
}
