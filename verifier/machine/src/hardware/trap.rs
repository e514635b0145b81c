//! Exceptions: misaligned accesses are emulated, everything else is reported and ends the replay.

use core::arch::{asm, global_asm};
use core::fmt::Write;

use fedmkt_machine::exit::Exit;
use fedmkt_machine::misaligned::{Action, Register, decode};

use super::platform::Console;

const LOAD_MISALIGNED: u64 = 4;
const STORE_MISALIGNED: u64 = 6;

/// All registers at the time of an exception.
#[repr(C)]
pub(super) struct Frame {
    integer: [u64; 32],
    float: [u64; 32],
}

// Saves all registers on the trap stack, whose top is in mscratch, handles the exception and goes on.
global_asm!(
    ".section .text",
    ".balign 4",
    ".global trap_vector",
    "trap_vector:",
    "csrrw sp, mscratch, sp",
    "addi sp, sp, -512",
    ".irp n, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "sd x\\n, 8 * \\n(sp)",
    ".endr",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "fsd f\\n, 256 + 8 * \\n(sp)",
    ".endr",
    "csrr t0, mscratch",
    "sd t0, 16(sp)",
    "mv a0, sp",
    "call {handle}",
    // The stack pointer may be what was loaded.
    "ld t0, 16(sp)",
    "csrw mscratch, t0",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "fld f\\n, 256 + 8 * \\n(sp)",
    ".endr",
    ".irp n, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "ld x\\n, 8 * \\n(sp)",
    ".endr",
    "addi sp, sp, 512",
    "csrrw sp, mscratch, sp",
    "mret",
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
    let register = match access.register {
        Register::Integer(number) => &mut frame.integer[number],
        Register::Float(number) => &mut frame.float[number],
    };
    let memory = address as *mut u8;
    // SAFETY: this is what the interrupted instruction was about to do; a bad address raises an exception of its own.
    unsafe {
        match access.action {
            Action::Load { .. } => {
                let mut value = 0;
                for at in 0..access.bytes {
                    value |= u64::from(memory.add(at).read_volatile()) << (8 * at);
                }
                *register = access.loaded(value);
            }
            Action::Store => {
                for at in 0..access.bytes {
                    memory.add(at).write_volatile((*register >> (8 * at)) as u8);
                }
            }
        }
        asm!("csrw mepc, {}", in(reg) pc + access.instruction_bytes);
    }
    frame.integer[0] = 0;
    true
}
