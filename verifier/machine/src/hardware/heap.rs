//! The heap: everything between the stacks and the end of RAM.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};

use dlmalloc::{Allocator, Dlmalloc};

/// Every block starts at a multiple of this, so that vectors in a guest's memory are where the processor wants them.
const ALIGNMENT: usize = 16;

#[global_allocator]
static HEAP: Heap = Heap { dlmalloc: UnsafeCell::new(Dlmalloc::new_with_allocator(Ram)), exhausted: Cell::new(false) };

struct Heap {
    dlmalloc: UnsafeCell<Dlmalloc<Ram>>,
    exhausted: Cell<bool>,
}

// SAFETY: there is one processor, no interrupts, and the trap handler does not allocate.
unsafe impl Sync for Heap {}

// SAFETY: dlmalloc keeps the contract; alignments are raised only.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: nobody else is in dlmalloc: see `Sync`.
        self.checked(unsafe { (*self.dlmalloc.get()).malloc(layout.size(), layout.align().max(ALIGNMENT)) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { (*self.dlmalloc.get()).free(block, layout.size(), layout.align().max(ALIGNMENT)) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let align = layout.align().max(ALIGNMENT);
        // SAFETY: as above.
        self.checked(unsafe { (*self.dlmalloc.get()).realloc(block, layout.size(), align, bytes) })
    }
}

impl Heap {
    fn checked(&self, block: *mut u8) -> *mut u8 {
        if block.is_null() {
            self.exhausted.set(true);
        }
        block
    }
}

/// Hands all of RAM to dlmalloc the first time that it asks.
struct Ram;

/// The end of RAM, or 0 while there is no heap to give away.
static END: EndOfRam = EndOfRam(Cell::new(0));

struct EndOfRam(Cell<u64>);

// SAFETY: there is one processor, and no interrupts.
unsafe impl Sync for EndOfRam {}

// SAFETY: the one range that is given away belongs to nobody else, and is never taken back.
unsafe impl Allocator for Ram {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let end = END.0.replace(0) as usize;
        let start = (&raw mut __heap_start).cast::<u8>();
        match end.checked_sub(start as usize) {
            Some(bytes) if bytes >= size => (start, bytes, 0),
            _ => (core::ptr::null_mut(), 0, 0),
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        core::ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        false
    }

    fn page_size(&self) -> usize {
        4096
    }
}

unsafe extern "C" {
    static mut __heap_start: u8;
}

/// Makes the heap reach up to the address `end`.
pub(super) fn start(end: u64) {
    END.0.set(end);
}

/// Whether there was ever not enough memory.
pub(super) fn is_exhausted() -> bool {
    HEAP.exhausted.get()
}
