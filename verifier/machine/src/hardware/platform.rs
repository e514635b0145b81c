//! The two platforms: a console for diagnosis, and a way to halt with an exit code.

mod cartesi;
mod virt;

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

use fedmkt_machine::device_tree::Found;

const CARTESI: u8 = 1;
const VIRT: u8 = 2;

static PLATFORM: AtomicU8 = AtomicU8::new(0);

/// Chooses the platform that the device tree names. On an unknown one there is no console, and halting is waiting.
pub(super) fn choose(found: &Found<'_>) {
    let platform = if found.is_compatible(cartesi::COMPATIBLE) {
        CARTESI
    } else if found.is_compatible(virt::COMPATIBLE) {
        VIRT
    } else {
        return;
    };
    PLATFORM.store(platform, Ordering::Relaxed);
}

/// Halts the machine with an exit code.
pub(super) fn halt(code: u8) -> ! {
    match PLATFORM.load(Ordering::Relaxed) {
        CARTESI => cartesi::halt(code),
        VIRT => virt::halt(code),
        _ => {}
    }
    loop {
        core::hint::spin_loop();
    }
}

/// The console.
pub(super) struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let put = match PLATFORM.load(Ordering::Relaxed) {
            CARTESI => cartesi::put,
            VIRT => virt::put,
            _ => return Ok(()),
        };
        text.bytes().for_each(put);
        Ok(())
    }
}
