//! Calls on open file descriptors.

use super::memory::Memory;
use super::rights::{self, Rights};
use super::tree::{self, FileType, Inode};
use super::{Descriptor, Errno, FDFLAGS_ALL, FDFLAGS_APPEND, FIRST_FREE_FD, Stream, Wasi};

const ROOT_NAME: &[u8] = b"/";

/// The device number of every file.
const DEVICE: u64 = 1;

impl Wasi {
    /// Opens a descriptor on an inode, with the lowest free number.
    pub(super) fn open(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        if self.descriptors.len() >= self.config.open_files as usize {
            return Err(Errno::Mfile);
        }
        let taken = self.descriptors.range(FIRST_FREE_FD..).map(|(fd, _)| *fd);
        let fd = FIRST_FREE_FD + taken.zip(FIRST_FREE_FD..).take_while(|(fd, lowest)| fd == lowest).count() as u32;
        self.descriptors.insert(fd, descriptor);
        Ok(fd)
    }

    pub(super) fn fd_close(&mut self, fd: u32) -> Result<(), Errno> {
        let closed = self.descriptors.remove(&fd).ok_or(Errno::Badf)?;
        self.release(closed.inode);
        Ok(())
    }

    pub(super) fn fd_renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        if !self.descriptors.contains_key(&to) {
            return Err(Errno::Badf);
        }
        let moved = self.descriptors.remove(&from).ok_or(Errno::Badf)?;
        if let Some(closed) = self.descriptors.insert(to, moved) {
            self.release(closed.inode);
        }
        Ok(())
    }

    pub(super) fn fd_advise(&mut self, fd: u32, advice: u32) -> Result<(), Errno> {
        self.file(fd, rights::FD_ADVISE)?;
        if advice < 6 { Ok(()) } else { Err(Errno::Inval) }
    }

    pub(super) fn fd_allocate(&mut self, fd: u32, offset: u64, length: u64) -> Result<(), Errno> {
        let inode = self.file(fd, rights::FD_ALLOCATE)?.inode;
        if length == 0 {
            return Err(Errno::Inval);
        }
        let end = offset.checked_add(length).ok_or(Errno::Fbig)?;
        if end <= self.tree.size(inode) {
            return Ok(());
        }
        self.tree.set_size(inode, end, self.now())
    }

    pub(super) fn fd_fdstat_get(&mut self, fd: u32, buffer: u32, m: &mut Memory<'_>) -> Result<(), Errno> {
        let open = self.descriptor(fd, 0)?;
        let mut stat = [0; 24];
        stat[0] = self.tree.file_type(open.inode) as u8;
        stat[2..4].copy_from_slice(&open.flags.to_le_bytes());
        stat[8..16].copy_from_slice(&open.rights.to_le_bytes());
        stat[16..24].copy_from_slice(&open.inheriting.to_le_bytes());
        m.write(buffer, &stat)
    }

    pub(super) fn fd_fdstat_set_flags(&mut self, fd: u32, flags: u32) -> Result<(), Errno> {
        self.descriptor(fd, rights::FD_FDSTAT_SET_FLAGS)?;
        let flags = u16::try_from(flags).ok().filter(|flags| flags & !FDFLAGS_ALL == 0).ok_or(Errno::Inval)?;
        self.descriptor_mut(fd).flags = flags;
        Ok(())
    }

    pub(super) fn fd_fdstat_set_rights(&mut self, fd: u32, base: Rights, inheriting: Rights) -> Result<(), Errno> {
        let open = self.descriptor(fd, 0)?;
        if base & !open.rights != 0 || inheriting & !open.inheriting != 0 {
            return Err(Errno::Notcapable);
        }
        let open = self.descriptor_mut(fd);
        open.rights = base;
        open.inheriting = inheriting;
        Ok(())
    }

    pub(super) fn write_filestat(&self, inode: Inode, buffer: u32, m: &mut Memory<'_>) -> Result<(), Errno> {
        let (links, times) = match self.tree.nodes.get(&inode) {
            Some(node) => (u64::from(node.links), node.times),
            None => (1, [super::REALTIME_START; 3]),
        };
        let mut stat = [0; 64];
        stat[16] = self.tree.file_type(inode) as u8;
        let numbers = [(0, DEVICE), (8, inode), (24, links), (32, self.tree.size(inode))];
        let times = [(40, times[0]), (48, times[1]), (56, times[2])];
        for (at, number) in numbers.into_iter().chain(times) {
            stat[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        m.write(buffer, &stat)
    }

    pub(super) fn set_times(&mut self, inode: Inode, access: u64, modification: u64, flags: u32) -> Result<(), Errno> {
        const ACCESS: u32 = 1;
        const ACCESS_NOW: u32 = 2;
        const MODIFICATION: u32 = 4;
        const MODIFICATION_NOW: u32 = 8;
        let both = |one, other| flags & (one | other) == one | other;
        if flags > 15 || both(ACCESS, ACCESS_NOW) || both(MODIFICATION, MODIFICATION_NOW) {
            return Err(Errno::Inval);
        }
        let now = self.now();
        let node = self.tree.nodes.get_mut(&inode).ok_or(Errno::Rofs)?;
        if flags == 0 {
            return Ok(());
        }
        for (index, set, set_now, time) in
            [(0, ACCESS, ACCESS_NOW, access), (1, MODIFICATION, MODIFICATION_NOW, modification)]
        {
            if flags & set != 0 {
                node.times[index] = time;
            } else if flags & set_now != 0 {
                node.times[index] = now;
            }
        }
        node.times[2] = now;
        Ok(())
    }

    pub(super) fn fd_prestat_get(&mut self, fd: u32, buffer: u32, m: &mut Memory<'_>) -> Result<(), Errno> {
        self.check_preopened(fd)?;
        let [length, ..] = (ROOT_NAME.len() as u32).to_le_bytes();
        m.write(buffer, &[0, 0, 0, 0, length, 0, 0, 0])
    }

    pub(super) fn fd_prestat_dir_name(
        &mut self,
        fd: u32,
        path: u32,
        length: u32,
        m: &mut Memory<'_>,
    ) -> Result<(), Errno> {
        self.check_preopened(fd)?;
        if (length as usize) < ROOT_NAME.len() {
            return Err(Errno::Nametoolong);
        }
        m.write(path, ROOT_NAME)
    }

    /// Only descriptor 3 can be preopened, and it is as long as it stands for the root.
    fn check_preopened(&self, fd: u32) -> Result<(), Errno> {
        let open = self.descriptor(fd, 0)?;
        if fd + 1 == FIRST_FREE_FD && open.inode == tree::ROOT { Ok(()) } else { Err(Errno::Badf) }
    }

    pub(super) fn fd_seek(
        &mut self,
        fd: u32,
        by: i64,
        whence: u32,
        result: u32,
        m: &mut Memory<'_>,
    ) -> Result<(), Errno> {
        const SET: u32 = 0;
        const CURRENT: u32 = 1;
        const END: u32 = 2;
        // Asking where one is takes the right to tell only.
        let open = if by == 0 && whence == CURRENT { self.tellable(fd)? } else { self.file(fd, rights::FD_SEEK)? };
        let from = match whence {
            SET => 0,
            CURRENT => open.offset,
            END => self.tree.size(open.inode),
            _ => return Err(Errno::Inval),
        };
        let offset = from.checked_add_signed(by).filter(|&offset| i64::try_from(offset).is_ok()).ok_or(Errno::Inval)?;
        m.write_u64(result, offset)?;
        self.descriptor_mut(fd).offset = offset;
        Ok(())
    }

    pub(super) fn fd_tell(&mut self, fd: u32, result: u32, m: &mut Memory<'_>) -> Result<(), Errno> {
        let offset = self.tellable(fd)?.offset;
        m.write_u64(result, offset)
    }

    /// An open file whose offset may be asked for: the right to seek includes that to tell.
    fn tellable(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.file(fd, rights::FD_SEEK).or_else(|_| self.file(fd, rights::FD_TELL))
    }

    pub(super) fn fd_read(
        &mut self,
        fd: u32,
        buffers: u32,
        count: u32,
        result: u32,
        m: &mut Memory<'_>,
    ) -> Result<(), Errno> {
        let open = self.descriptor(fd, rights::FD_READ)?;
        let (inode, offset) = (open.inode, open.offset);
        let bytes = match self.tree.file_type(inode) {
            FileType::CharacterDevice => self.read_input(buffers, count, result, m)?,
            _ => self.read_into(inode, offset, buffers, count, result, m)?,
        };
        self.descriptor_mut(fd).offset += u64::from(bytes);
        Ok(())
    }

    pub(super) fn fd_pread(
        &mut self,
        fd: u32,
        buffers: u32,
        count: u32,
        offset: u64,
        result: u32,
        m: &mut Memory<'_>,
    ) -> Result<(), Errno> {
        let inode = self.file(fd, rights::FD_READ | rights::FD_SEEK)?.inode;
        check_offset(offset)?;
        self.read_into(inode, offset, buffers, count, result, m).map(|_| ())
    }

    fn read_into(
        &self,
        inode: Inode,
        offset: u64,
        buffers: u32,
        count: u32,
        result: u32,
        m: &mut Memory<'_>,
    ) -> Result<u32, Errno> {
        m.bytes(result, 4)?;
        let mut total = 0;
        for buffer in m.buffers(buffers, count)? {
            let place = m.bytes(buffer.pointer, buffer.length)?;
            let bytes = self.tree.read(inode, offset + u64::from(total), place)? as u32;
            total += bytes;
            if bytes < buffer.length {
                break;
            }
        }
        m.write_u32(result, total)?;
        Ok(total)
    }

    /// Reads standard input once, into the first buffer that is not empty: more could mean waiting.
    fn read_input(&mut self, buffers: u32, count: u32, result: u32, m: &mut Memory<'_>) -> Result<u32, Errno> {
        m.bytes(result, 4)?;
        let first = m.buffers(buffers, count)?.into_iter().find(|buffer| buffer.length > 0);
        let bytes = match (&mut self.input, first) {
            (Some(input), Some(buffer)) => {
                let place = m.bytes(buffer.pointer, buffer.length)?;
                input(place)?.min(place.len()) as u32
            }
            _ => 0,
        };
        m.write_u32(result, bytes)?;
        // A stream has no offset.
        Ok(0)
    }

    pub(super) fn fd_write(
        &mut self,
        fd: u32,
        buffers: u32,
        count: u32,
        result: u32,
        m: &mut Memory<'_>,
    ) -> Result<(), Errno> {
        let open = self.descriptor(fd, rights::FD_WRITE)?;
        let inode = open.inode;
        let stream = match inode {
            tree::STDOUT => Some(Stream::Output),
            tree::STDERR => Some(Stream::Error),
            _ => None,
        };
        if let Some(stream) = stream {
            return self.write_log(stream, buffers, count, result, m);
        }
        let append = open.flags & FDFLAGS_APPEND != 0;
        let offset = if append { self.tree.size(inode) } else { open.offset };
        let bytes = self.write_from(inode, offset, buffers, count, result, m)?;
        // Nothing written goes nowhere, also at the end of what is appended to.
        if bytes > 0 {
            self.descriptor_mut(fd).offset = offset + u64::from(bytes);
        }
        Ok(())
    }

    pub(super) fn fd_pwrite(
        &mut self,
        fd: u32,
        buffers: u32,
        count: u32,
        offset: u64,
        result: u32,
        m: &mut Memory<'_>,
    ) -> Result<(), Errno> {
        let inode = self.file(fd, rights::FD_WRITE | rights::FD_SEEK)?.inode;
        check_offset(offset)?;
        self.write_from(inode, offset, buffers, count, result, m).map(|_| ())
    }

    fn write_from(
        &mut self,
        inode: Inode,
        offset: u64,
        buffers: u32,
        count: u32,
        result: u32,
        m: &mut Memory<'_>,
    ) -> Result<u32, Errno> {
        m.bytes(result, 4)?;
        let now = self.now();
        let mut total = 0;
        for buffer in m.buffers(buffers, count)? {
            let bytes = m.bytes(buffer.pointer, buffer.length)?;
            match self.tree.write(inode, offset + u64::from(total), bytes, now) {
                Ok(bytes) => total += bytes as u32,
                Err(_) if total > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        m.write_u32(result, total)?;
        Ok(total)
    }

    fn write_log(
        &mut self,
        stream: Stream,
        buffers: u32,
        count: u32,
        result: u32,
        m: &mut Memory<'_>,
    ) -> Result<(), Errno> {
        m.bytes(result, 4)?;
        let mut total = 0;
        for buffer in m.buffers(buffers, count)? {
            let bytes = m.bytes(buffer.pointer, buffer.length)?;
            if let Some(log) = &mut self.log {
                log(stream, bytes);
            }
            total += buffer.length;
        }
        m.write_u32(result, total)
    }

    pub(super) fn fd_readdir(
        &mut self,
        fd: u32,
        buffer: u32,
        length: u32,
        cookie: u64,
        result: u32,
        m: &mut Memory<'_>,
    ) -> Result<(), Errno> {
        let directory = self.descriptor(fd, rights::FD_READDIR)?.inode;
        if self.tree.file_type(directory) != FileType::Directory {
            return Err(Errno::Notdir);
        }
        m.bytes(buffer, length)?;
        m.bytes(result, 4)?;
        let mut used = 0u32;
        let mut put =
            |next: u64, inode: Inode, kind: FileType, name: &str, m: &mut Memory<'_>| -> Result<bool, Errno> {
                let mut head = [0; 24];
                head[0..8].copy_from_slice(&next.to_le_bytes());
                head[8..16].copy_from_slice(&inode.to_le_bytes());
                head[16..20].copy_from_slice(&(name.len() as u32).to_le_bytes());
                head[20] = kind as u8;
                // What does not fit is cut: a full buffer tells the guest that there is more.
                for part in [&head[..], name.as_bytes()] {
                    let bytes = part.len().min((length - used) as usize);
                    // A buffer that is full may end at 4 GiB.
                    m.write(buffer.wrapping_add(used), &part[..bytes])?;
                    used += bytes as u32;
                }
                Ok(used < length)
            };
        let mut more = true;
        if cookie == 0 && more {
            more = put(1, directory, FileType::Directory, ".", m)?;
        }
        if cookie <= 1 && more {
            more = put(2, self.tree.parent(directory), FileType::Directory, "..", m)?;
        }
        let mut after = cookie.saturating_sub(2);
        while more && let Some((position, name, inode)) = self.tree.next_entry(directory, after) {
            more = put(position + 2, inode, self.tree.file_type(inode), name, m)?;
            after = position;
        }
        m.write_u32(result, used)
    }
}

/// Offsets are signed numbers in POSIX.
fn check_offset(offset: u64) -> Result<(), Errno> {
    i64::try_from(offset).map(|_| ()).map_err(|_| Errno::Inval)
}
