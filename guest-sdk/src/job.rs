//! What a trainer is given, and where its results go.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use crate::Error;

/// The result file to which [`Job::metric`] appends.
pub const METRICS_FILE: &str = "metrics.csv";

const METRICS_HEADER: &str = "name,step,value\n";

/// What a trainer is given, and where its results go.
///
/// | path | content |
/// | --- | --- |
/// | `/job/model` | the initial model, a file or a directory |
/// | `/data` | the grant: a directory that is only read |
/// | `/out` | results |
/// | `/tmp` | scratch |
#[derive(Debug)]
pub struct Job {
    root: PathBuf,
    arguments: Vec<String>,
    step: u64,
    metrics: Option<File>,
    metrics_bytes: u64,
    most_metrics_bytes: u64,
}

impl Job {
    /// A job whose `job`, `data`, `out` and `tmp` lie in `root`: the sandbox's own root, or any folder in tests.
    pub fn in_folder(root: impl Into<PathBuf>, arguments: impl IntoIterator<Item = String>) -> Self {
        Self {
            root: root.into(),
            arguments: arguments.into_iter().collect(),
            step: 0,
            metrics: None,
            metrics_bytes: 0,
            most_metrics_bytes: u64::MAX,
        }
    }

    /// The job's arguments, without the program's name.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The number of the present step; 0 in `check` and `start`.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The initial model: a file or a directory.
    pub fn model_path(&self) -> PathBuf {
        self.root.join("job/model")
    }

    /// The folder of the granted data.
    pub fn data_path(&self) -> PathBuf {
        self.root.join("data")
    }

    /// A folder for scratch files, empty at the beginning.
    pub fn scratch_path(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// All files of the grant, those in folders included, as paths below [`Self::data_path`], sorted.
    ///
    /// # Errors
    /// When the grant cannot be listed.
    pub fn data_files(&self) -> Result<Vec<PathBuf>, Error> {
        let root = self.data_path();
        let refuse = |path: &Path, error| Error::refused(format!("cannot list {}: {error}", path.display()));
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|error| refuse(&folder, error))? {
                let path = entry.map_err(|error| refuse(&folder, error))?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path.strip_prefix(&root).expect("listed below the root").to_path_buf());
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// The only file of the grant whose name ends with `.extension`, as a full path.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn data_file(&self, extension: &str) -> Result<PathBuf, Error> {
        let mut files = self.data_files()?;
        files.retain(|path| path.extension() == Some(OsStr::new(extension)));
        match &files[..] {
            [file] => Ok(self.data_path().join(file)),
            [] => Err(Error::refused(format!("the granted data has no file *.{extension}"))),
            [first, second, ..] => Err(Error::refused(format!(
                "the granted data has {} files *.{extension} ({}, {}, ...); one is needed",
                files.len(),
                first.display(),
                second.display()
            ))),
        }
    }

    /// All bytes of a file of the grant; `path` is relative to it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_data(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
        let path = self.data_path().join(path);
        fs::read(&path).map_err(|error| Error::refused(format!("cannot read {}: {error}", path.display())))
    }

    /// The path of a result file.
    ///
    /// # Errors
    /// When `name` is not a plain file name.
    pub fn result_path(&self, name: &str) -> Result<PathBuf, Error> {
        let mut components = Path::new(name).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(plain)), None) if plain == OsStr::new(name) => Ok(self.root.join("out").join(name)),
            _ => Err(Error::failed(format!("{name:?} cannot name a result: use a plain file name"))),
        }
    }

    /// Writes a result file, over what was there.
    ///
    /// # Errors
    /// When the name is not plain, or the job's bound on results is reached.
    pub fn write_result(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.result_path(name)?;
        fs::write(&path, bytes).map_err(|error| Error::failed(format!("cannot write {}: {error}", path.display())))
    }

    /// Records the value of a metric in this step: a line `name,step,value` in [`METRICS_FILE`].
    ///
    /// The job must list that file among its results for the host to show it while the trainer runs. A value is
    /// written with the fewest digits that give the same `f64` again, and zeros up to the point.
    ///
    /// # Errors
    /// When the value is not finite, which means that training has gone wrong; when the name has other characters than
    /// letters, digits, `-`, `_`, `.` and `/`; when all metrics together exceed [`crate::Trainer::MOST_METRICS_BYTES`].
    pub fn metric(&mut self, name: &str, value: f64) -> Result<(), Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(Error::failed(format!("{name:?} cannot name a metric: use letters, digits, `-_./`")));
        }
        if !value.is_finite() {
            return Err(Error::failed(format!("{name} is {value} in step {}: training has diverged", self.step)));
        }
        let line = format!("{name},{},{value}\n", self.step);
        if self.metrics.is_none() {
            let path = self.result_path(METRICS_FILE)?;
            let file = File::create(&path)
                .map_err(|error| Error::failed(format!("cannot create {}: {error}", path.display())))?;
            self.metrics = Some(file);
            self.append_metrics(METRICS_HEADER)?;
        }
        self.append_metrics(&line)
    }

    fn append_metrics(&mut self, text: &str) -> Result<(), Error> {
        let bytes = self.metrics_bytes + text.len() as u64;
        if bytes > self.most_metrics_bytes {
            return Err(Error::failed(format!(
                "the metrics of step {} would make {METRICS_FILE} longer than {} bytes: record fewer, or raise \
                 MOST_METRICS_BYTES and the job's limit",
                self.step, self.most_metrics_bytes
            )));
        }
        let file = self.metrics.as_mut().expect("created by the caller");
        file.write_all(text.as_bytes())
            .map_err(|error| Error::failed(format!("cannot write to {METRICS_FILE}: {error}")))?;
        self.metrics_bytes = bytes;
        Ok(())
    }

    pub(crate) fn begin_step(&mut self) {
        self.step += 1;
    }

    pub(crate) fn limit_metrics(&mut self, bytes: u64) {
        self.most_metrics_bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn job() -> (tempfile::TempDir, Job) {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["data/inner", "out"] {
            fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        let job = Job::in_folder(folder.path(), []);
        (folder, job)
    }

    #[test]
    fn metrics_are_lines_with_name_step_and_value() {
        let (folder, mut job) = job();
        job.metric("loss", 0.1).expect("recorded");
        job.begin_step();
        job.metric("loss", -2.0).expect("recorded");
        job.metric("held-out/accuracy", 1e-7).expect("recorded");
        let text = fs::read_to_string(folder.path().join("out/metrics.csv")).expect("metrics");
        assert_eq!(text, "name,step,value\nloss,0,0.1\nloss,1,-2\nheld-out/accuracy,1,0.0000001\n");
    }

    #[test]
    fn a_flood_of_metrics_ends_the_run_before_its_bound_is_exceeded() {
        let (folder, mut job) = job();
        job.limit_metrics(1000);
        let error = (0..).find_map(|value| job.metric("loss", f64::from(value)).err()).expect("refused");
        assert!(error.kind() == Kind::Failed && error.to_string().contains("longer than 1000 bytes"), "{error}");
        let bytes = fs::metadata(folder.path().join("out/metrics.csv")).expect("metrics").len();
        assert!((980..=1000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn metrics_that_would_break_the_file_or_mean_nothing_are_errors() {
        let (_folder, mut job) = job();
        for name in ["", "a,b", "a\n", "\"a\"", "a b"] {
            assert!(job.metric(name, 0.0).is_err(), "{name:?}");
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = job.metric("loss", value).expect_err("not finite").to_string();
            assert!(error.contains("loss is") && error.contains("diverged"), "{error}");
        }
    }

    #[test]
    fn results_stay_in_their_folder() {
        let (folder, job) = job();
        for name in ["", ".", "..", "../a", "a/b", "/a", "a/"] {
            assert!(job.write_result(name, b"").is_err(), "{name:?}");
        }
        job.write_result("weights.bin", b"12").expect("written");
        assert_eq!(fs::read(folder.path().join("out/weights.bin")).expect("a result"), b"12");
    }

    #[test]
    fn the_only_file_of_a_kind_is_found_in_any_folder() {
        let (folder, job) = job();
        let error = job.data_file("csv").expect_err("none");
        assert!(error.kind() == Kind::Refused && error.to_string().contains("no file *.csv"), "{error}");
        for name in ["inner/b.csv", "a.txt"] {
            fs::write(folder.path().join("data").join(name), b"x").expect("written");
        }
        assert_eq!(job.data_files().expect("listed"), [Path::new("a.txt"), Path::new("inner/b.csv")]);
        assert_eq!(job.data_file("csv").expect("found"), folder.path().join("data/inner/b.csv"));
        assert_eq!(job.read_data("inner/b.csv").expect("read"), b"x");
        fs::write(folder.path().join("data/c.csv"), b"x").expect("written");
        assert!(job.data_file("csv").expect_err("two").to_string().contains("2 files *.csv (c.csv, inner/b.csv"));
    }
}
