//! The replayer on hardware: from the first instruction to the exit code.

mod heap;
mod platform;
mod start;
mod trap;

use alloc::sync::Arc;
use core::fmt::Write;
use core::panic::PanicInfo;

use fedmkt_core::manifest::SizeClass;
use fedmkt_machine::device_tree;
use fedmkt_machine::exit::Exit;
use fedmkt_machine::memory_map::{self, Drive};
use fedmkt_machine::replay::replay;
use platform::Console;

/// The most bytes of a device tree.
const DEVICE_TREE_BYTES: usize = 1 << 20;

/// Called by the first instructions, with the address of the device tree.
extern "C" fn main(device_tree: *const u8) -> ! {
    start::mark_stacks();
    // SAFETY: the platform put a device tree there, in memory that nobody has written to yet.
    let tree = unsafe { core::slice::from_raw_parts(device_tree, device_tree_bytes(device_tree)) };
    let found = device_tree::read(tree);
    platform::choose(&found);
    let Some(class) = memory_map::class_of(found.boot_arguments) else { finish(Exit::NoClass) };
    // From here on the device tree may be overwritten: it can lie in what is heap now.
    heap::start(memory_map::RAM_START + memory_map::ram_bytes(class));
    let exit = match run(class) {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    };
    finish(if start::stacks_are_marked() { exit } else { Exit::Stack })
}

fn device_tree_bytes(device_tree: *const u8) -> usize {
    // SAFETY: as above; a header is shorter than a page.
    let header = unsafe { &*device_tree.cast::<[u8; 8]>() };
    device_tree::claimed_bytes(header).map_or(0, |bytes| (bytes as usize).min(DEVICE_TREE_BYTES))
}

fn run(class: SizeClass) -> Result<(), Exit> {
    let [job, data, state_in] = [Drive::Job, Drive::Data, Drive::StateIn].map(|drive| {
        // SAFETY: the memory map says that a drive of this length is there, and nobody writes to it.
        let bytes: &'static [u8] =
            unsafe { core::slice::from_raw_parts(drive.start() as *const u8, drive.bytes(class) as usize) };
        bytes
    });
    // SAFETY: as above; this is the only reference to the state-out drive.
    let state_out = unsafe {
        core::slice::from_raw_parts_mut(Drive::StateOut.start() as *mut u8, Drive::StateOut.bytes(class) as usize)
    };
    let write = |offset: u64, bytes: &[u8]| state_out[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    match replay(class, Arc::new(job), Arc::new(data), state_in, write) {
        Ok(status) => {
            let _ = writeln!(Console, "replayed: {status}");
            Ok(())
        }
        Err(error) => {
            let _ = writeln!(Console, "not replayed: {error}");
            Err(error.exit())
        }
    }
}

/// Halts the machine.
fn finish(exit: Exit) -> ! {
    platform::halt(exit as u8)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Console, "{info}");
    finish(if heap::is_exhausted() { Exit::Memory } else { Exit::Panic })
}
