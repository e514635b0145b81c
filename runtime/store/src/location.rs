//! Where fedmkt keeps what belongs to one user.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// The folder of everything that fedmkt keeps for this user: `$FEDMKT_HOME`, else `.fedmkt` in the home folder. It may
/// not exist yet.
///
/// # Errors
/// When neither `FEDMKT_HOME` nor `HOME` says where it is.
pub fn home() -> io::Result<PathBuf> {
    home_from(env::var_os("FEDMKT_HOME"), env::home_dir()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "there is no home folder: set FEDMKT_HOME to a folder for fedmkt's files",
        )
    })
}

/// An empty variable counts as one that is not set.
fn home_from(fedmkt_home: Option<OsString>, user_home: Option<PathBuf>) -> Option<PathBuf> {
    let own = fedmkt_home.filter(|path| !path.is_empty()).map(PathBuf::from);
    own.or_else(|| user_home.filter(|path| !path.as_os_str().is_empty()).map(|path| path.join(".fedmkt")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fedmkt_home_comes_before_the_home_folder() {
        let user = || Some(PathBuf::from("/home/someone"));
        assert_eq!(home_from(Some("/srv/fedmkt".into()), user()), Some("/srv/fedmkt".into()));
        assert_eq!(home_from(None, user()), Some("/home/someone/.fedmkt".into()));
        assert_eq!(home_from(Some("".into()), user()), Some("/home/someone/.fedmkt".into()));
        assert_eq!(home_from(None, Some("".into())), None);
        assert_eq!(home_from(None, None), None);
    }
}
