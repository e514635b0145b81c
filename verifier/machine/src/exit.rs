//! Exit codes of the machine.

use core::fmt;

/// How the replayer ended. What the *guest* did, whether it succeeded, failed or trapped, is in the state it wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// The next state is on the state-out drive.
    Done = 0,
    /// The device tree does not name a size class.
    NoClass = 10,
    /// The job is of another size class than the machine.
    OtherClass = 11,
    /// The job drive does not hold a job.
    Job = 20,
    /// The data drive does not hold a capsule.
    Data = 21,
    /// The capsule is larger than the job allows.
    TooMuchData = 22,
    /// The profile does not admit the module.
    Module = 23,
    /// The state-in drive does not hold a state of this run.
    State = 24,
    /// The engine could not go on.
    Engine = 30,
    /// The machine has not enough memory.
    Memory = 31,
    /// The replayer's own stack was too small.
    Stack = 32,
    /// The processor met something that it could not do.
    Trap = 40,
    /// The replayer found a fault in itself.
    Panic = 41,
}

impl Exit {
    /// Every exit.
    pub const ALL: [Self; 13] = [
        Self::Done,
        Self::NoClass,
        Self::OtherClass,
        Self::Job,
        Self::Data,
        Self::TooMuchData,
        Self::Module,
        Self::State,
        Self::Engine,
        Self::Memory,
        Self::Stack,
        Self::Trap,
        Self::Panic,
    ];

    /// The exit with this code.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| *exit as u64 == code)
    }

    /// Whether the drives were at fault, so that every machine would end so.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::OtherClass | Self::Job | Self::Data | Self::TooMuchData | Self::Module | Self::State)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "the step was executed",
            Self::NoClass => "the machine was started without its size class",
            Self::OtherClass => "the job is of another size class than the machine",
            Self::Job => "the job drive does not hold a job",
            Self::Data => "the data drive does not hold a capsule",
            Self::TooMuchData => "the capsule is larger than the job allows",
            Self::Module => "the profile does not admit the module",
            Self::State => "the state-in drive does not hold a state of this run",
            Self::Engine => "the engine in the machine could not go on",
            Self::Memory => "the machine has not enough memory",
            Self::Stack => "the replayer's own stack was too small",
            Self::Trap => "the machine met an exception that it does not handle",
            Self::Panic => "the replayer found a fault in itself",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_are_found_again() {
        for exit in Exit::ALL {
            assert_eq!(Exit::from_code(exit as u64), Some(exit));
        }
        // QEMU itself ends with 1 when it cannot start.
        assert_eq!(Exit::from_code(1), None);
    }
}
