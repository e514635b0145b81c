//! QEMU's `virt` machine: a 16550 UART, and a test device that ends QEMU.

/// What the root of the device tree is compatible with.
pub(super) const COMPATIBLE: &str = "riscv-virtio";

const UART: *mut u8 = 0x1000_0000 as *mut u8;
const TEST: *mut u32 = 0x10_0000 as *mut u32;
const PASS: u32 = 0x5555;
const FAIL: u32 = 0x3333;

pub(super) fn put(byte: u8) {
    // SAFETY: the device is there on this platform.
    unsafe { UART.write_volatile(byte) }
}

pub(super) fn halt(code: u8) {
    let word = if code == 0 { PASS } else { u32::from(code) << 16 | FAIL };
    // SAFETY: as above.
    unsafe { TEST.write_volatile(word) }
}
