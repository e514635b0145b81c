//! The first instructions, and the stacks.

use core::arch::global_asm;

// The processor starts here in machine mode, with the address of the device tree in a1 and floating point off.
global_asm!(
    ".section .text.start, \"ax\"",
    ".global _start",
    "_start:",
    ".option push",
    ".option norelax",
    "la sp, __stack_top",
    "la t0, __trap_stack_top",
    "csrw mscratch, t0",
    "la t0, {trap}",
    "csrw mtvec, t0",
    // mstatus.FS: floating point on.
    "li t0, 0x6000",
    "csrs mstatus, t0",
    "csrw fcsr, zero",
    "la t0, __bss_start",
    "la t1, __bss_end",
    "1: bgeu t0, t1, 2f",
    "sd zero, 0(t0)",
    "addi t0, t0, 8",
    "j 1b",
    "2: mv a0, a1",
    "call {main}",
    ".option pop",
    trap = sym super::trap::trap_vector,
    main = sym super::main,
);

unsafe extern "C" {
    static mut __trap_stack_bottom: [u64; MARKED_WORDS];
    static mut __stack_bottom: [u64; MARKED_WORDS];
}

/// A page at the lowest end of each stack.
const MARKED_WORDS: usize = 512;

const MARK: u64 = 0x6665_646d_6b74_2173;

/// Writes a pattern where the stacks must never reach. There is no memory protection that would stop them.
pub(super) fn mark_stacks() {
    // SAFETY: the linker script reserves these pages, and the stacks are still far above.
    unsafe {
        for word in 0..MARKED_WORDS {
            (&raw mut __trap_stack_bottom).cast::<u64>().add(word).write_volatile(MARK);
            (&raw mut __stack_bottom).cast::<u64>().add(word).write_volatile(MARK);
        }
    }
}

/// Whether the pattern is still there.
pub(super) fn stacks_are_marked() -> bool {
    // SAFETY: as above.
    (0..MARKED_WORDS).all(|word| unsafe {
        (&raw const __trap_stack_bottom).cast::<u64>().add(word).read_volatile() == MARK
            && (&raw const __stack_bottom).cast::<u64>().add(word).read_volatile() == MARK
    })
}
