//! Moves that were refused. What strangers have written, as a token or an arbitrator, can let every estimate pass and refuse
//! every transaction: each costs coins, so it is sent again later and later, and not for ever.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::work::again_at;

/// So often a move may be refused in a block before it is given up.
pub const MOST: u32 = 3;

/// How often a move was refused.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    /// In all.
    tries: u32,
    /// In a block, where it costs coins.
    paid: u32,
    /// When it is tried again, in seconds since 1970.
    next: u64,
}

/// What this process knows of moves that were refused, by their names.
#[derive(Debug, Default)]
pub struct Refusals(RefCell<BTreeMap<String, Refused>>);

impl Refusals {
    /// Whether a move may be tried at the moment `now`.
    pub fn allow(&self, name: &str, now: u64) -> bool {
        self.0.borrow().get(name).is_none_or(|known| known.paid < MOST && known.next <= now)
    }

    /// Whether it is not tried any more.
    pub fn is_given_up(&self, name: &str) -> bool {
        self.0.borrow().get(name).is_some_and(|known| known.paid >= MOST)
    }

    /// It was refused, and `is_paid` says that it cost coins. Whether it is given up with that.
    pub fn refused(&self, name: &str, is_paid: bool) -> bool {
        let mut known = self.0.borrow_mut();
        let known = known.entry(name.to_owned()).or_default();
        *known = Refused { tries: known.tries + 1, paid: known.paid + u32::from(is_paid), next: again_at(known.tries) };
        is_paid && known.paid == MOST
    }

    /// It was made.
    pub fn made(&self, name: &str) {
        self.0.borrow_mut().remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::database::now;

    #[test]
    fn a_move_that_costs_coins_in_vain_is_made_three_times_and_another_is_not_held_up() {
        let refusals = Refusals::default();
        assert!(refusals.allow("withdraw", 0));
        for (times, pause) in [(1, 15), (2, 30)] {
            let before = now();
            assert!(!refusals.refused("withdraw", true), "{times}");
            assert!(!refusals.allow("withdraw", before + pause - 1), "{times}");
            assert!(refusals.allow("withdraw", now() + pause), "{times}");
        }
        assert!(refusals.refused("withdraw", true), "it is said once");
        assert!(!refusals.allow("withdraw", u64::MAX));
        assert!(refusals.is_given_up("withdraw") && !refusals.is_given_up("fee"));
        assert!(!refusals.refused("withdraw", true));
        assert!(refusals.allow("fee", 0));
    }

    #[test]
    fn a_move_that_is_refused_for_nothing_is_tried_again_for_ever() {
        let refusals = Refusals::default();
        for _ in 0..100 {
            assert!(!refusals.refused("withdraw", false));
        }
        assert!(!refusals.allow("withdraw", now() + 800));
        assert!(refusals.allow("withdraw", now() + 900));
        refusals.made("withdraw");
        assert!(refusals.allow("withdraw", 0));
    }
}
