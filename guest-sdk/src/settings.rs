//! Arguments of the form `name=value`.

use std::fmt::Display;
use std::str::FromStr;

use crate::{Error, Job};

/// The job's arguments, read as `name=value`.
///
/// ```
/// # use fedmkt_guest::{Job, Settings};
/// let job = Job::in_folder("/", ["rate=0.5".to_string()]);
/// let settings = Settings::of(&job, &["rate", "epochs"])?;
/// assert_eq!(settings.get("rate", 0.1)?, 0.5);
/// assert_eq!(settings.get("epochs", 20)?, 20);
/// # Ok::<(), fedmkt_guest::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    given: Vec<(String, String)>,
    known: &'static [&'static str],
}

impl Settings {
    /// Reads a job's arguments; `known` are the names that the trainer has.
    ///
    /// # Errors
    /// When an argument is not `name=value`, has an unknown name, or is there twice.
    pub fn of(job: &Job, known: &'static [&'static str]) -> Result<Self, Error> {
        let mut given: Vec<(String, String)> = Vec::new();
        for argument in job.arguments() {
            let (name, value) = argument
                .split_once('=')
                .ok_or_else(|| Error::failed(format!("argument {argument:?}: expected `name=value`")))?;
            if !known.contains(&name) {
                return Err(Error::failed(format!("no setting is called {name:?}; there are {}", known.join(", "))));
            }
            if given.iter().any(|(other, _)| other == name) {
                return Err(Error::failed(format!("the setting {name} is there twice")));
            }
            given.push((name.to_string(), value.to_string()));
        }
        Ok(Self { given, known })
    }

    /// The value of a setting, or `default` when the job does not give it.
    ///
    /// # Errors
    /// When the value cannot be read as a `T`.
    ///
    /// # Panics
    /// In builds with debug assertions, when the name is not among those that [`Self::of`] was told: no job could ever give it.
    pub fn get<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T, Error> {
        debug_assert!(self.known.contains(&name), "the setting {name} is not known");
        let Some((_, value)) = self.given.iter().find(|(other, _)| other == name) else { return Ok(default) };
        value.parse().map_err(|error| Error::failed(format!("the setting {name}={value}: {error}")))
    }

    /// The value of a setting that counts something of which there must be one at least.
    ///
    /// # Errors
    /// When the value cannot be read, or is 0.
    ///
    /// # Panics
    /// As [`Self::get`].
    pub fn at_least_one<T>(&self, name: &str, default: T) -> Result<T, Error>
    where
        T: FromStr<Err: Display> + PartialEq + From<u8>,
    {
        let value = self.get(name, default)?;
        if value == T::from(0) {
            return Err(Error::failed(format!("the setting {name} must be at least 1")));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, Error> {
        let job = Job::in_folder("/", arguments.iter().map(ToString::to_string));
        Settings::of(&job, &["rate", "epochs"])
    }

    #[test]
    #[should_panic(expected = "rates is not known")]
    fn a_setting_that_no_job_could_give_is_a_mistake() {
        let _ = settings(&["rate=1"]).expect("settings").get("rates", 0.1);
    }

    #[test]
    fn nothing_is_no_count() {
        let settings = settings(&["epochs=0"]).expect("settings");
        assert!(settings.at_least_one("epochs", 1_usize).expect_err("0").to_string().contains("epochs"));
        assert_eq!(settings.at_least_one("rate", 3_u64), Ok(3));
    }

    #[test]
    fn arguments_that_mean_nothing_are_named() {
        for (arguments, part) in
            [(&["rate"][..], "\"rate\""), (&["size=1"], "\"size\""), (&["rate=1", "rate=2"], "rate is there twice")]
        {
            let message = settings(arguments).expect_err("refused").to_string();
            assert!(message.contains(part), "{message}");
        }
        let error = settings(&["epochs=many"]).expect("settings").get("epochs", 3u32).expect_err("no number");
        assert!(error.to_string().contains("epochs=many"), "{error}");
    }
}
