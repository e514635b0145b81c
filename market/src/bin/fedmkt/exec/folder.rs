//! A folder of the host, read into the sandbox and written back.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirEntry};
use cid::Cid;
use fedmkt_core::unixfs::FileCid;
use fedmkt_core::wasi::{Contents, Errno, Item, NewItem, Wasi};

use crate::cli::GuestDir;

/// A folder and what was in it when it was read.
pub struct Folder {
    guest: String,
    host: PathBuf,
    dir: Dir,
    before: BTreeMap<String, Known>,
}

/// What was at a path.
#[derive(PartialEq, Eq)]
enum Known {
    Folder,
    File(Cid),
    Link(String),
}

impl Folder {
    /// Reads everything below a folder into the sandbox. Also gives what was left out, in sentences: what is neither
    /// file, folder nor link.
    pub fn load(dir: &GuestDir, wasi: &mut Wasi) -> anyhow::Result<(Self, Vec<String>)> {
        let host = dir.host.clone();
        let opened = Dir::open_ambient_dir(&host, ambient_authority())
            .with_context(|| format!("cannot open the folder {}", host.display()))?;
        let mut folder = Self { guest: dir.guest.clone(), host, dir: opened, before: BTreeMap::new() };
        let mut left_out = Vec::new();
        let mut open = Vec::from([String::new()]);
        while let Some(path) = open.pop() {
            for entry in folder.entries(&path)? {
                let Ok(name) = entry.file_name().into_string() else {
                    bail!("{} has a name that is not UTF-8: {:?}", folder.shown(&path), entry.file_name());
                };
                let below = join(&path, &name);
                match folder.load_entry(&entry, &below, wasi)? {
                    Some(known) => {
                        if known == Known::Folder {
                            open.push(below.clone());
                        }
                        folder.before.insert(below, known);
                    }
                    None => left_out.push(format!("{} is no file, folder or link: left out", folder.shown(&below))),
                }
            }
        }
        Ok((folder, left_out))
    }

    fn entries(&self, path: &str) -> anyhow::Result<Vec<DirEntry>> {
        let entries = if path.is_empty() { self.dir.entries() } else { self.dir.read_dir(path) };
        let mut entries = entries
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .with_context(|| format!("cannot list {}", self.shown(path)))?;
        // The order in which a program lists them: it must not be that of the host.
        entries.sort_by_key(DirEntry::file_name);
        Ok(entries)
    }

    fn load_entry(&self, entry: &DirEntry, path: &str, wasi: &mut Wasi) -> anyhow::Result<Option<Known>> {
        let cannot = || format!("cannot read {}", self.shown(path));
        let kind = entry.file_type().with_context(cannot)?;
        let (bytes, target);
        let (item, known) = if kind.is_dir() {
            (NewItem::Directory, Known::Folder)
        } else if kind.is_file() {
            bytes = self.dir.read(path).with_context(cannot)?;
            let mut cid = FileCid::new();
            cid.push(&bytes);
            (NewItem::File(&bytes), Known::File(cid.finish()))
        } else if kind.is_symlink() {
            let found = self.dir.read_link_contents(path).with_context(cannot)?;
            let Some(text) = found.to_str() else { bail!("{} leads to a name that is not UTF-8", self.shown(path)) };
            target = text.to_string();
            (NewItem::SymbolicLink(&target), Known::Link(target.clone()))
        } else {
            return Ok(None);
        };
        match wasi.add(&join(&self.guest, path), item) {
            Ok(()) => Ok(Some(known)),
            Err(Errno::Nospc) => bail!("{} has no room in the sandbox: make more with --room", self.shown(path)),
            Err(errno) => bail!("{} cannot be in the sandbox: {errno:?}", self.shown(path)),
        }
    }

    /// Makes the folder what the program left, touching only what the program changed. Gives what was not written, in
    /// sentences: links that could lead out of the folder.
    pub fn write_back(&self, wasi: &Wasi) -> anyhow::Result<Vec<String>> {
        let after: BTreeMap<String, Known> = self.walk(wasi).map(|(path, item)| (path, Known::of(item))).collect();
        for (path, was) in self.before.iter().rev() {
            let is = after.get(path);
            // A file is overwritten where it is.
            let stays = is == Some(was) || matches!((was, is), (Known::File(_), Some(Known::File(_))));
            if !stays {
                let removed =
                    if *was == Known::Folder { self.dir.remove_dir(path) } else { self.dir.remove_file(path) };
                removed.with_context(|| format!("cannot remove {}", self.shown(path)))?;
            }
        }
        let mut left_out = Vec::new();
        for (path, item) in self.walk(wasi) {
            if self.before.get(&path) == after.get(&path) {
                continue;
            }
            let written = match item {
                Item::Directory => self.dir.create_dir(&path),
                Item::File(contents) => self.write_file(&path, contents),
                Item::SymbolicLink(target) if leads_up(target) => {
                    left_out.push(format!("{} would lead to {target:?}: not written", self.shown(&path)));
                    Ok(())
                }
                Item::SymbolicLink(target) => self.dir.symlink(target, &path),
            };
            written.with_context(|| format!("cannot write {}", self.shown(&path)))?;
        }
        Ok(left_out)
    }

    fn walk<'a>(&self, wasi: &'a Wasi) -> impl Iterator<Item = (String, Item<'a>)> {
        wasi.walk(&self.guest).expect("a program cannot remove it")
    }

    fn write_file(&self, path: &str, contents: Contents<'_>) -> io::Result<()> {
        let mut file = self.dir.create(path)?;
        for part in contents {
            file.write_all(part)?;
        }
        file.flush()
    }

    fn shown(&self, path: &str) -> String {
        self.host.join(path).display().to_string()
    }
}

impl Known {
    fn of(item: Item<'_>) -> Self {
        match item {
            Item::Directory => Self::Folder,
            Item::File(contents) => {
                let mut cid = FileCid::new();
                contents.for_each(|part| cid.push(part));
                Self::File(cid.finish())
            }
            Item::SymbolicLink(target) => Self::Link(target.into()),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { [path, "/", name].concat() }
}

/// Whether a link's target could be outside of its folder. Within the sandbox it could not, but on the host others
/// follow it.
fn leads_up(target: &str) -> bool {
    target.starts_with('/') || target.split('/').any(|name| name == "..")
}
