//! Guest memory as the guest's pointers see it.

use alloc::vec::Vec;

use super::{Errno, MAX_PATH};

/// The most buffers of one read or write, as in POSIX.
const MAX_BUFFERS: u32 = 1024;

/// The most bytes that one read or write moves: what a guest's signed size can tell.
const MAX_MOVED: u32 = i32::MAX as u32;

/// Guest memory. Every access is checked; what lies outside is [`Errno::Fault`].
pub(super) struct Memory<'a>(pub(super) &'a mut [u8]);

/// Where a guest's buffer is.
#[derive(Clone, Copy)]
pub(super) struct Buffer {
    pub(super) pointer: u32,
    pub(super) length: u32,
}

impl Memory<'_> {
    pub(super) fn bytes(&mut self, pointer: u32, length: u32) -> Result<&mut [u8], Errno> {
        let start = pointer as usize;
        let end = start.checked_add(length as usize).ok_or(Errno::Fault)?;
        self.0.get_mut(start..end).ok_or(Errno::Fault)
    }

    pub(super) fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Errno> {
        self.bytes(pointer, bytes.len() as u32)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn write_u32(&mut self, pointer: u32, value: u32) -> Result<(), Errno> {
        self.write(pointer, &value.to_le_bytes())
    }

    pub(super) fn write_u64(&mut self, pointer: u32, value: u64) -> Result<(), Errno> {
        self.write(pointer, &value.to_le_bytes())
    }

    fn array<const N: usize>(&mut self, pointer: u32) -> Result<[u8; N], Errno> {
        Ok(self.bytes(pointer, N as u32)?.try_into().expect("the slice has this length"))
    }

    pub(super) fn u8(&mut self, pointer: u32) -> Result<u8, Errno> {
        Ok(self.array::<1>(pointer)?[0])
    }

    pub(super) fn u16(&mut self, pointer: u32) -> Result<u16, Errno> {
        self.array(pointer).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, pointer: u32) -> Result<u32, Errno> {
        self.array(pointer).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, pointer: u32) -> Result<u64, Errno> {
        self.array(pointer).map(u64::from_le_bytes)
    }

    /// A path or the target of a link.
    pub(super) fn path(&mut self, pointer: u32, length: u32) -> Result<&str, Errno> {
        let bytes = self.bytes(pointer, length)?;
        if bytes.len() > MAX_PATH {
            return Err(Errno::Nametoolong);
        }
        core::str::from_utf8(bytes).map_err(|_| Errno::Ilseq)
    }

    /// The buffers that an array of `iovec` or `ciovec` names. All lie in memory. Together they are cut to the size of
    /// memory, so that an array that names the same bytes again and again costs no more than they do.
    pub(super) fn buffers(&mut self, array: u32, count: u32) -> Result<Vec<Buffer>, Errno> {
        if count > MAX_BUFFERS {
            return Err(Errno::Inval);
        }
        self.bytes(array, count * 8)?;
        let mut left = self.0.len().min(MAX_MOVED as usize) as u32;
        let mut buffers = Vec::with_capacity(count as usize);
        for index in 0..count {
            let pointer = self.u32(array + 8 * index)?;
            let length = self.u32(array + 8 * index + 4)?;
            self.bytes(pointer, length)?;
            let length = length.min(left);
            left -= length;
            buffers.push(Buffer { pointer, length });
        }
        Ok(buffers)
    }
}
