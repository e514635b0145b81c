//! What a verifier has decided beforehand: a TOML file.
//!
//! ```toml
//! [check]
//! share = 0.25            # of the submissions of open jobs, at random
//! tokens = ["0x.."]       # submissions in other tokens are not checked
//! least-reward = "1000"   # in the smallest unit of these tokens
//! jobs = ["0x.."]         # of these jobs all
//!
//! [challenge]
//! arbitrators = ["0x.."]  # by whose ruling a bond may be lost, besides the committees below; under others none is put up
//! least-move-time = 3600  # seconds that a job must give for a move: no step is challenged where there may be less than it takes
//! most-bond = "5000"      # what may be put up for one challenge, in the smallest unit of these tokens
//! withheld-after = 21600  # seconds that results which nobody has are looked for before that is challenged
//!
//! [audit]
//! request-share = 0.05    # of the submissions that this verifier is an auditor of and the lottery has not drawn
//! most-bond = "5000"      # what may be put up for one request, in the smallest unit of these tokens
//!
//! [committee]
//! contracts = ["0x.."]    # committees that this verifier is a member of
//! engine = "cartesi"      # with what a step is replayed: cartesi, qemu (if cartesi is not there), or native
//!
//! [limits]
//! at-once = 2             # runs that are made again at the same time
//! most-bytes = 1000000000 # of one job or capsule
//! disk-bytes = 20000000000 # of all blocks that are kept
//! most-seconds = 86400    # that checking one submission may take
//! ```

use std::io;
use std::path::Path;

use alloy::primitives::{Address, B256, U256, keccak256};
use anyhow::{Context, bail};
use fedmkt_contracts::terms::OPEN;
use fedmkt_market::settings::LEAST_MOVE_TIME;
use serde::Deserialize;

/// What a verifier does, and how much of it.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Policy {
    /// Which submissions are checked.
    pub check: Check,
    /// What is challenged, and what may be put up for it.
    pub challenge: Challenge,
    /// For which audits this verifier asks.
    pub audit: Audit,
    /// Where this verifier votes.
    pub committee: Committee,
    /// How much may be used.
    pub limits: Limits,
}

/// What a policy looks at in the terms of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The contract's number of the disclosure.
    pub disclosure: u8,
    /// Whether the job names this verifier as an auditor.
    pub is_auditor: bool,
    /// The token of all amounts.
    pub token: Address,
    /// The reward, in the token's smallest unit.
    pub reward: u128,
}

/// Which submissions are checked.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Check {
    /// The share of submissions of open jobs, from 0 to 1.
    pub share: f64,
    /// The tokens in which amounts mean something; all if there are none. A submission in another one is not checked.
    pub tokens: Vec<Address>,
    /// The least reward, in the token's smallest unit.
    pub least_reward: String,
    /// Jobs of which all submissions are checked.
    pub jobs: Vec<B256>,
}

impl Default for Check {
    fn default() -> Self {
        Self { share: 1.0, tokens: Vec::new(), least_reward: "0".into(), jobs: Vec::new() }
    }
}

/// What is challenged, and what may be put up for it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Challenge {
    /// Whether what differs is challenged. If not, it is told and nothing else.
    pub enabled: bool,
    /// Arbitrators by whose ruling a bond may be lost, besides the committees that this verifier is a member of. A job names
    /// its arbitrator: whoever posts it could name one that takes every bond.
    pub arbitrators: Vec<Address>,
    /// Seconds that a job must give for a move. Whoever posts it could give less than anybody needs to make a segment again and
    /// to send what was found: silence loses the bond.
    pub least_move_time: u64,
    /// The highest bond, in the token's smallest unit; none if it is absent.
    pub most_bond: Option<String>,
    /// Seconds that results which nobody has are looked for before that is challenged.
    pub withheld_after: u64,
}

impl Default for Challenge {
    fn default() -> Self {
        Self {
            enabled: true,
            arbitrators: Vec::new(),
            least_move_time: LEAST_MOVE_TIME.into(),
            most_bond: None,
            withheld_after: 6 * 3600,
        }
    }
}

/// For which audits this verifier asks, where it is an auditor.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Audit {
    /// The share of submissions that the lottery has not drawn, from 0 to 1.
    pub request_share: f64,
    /// The highest bond, in the token's smallest unit; none if it is absent.
    pub most_bond: Option<String>,
}

/// Where this verifier votes.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Committee {
    /// Committees that it is a member of.
    pub contracts: Vec<Address>,
    /// With what it replays a step.
    pub engine: Engine,
}

/// With what a step is replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The Cartesi Machine and nothing else.
    #[default]
    Cartesi,
    /// The Cartesi Machine where it is there, else QEMU.
    Qemu,
    /// The engine that makes runs again: quick, and as good as that engine.
    Native,
}

/// How much may be used.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Runs that are made again at the same time.
    pub at_once: usize,
    /// Bytes of one job or capsule.
    pub most_bytes: u64,
    /// Bytes of all blocks that are kept.
    pub disk_bytes: u64,
    /// Seconds that checking one submission may take.
    pub most_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { at_once: 1, most_bytes: 4 << 30, disk_bytes: 20 << 30, most_seconds: 86_400 }
    }
}

impl Policy {
    /// Reads a policy. Where there is no file, the defaults hold.
    ///
    /// # Errors
    /// When it cannot be read, or says what cannot be.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let policy: Self = match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("{} is no policy", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        policy.check(path)?;
        Ok(policy)
    }

    fn check(&self, path: &Path) -> anyhow::Result<()> {
        let path = path.display();
        for (name, share) in [("check.share", self.check.share), ("audit.request-share", self.audit.request_share)] {
            if !(0.0..=1.0).contains(&share) {
                bail!("{path}: {name} is {share}; it must be from 0 to 1");
            }
        }
        if self.limits.at_once == 0 {
            bail!("{path}: limits.at-once is 0; with that nothing would ever be checked");
        }
        for (name, amount) in [
            ("check.least-reward", Some(&self.check.least_reward)),
            ("challenge.most-bond", self.challenge.most_bond.as_ref()),
            ("audit.most-bond", self.audit.most_bond.as_ref()),
        ] {
            if let Some(amount) = amount
                && amount.parse::<U256>().is_err()
            {
                bail!("{path}: {name} is {amount:?}; it must be a whole number of the token's smallest units");
            }
        }
        let has_least = self.check.least_reward.parse().is_ok_and(|least: U256| !least.is_zero());
        let has_most = self.challenge.most_bond.is_some() || self.audit.most_bond.is_some();
        if self.check.tokens.is_empty() && (has_least || has_most) {
            bail!(
                "{path}: check.least-reward, challenge.most-bond and audit.most-bond are amounts of a token: name the \
                 tokens that they are about in check.tokens"
            );
        }
        Ok(())
    }

    /// Whether a submission is to be checked; if not, why. `seed` is this verifier's secret: nobody knows beforehand
    /// what it draws, and it draws the same again.
    pub fn wants(&self, seed: &B256, slot: B256, job: B256, offer: Offer) -> Result<(), String> {
        if offer.disclosure != OPEN && !offer.is_auditor {
            return Err("the data of this job is not open, and this verifier is none of its auditors".into());
        }
        if !self.knows(offer.token) {
            return Err(format!("the token {} is not one of check.tokens", offer.token));
        }
        // What is disclosed to an auditor is drawn already, or somebody has asked for it.
        if self.check.jobs.contains(&job) || offer.disclosure != OPEN {
            return Ok(());
        }
        let least: U256 = self.check.least_reward.parse().unwrap_or(U256::MAX);
        if U256::from(offer.reward) < least {
            return Err(format!("the reward is {}, less than {least}", offer.reward));
        }
        if !draws(self.check.share, &[seed.as_slice(), slot.as_slice()]) {
            return Err(format!("it is not in the share of {} that is checked", self.check.share));
        }
        Ok(())
    }

    /// Whether this verifier, as an auditor, asks for an audit of a submission in this token that takes this bond. `seed` as for
    /// [`Self::wants`].
    pub fn asks_for_audit(&self, seed: &B256, slot: B256, token: Address, bond: u128) -> bool {
        // Not the draw of checks: that one may become known by what is checked.
        draws(self.audit.request_share, &[b"audit", seed.as_slice(), slot.as_slice()])
            && self.knows(token)
            && within(self.audit.most_bond.as_ref(), bond)
    }

    /// Whether a bond may be put up where this arbitrator rules; if not, why.
    ///
    /// # Errors
    /// With a sentence that says what to set.
    pub fn trusts(&self, arbitrator: Address) -> Result<(), String> {
        if self.challenge.arbitrators.contains(&arbitrator) || self.committee.contracts.contains(&arbitrator) {
            return Ok(());
        }
        Err(format!(
            "the arbitrator of its job, {arbitrator}, could take the bond: if you trust it, add it to challenge.arbitrators in the \
             policy"
        ))
    }

    /// Whether there is time for the moves of a challenge; if not, why.
    ///
    /// # Errors
    /// With a sentence that says what to set.
    pub fn has_time_for_moves(&self, move_time: u32) -> Result<(), String> {
        let least = self.challenge.least_move_time;
        if u64::from(move_time) >= least {
            return Ok(());
        }
        Err(format!(
            "its job gives {move_time} s for a move, less than challenge.least-move-time in the policy, {least} s: whoever is \
             later loses the bond"
        ))
    }

    /// Whether there is an arbitrator that it trusts.
    pub fn trusts_somebody(&self) -> bool {
        !self.challenge.arbitrators.is_empty() || !self.committee.contracts.is_empty()
    }

    /// Whether amounts of this token mean something.
    pub fn knows(&self, token: Address) -> bool {
        self.check.tokens.is_empty() || self.check.tokens.contains(&token)
    }

    /// Whether so much of this token may be put up for a challenge.
    pub fn may_bond(&self, token: Address, bond: u128) -> bool {
        self.knows(token) && within(self.challenge.most_bond.as_ref(), bond)
    }
}

/// Whether a draw that follows from this takes something of which this share is taken.
fn draws(share: f64, from: &[&[u8]]) -> bool {
    let drawn = keccak256(from.concat());
    let drawn = u64::from_be_bytes(drawn[..8].try_into().expect("8 bytes"));
    share > 0.0 && drawn as f64 / u64::MAX as f64 <= share
}

/// Whether a bond is no higher than `most`.
fn within(most: Option<&String>, bond: u128) -> bool {
    most.is_none_or(|most| U256::from(bond) <= most.parse().unwrap_or(U256::ZERO))
}

#[cfg(test)]
mod tests {
    use fedmkt_contracts::terms::AUDITED;

    use super::*;

    const TOKEN: Address = Address::repeat_byte(9);
    const ARBITRATOR: Address = Address::repeat_byte(8);

    fn read(text: &str) -> anyhow::Result<Policy> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Policy::read(file.path())
    }

    #[test]
    fn the_example_is_read_and_without_a_file_the_defaults_hold() {
        let job = B256::repeat_byte(7);
        let policy = read(&format!(
            "[check]\nshare = 0.25\ntokens = [\"{TOKEN}\"]\nleast-reward = \"1000\"\njobs = [\"{job}\"]\n\
             [challenge]\narbitrators = [\"{ARBITRATOR}\"]\nleast-move-time = 7\nmost-bond = \"5000\"\nwithheld-after = 60\n\
             [audit]\nrequest-share = 1.0\nmost-bond = \"70\"\n\
             [committee]\ncontracts = [\"0x5FbDB2315678afecb367f032d93F642f64180aa3\"]\nengine = \"qemu\"\n\
             [limits]\nat-once = 2\nmost-bytes = 1000000000\ndisk-bytes = 20000000000\n"
        ))
        .expect("a policy");
        assert_eq!((policy.check.jobs.as_slice(), policy.committee.engine), (&[job][..], Engine::Qemu));
        assert!(policy.may_bond(TOKEN, 5000) && !policy.may_bond(TOKEN, 5001));
        assert!(!policy.may_bond(Address::ZERO, 1));
        assert_eq!(policy.challenge.withheld_after, 60);
        for trusted in policy.committee.contracts.iter().chain([&ARBITRATOR]) {
            policy.trusts(*trusted).expect("it is named");
        }
        let refused = policy.trusts(TOKEN).expect_err("nobody has named it");
        assert!(refused.contains("challenge.arbitrators") && refused.contains(&TOKEN.to_string()), "{refused}");
        policy.has_time_for_moves(7).expect("as much as it wants");
        let refused = policy.has_time_for_moves(6).expect_err("too little");
        assert!(refused.contains("gives 6 s") && refused.contains("least-move-time"), "{refused}");
        assert!(policy.trusts_somebody() && !Policy::default().trusts_somebody());
        let asks = |token, bond| policy.asks_for_audit(&B256::ZERO, B256::ZERO, token, bond);
        assert!(asks(TOKEN, 70) && !asks(TOKEN, 71) && !asks(Address::ZERO, 1));
        assert_eq!(Policy::read(Path::new("/no/such/file")).expect("defaults"), Policy::default());
    }

    #[test]
    fn a_policy_with_a_mistake_is_refused() {
        for (text, told) in [
            ("[check]\nshare = 1.5", "from 0 to 1"),
            ("[check]\nshare = nan", "from 0 to 1"),
            ("[check]\nleast-reward = \"1.5\"", "smallest units"),
            ("[challenge]\nmost-bond = \"-1\"", "smallest units"),
            ("[check]\nleast-reward = \"1\"", "check.tokens"),
            ("[challenge]\nmost-bond = \"0\"", "check.tokens"),
            ("[audit]\nrequest-share = -0.1", "from 0 to 1"),
            ("[audit]\nmost-bond = \"many\"", "smallest units"),
            ("[audit]\nmost-bond = \"5\"", "check.tokens"),
            ("[check]\ntokens = [\"0x12\"]", "invalid"),
            ("[challenge]\narbitrators = [\"0x12\"]", "invalid"),
            ("[limits]\nat-once = 0", "nothing would ever"),
            ("[check]\nchare = 1.0", "unknown field"),
            ("[committee]\nengine = \"abacus\"", "unknown variant"),
        ] {
            let error = format!("{:#}", read(text).expect_err(text));
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_share_is_drawn_by_the_seed_and_always_alike() {
        let policy = format!("[check]\nshare = 0.5\ntokens = [\"{TOKEN}\"]\nleast-reward = \"10\"");
        let policy = read(&policy).expect("a policy");
        let good = Offer { disclosure: OPEN, is_auditor: false, reward: 10, token: TOKEN };
        let drawn = |seed: &B256| -> Vec<bool> {
            (0..200u8).map(|slot| policy.wants(seed, B256::repeat_byte(slot), B256::ZERO, good).is_ok()).collect()
        };
        let (one, other) = (drawn(&B256::repeat_byte(1)), drawn(&B256::repeat_byte(2)));
        assert_eq!(one, drawn(&B256::repeat_byte(1)));
        assert_ne!(one, other);
        let count = one.iter().filter(|drawn| **drawn).count();
        assert!((60..140).contains(&count), "{count} of 200");
        let slot = B256::repeat_byte(one.iter().position(|drawn| *drawn).expect("one") as u8);
        let wants = |offer| policy.wants(&B256::repeat_byte(1), slot, B256::ZERO, offer);
        assert!(wants(good).is_ok());
        assert!(wants(Offer { reward: 9, ..good }).is_err());
        let audited = Offer { disclosure: AUDITED, reward: 0, ..good };
        assert!(wants(audited).is_err());
        assert!(wants(Offer { is_auditor: true, ..audited }).is_ok(), "what is disclosed to it is checked");
        assert!(wants(Offer { is_auditor: true, token: Address::ZERO, ..audited }).is_err());
        assert!(wants(Offer { token: Address::ZERO, ..good }).is_err());
    }

    #[test]
    fn a_share_of_audits_is_asked_for_by_another_draw_and_by_default_none() {
        let policy = read("[check]\nshare = 0.5\n[audit]\nrequest-share = 0.5").expect("a policy");
        let seed = B256::repeat_byte(1);
        let open = Offer { disclosure: OPEN, is_auditor: false, reward: 1, token: TOKEN };
        let slots = || (0..200u8).map(B256::repeat_byte);
        let asked: Vec<bool> = slots().map(|slot| policy.asks_for_audit(&seed, slot, TOKEN, 1)).collect();
        let checked: Vec<bool> = slots().map(|slot| policy.wants(&seed, slot, B256::ZERO, open).is_ok()).collect();
        let count = asked.iter().filter(|asked| **asked).count();
        assert!((60..140).contains(&count), "{count} of 200");
        assert_ne!(asked, checked, "what is checked does not tell what is asked for");
        assert!(slots().all(|slot| !Policy::default().asks_for_audit(&seed, slot, TOKEN, 0)));
    }
}
