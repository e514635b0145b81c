//! Receipts, as they lie in a store.

use cid::Cid;
use fedmkt_core::dagcbor;
use fedmkt_core::receipt::Body;
use fedmkt_core::trace::MAX_SEGMENTS;
use fedmkt_runtime::envelope::Envelope;
use fedmkt_store::{BlockStore, DAG_CBOR, StoreError, get_value};

/// A receipt: a body and, unless the body itself was asked for, the signed envelope around it.
pub struct Receipt {
    /// What was asked for.
    pub cid: Cid,
    /// The signed envelope.
    pub envelope: Option<Envelope>,
    /// The body's CID.
    pub body_cid: Cid,
    /// The body.
    pub body: Body,
}

impl Receipt {
    /// Reads the receipt with this CID; `None` when the block is something else.
    pub fn load(store: &impl BlockStore, cid: &Cid) -> Result<Option<Self>, StoreError> {
        if cid.codec() != DAG_CBOR {
            return Ok(None);
        }
        let block = store.get(cid)?;
        if let Ok(body) = dagcbor::decode(&block) {
            return Ok(Some(Self { cid: *cid, envelope: None, body_cid: *cid, body }));
        }
        let Ok(envelope) = dagcbor::decode::<Envelope>(&block) else { return Ok(None) };
        let body = get_value(store, &envelope.body)?;
        Ok(Some(Self { cid: *cid, body_cid: envelope.body, envelope: Some(envelope), body }))
    }

    /// What is wrong with the receipt itself; empty when nothing is. The run may be wrong all the same.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.envelope.as_ref().is_some_and(|envelope| !envelope.is_signed()) {
            problems.push("the signature is wrong: the client did not sign this".to_string());
        }
        if !self.body.is_consistent() {
            problems.push(format!(
                "its parts contradict each other: no run has steps, at most {MAX_SEGMENTS} segments, trace root and \
                 results like these"
            ));
        }
        problems
    }
}

/// Seconds since 1970 as date and time in UTC. The calendar is computed by days of eras of 400 years, which begin on the
/// 1st of March, so that the leap day is a year's last.
pub fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = u128::from(era) * 400 + u128::from(year_of_era) + u128::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", time / 3_600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_000_000_000, "2001-09-09 01:46:40 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), date);
        }
        assert!(utc(u64::MAX).ends_with("UTC"));
    }
}
