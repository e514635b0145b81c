//! The market, for programs that take part in it: `fedmkt` and `fedmkt-verify`.
//!
//! ```text
//! settings::Settings --connect--> chain::Chain --read--> board::Board      jobs and slots, from events
//!                                     |
//! wallet::open, journal::open --> send::Sender --send-->                   transactions, each in a block once
//! ```
//!
//! - [`settings`]: where the market is, and who said so; [`wallet`]: keys of accounts.
//! - [`chain`]: a node that was checked to be on the right chain with the right contracts; its errors are sentences.
//! - [`board`]: what was posted, accepted and submitted; [`submission`]: what a client publishes with it.
//! - [`dispute`]: challenges, and the moves of both sides.
//! - [`send`]: transactions that are in a block at most once, whenever a program is killed; [`journal`] and [`records`]
//!   keep what that takes; [`permit`]: allowances without a transaction of their own.
//! - [`amount`], [`duration`], [`terminal`]: what people read and write; [`receipt`]: receipts in a store.
//!
//! Everything waits for the node by itself: nothing here may be called from within an asynchronous runtime, except in a
//! thread where blocking is allowed. [`chain::Chain`] can be used by several threads.
//!
//! What the contracts do is in `docs/src/reference/market.md`, what programs keep in `docs/src/reference/market-programs.md`.

pub mod amount;
pub mod board;
pub mod chain;
pub mod dispute;
pub mod duration;
pub mod journal;
pub mod permit;
pub mod receipt;
pub mod records;
pub mod send;
pub mod settings;
pub mod submission;
pub mod terminal;
mod transport;
pub mod wallet;
