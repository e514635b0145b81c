//! Directories that a guest may write, without a job around them.
//!
//! A run of a job has the fixed tree of the profile. A program that is tried out, or a test, has directories of its
//! own: each lies at a path below `/`, or is `/` itself, is filled before the guest starts ([`Wasi::add`]) and can be
//! looked through afterwards ([`Wasi::walk`]). What lies between the root and these directories cannot be changed.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::tree::{self, Content, FileType, Inode, MAX_NAME, Tree, TreeLimits};
use super::{Contents, Errno, MAX_PATH, REALTIME_START, Wasi};

/// Where the directories lie, and how much fits into them.
#[derive(Clone, Debug)]
pub struct Directories {
    /// Names on the way from the root.
    paths: Vec<Vec<String>>,
    /// Pages of 4 KiB that all files together may take.
    pub(super) pages: u32,
    pub(super) limits: TreeLimits,
}

/// Why a path cannot be that of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It has an empty name, `.`, `..`, a NUL or a name that is too long.
    Path(String),
    /// One lies within another, or both are the same.
    Overlap(String, String),
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "`{path}` cannot be a directory of the guest"),
            Self::Overlap(one, other) => write!(f, "`{one}` and `{other}` overlap"),
        }
    }
}

impl core::error::Error for DirectoryError {}

/// What is in a directory.
pub enum Item<'a> {
    /// A directory.
    Directory,
    /// A file, with its content.
    File(Contents<'a>),
    /// A symbolic link, with its target.
    SymbolicLink(&'a str),
}

/// What is put into a directory.
#[derive(Clone, Copy, Debug)]
pub enum NewItem<'a> {
    /// A directory.
    Directory,
    /// A file with this content.
    File(&'a [u8]),
    /// A symbolic link to this target.
    SymbolicLink(&'a str),
}

impl Directories {
    /// Directories at these paths, which are relative to `/` or begin with it. `pages` is the room for the contents of
    /// all files together. Without any, a guest has no `/` either.
    ///
    /// # Errors
    /// When a path is impossible, or one directory would lie within another.
    pub fn new(paths: &[&str], pages: u32, limits: TreeLimits) -> Result<Self, DirectoryError> {
        let mut found: Vec<(&str, Vec<String>)> = Vec::new();
        for &path in paths {
            let names: Vec<String> =
                path.split('/').filter(|name| !matches!(*name, "" | ".")).map(String::from).collect();
            let wrong = |name: &String| name == ".." || name.len() > MAX_NAME || name.contains('\0');
            if names.iter().any(wrong) || path.len() > MAX_PATH {
                return Err(DirectoryError::Path(path.into()));
            }
            let overlap = |(_, other): &&(&str, Vec<String>)| names.starts_with(other) || other.starts_with(&names);
            if let Some((other, _)) = found.iter().find(overlap) {
                return Err(DirectoryError::Overlap((*other).into(), path.into()));
            }
            found.push((path, names));
        }
        Ok(Self { paths: found.into_iter().map(|(_, names)| names).collect(), pages, limits })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &[String]> {
        self.paths.iter().map(Vec::as_slice)
    }
}

impl Wasi {
    /// Puts something into a directory, before the guest starts. Names on the way to it must be those of directories
    /// that are there.
    ///
    /// # Errors
    /// As a guest would get it: [`Errno::Nospc`] when there is no room, [`Errno::Exist`] when something is there.
    pub fn add(&mut self, path: &str, item: NewItem<'_>) -> Result<(), Errno> {
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        let mut directory = tree::ROOT;
        while let Some(name) = names.next() {
            if names.peek().is_some() {
                directory = self.tree.lookup(directory, name).ok_or(Errno::Noent)?;
            } else if self.tree.lookup(directory, name).is_some() {
                return Err(Errno::Exist);
            } else {
                return self.add_to(directory, name, item);
            }
        }
        Err(Errno::Exist)
    }

    fn add_to(&mut self, directory: Inode, name: &str, item: NewItem<'_>) -> Result<(), Errno> {
        let content = match item {
            NewItem::Directory => Content::empty_directory(directory),
            NewItem::File(_) => Content::File { size: 0, pages: Vec::new() },
            NewItem::SymbolicLink(target) => Content::SymbolicLink(target.into()),
        };
        let inode = self.tree.create(directory, name, content, REALTIME_START)?;
        if let NewItem::File(bytes) = item
            && self.tree.write(inode, 0, bytes, REALTIME_START)? < bytes.len()
        {
            return Err(Errno::Nospc);
        }
        Ok(())
    }

    /// Everything below a directory, with its path from there; directories before what is in them, and what is in one
    /// directory by the bytes of the names. `None` when there is no such directory.
    pub fn walk(&self, path: &str) -> Option<Walk<'_>> {
        let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
        let top = names.into_iter().try_fold(tree::ROOT, |directory, name| self.tree.lookup(directory, name))?;
        (self.tree.file_type(top) == FileType::Directory)
            .then(|| Walk { tree: &self.tree, open: Vec::from([(String::new(), top)]) })
    }
}

/// What [`Wasi::walk`] gives.
pub struct Walk<'a> {
    tree: &'a Tree,
    /// What is yet to be shown, the next at the end.
    open: Vec<(String, Inode)>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (String, Item<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, inode) = self.open.pop()?;
        let item = match self.tree.nodes.get(&inode).map(|node| &node.content) {
            Some(Content::File { size, pages }) => Item::File(Contents { area: &self.tree.area, pages, left: *size }),
            Some(Content::SymbolicLink(target)) => Item::SymbolicLink(target),
            Some(Content::Directory { entries, .. }) => {
                let first = self.open.len();
                let below = entries.iter().map(|(name, entry)| {
                    let path = if path.is_empty() { name.into() } else { [path.as_str(), "/", name].concat() };
                    (path, entry.inode)
                });
                self.open.extend(below);
                self.open[first..].reverse();
                Item::Directory
            }
            // What cannot be written is not part of it.
            None => return self.next(),
        };
        if path.is_empty() { self.next() } else { Some((path, item)) }
    }
}
