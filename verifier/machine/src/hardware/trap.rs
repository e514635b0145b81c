//! Exceptions: misaligned accesses are emulated, everything else is reported and ends the replay.

use core::arch::{asm, global_asm};
use core::fmt::Write;

use fedmkt_machine::exit::Exit;
use fedmkt_machine::misaligned::{Action, Register, decode};

use super::platform::Console;

const LOAD_MISALIGNED: u64 = 4;
const STORE_MISALIGNED: u64 = 6;

/// The integer registers at the time of an exception.
#[repr(C)]
pub(super) struct Frame([u64; 32]);

/// mstatus.FS: floating point is on.
const FLOATS_ON: u64 = 0x6000;

// Saves the integer registers on the trap stack, whose top is in mscratch, handles the exception and goes on. Floating point
// is off meanwhile: its registers are not saved, so whatever would use them must fail.
global_asm!(
    ".section .text",
    ".balign 4",
    ".global trap_vector",
    "trap_vector:",
    "csrrw sp, mscratch, sp",
    "addi sp, sp, -256",
    ".irp n, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "sd x\\n, 8 * \\n(sp)",
    ".endr",
    "csrr t0, mscratch",
    "sd t0, 16(sp)",
    "li t0, {floats_on}",
    "csrc mstatus, t0",
    "mv a0, sp",
    "call {handle}",
    "li t0, {floats_on}",
    "csrs mstatus, t0",
    // The stack pointer may be what was loaded.
    "ld t0, 16(sp)",
    "csrw mscratch, t0",
    ".irp n, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "ld x\\n, 8 * \\n(sp)",
    ".endr",
    "addi sp, sp, 256",
    "csrrw sp, mscratch, sp",
    "mret",
    floats_on = const FLOATS_ON,
    handle = sym handle,
);

unsafe extern "C" {
    /// Where exceptions lead to.
    pub(super) fn trap_vector();
}

extern "C" fn handle(frame: &mut Frame) {
    let (cause, pc, address): (u64, u64, u64);
    // SAFETY: reading these registers has no effect.
    unsafe {
        asm!("csrr {}, mcause", out(reg) cause);
        asm!("csrr {}, mepc", out(reg) pc);
        asm!("csrr {}, mtval", out(reg) address);
    }
    match cause {
        LOAD_MISALIGNED | STORE_MISALIGNED if emulate(frame, pc, address) => {}
        _ => {
            let _ = writeln!(Console, "exception {cause} at {pc:#x}, address {address:#x}");
            super::finish(Exit::Trap)
        }
    }
}

/// Does the access of the instruction at `pc`, and moves past it. `false` when it is none.
fn emulate(frame: &mut Frame, pc: u64, address: u64) -> bool {
    let code = pc as *const u16;
    // SAFETY: the processor has just executed these two or four bytes.
    let access = unsafe { decode(code.read(), || code.add(1).read()) };
    let Some(access) = access else { return false };
    let first = (address & !7) as *mut u64;
    let shift = 8 * (address & 7) as u32;
    let bits = 8 * access.bytes as u32;
    let beyond = shift + bits > 64;
    // SAFETY: this is what the interrupted instruction was about to do, within whole words of the same memory; a bad address
    // raises an exception of its own.
    unsafe {
        match access.action {
            Action::Load { .. } => {
                let mut value = first.read_volatile() >> shift;
                if beyond {
                    value |= first.add(1).read_volatile() << (64 - shift);
                }
                let value = access.loaded(value & u64::MAX >> (64 - bits));
                match access.register {
                    Register::Integer(number) => frame.0[number] = value,
                    Register::Float(number) => with_floats(|| set_float(number, value)),
                }
            }
            Action::Store => {
                let value = match access.register {
                    Register::Integer(number) => frame.0[number],
                    Register::Float(number) => with_floats(|| float(number)),
                };
                let mask = u64::MAX >> (64 - bits);
                let value = value & mask;
                first.write_volatile(first.read_volatile() & !(mask << shift) | value << shift);
                if beyond {
                    let (second, shift) = (first.add(1), 64 - shift);
                    second.write_volatile(second.read_volatile() & !(mask >> shift) | value >> shift);
                }
            }
        }
        asm!("csrw mepc, {}", in(reg) pc + access.instruction_bytes);
    }
    frame.0[0] = 0;
    true
}

/// Switches floating point on for as long as a register is moved.
fn with_floats<T>(move_one: impl FnOnce() -> T) -> T {
    // SAFETY: the handler's end switches it on as well.
    unsafe { asm!("csrs mstatus, {}", in(reg) FLOATS_ON) };
    let moved = move_one();
    // SAFETY: as it was.
    unsafe { asm!("csrc mstatus, {}", in(reg) FLOATS_ON) };
    moved
}

macro_rules! define_float_registers {
    ($($number:literal)*) => {
        /// The bits of a floating point register.
        fn float(number: usize) -> u64 {
            let bits: u64;
            // SAFETY: it is only read.
            match number {
                $($number => unsafe { asm!(concat!("fmv.x.d {}, f", $number), out(reg) bits) },)*
                _ => unreachable!("there are 32 registers"),
            }
            bits
        }

        /// Changes a floating point register of what was interrupted.
        fn set_float(number: usize, bits: u64) {
            // SAFETY: what was interrupted asked for it, and nothing here has floats.
            match number {
                $($number => unsafe { asm!(concat!("fmv.d.x f", $number, ", {}"), in(reg) bits) },)*
                _ => unreachable!("there are 32 registers"),
            }
        }
    };
}
define_float_registers!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
