//! Calls that find files by their paths.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use super::memory::Memory;
use super::rights::{self, Rights};
use super::tree::{Content, FileType, Inode, MAX_NAME, ROOT, Replaced};
use super::{Descriptor, Errno, FDFLAGS_ALL, FDFLAGS_DSYNC, FDFLAGS_RSYNC, FDFLAGS_SYNC, Wasi};

/// The most symbolic links on the way to a file.
const MAX_LINKS_FOLLOWED: u32 = 40;

const FOLLOW: u32 = 1;

const CREATE: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCLUSIVE: u32 = 4;
const TRUNCATE: u32 = 8;

/// Where a path leads.
struct Found {
    /// The directory of the last component.
    directory: Inode,
    /// The last component; `None` when the path ends in `.` or `..` or leads to the start itself.
    name: Option<String>,
    /// What is there.
    inode: Option<Inode>,
    /// The path ended in a slash: only a directory will do.
    slash: bool,
}

/// Whether a symbolic link that the last component names is followed. All others are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastLink {
    /// It is.
    Followed,
    /// Only if the path ends with a slash.
    FollowedBySlash,
    /// The call is about the name itself.
    Kept,
}

impl LastLink {
    fn of_flags(flags: u32) -> Result<Self, Errno> {
        match flags {
            0 => Ok(Self::FollowedBySlash),
            FOLLOW => Ok(Self::Followed),
            _ => Err(Errno::Inval),
        }
    }
}

impl Wasi {
    /// Goes along a path from a directory, never above it.
    fn find(&self, start: Inode, path: &str, last_link: LastLink) -> Result<Found, Errno> {
        if path.is_empty() {
            return Err(Errno::Noent);
        }
        if path.contains('\0') {
            return Err(Errno::Inval);
        }
        if path.starts_with('/') {
            return Err(Errno::Perm);
        }
        let mut slash = path.ends_with('/');
        let mut open: VecDeque<&str> = components(path).collect();
        let mut above: Vec<Inode> = Vec::new();
        let mut directory = start;
        let mut followed = 0;
        while let Some(name) = open.pop_front() {
            if self.tree.file_type(directory) != FileType::Directory {
                return Err(Errno::Notdir);
            }
            let is_last = open.is_empty();
            if name == "." || name == ".." {
                if name == ".." {
                    directory = above.pop().ok_or(Errno::Perm)?;
                }
                continue;
            }
            if name.len() > MAX_NAME {
                return Err(Errno::Nametoolong);
            }
            let inode = self.tree.lookup(directory, name);
            let follow =
                !is_last || last_link == LastLink::Followed || (last_link == LastLink::FollowedBySlash && slash);
            if let Some(target) = inode.and_then(|inode| self.tree.link_target(inode)).filter(|_| follow) {
                followed += 1;
                if followed > MAX_LINKS_FOLLOWED {
                    return Err(Errno::Loop);
                }
                if target.starts_with('/') {
                    return Err(Errno::Perm);
                }
                slash |= is_last && target.ends_with('/');
                for component in components(target).rev() {
                    open.push_front(component);
                }
                continue;
            }
            if is_last {
                return Ok(Found { directory, name: Some(name.into()), inode, slash });
            }
            above.push(directory);
            directory = inode.ok_or(Errno::Noent)?;
        }
        Ok(Found { directory, name: None, inode: Some(directory), slash: true })
    }

    /// Where a path leads from an open directory that has these rights.
    fn find_from(&self, fd: u32, rights: Rights, path: &str, last_link: LastLink) -> Result<Found, Errno> {
        let start = self.descriptors.get(&fd).ok_or(Errno::Badf)?.inode;
        if self.tree.file_type(start) != FileType::Directory {
            return Err(Errno::Notdir);
        }
        self.descriptor(fd, rights)?;
        self.find(start, path, last_link)
    }

    /// As [`Self::find_from`], for something that is there. A path with a slash at its end leads to a directory.
    fn find_existing(&self, fd: u32, rights: Rights, path: &str, last_link: LastLink) -> Result<(Inode, Found), Errno> {
        let found = self.find_from(fd, rights, path, last_link)?;
        let inode = found.inode.ok_or(Errno::Noent)?;
        if found.slash && self.tree.file_type(inode) != FileType::Directory {
            return Err(Errno::Notdir);
        }
        Ok((inode, found))
    }

    /// As [`Self::find_from`], for something that is about to be made: its directory and name.
    fn find_free(&self, fd: u32, rights: Rights, path: &str, directory: bool) -> Result<(Inode, String), Errno> {
        let found = self.find_from(fd, rights, path, LastLink::Kept)?;
        match found {
            Found { inode: Some(_), .. } | Found { name: None, .. } => Err(Errno::Exist),
            Found { slash: true, .. } if !directory => Err(Errno::Noent),
            Found { directory, .. } if !self.tree.is_writable(directory) => Err(Errno::Rofs),
            Found { directory, name: Some(name), .. } => Ok((directory, name)),
        }
    }

    pub(super) fn path_inode(&self, fd: u32, rights: Rights, flags: u32, path: &str) -> Result<Inode, Errno> {
        Ok(self.find_existing(fd, rights, path, LastLink::of_flags(flags)?)?.0)
    }

    #[expect(clippy::too_many_arguments, reason = "they are those of the specification")]
    pub(super) fn path_open(
        &mut self,
        fd: u32,
        lookup: u32,
        path: &str,
        how: u32,
        base: Rights,
        inheriting: Rights,
        flags: u32,
    ) -> Result<u32, Errno> {
        let flags = u16::try_from(flags).ok().filter(|flags| flags & !FDFLAGS_ALL == 0).ok_or(Errno::Inval)?;
        let last_link = LastLink::of_flags(lookup)?;
        if how & !15 != 0 || (how & CREATE != 0 && how & DIRECTORY != 0) {
            return Err(Errno::Inval);
        }
        let exclusive = how & CREATE != 0 && how & EXCLUSIVE != 0;
        let mut needed = rights::PATH_OPEN;
        if how & CREATE != 0 {
            needed |= rights::PATH_CREATE_FILE;
        }
        if how & TRUNCATE != 0 {
            needed |= rights::PATH_FILESTAT_SET_SIZE;
        }
        let found = self.find_from(fd, needed, path, if exclusive { LastLink::Kept } else { last_link })?;
        let mut inherited = (base | inheriting) & rights::ALL;
        if flags & FDFLAGS_DSYNC != 0 {
            inherited |= rights::FD_DATASYNC;
        }
        if flags & (FDFLAGS_RSYNC | FDFLAGS_SYNC) != 0 {
            inherited |= rights::FD_SYNC;
        }
        if inherited & !self.descriptor(fd, needed)?.inheriting != 0 {
            return Err(Errno::Notcapable);
        }
        if self.descriptors.len() >= self.config.open_files as usize {
            return Err(Errno::Mfile);
        }
        let now = self.now();
        let inode = match found {
            Found { inode: Some(_), .. } if exclusive => return Err(Errno::Exist),
            Found { inode: Some(inode), .. } => inode,
            Found { directory, name: Some(name), slash, .. } if how & CREATE != 0 => {
                if slash {
                    return Err(Errno::Isdir);
                }
                let file = Content::File { size: 0, pages: Vec::new() };
                self.tree.create(directory, &name, file, now)?
            }
            _ => return Err(Errno::Noent),
        };
        let kind = self.tree.file_type(inode);
        let allowed = match kind {
            FileType::Directory if how & (CREATE | TRUNCATE) != 0 || base & rights::FD_WRITE != 0 => {
                return Err(Errno::Isdir);
            }
            FileType::Directory => rights::DIRECTORY,
            _ if how & DIRECTORY != 0 || found.slash => return Err(Errno::Notdir),
            FileType::SymbolicLink => return Err(Errno::Loop),
            _ if !self.tree.is_writable(inode) => {
                if how & TRUNCATE != 0 || base & rights::FD_WRITE != 0 {
                    return Err(Errno::Rofs);
                }
                rights::FILE & !rights::CHANGES_CONTENT
            }
            _ => rights::FILE,
        };
        if how & TRUNCATE != 0 {
            self.tree.set_size(inode, 0, now)?;
        }
        let inheriting = if kind == FileType::Directory { inheriting & rights::ALL } else { 0 };
        self.open(Descriptor { inode, offset: 0, flags, rights: base & allowed, inheriting })
    }

    pub(super) fn path_create_directory(&mut self, fd: u32, path: &str) -> Result<(), Errno> {
        let (parent, name) = self.find_free(fd, rights::PATH_CREATE_DIRECTORY, path, true)?;
        self.tree.create(parent, &name, Content::empty_directory(parent), self.now()).map(|_| ())
    }

    pub(super) fn path_symlink(&mut self, target: &str, fd: u32, path: &str) -> Result<(), Errno> {
        if target.is_empty() {
            return Err(Errno::Noent);
        }
        if target.contains('\0') {
            return Err(Errno::Inval);
        }
        if target.starts_with('/') {
            return Err(Errno::Perm);
        }
        let (directory, name) = self.find_free(fd, rights::PATH_SYMLINK, path, false)?;
        self.tree.create(directory, &name, Content::SymbolicLink(target.into()), self.now()).map(|_| ())
    }

    #[expect(clippy::too_many_arguments, reason = "they are those of the specification")]
    pub(super) fn path_readlink(
        &mut self,
        fd: u32,
        path: u32,
        path_bytes: u32,
        buffer: u32,
        length: u32,
        result: u32,
        m: &mut Memory<'_>,
    ) -> Result<(), Errno> {
        let inode = self.path_inode(fd, rights::PATH_READLINK, 0, m.path(path, path_bytes)?)?;
        let target = self.tree.link_target(inode).ok_or(Errno::Inval)?;
        let bytes = target.len().min(length as usize);
        m.bytes(buffer, length)?;
        m.bytes(result, 4)?;
        m.write(buffer, &target.as_bytes()[..bytes])?;
        m.write_u32(result, bytes as u32)
    }

    pub(super) fn path_link(&mut self, from: u32, flags: u32, path: &str, to: u32, new: &str) -> Result<(), Errno> {
        let inode = self.path_inode(from, rights::PATH_LINK_SOURCE, flags, path)?;
        let (directory, name) = self.find_free(to, rights::PATH_LINK_TARGET, new, false)?;
        if self.tree.file_type(inode) == FileType::Directory {
            return Err(Errno::Perm);
        }
        let mounts = [inode, directory].map(|inode| self.tree.nodes.get(&inode).map(|node| node.mount));
        if mounts[0] != mounts[1] {
            return Err(Errno::Xdev);
        }
        self.tree.link(directory, &name, inode, self.now())
    }

    pub(super) fn path_unlink_file(&mut self, fd: u32, path: &str) -> Result<(), Errno> {
        let found = self.find_from(fd, rights::PATH_UNLINK_FILE, path, LastLink::Kept)?;
        let inode = found.inode.ok_or(Errno::Noent)?;
        if self.tree.file_type(inode) == FileType::Directory {
            return Err(Errno::Isdir);
        }
        if found.slash {
            return Err(Errno::Notdir);
        }
        self.remove(found.directory, &found.name.ok_or(Errno::Isdir)?, inode)
    }

    pub(super) fn path_remove_directory(&mut self, fd: u32, path: &str) -> Result<(), Errno> {
        let (inode, found) = self.find_existing(fd, rights::PATH_REMOVE_DIRECTORY, path, LastLink::Kept)?;
        if self.tree.file_type(inode) != FileType::Directory {
            return Err(Errno::Notdir);
        }
        let name = found.name.ok_or(Errno::Inval)?;
        if !self.tree.is_writable(found.directory) {
            return Err(Errno::Rofs);
        }
        if !self.tree.is_empty(inode) {
            return Err(Errno::Notempty);
        }
        self.remove(found.directory, &name, inode)
    }

    /// Takes away an entry, and what it led to if nothing else does.
    fn remove(&mut self, directory: Inode, name: &str, inode: Inode) -> Result<(), Errno> {
        let now = self.now();
        self.tree.leave(directory, name, now)?;
        self.tree.unlink(inode, now);
        self.release(inode);
        Ok(())
    }

    pub(super) fn path_rename(&mut self, from: u32, path: &str, to: u32, new: &str) -> Result<(), Errno> {
        let (inode, source) = self.find_existing(from, rights::PATH_RENAME_SOURCE, path, LastLink::Kept)?;
        let target = self.find_from(to, rights::PATH_RENAME_TARGET, new, LastLink::Kept)?;
        let (Some(old_name), Some(new_name)) = (source.name, target.name) else { return Err(Errno::Inval) };
        let is_directory = self.tree.file_type(inode) == FileType::Directory;
        if !is_directory && target.slash {
            return Err(Errno::Notdir);
        }
        if !self.tree.is_writable(source.directory) || !self.tree.is_writable(target.directory) {
            return Err(Errno::Rofs);
        }
        let mounts = [inode, target.directory].map(|inode| self.tree.nodes.get(&inode).map(|node| node.mount));
        if mounts[0] != mounts[1] {
            return Err(Errno::Xdev);
        }
        if target.inode == Some(inode) {
            return Ok(());
        }
        if is_directory && self.is_within(target.directory, inode) {
            return Err(Errno::Inval);
        }
        if let Some(replaced) = target.inode {
            match (is_directory, self.tree.file_type(replaced) == FileType::Directory) {
                (true, false) => return Err(Errno::Notdir),
                (false, true) => return Err(Errno::Isdir),
                (true, true) if !self.tree.is_empty(replaced) => return Err(Errno::Notempty),
                _ => {}
            }
        }
        let mut gone = Replaced { entries: 1, name_bytes: old_name.len(), added_bytes: 0 };
        if target.inode.is_some() {
            gone.entries += 1;
            gone.name_bytes += new_name.len();
        }
        self.tree.check_room(target.directory, &new_name, gone)?;
        let now = self.now();
        let entry = self.tree.leave(source.directory, &old_name, now)?;
        if let Some(replaced) = target.inode {
            self.remove(target.directory, &new_name, replaced)?;
        }
        if source.directory == target.directory {
            // It stays where it is in listings: whoever renames what was listed would otherwise meet it again for ever.
            self.tree.enter_at(target.directory, &new_name, entry, now)?;
        } else {
            self.tree.enter(target.directory, &new_name, inode, now)?;
        }
        self.tree.moved_to(inode, target.directory);
        Ok(())
    }

    /// Whether `inner` is `outer` or lies below it. A directory that was removed lies nowhere.
    fn is_within(&self, mut inner: Inode, outer: Inode) -> bool {
        while inner != outer {
            if inner == ROOT || self.tree.nodes.get(&inner).is_none_or(|node| node.links == 0) {
                return false;
            }
            inner = self.tree.parent(inner);
        }
        true
    }
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|component| !component.is_empty())
}
