//! The Cartesi Machine: everything goes through HTIF, the host-target interface.

/// What the root of the device tree is compatible with.
pub(super) const COMPATIBLE: &str = "ucbbar,riscvemu-bar_dev";

const TO_HOST: *mut u64 = 0x4000_8000 as *mut u64;
const FROM_HOST: *mut u64 = 0x4000_8008 as *mut u64;
const CONSOLE_PUT: u64 = 1 << 56 | 1 << 48;

pub(super) fn put(byte: u8) {
    // SAFETY: the device is there on this platform.
    unsafe { TO_HOST.write_volatile(CONSOLE_PUT | u64::from(byte)) }
}

pub(super) fn halt(code: u8) {
    // The console's last answer is still there. Whether something was written must not show in what is proven of a
    // machine that halted.
    // SAFETY: as above.
    unsafe { FROM_HOST.write_volatile(0) }
    // SAFETY: as above.
    unsafe { TO_HOST.write_volatile(u64::from(code) << 1 | 1) }
}
