//! Guest memory as the guest's pointers see it.

use super::Errno;

/// Guest memory. Every access is checked; what lies outside is [`Errno::Fault`].
pub(super) struct Memory<'a>(pub(super) &'a mut [u8]);

impl Memory<'_> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

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

    pub(super) fn text(&mut self, pointer: u32, length: u32) -> Result<&str, Errno> {
        core::str::from_utf8(self.bytes(pointer, length)?).map_err(|_| Errno::Ilseq)
    }
}
