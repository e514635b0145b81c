//! Which pages of a memory were written, by the kernel's own account.
//!
//! Pages are write-protected when they are looked at. The first write to one after that costs a fault, which the kernel
//! ends by itself; what was not written is not touched. This is `userfaultfd` with asynchronous write protection, asked by
//! `PAGEMAP_SCAN`: Linux 6.7 or later.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use fedmkt_core::tree::PAGE_BYTES;
use linux_raw_sys::general::{
    PAGE_IS_PRESENT, PAGE_IS_SWAPPED, PAGE_IS_WRITTEN, PM_SCAN_CHECK_WPASYNC, PM_SCAN_WP_MATCHING, UFFD_API,
    UFFD_FEATURE_WP_ASYNC, UFFD_FEATURE_WP_UNPOPULATED, UFFD_USER_MODE_ONLY, UFFDIO_REGISTER_MODE_WP, page_region,
    pm_scan_arg, uffdio_api, uffdio_range, uffdio_register,
};
use linux_raw_sys::ioctl::{UFFDIO_API, UFFDIO_REGISTER};
use rustix::mm::UserfaultfdFlags;
use rustix::param::page_size;

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u32 = 3 << 30 | (size_of::<pm_scan_arg>() as u32) << 16 | (b'f' as u32) << 8 | 16;

/// Stretches of pages that the kernel tells at once.
const REGIONS: usize = 256;

/// The kernel's account of the pages of this process that were written.
#[derive(Debug)]
pub struct WrittenPages {
    protection: OwnedFd,
    page_map: File,
}

impl WrittenPages {
    /// Begins an account, which is empty. `None` where the kernel keeps none, or not for this user.
    pub fn open() -> Option<Self> {
        if page_size() != PAGE_BYTES {
            return None;
        }
        // Faults in the kernel's own code are not for this process to see.
        let flags = UserfaultfdFlags::CLOEXEC
            | UserfaultfdFlags::NONBLOCK
            | UserfaultfdFlags::from_bits_retain(UFFD_USER_MODE_ONLY);
        // SAFETY: no page is ever filled or moved by it.
        let protection = unsafe { rustix::mm::userfaultfd(flags) }.ok()?;
        let features = u64::from(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
        let mut api = uffdio_api { api: u64::from(UFFD_API), features, ioctls: 0 };
        // SAFETY: what this request takes.
        unsafe { request(protection.as_raw_fd(), UFFDIO_API, &mut api) }.ok()?;
        Some(Self { protection, page_map: File::open("/proc/self/pagemap").ok()? })
    }

    /// The descriptors of this account, each with the one request that is made of it.
    pub fn requests(&self) -> [(RawFd, u32); 2] {
        [(self.protection.as_raw_fd(), UFFDIO_REGISTER), (self.page_map.as_raw_fd(), PAGEMAP_SCAN)]
    }

    /// Keeps account of so many bytes from this address on: whole pages of anonymous, private memory. They may be out of
    /// use yet. It ends when they are unmapped.
    ///
    /// # Errors
    /// When the kernel cannot, as when they are of another kind.
    pub fn watch(&self, start: *const u8, bytes: usize) -> io::Result<()> {
        let range = uffdio_range { start: start as u64, len: bytes as u64 };
        let mut register = uffdio_register { range, mode: u64::from(UFFDIO_REGISTER_MODE_WP), ioctls: 0 };
        // SAFETY: what this request takes. It changes nothing that the process could see.
        unsafe { request(self.protection.as_raw_fd(), UFFDIO_REGISTER, &mut register) }?;
        // Of a huge page the kernel knows only that something in it was written.
        // SAFETY: it changes nothing that the process could see.
        match unsafe { libc::madvise(start as *mut _, bytes, libc::MADV_NOHUGEPAGE) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                // A kernel without huge pages.
                error if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// The pages of watched memory that were written since the last call, in rising order; at the first, since ever.
    ///
    /// # Errors
    /// When the kernel cannot, as when the memory is not watched. Then any page may have been written.
    pub fn take(&self, memory: &[u8]) -> io::Result<Vec<u32>> {
        let first = memory.as_ptr() as u64;
        let end = first + memory.len() as u64;
        let mut regions = [page_region { start: 0, end: 0, categories: 0 }; REGIONS];
        let mut pages = Vec::new();
        let mut start = first;
        while start < end {
            let mut scan = pm_scan_arg {
                size: size_of::<pm_scan_arg>() as u64,
                flags: u64::from(PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC),
                start,
                end,
                walk_end: 0,
                vec: regions.as_mut_ptr() as u64,
                vec_len: REGIONS as u64,
                max_pages: 0,
                category_inverted: 0,
                category_mask: u64::from(PAGE_IS_WRITTEN),
                // Pages that have never been touched do not count.
                category_anyof_mask: u64::from(PAGE_IS_PRESENT | PAGE_IS_SWAPPED),
                return_mask: u64::from(PAGE_IS_WRITTEN),
            };
            // SAFETY: what this request takes, with room for so many regions.
            let found = unsafe { request(self.page_map.as_raw_fd(), PAGEMAP_SCAN, &mut scan) }?;
            for region in &regions[..found] {
                let page = |address: u64| ((address - first) / PAGE_BYTES as u64) as u32;
                pages.extend(page(region.start)..page(region.end));
            }
            if scan.walk_end <= start {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            start = scan.walk_end;
        }
        Ok(pages)
    }
}

/// # Safety
/// The request must take an argument of this type.
unsafe fn request<T>(descriptor: RawFd, request: u32, argument: &mut T) -> io::Result<usize> {
    // SAFETY: by the caller.
    let answer = unsafe { libc::ioctl(descriptor, request as _, std::ptr::from_mut(argument)) };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// An account for tests; `None`, said loudly, where the kernel keeps none.
#[cfg(test)]
pub(crate) fn account() -> Option<WrittenPages> {
    let account = WrittenPages::open();
    if account.is_none() {
        // Not by `eprintln!`, which the test harness keeps to itself.
        let message = b"\nSKIPPED written pages: this kernel keeps no account of them\n";
        io::Write::write_all(&mut io::stderr(), message).expect("standard error");
    }
    account
}

#[cfg(test)]
mod tests {
    use memmap2::MmapMut;

    use super::*;

    const PAGES: usize = 3000;
    const NONE: [u32; 0] = [];

    /// Watched memory.
    fn watched() -> Option<(WrittenPages, MmapMut)> {
        let account = account()?;
        let memory = MmapMut::map_anon(PAGES * PAGE_BYTES).expect("memory");
        account.watch(memory.as_ptr(), memory.len()).expect("watched");
        Some((account, memory))
    }

    #[test]
    fn each_page_that_was_written_is_told_once() {
        let Some((account, mut memory)) = watched() else { return };
        assert_eq!(account.take(&memory).expect("an account"), NONE);
        let wanted: [&[u32]; 4] = [&[0, 1, 5, 2999], &[], &[1, 6], &[0, 1, 2, 2998]];
        let found: Vec<_> = wanted
            .iter()
            .map(|pages| {
                pages.iter().for_each(|page| memory[*page as usize * PAGE_BYTES + 7] += 1);
                account.take(&memory).expect("an account")
            })
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_was_written_before_it_was_watched_counts() {
        let Some(account) = account() else { return };
        let mut memory = MmapMut::map_anon(PAGES * PAGE_BYTES).expect("memory");
        memory[9 * PAGE_BYTES] = 1;
        account.watch(memory.as_ptr(), memory.len()).expect("watched");
        assert_eq!(account.take(&memory).expect("an account"), [9]);
    }

    #[test]
    fn more_stretches_than_are_told_at_once_are_all_told() {
        let Some((account, mut memory)) = watched() else { return };
        let every_other: Vec<u32> = (0..PAGES as u32).step_by(2).collect();
        assert!(every_other.len() > 3 * REGIONS);
        every_other.iter().for_each(|page| memory[*page as usize * PAGE_BYTES] = 1);
        assert_eq!(account.take(&memory).expect("an account"), every_other);
        assert_eq!(account.take(&memory).expect("an account"), NONE);
    }

    #[test]
    fn reading_is_no_writing() {
        let Some((account, memory)) = watched() else { return };
        assert_eq!(account.take(&memory).expect("an account"), NONE);
        assert_eq!(memory.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 0);
        // The kernel may count a page that was touched for the first time, but not again.
        account.take(&memory).expect("an account");
        assert_eq!(memory.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 0);
        assert_eq!(account.take(&memory).expect("an account"), NONE);
    }

    #[test]
    fn memory_that_is_not_watched_has_no_account() {
        let Some((account, _watched)) = watched() else { return };
        let memory = MmapMut::map_anon(PAGE_BYTES).expect("memory");
        assert!(account.take(&memory).is_err());
    }
}
