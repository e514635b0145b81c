//! Where RAM and drives are.
//!
//! Each drive has the same place in every size class, aligned to the size it has in the largest; only its length
//! differs. So every drive is one node of the machine's hash tree. RAM and drives are one range without overlaps, which
//! QEMU can back with a single file.

use fedmkt_core::manifest::SizeClass;

/// The first byte of RAM, and the address at which the image is loaded and started.
pub const RAM_START: u64 = 0x8000_0000;

/// The address after the last drive of the largest class.
pub const END: u64 = 0x1_a000_0000;

const BOOT_ARGUMENT: &str = "fedmkt.class=";

/// A drive of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drive {
    /// The job: a pack with manifest, module and model.
    Job,
    /// The capsule.
    Data,
    /// The image of the state before the step.
    StateIn,
    /// Where the image of the state after the step is written; zero before.
    StateOut,
}

impl Drive {
    /// All drives.
    pub const ALL: [Self; 4] = [Self::Job, Self::Data, Self::StateIn, Self::StateOut];

    /// The address of the first byte.
    pub const fn start(self) -> u64 {
        match self {
            Self::Data => 0x1_0000_0000,
            Self::Job => 0x1_4000_0000,
            Self::StateIn => 0x1_6000_0000,
            Self::StateOut => 0x1_8000_0000,
        }
    }

    /// Binary logarithm of the length in bytes.
    pub const fn log2_bytes(self, class: SizeClass) -> u32 {
        match self {
            Self::Job => class.log2_job(),
            Self::Data => class.log2_data(),
            Self::StateIn | Self::StateOut => class.log2_state(),
        }
    }

    /// The length in bytes.
    pub const fn bytes(self, class: SizeClass) -> u64 {
        1 << self.log2_bytes(class)
    }

    /// The drive's name in the machine's device tree and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Data => "data",
            Self::StateIn => "state-in",
            Self::StateOut => "state-out",
        }
    }
}

/// Bytes of RAM: room for the largest module of the class, translated, and for a state while memory grows.
pub const fn ram_bytes(class: SizeClass) -> u64 {
    match class {
        SizeClass::S => 512 << 20,
        SizeClass::M => 1 << 30,
        SizeClass::L => 2 << 30,
    }
}

/// The boot argument that tells the replayer its size class.
pub const fn boot_argument(class: SizeClass) -> &'static str {
    match class {
        SizeClass::S => "fedmkt.class=S",
        SizeClass::M => "fedmkt.class=M",
        SizeClass::L => "fedmkt.class=L",
    }
}

/// The size class that stands in boot arguments.
pub fn class_of(arguments: &str) -> Option<SizeClass> {
    let name = arguments.split_ascii_whitespace().find_map(|argument| argument.strip_prefix(BOOT_ARGUMENT))?;
    match name {
        "S" => Some(SizeClass::S),
        "M" => Some(SizeClass::M),
        "L" => Some(SizeClass::L),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_are_aligned_to_their_size_and_do_not_overlap() {
        for class in SizeClass::ALL {
            let mut ranges: std::vec::Vec<_> =
                Drive::ALL.iter().map(|drive| (drive.start(), drive.start() + drive.bytes(class))).collect();
            ranges.push((RAM_START, RAM_START + ram_bytes(class)));
            ranges.sort();
            assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:x?}");
            assert!(ranges.iter().all(|range| range.1 <= END));
            for drive in Drive::ALL {
                assert!(drive.start().is_multiple_of(drive.bytes(class)), "{drive:?} {class:?}");
            }
        }
    }

    #[test]
    fn the_class_survives_the_boot_arguments() {
        for class in SizeClass::ALL {
            assert_eq!(class_of(boot_argument(class)), Some(class));
        }
        assert_eq!(class_of("quiet fedmkt.class=M more"), Some(SizeClass::M));
        for wrong in ["", "fedmkt.class=", "fedmkt.class=XL", "fedmkt.class", "class=S"] {
            assert_eq!(class_of(wrong), None, "{wrong}");
        }
    }
}
