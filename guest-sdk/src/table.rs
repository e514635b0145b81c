//! Tables from CSV files, read as streams.

use std::fs::File;
use std::path::Path;

use csv::{Reader, StringRecord};

use crate::Error;

/// A CSV file with a header, read row by row.
///
/// ```no_run
/// # use fedmkt_guest::table::Table;
/// let mut table = Table::open("/data/data.csv")?;
/// let age = table.column("age")?;
/// let mut sum = 0.0;
/// while let Some(row) = table.next_row()? {
///     sum += row.number(age)?;
/// }
/// # Ok::<(), fedmkt_guest::Error>(())
/// ```
#[derive(Debug)]
pub struct Table {
    name: String,
    columns: Vec<String>,
    reader: Reader<File>,
    record: StringRecord,
    row: u64,
}

/// A row of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    table: &'a Table,
}

impl Table {
    /// Opens a table and reads its header.
    ///
    /// # Errors
    /// When the file cannot be read, has no header, or has a column twice.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Error::refused(format!("cannot open {name}: {error}")))?;
        let mut reader = csv::ReaderBuilder::new().buffer_capacity(1 << 16).from_reader(file);
        let header = reader.headers().map_err(|error| Error::refused(format!("{name}, header: {error}")))?;
        let columns: Vec<String> = header.iter().map(|column| column.trim().to_string()).collect();
        if columns.is_empty() {
            return Err(Error::refused(format!("{name} is empty: a header with the columns' names is needed")));
        }
        if let Some(twice) = (1..columns.len()).find(|&index| columns[..index].contains(&columns[index])) {
            return Err(Error::refused(format!("{name} has the column {:?} twice", columns[twice])));
        }
        Ok(Self { name, columns, reader, record: StringRecord::new(), row: 0 })
    }

    /// The columns' names, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The index of a column.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn column(&self, name: &str) -> Result<usize, Error> {
        let found = self.columns.iter().position(|column| column == name);
        found.ok_or_else(|| Error::refused(format!("{} has no column {name:?}", self.name)))
    }

    /// The next row, `None` after the last.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, or the row has more or fewer fields than the header.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, Error> {
        self.row += 1;
        let more = self.reader.read_record(&mut self.record).map_err(|error| {
            let what = match error.kind() {
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    format!("{len} fields, but the header has {expected_len}")
                }
                csv::ErrorKind::Utf8 { err, .. } => format!("field {} is not UTF-8", err.field() + 1),
                _ => error.to_string(),
            };
            Error::refused(format!("{}, row {}: {what}", self.name, self.row))
        })?;
        Ok(if more { Some(Row { table: self }) } else { None })
    }
}

impl Row<'_> {
    /// The row's number; the first after the header is 1.
    pub fn number_in_file(&self) -> u64 {
        self.table.row
    }

    /// The text of a field, without spaces around it.
    ///
    /// # Panics
    /// When there are fewer columns.
    pub fn text(&self, column: usize) -> &str {
        self.table.record[column].trim()
    }

    /// A field as a finite number.
    ///
    /// # Errors
    /// When the field holds none.
    ///
    /// # Panics
    /// When there are fewer columns.
    pub fn number(&self, column: usize) -> Result<f64, Error> {
        match self.text(column).parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.error(column, "a finite number is needed")),
        }
    }

    /// A field as a class: a whole number below `classes`.
    ///
    /// # Errors
    /// When the field holds none.
    ///
    /// # Panics
    /// When there are fewer columns.
    pub fn class(&self, column: usize, classes: usize) -> Result<usize, Error> {
        match self.text(column).parse::<usize>() {
            Ok(class) if class < classes => Ok(class),
            _ => Err(self.error(column, &format!("a class from 0 to {} is needed", classes.saturating_sub(1)))),
        }
    }

    /// An error about a field that names file, row and column.
    pub fn error(&self, column: usize, what: &str) -> Error {
        let text: String = self.text(column).chars().take(40).collect();
        let Table { name, columns, row, .. } = self.table;
        Error::refused(format!("{name}, row {row}, column {:?}: {what}, not {text:?}", columns[column]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(content: &[u8]) -> Result<Vec<f64>, Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.csv");
        std::fs::write(&path, content).expect("written");
        let mut table = Table::open(&path)?;
        let mut numbers = Vec::new();
        while let Some(row) = table.next_row()? {
            for column in 0..row.table.columns.len() {
                numbers.push(row.number(column)?);
            }
        }
        Ok(numbers)
    }

    #[test]
    fn numbers_are_read_with_spaces_quotes_and_either_line_end() {
        assert_eq!(numbers(b"a, b\n1,-2.5e3\r\n 3 ,\"4\"\n"), Ok(vec![1.0, -2500.0, 3.0, 4.0]));
    }

    #[test]
    fn errors_name_file_row_and_column() {
        let cases: [(&[u8], &[&str]); 8] = [
            (b"", &["t.csv", "empty"]),
            (b"a,a\n", &["\"a\" twice"]),
            (b"a,b\n1,2\n3,x\n", &["t.csv, row 2, column \"b\"", "\"x\""]),
            (b"a,b\n1,nan\n", &["row 1, column \"b\""]),
            (b"a,b\ninf,1\n", &["row 1, column \"a\""]),
            (b"a,b\n1e999,1\n", &["row 1, column \"a\""]),
            (b"a,b\n1,2\n1,2,3\n", &["row 2", "3 fields", "header has 2"]),
            (b"a,b\n1,\xff\n", &["row 1", "field 2", "UTF-8"]),
        ];
        for (content, parts) in cases {
            let error = numbers(content).expect_err("refused");
            assert_eq!(error.kind(), crate::Kind::Refused);
            for part in parts {
                assert!(error.to_string().contains(part), "{error} lacks {part}");
            }
        }
    }
}
