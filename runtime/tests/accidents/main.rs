//! What can happen to a client's computer: processes that are killed, full disks, damaged files. The same command ends
//! with what it would have ended with.

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod disk;
mod killed;
mod together;
