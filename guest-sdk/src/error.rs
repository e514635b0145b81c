//! Why a run ends without a result.

use std::fmt;

/// Why a run ends without a result: a sentence for people, and whose matter it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
}

/// Whose matter an [`Error`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The data does not fit the trainer. The client is told so and loses nothing.
    Refused,
    /// The trainer cannot go on: the model, the arguments, or its own mistake.
    Failed,
}

impl Error {
    /// The data does not fit; `message` tells its owner why and what would fit.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, message: message.into() }
    }

    /// The trainer cannot go on.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into() }
    }

    /// The same error, with what was being done in front: `epoch 3, batch 7: ...`.
    #[must_use]
    pub fn within(self, what: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{what}: {}", self.message) }
    }

    /// Whose matter this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
