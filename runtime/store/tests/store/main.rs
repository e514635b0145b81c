//! The store as others use it: real folders, real archives, and what strangers could send.

mod job_drive;
mod nodes;
