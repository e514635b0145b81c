//! Replays steps of a run and compares.
