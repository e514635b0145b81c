//! What a trainer author depends on.
