//! Random changes of bytes, which find the places where a decoder believes too much.

use proptest::prelude::*;

/// Something done to bytes.
#[derive(Clone, Debug)]
pub enum Change {
    Flip(prop::sample::Index, u8),
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, u8),
    /// Copies some bytes to another place.
    Repeat(prop::sample::Index, prop::sample::Index, u8),
    Cut(prop::sample::Index),
}

/// Up to `most` changes.
pub fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    let place = any::<prop::sample::Index>;
    // Bytes that mean much in one format or another: ends, limits of LEB128, types and lengths of WebAssembly and CBOR.
    let byte = || {
        prop_oneof![
            any::<u8>(),
            prop::sample::select(vec![
                0, 1, 0x0b, 0x40, 0x60, 0x70, 0x7b, 0x7f, 0x80, 0x9b, 0xa0, 0xbb, 0xd8, 0xfc, 0xfd, 0xff
            ])
        ]
    };
    let change = prop_oneof![
        3 => (place(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        3 => (place(), byte()).prop_map(|(at, value)| Change::Set(at, value)),
        1 => (place(), prop::collection::vec(byte(), 1..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (place(), 1u8..8).prop_map(|(at, length)| Change::Remove(at, length)),
        1 => (place(), place(), 1u8..40).prop_map(|(from, to, length)| Change::Repeat(from, to, length)),
        1 => place().prop_map(Change::Cut),
    ];
    prop::collection::vec(change, 0..most)
}

/// Does the changes one after the other.
pub fn apply(changes: &[Change], bytes: &mut Vec<u8>) {
    changes.iter().for_each(|change| apply_one(change, bytes));
}

fn apply_one(change: &Change, bytes: &mut Vec<u8>) {
    let end = bytes.len();
    if end == 0 {
        return;
    }
    let place = |at: &prop::sample::Index| at.index(end);
    match change {
        Change::Flip(at, bit) => {
            let at = place(at);
            bytes[at] ^= 1 << bit;
        }
        Change::Set(at, value) => {
            let at = place(at);
            bytes[at] = *value;
        }
        Change::Insert(at, inserted) => {
            let at = place(at);
            bytes.splice(at..at, inserted.iter().copied());
        }
        Change::Remove(at, length) => {
            let at = place(at);
            bytes.drain(at..end.min(at + usize::from(*length)));
        }
        Change::Repeat(from, to, length) => {
            let (from, to) = (place(from), place(to));
            let repeated = bytes[from..end.min(from + usize::from(*length))].to_vec();
            bytes.splice(to..to, repeated);
        }
        Change::Cut(at) => bytes.truncate(at.index(end)),
    }
}
