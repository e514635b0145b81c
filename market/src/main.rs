//! The `fedmkt` command.
fn main() {}
