//! Hashes of the whole machine, computed without one.
//!
//! The Cartesi Machine's hash is the root of a tree over all its 2^64 bytes of addresses: registers, devices, RAM and
//! drives. A *template* is a machine with the replayer loaded and all drives zero. Because the drives lie above 2^32 and
//! everything else below, one node tells all of a template that is not a drive: [`Template::low`], the node over the
//! addresses below 2^32. The initial hash of any step of any job follows from it and the roots of three drives:
//!
//! ```text
//!                     root over 2^64
//!                          : zeros to the right, 31 times
//!                     node over 2^33
//!                    /              \
//!                 low          node over 2^32
//!                             /              \
//!                    node over 2^31        zeros (state-out)
//!                   /              \
//!                 data        node over 2^30
//!                            /              \
//!                     job, zeros         state-in
//! ```
//!
//! Each drive's root is first padded with zeros to the size that the drive has in the largest class.

use fedmkt_core::manifest::SizeClass;
use fedmkt_core::roots::{DataRoot, Hash, JobRoot, StateRoot};
use fedmkt_core::tree::{bytes_root, keccak256, padded_root, pair, zero_roots};
use fedmkt_machine::exit::Exit;
use fedmkt_machine::memory_map::Drive;

/// Binary logarithm of the bytes under the machine's root.
pub const LOG2_ROOT: u32 = 64;

/// Binary logarithm of the bytes under [`Template::low`].
pub const LOG2_LOW: u32 = 32;

/// Where the registers lie that tell how the machine halted: 64 bytes.
pub const HALT_ADDRESS: u64 = 0x300;

/// Binary logarithm of the bytes at [`HALT_ADDRESS`].
pub const LOG2_HALT: u32 = 6;

/// A machine with the replayer loaded and all drives zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Template {
    /// How large the machine is.
    pub class: SizeClass,
    /// The node over the addresses below 2^32: registers, devices and RAM.
    pub low: Hash,
}

impl Template {
    /// The hash of the machine before the first instruction, with these drives.
    pub fn initial_hash(&self, job: JobRoot, data: DataRoot, state_in: StateRoot) -> Hash {
        let (largest, zeros) = (SizeClass::L, zero_roots());
        let drive = |drive: Drive, root: [u8; 32]| {
            padded_root(Hash(root), drive.log2_bytes(self.class), drive.log2_bytes(largest))
        };
        let job = drive(Drive::Job, job.0);
        let job = pair(&job, &zeros[Drive::Job.log2_bytes(largest) as usize]);
        let inputs = pair(&job, &drive(Drive::StateIn, state_in.0));
        let inputs = pair(&drive(Drive::Data, data.0), &inputs);
        let drives = pair(&inputs, &zeros[31]);
        zeros[33..].iter().fold(pair(&self.low, &drives), |node, zero| pair(&node, zero))
    }

    /// The hash of the template itself.
    pub fn hash(&self) -> Hash {
        let zeros = zero_roots();
        let zero = |log2: u32| zeros[log2 as usize].0;
        self.initial_hash(
            JobRoot(zero(self.class.log2_job())),
            DataRoot(zero(self.class.log2_data())),
            StateRoot(zero(self.class.log2_state())),
        )
    }
}

/// Shows what lies somewhere in a machine, to somebody who knows the machine's hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineProof {
    /// Where the part begins.
    pub address: u64,
    /// Binary logarithm of the part's bytes.
    pub log2_bytes: u32,
    /// The part's root.
    pub target: Hash,
    /// The nodes beside the path from the part to the root, lowest first.
    pub siblings: Vec<Hash>,
}

impl MachineProof {
    /// The hash of the machine that has this part, if the proof is of the right form.
    pub fn root(&self) -> Option<Hash> {
        let form = self.log2_bytes < LOG2_ROOT
            && self.siblings.len() == (LOG2_ROOT - self.log2_bytes) as usize
            && self.address.trailing_zeros() >= self.log2_bytes;
        form.then(|| {
            (self.log2_bytes..).zip(&self.siblings).fold(self.target, |node, (log2, sibling)| {
                if self.address >> log2 & 1 == 1 { pair(sibling, &node) } else { pair(&node, sibling) }
            })
        })
    }
}

/// What is in a machine that halted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FinalProofs {
    /// The state-out drive.
    pub state_out: MachineProof,
    /// The registers that tell how it halted.
    pub halt: MachineProof,
}

impl FinalProofs {
    /// Whether a machine of this class, with this hash, halted with this code and this state.
    pub fn show(&self, class: SizeClass, machine: &Hash, exit: Exit, state_out: StateRoot) -> bool {
        let drive = &self.state_out;
        let state = drive.address == Drive::StateOut.start()
            && drive.log2_bytes == class.log2_state()
            && drive.target.0 == state_out.0;
        let halt =
            self.halt.address == HALT_ADDRESS && self.halt.log2_bytes == LOG2_HALT && self.halt.target == halted(exit);
        state && halt && drive.root().as_ref() == Some(machine) && self.halt.root().as_ref() == Some(machine)
    }
}

/// The node over the registers at [`HALT_ADDRESS`] of a machine that halted with this code.
///
/// They are, 8 bytes each, little-endian: `iflags.X`, `iflags.Y`, `iflags.H`, `clint.mtimecmp`, `plic.girqpend`,
/// `plic.girqsrvd`, `htif.tohost`, `htif.fromhost`. All are zero but `H`, which is 1, and `tohost`.
pub fn halted(exit: Exit) -> Hash {
    let mut leaves = [[0; 32]; 2];
    leaves[0][16] = 1;
    leaves[1][16..24].copy_from_slice(&(u64::from(exit as u8) << 1 | 1).to_le_bytes());
    pair(&keccak256(&leaves[0]), &keccak256(&leaves[1]))
}

/// The root of a drive that begins with these bytes.
///
/// # Panics
/// When there are more of them than the drive has.
pub fn drive_root(bytes: &[u8], drive: Drive, class: SizeClass) -> Hash {
    bytes_root(bytes, drive.log2_bytes(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by building the whole sparse tree from nodes at their addresses.
    fn by_address(class: SizeClass, low: Hash, drives: &[(Drive, Hash)]) -> Hash {
        let zeros = zero_roots();
        fn node(address: u128, log2: u32, leaves: &[(u64, u32, Hash)], zeros: &[Hash]) -> Hash {
            if let Some((.., hash)) = leaves.iter().find(|(at, size, _)| u128::from(*at) == address && *size == log2) {
                return *hash;
            }
            let range = address..address + (1 << log2);
            if !leaves.iter().any(|(at, ..)| range.contains(&u128::from(*at))) {
                return zeros[log2 as usize];
            }
            let half = log2 - 1;
            pair(&node(address, half, leaves, zeros), &node(address + (1 << half), half, leaves, zeros))
        }
        let mut leaves = vec![(0, LOG2_LOW, low)];
        leaves.extend(drives.iter().map(|(drive, hash)| (drive.start(), drive.log2_bytes(class), *hash)));
        node(0, LOG2_ROOT, &leaves, &zeros)
    }

    #[test]
    fn splicing_is_the_tree_over_all_addresses() {
        for class in SizeClass::ALL {
            let hash = |byte: u8| Hash([byte; 32]);
            let template = Template { class, low: hash(1) };
            let drives = [(Drive::Job, hash(2)), (Drive::Data, hash(3)), (Drive::StateIn, hash(4))];
            let spliced = template.initial_hash(JobRoot([2; 32]), DataRoot([3; 32]), StateRoot([4; 32]));
            assert_eq!(spliced, by_address(class, template.low, &drives), "{class:?}");
            assert_eq!(template.hash(), by_address(class, template.low, &[]), "{class:?}");
        }
    }

    #[test]
    fn a_proof_shows_its_part_and_nothing_else() {
        let siblings: Vec<Hash> = (0..LOG2_ROOT - 24).map(|index| Hash([index as u8; 32])).collect();
        let address = Drive::StateOut.start();
        let proof = MachineProof { address, log2_bytes: 24, target: Hash([9; 32]), siblings };
        let root = proof.root().expect("the right form");
        let changed = [
            MachineProof { address: address + (1 << 24), ..proof.clone() },
            MachineProof { target: Hash([8; 32]), ..proof.clone() },
            MachineProof { siblings: proof.siblings.iter().rev().copied().collect(), ..proof.clone() },
        ];
        changed.iter().for_each(|changed| assert_ne!(changed.root(), Some(root)));
        let malformed = [
            MachineProof { address: address + 1, ..proof.clone() },
            MachineProof { siblings: proof.siblings[1..].to_vec(), ..proof.clone() },
            MachineProof { log2_bytes: 25, ..proof.clone() },
            MachineProof { log2_bytes: 64, siblings: Vec::new(), address: 0, ..proof.clone() },
        ];
        malformed.iter().for_each(|malformed| assert_eq!(malformed.root(), None));
    }
}
