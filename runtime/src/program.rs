//! Other programs of this project, which come with this one.

use std::path::PathBuf;

/// Where the program `name` is: what `variable` of the environment names, else the one beside this program, else whatever is
/// on the `PATH`.
pub fn find(name: &str, variable: &str) -> PathBuf {
    let beside = || std::env::current_exe().ok().map(|this| this.with_file_name(name)).filter(|path| path.is_file());
    std::env::var_os(variable).map(PathBuf::from).or_else(beside).unwrap_or_else(|| name.into())
}
