//! What strangers can send: jobs, trainers and grants that mean harm. A clear error, a documented exit code.

#[path = "../support/mod.rs"]
mod support;

mod grants;
mod isolation;
mod jobs;
mod trainers;
