//! End-to-end tests that cross crates; this library holds what they share.

pub mod nan_modules;
