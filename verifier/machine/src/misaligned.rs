//! Loads and stores at addresses that are no multiple of their size. The Cartesi Machine raises an exception for them,
//! which the replayer answers by doing the access byte by byte. Here is what an instruction asks for; the encodings are
//! those of "The RISC-V Instruction Set Manual, Volume I", chapters RV32/64G Instruction Set Listings, "C" and "Zcb".

/// An access to memory by one instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Bytes of the instruction.
    pub instruction_bytes: u64,
    /// Bytes of memory that are read or written: 2, 4 or 8.
    pub bytes: usize,
    /// What is done with them.
    pub action: Action,
    /// The register that is loaded or stored.
    pub register: Register,
}

/// The direction of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// From memory, with zeros or the sign above.
    Load {
        /// Whether the highest bit is copied upwards.
        signed: bool,
    },
    /// To memory.
    Store,
}

/// A register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Register {
    /// x0 to x31.
    Integer(usize),
    /// f0 to f31.
    Float(usize),
}

const ZERO: Action = Action::Load { signed: false };
const SIGN: Action = Action::Load { signed: true };

/// What the instruction asks for whose first halfword is `low`; `high` gives the second, which is there only for
/// instructions of four bytes. `None` when it is not an ordinary load or store of more than a byte.
pub fn decode(low: u16, high: impl FnOnce() -> u16) -> Option<Access> {
    if low & 3 == 3 { decode_full(u32::from(low) | u32::from(high()) << 16) } else { decode_compressed(low) }
}

fn decode_full(word: u32) -> Option<Access> {
    let target = (word >> 7 & 31) as usize;
    let source = (word >> 20 & 31) as usize;
    let (bytes, action, register) = match (word & 0x7f, word >> 12 & 7) {
        (0x03, 1) => (2, SIGN, Register::Integer(target)),
        (0x03, 2) => (4, SIGN, Register::Integer(target)),
        (0x03, 3) => (8, ZERO, Register::Integer(target)),
        (0x03, 5) => (2, ZERO, Register::Integer(target)),
        (0x03, 6) => (4, ZERO, Register::Integer(target)),
        (0x23, 1) => (2, Action::Store, Register::Integer(source)),
        (0x23, 2) => (4, Action::Store, Register::Integer(source)),
        (0x23, 3) => (8, Action::Store, Register::Integer(source)),
        (0x07, 2) => (4, ZERO, Register::Float(target)),
        (0x07, 3) => (8, ZERO, Register::Float(target)),
        (0x27, 2) => (4, Action::Store, Register::Float(source)),
        (0x27, 3) => (8, Action::Store, Register::Float(source)),
        _ => return None,
    };
    Some(Access { instruction_bytes: 4, bytes, action, register })
}

fn decode_compressed(half: u16) -> Option<Access> {
    let short = usize::from(half >> 2 & 7) + 8;
    let target = usize::from(half >> 7 & 31);
    let source = usize::from(half >> 2 & 31);
    let (bytes, action, register) = match (half & 3, half >> 13) {
        (0, 1) => (8, ZERO, Register::Float(short)),
        (0, 2) => (4, SIGN, Register::Integer(short)),
        (0, 3) => (8, ZERO, Register::Integer(short)),
        (0, 5) => (8, Action::Store, Register::Float(short)),
        (0, 6) => (4, Action::Store, Register::Integer(short)),
        (0, 7) => (8, Action::Store, Register::Integer(short)),
        // Zcb: c.lhu and c.lh differ in bit 6; c.sh has it clear.
        (0, 4) => match (half >> 10 & 7, half >> 6 & 1) {
            (1, 0) => (2, ZERO, Register::Integer(short)),
            (1, 1) => (2, SIGN, Register::Integer(short)),
            (3, 0) => (2, Action::Store, Register::Integer(short)),
            _ => return None,
        },
        (2, 1) => (8, ZERO, Register::Float(target)),
        (2, 2) => (4, SIGN, Register::Integer(target)),
        (2, 3) => (8, ZERO, Register::Integer(target)),
        (2, 5) => (8, Action::Store, Register::Float(source)),
        (2, 6) => (4, Action::Store, Register::Integer(source)),
        (2, 7) => (8, Action::Store, Register::Integer(source)),
        _ => return None,
    };
    Some(Access { instruction_bytes: 2, bytes, action, register })
}

impl Access {
    /// What the register holds after a load of these bytes, the lowest first.
    pub fn loaded(&self, value: u64) -> u64 {
        let unused = 64 - 8 * self.bytes as u32;
        match (self.action, self.register) {
            (Action::Load { signed: true }, _) => ((value << unused) as i64 >> unused) as u64,
            // A narrow float lies in its register below ones.
            (_, Register::Float(_)) if unused > 0 => value | u64::MAX << (64 - unused),
            _ => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(word: u32) -> Option<Access> {
        decode(word as u16, || (word >> 16) as u16)
    }

    fn half(word: u16) -> Option<Access> {
        decode(word, || panic!("a compressed instruction has no second half"))
    }

    /// Encodings as an assembler gives them.
    #[test]
    fn instructions_are_decoded() {
        use Register::{Float, Integer};
        let store = Action::Store;
        let cases = [
            (0x0035_1503, 2, SIGN, Integer(10)),  // lh a0, 3(a0)
            (0x0035_2583, 4, SIGN, Integer(11)),  // lw a1, 3(a0)
            (0x0035_3f83, 8, ZERO, Integer(31)),  // ld t6, 3(a0)
            (0x0035_5503, 2, ZERO, Integer(10)),  // lhu a0, 3(a0)
            (0x0035_6503, 4, ZERO, Integer(10)),  // lwu a0, 3(a0)
            (0x00b5_11a3, 2, store, Integer(11)), // sh a1, 3(a0)
            (0x00b5_21a3, 4, store, Integer(11)), // sw a1, 3(a0)
            (0x01f5_31a3, 8, store, Integer(31)), // sd t6, 3(a0)
            (0x0035_2507, 4, ZERO, Float(10)),    // flw fa0, 3(a0)
            (0x0035_3f87, 8, ZERO, Float(31)),    // fld ft11, 3(a0)
            (0x00a5_21a7, 4, store, Float(10)),   // fsw fa0, 3(a0)
            (0x01f5_31a7, 8, store, Float(31)),   // fsd ft11, 3(a0)
        ];
        for (word, bytes, action, register) in cases {
            assert_eq!(full(word), Some(Access { instruction_bytes: 4, bytes, action, register }), "{word:#x}");
        }
        let cases = [
            (0x2188, 8, ZERO, Float(10)),    // c.fld fa0, 0(a1)
            (0x4188, 4, SIGN, Integer(10)),  // c.lw a0, 0(a1)
            (0x6188, 8, ZERO, Integer(10)),  // c.ld a0, 0(a1)
            (0xa188, 8, store, Float(10)),   // c.fsd fa0, 0(a1)
            (0xc188, 4, store, Integer(10)), // c.sw a0, 0(a1)
            (0xe188, 8, store, Integer(10)), // c.sd a0, 0(a1)
            (0x8588, 2, ZERO, Integer(10)),  // c.lhu a0, 0(a1)
            (0x85c8, 2, SIGN, Integer(10)),  // c.lh a0, 0(a1)
            (0x8d88, 2, store, Integer(10)), // c.sh a0, 0(a1)
            (0x2502, 8, ZERO, Float(10)),    // c.fldsp fa0, 0(sp)
            (0x4f82, 4, SIGN, Integer(31)),  // c.lwsp t6, 0(sp)
            (0x6f82, 8, ZERO, Integer(31)),  // c.ldsp t6, 0(sp)
            (0xa02a, 8, store, Float(10)),   // c.fsdsp fa0, 0(sp)
            (0xc07e, 4, store, Integer(31)), // c.swsp t6, 0(sp)
            (0xe07e, 8, store, Integer(31)), // c.sdsp t6, 0(sp)
        ];
        for (word, bytes, action, register) in cases {
            assert_eq!(half(word), Some(Access { instruction_bytes: 2, bytes, action, register }), "{word:#x}");
        }
    }

    #[test]
    fn everything_else_is_not_an_access() {
        // lb, sb, addi, jal, amoadd.w, lr.d, c.lbu, c.sb, c.addi, c.j, c.addi4spn
        for word in [0x0035_0503, 0x00b5_01a3, 0x0015_0513, 0x0000_006f, 0x00b5_252f, 0x1005_352f] {
            assert_eq!(full(word), None, "{word:#x}");
        }
        for word in [0x8188, 0x8988, 0x0505, 0xa001, 0x0808, 0] {
            assert_eq!(half(word), None, "{word:#x}");
        }
    }

    #[test]
    fn loads_fill_the_register() {
        let access = |bytes, action, register| Access { instruction_bytes: 4, bytes, action, register };
        assert_eq!(access(2, SIGN, Register::Integer(1)).loaded(0x8001), 0xffff_ffff_ffff_8001);
        assert_eq!(access(2, ZERO, Register::Integer(1)).loaded(0x8001), 0x8001);
        assert_eq!(access(4, SIGN, Register::Integer(1)).loaded(0x7fff_ffff), 0x7fff_ffff);
        assert_eq!(access(4, ZERO, Register::Float(1)).loaded(0x3f80_0000), 0xffff_ffff_3f80_0000);
        assert_eq!(access(8, ZERO, Register::Float(1)).loaded(u64::MAX - 1), u64::MAX - 1);
        assert_eq!(access(8, ZERO, Register::Integer(1)).loaded(1 << 63), 1 << 63);
    }
}
