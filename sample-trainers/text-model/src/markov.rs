//! What a model must beat: a Markov chain that knows the last three characters.

use std::collections::HashMap;

use fedmkt_guest::Error;

use crate::text::{SYMBOLS, Text};

/// How many characters the chain looks back.
pub const ORDER: usize = 3;

/// Counts of characters after each context of up to [`ORDER`] characters.
#[derive(Debug, Default)]
pub struct Markov {
    counts: HashMap<Vec<u8>, HashMap<u8, u64>>,
}

impl Markov {
    /// Counts a text.
    ///
    /// # Errors
    /// When the text cannot be read.
    pub fn learn(text: &mut Text) -> Result<Self, Error> {
        let mut symbols = vec![0; text.len() as usize];
        text.read(0, &mut symbols)?;
        let mut chain = Self::default();
        for place in 0..symbols.len() {
            for order in 0..=ORDER.min(place) {
                let counts = chain.counts.entry(symbols[place - order..place].to_vec()).or_default();
                *counts.entry(symbols[place]).or_default() += 1;
            }
        }
        Ok(chain)
    }

    /// The probability of a symbol after a context: what was counted, mixed with what the context without its first
    /// character says, the more the more different symbols followed it (Witten and Bell 1991).
    fn probability(&self, context: &[u8], symbol: u8) -> f64 {
        let shorter = match context.split_first() {
            Some((_, rest)) => self.probability(rest, symbol),
            None => 1.0 / SYMBOLS as f64,
        };
        let Some(counts) = self.counts.get(context) else { return shorter };
        let total: u64 = counts.values().sum();
        let kinds = counts.len() as f64;
        let count = counts.get(&symbol).copied().unwrap_or(0) as f64;
        (count + kinds * shorter) / (total as f64 + kinds)
    }

    /// Mean bits for each character of a text.
    ///
    /// # Errors
    /// When the text cannot be read.
    pub fn bits(&self, text: &mut Text) -> Result<f64, Error> {
        let mut symbols = vec![0; text.len() as usize];
        text.read(0, &mut symbols)?;
        let bits = |place: usize| {
            let context = &symbols[place.saturating_sub(ORDER)..place];
            -libm::log2(self.probability(context, symbols[place]))
        };
        Ok((0..symbols.len()).map(bits).sum::<f64>() / symbols.len() as f64)
    }
}
