//! What must survive a crash: JSON values under names, in one file, each change whole and on disk before it counts.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fedmkt_runtime::atomic_file;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition, TableError};
use serde::Serialize;
use serde::de::DeserializeOwned;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");

/// How long to wait for another process that has the file open.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open file of records.
pub struct Records(Database);

impl Records {
    /// Opens the file, which is made when it is not there. Waits for another process that is using it.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, or somebody uses it for long.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let start = Instant::now();
        loop {
            match open_or_make(path) {
                Ok(database) => return Ok(Self(database)),
                Err(DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(DatabaseError::DatabaseAlreadyOpen) => {
                    bail!("another fedmkt is at work with {}: wait for it, or end it", path.display())
                }
                Err(error) => return Err(error).with_context(|| format!("cannot use {}", path.display())),
            }
        }
    }

    /// The value under a name.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let reading = self.0.begin_read()?;
        let table = match reading.open_table(TABLE) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        let Some(value) = table.get(name)? else { return Ok(None) };
        let value = serde_json::from_slice(value.value()).with_context(|| format!("the record {name} is damaged"))?;
        Ok(Some(value))
    }

    /// All names with this beginning, and their values, in the order of the names.
    pub fn all<T: DeserializeOwned>(&self, beginning: &str) -> anyhow::Result<Vec<(String, T)>> {
        let reading = self.0.begin_read()?;
        let table = match reading.open_table(TABLE) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut found = Vec::new();
        for record in table.range(beginning..)? {
            let (name, value) = record?;
            let name = name.value();
            if !name.starts_with(beginning) {
                break;
            }
            let value = serde_json::from_slice(value.value()).with_context(|| format!("record {name} is damaged"))?;
            found.push((name.to_owned(), value));
        }
        Ok(found)
    }

    /// Sets a value.
    pub fn put<T: Serialize>(&self, name: &str, value: &T) -> anyhow::Result<()> {
        self.put_all(&[(name.to_owned(), value)])
    }

    /// Sets several values, all or none.
    pub fn put_all<T: Serialize>(&self, values: &[(String, T)]) -> anyhow::Result<()> {
        let writing = self.0.begin_write()?;
        {
            let mut table = writing.open_table(TABLE)?;
            for (name, value) in values {
                table.insert(name.as_str(), serde_json::to_vec(value)?.as_slice())?;
            }
        }
        Ok(writing.commit()?)
    }

    /// Removes a value.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        let writing = self.0.begin_write()?;
        writing.open_table(TABLE)?.remove(name)?;
        Ok(writing.commit()?)
    }

    /// Removes all values.
    pub fn clear(&self) -> anyhow::Result<()> {
        let writing = self.0.begin_write()?;
        writing.delete_table(TABLE)?;
        Ok(writing.commit()?)
    }
}

/// Opens a database. One that is not there is made whole first: a program that is killed meanwhile leaves no file that is none.
fn open_or_make(path: &Path) -> Result<Database, DatabaseError> {
    if !path.try_exists()? {
        let made = atomic_file::make(path, |file| {
            let file = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
            Database::builder().create_with_backend(file).map(drop).map_err(io::Error::other)
        });
        match made {
            // Somebody else was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Database::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_there_when_the_file_is_opened_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records");
        let records = Records::open(&path).expect("a file");
        assert_eq!(records.get::<u32>("a/1").expect("nothing"), None);
        records.put_all(&[("a/2".to_owned(), 2), ("a/1".to_owned(), 1), ("b/3".to_owned(), 3)]).expect("written");
        drop(records);
        let records = Records::open(&path).expect("the file");
        let found: Vec<(String, u32)> = records.all("a/").expect("records");
        assert_eq!(found, [("a/1".to_owned(), 1), ("a/2".to_owned(), 2)]);
        records.remove("a/1").expect("removed");
        assert_eq!(records.get::<u32>("a/1").expect("nothing"), None);
        assert!(records.get::<String>("b/3").is_err(), "a value of another kind is told");
        records.clear().expect("removed");
        assert_eq!(records.all::<u32>("").expect("nothing"), []);
        records.put("a", &1).expect("written");
    }

    #[test]
    fn several_can_make_the_file_at_once_and_it_is_there_whole_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    Records::open(path).expect("the file").put(&format!("a/{number}"), &number).expect("written")
                });
            }
            // Whoever sees the file sees one that can be opened.
            while !path.exists() {}
            Records::open(&path).expect("the file");
        });
        assert_eq!(Records::open(&path).expect("the file").all::<u32>("a/").expect("records").len(), 8);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
