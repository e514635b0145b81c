//! The trace: the state roots of a run, as a tree of fan-out 256.
//!
//! The top level cuts a run into at most 256 *segments* of `steps_per_segment` steps; its leaves are the state roots
//! at the segments' ends. A segment is cut in the same way into parts of 256^k steps, the parts again, until a part is
//! one step. A leaf is the state at the end of its part; the state at the beginning of the first part is known from
//! the level above, and at the top from the job alone. The last part of a level may be shorter.
//!
//! A level is committed by the hash-tree root of its leaves, 32 bytes each, zero-padded to 256 leaves (8 KiB).

use alloc::vec::Vec;

use crate::roots::{Hash, StateRoot, TraceRoot};
use crate::tree;

/// How many leaves a level has at most.
pub const FAN_OUT: u64 = 256;

/// How many segments a run has at most.
pub const MAX_SEGMENTS: u64 = FAN_OUT;

const LOG2_LEVEL_BYTES: u32 = 13;

/// A stretch of steps and the parts that it is cut into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// The first step.
    pub first: u64,
    /// How many steps there are.
    pub steps: u64,
    /// Steps in each part; the last part may have fewer.
    pub part: u64,
}

impl Level {
    /// The top level of a run of `steps` steps.
    pub fn top(steps: u64, steps_per_segment: u64) -> Self {
        Self { first: 0, steps, part: steps_per_segment }
    }

    /// How many parts there are.
    pub fn parts(&self) -> u64 {
        self.steps.div_ceil(self.part)
    }

    /// The level below: part number `index`, cut in turn. `None` when the part is a single step or does not exist.
    pub fn below(&self, index: u64) -> Option<Self> {
        let start = index.checked_mul(self.part).filter(|&start| start < self.steps)?;
        let steps = self.part.min(self.steps - start);
        let mut part = 1;
        while part * FAN_OUT < steps {
            part *= FAN_OUT;
        }
        (steps > 1).then_some(Self { first: self.first + start, steps, part })
    }

    /// Number of steps executed at each leaf, in order.
    pub fn ends(&self) -> impl Iterator<Item = u64> + use<> {
        let Self { first, steps, part } = *self;
        (1..=self.parts()).map(move |index| first + steps.min(index * part))
    }
}

/// The root of a level.
///
/// # Panics
/// With more than [`FAN_OUT`] leaves.
pub fn level_root(leaves: &[StateRoot]) -> Hash {
    assert!(leaves.len() as u64 <= FAN_OUT);
    let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
    tree::bytes_root(&bytes, LOG2_LEVEL_BYTES)
}

/// The root of a trace with these segments.
///
/// # Panics
/// With more than [`MAX_SEGMENTS`] segments.
pub fn trace_root(segments: &[StateRoot]) -> TraceRoot {
    TraceRoot(level_root(segments).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_down_to_single_steps() {
        let top = Level::top(1_000_001, 70_000);
        assert_eq!(top.parts(), 15);
        assert_eq!(top.ends().last(), Some(1_000_001));
        let segment = top.below(2).expect("a segment of many steps");
        assert_eq!(segment, Level { first: 140_000, steps: 70_000, part: 65_536 });
        let part = segment.below(1).expect("the rest of the segment");
        assert_eq!(part, Level { first: 205_536, steps: 4_464, part: 256 });
        let last = part.below(17).expect("the last part");
        assert_eq!(last, Level { first: 209_888, steps: 112, part: 1 });
        assert_eq!(last.below(0), None);
        assert_eq!(part.below(18), None);
    }

    #[test]
    fn no_level_has_more_than_256_parts() {
        for steps in (2..2000).chain([65_535, 65_536, 65_537, 1 << 24, (1 << 24) + 1]) {
            let level = Level::top(steps, steps).below(0).expect("more than one step");
            assert!(level.parts() <= FAN_OUT && level.parts() > 1, "{steps}: {level:?}");
        }
    }

    #[test]
    fn parts_follow_each_other_without_gaps() {
        let top = Level::top(1000, 300);
        let mut next = 0;
        for index in 0..top.parts() {
            let segment = top.below(index).expect("segments of 100 steps or more");
            assert_eq!(segment.first, next);
            assert!(segment.ends().is_sorted());
            next = segment.ends().last().expect("a segment has steps");
            assert_eq!(top.ends().nth(index as usize), Some(next));
        }
        assert_eq!(next, 1000);
    }
}
