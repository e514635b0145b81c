//! The 32-byte values that commitments are made of, each with a type of its own.

use core::fmt;

macro_rules! bytes32 {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    )*};
}

bytes32! {
    /// A node of a hash tree, or any other Keccak-256 digest.
    Hash;
    /// Hash-tree root of a job drive.
    JobRoot;
    /// Hash-tree root of a capsule.
    DataRoot;
    /// Hash-tree root of a state image.
    StateRoot;
    /// Hash-tree root of the top level of a trace.
    TraceRoot;
    /// Hash-tree root of a result file.
    ResultRoot;
    /// Names one run: binds slot, client, data and randomness.
    RunId;
    /// Secret 32 bytes in a capsule's header; zero for open data.
    Salt;
    /// A word of the state header, derived from the salt, that keeps guessable states from being recognised.
    Blind;
}
