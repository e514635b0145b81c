//! The root of a file that is being written, computed by all processors as it grows.

use std::fs::File;
use std::io;
use std::mem;
use std::num::NonZero;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fedmkt_core::roots::Hash;
use fedmkt_core::tree::{self, bytes_root, log2_size_for, pair};
use memmap2::Mmap;

/// Binary logarithm of the bytes of a part, which one processor hashes at a time.
const LOG2_PART: u32 = 20;

/// How long to wait for more of the file.
const PAUSE: Duration = Duration::from_millis(1);

/// Roots of the parts of a file.
pub struct PartRoots {
    map: Mmap,
    log2_part: u32,
    roots: Vec<Hash>,
}

impl PartRoots {
    /// Writes a file of `bytes` bytes, at least one, through `write`, and hashes what is there meanwhile. `write` goes from the
    /// file's beginning to its end, and says how far it has come. While the rest is hashed the file goes to the disk.
    ///
    /// # Errors
    /// When `write` fails or the disk does, or the file cannot be mapped.
    pub fn of_file<E: From<io::Error>>(
        file: &File,
        bytes: u64,
        write: impl FnOnce(&dyn Fn(u64)) -> Result<(), E>,
    ) -> Result<Self, E> {
        file.set_len(bytes)?;
        // SAFETY: the file is the caller's, who writes to it only through `write` while this is used, and no part is read before
        // it was written.
        let map = unsafe { Mmap::map(file) }?;
        let log2_part = log2_size_for(bytes).min(LOG2_PART);
        let roots: Vec<OnceLock<Hash>> = vec![OnceLock::new(); bytes.div_ceil(1 << log2_part) as usize];
        let (written, next, failed) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let hash = || {
            while let number = next.fetch_add(1, Ordering::Relaxed)
                && let Some(root) = roots.get(number)
            {
                let part = range(number, log2_part, map.len());
                while written.load(Ordering::Acquire) < part.end as u64 {
                    if failed.load(Ordering::Relaxed) {
                        return;
                    }
                    thread::sleep(PAUSE);
                }
                root.set(bytes_root(&map[part], log2_part)).expect("every part is hashed once");
            }
        };
        thread::scope(|scope| {
            let others = thread::available_parallelism().map_or(1, NonZero::get) - 1;
            (0..others.min(roots.len() - 1)).for_each(|_| drop(scope.spawn(hash)));
            let alarm = Alarm(&failed);
            write(&|bytes| written.store(bytes, Ordering::Release))?;
            mem::forget(alarm);
            let on_disk = scope.spawn(|| file.sync_data());
            hash();
            Ok::<_, E>(on_disk.join().expect("it does not panic")?)
        })?;
        let roots = roots.into_iter().map(|root| root.into_inner().expect("every part was hashed")).collect();
        Ok(Self { map, log2_part, roots })
    }

    /// The root of the file, zero-padded to the next power of two of at least a page.
    pub fn root(&self) -> Hash {
        let zeros = tree::zero_roots();
        let mut nodes = self.roots.clone();
        let mut size = self.log2_part as usize;
        while nodes.len() > 1 {
            if !nodes.len().is_multiple_of(2) {
                nodes.push(zeros[size]);
            }
            nodes = nodes.as_chunks().0.iter().map(|[left, right]| pair(left, right)).collect();
            size += 1;
        }
        nodes[0]
    }

    /// Hashes the first part again, whose bytes have changed.
    pub fn update_first(&mut self) {
        self.roots[0] = bytes_root(&self.map[range(0, self.log2_part, self.map.len())], self.log2_part);
    }
}

/// Tells the others that no more will come, unless it is forgotten: whoever writes may fail or panic.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn range(number: usize, log2_part: u32, bytes: usize) -> Range<usize> {
    let start = number << log2_part;
    start..bytes.min(start + (1 << log2_part))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at * at / 7) as u8).collect()
    }

    #[test]
    fn the_root_is_that_of_the_whole() {
        let page = tree::PAGE_BYTES;
        for bytes in [1, page, page + 1, 1 << 20, (1 << 20) + 1, (5 << 20) - 3, 7 << 20] {
            let content = content(bytes);
            let mut file = tempfile::tempfile().expect("a file");
            let writer = file.try_clone().expect("a handle");
            let mut roots = PartRoots::of_file(&writer, bytes as u64, |at| {
                for (number, part) in content.chunks(300_000).enumerate() {
                    file.write_all(part)?;
                    at((number * 300_000 + part.len()) as u64);
                }
                Ok::<_, io::Error>(())
            })
            .expect("written");
            assert_eq!(roots.root(), bytes_root(&content, log2_size_for(bytes as u64)), "{bytes}");
            let mut changed = content;
            changed[0] ^= 1;
            std::os::unix::fs::FileExt::write_all_at(&file, &changed[..1], 0).expect("written");
            roots.update_first();
            assert_eq!(roots.root(), bytes_root(&changed, log2_size_for(bytes as u64)), "{bytes}");
        }
    }

    #[test]
    fn what_cannot_be_written_ends_it() {
        let file = tempfile::tempfile().expect("a file");
        let failed = PartRoots::of_file(&file, 40 << 20, |at| {
            at(1 << 20);
            Err(io::Error::other("no room"))
        });
        assert_eq!(failed.err().map(|error| error.to_string()), Some("no room".to_owned()));
    }

    #[test]
    #[should_panic(expected = "a fault")]
    fn a_panic_of_who_writes_is_not_waited_for() {
        let file = tempfile::tempfile().expect("a file");
        let _ = PartRoots::of_file::<io::Error>(&file, 40 << 20, |_| panic!("a fault"));
    }
}
