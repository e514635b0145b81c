//! `fedmkt` as people and scripts use it: what it prints where, and with which exit code it ends.

mod accidents;
mod check;
mod help;
mod inspect;
mod network;
mod new_and_build;
mod publish;
mod report;
mod sandbox;
mod store;
