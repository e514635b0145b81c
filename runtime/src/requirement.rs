//! Checks a capsule against what a job needs, before anything runs.
//!
//! The trainer checks for itself too, and its word ("data refused") is part of the run; this check spares a client a run
//! that would end so, and says in words of the data what is wrong.

use std::fmt;

use fedmkt_core::manifest::DataRequirement;
use fedmkt_core::pack::Pack;

/// Why data does not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misfit(String);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

/// Checks a capsule: there are files, and for `csv` each table has the columns and all together have rows enough.
///
/// # Errors
/// With the first thing that does not fit.
pub fn check(requirement: &DataRequirement, data: &Pack) -> Result<(), Misfit> {
    if data.entries().all(|entry| entry.content.is_none()) {
        return Err(Misfit("there are no files in it".into()));
    }
    if !requirement.format.eq_ignore_ascii_case("csv") {
        return Ok(());
    }
    let tables = data.entries().filter_map(|entry| Some((entry.path, entry.content?)));
    let tables: Vec<_> = tables.filter(|(path, _)| path.to_ascii_lowercase().ends_with(".csv")).collect();
    if tables.is_empty() {
        return Err(Misfit("there is no file that ends in `.csv`".into()));
    }
    let mut rows = 0u64;
    for (path, content) in tables {
        let mut reader = csv::Reader::from_reader(content);
        let cannot = |error: csv::Error| Misfit(format!("{path}: {error}"));
        let header = reader.headers().map_err(cannot)?;
        if let Some(columns) = &requirement.columns
            && !header.iter().eq(columns)
        {
            let at = header.iter().zip(columns).position(|(found, needed)| found != needed);
            return Err(Misfit(match at {
                Some(at) => format!(
                    "{path}: column {} is {:?}, the job needs {:?}",
                    at + 1,
                    header.get(at).unwrap_or(""),
                    columns[at]
                ),
                None => format!("{path}: {} columns, the job needs {}", header.len(), columns.len()),
            }));
        }
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(cannot)? {
            rows += 1;
        }
    }
    let least = requirement.least_rows;
    if rows < least { Err(Misfit(format!("{rows} rows, the job needs at least {least}"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fedmkt_core::pack::{Kind, Layout};

    use super::*;

    fn check_table(name: &str, table: &str) -> Result<(), String> {
        let layout = Layout::new([(name.into(), Kind::File(table.len() as u64))]).expect("a layout");
        let mut bytes = vec![0; layout.total_bytes() as usize];
        bytes[..layout.front().len()].copy_from_slice(layout.front());
        let (_, offset, length) = layout.files().next().expect("a file");
        bytes[offset as usize..][..length as usize].copy_from_slice(table.as_bytes());
        let requirement = DataRequirement {
            name: "data".into(),
            format: "csv".into(),
            columns: Some(vec!["age".into(), "sick".into()]),
            shape: None,
            least_rows: 2,
            most_bytes: 1 << 20,
        };
        let pack = Pack::open(Arc::new(bytes)).expect("a pack");
        check(&requirement, &pack).map_err(|misfit| misfit.to_string())
    }

    #[test]
    fn misfits_are_told_in_words_of_the_data() {
        assert_eq!(check_table("a.csv", "age,sick\n1,0\n2,1\n"), Ok(()));
        let cases = [
            ("a.txt", "age,sick\n1,0\n2,1\n", "`.csv`"),
            ("a.csv", "age,ill\n1,0\n2,1\n", "column 2 is \"ill\", the job needs \"sick\""),
            ("a.csv", "age\n1\n2\n", "1 columns, the job needs 2"),
            ("a.csv", "age,sick\n1,0\n", "1 rows"),
            ("a.csv", "age,sick\n1,0\n2\n", "a.csv"),
        ];
        for (name, table, expected) in cases {
            let error = check_table(name, table).expect_err(table);
            assert!(error.contains(expected), "{error}");
        }
    }
}
