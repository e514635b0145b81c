//! The two things that the replayer wants to know from the device tree: on which platform it is, and its boot arguments.
//!
//! The format is that of the Devicetree Specification, "Flattened Devicetree (DTB) Format", version 17.

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found<'a> {
    /// `compatible` of the root: names, each with a NUL after it.
    pub compatible: &'a [u8],
    /// `bootargs` of the node `chosen`, without the NUL.
    pub boot_arguments: &'a str,
}

impl Found<'_> {
    /// Whether the root is compatible with `name`.
    pub fn is_compatible(&self, name: &str) -> bool {
        self.compatible.split(|&byte| byte == 0).any(|found| found == name.as_bytes())
    }
}

/// The length that a device tree's header claims, in bytes; `None` when it is no device tree.
pub fn claimed_bytes(header: &[u8; 8]) -> Option<u32> {
    (be32(header, 0)? == MAGIC).then(|| be32(header, 4))?
}

/// Reads a device tree. What is damaged ends the search; what was found before stands.
pub fn read(tree: &[u8]) -> Found<'_> {
    let mut found = Found::default();
    search(tree, &mut found);
    found
}

fn search<'a>(tree: &'a [u8], found: &mut Found<'a>) -> Option<()> {
    if be32(tree, 0)? != MAGIC {
        return None;
    }
    let (structure, strings) = (be32(tree, 8)? as usize, be32(tree, 12)? as usize);
    let strings = tree.get(strings..)?;
    let mut at = structure;
    let mut depth = 0u32;
    let mut in_chosen = false;
    loop {
        let token = be32(tree, at)?;
        at = at.checked_add(4)?;
        match token {
            BEGIN_NODE => {
                let name = until_nul(tree.get(at..)?)?;
                depth = depth.checked_add(1)?;
                in_chosen = depth == 2 && name == b"chosen";
                at = at.checked_add(name.len() + 1)?.checked_next_multiple_of(4)?;
            }
            END_NODE => {
                depth = depth.checked_sub(1)?;
                in_chosen = false;
            }
            PROPERTY => {
                let length = be32(tree, at)? as usize;
                let name = until_nul(strings.get(be32(tree, at.checked_add(4)?)? as usize..)?)?;
                let start = at.checked_add(8)?;
                let end = start.checked_add(length)?;
                let value = tree.get(start..end)?;
                if depth == 1 && name == b"compatible" {
                    found.compatible = value;
                }
                if in_chosen && name == b"bootargs" {
                    found.boot_arguments = core::str::from_utf8(until_nul(value)?).ok()?;
                }
                at = end.checked_next_multiple_of(4)?;
            }
            NOP => {}
            _ => return Some(()),
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|&byte| byte == 0).map(|end| &bytes[..end])
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn push(bytes: &mut Vec<u8>, number: u32) {
        bytes.extend_from_slice(&number.to_be_bytes());
    }

    fn text(bytes: &mut Vec<u8>, text: &[u8]) {
        bytes.extend_from_slice(text);
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }

    fn property(bytes: &mut Vec<u8>, name: u32, value: &[u8]) {
        push(bytes, PROPERTY);
        push(bytes, value.len() as u32);
        push(bytes, name);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }

    fn tree() -> Vec<u8> {
        let strings = b"compatible\0bootargs\0";
        let mut body = Vec::new();
        push(&mut body, BEGIN_NODE);
        text(&mut body, b"");
        property(&mut body, 0, b"one,a\0two,b\0");
        push(&mut body, NOP);
        push(&mut body, BEGIN_NODE);
        text(&mut body, b"soc");
        property(&mut body, 0, b"not this\0");
        property(&mut body, 11, b"nor this\0");
        push(&mut body, BEGIN_NODE);
        text(&mut body, b"chosen");
        property(&mut body, 11, b"nor this\0");
        push(&mut body, END_NODE);
        push(&mut body, END_NODE);
        push(&mut body, BEGIN_NODE);
        text(&mut body, b"chosen");
        property(&mut body, 11, b"quiet fedmkt.class=S\0");
        push(&mut body, END_NODE);
        push(&mut body, END_NODE);
        push(&mut body, 9);
        let mut bytes = Vec::new();
        for number in [MAGIC, (40 + body.len() + strings.len()) as u32, 40, 40 + body.len() as u32] {
            push(&mut bytes, number);
        }
        bytes.resize(40, 0);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(strings);
        bytes
    }

    #[test]
    fn platform_and_boot_arguments_are_found() {
        let tree = tree();
        let found = read(&tree);
        assert_eq!(found.boot_arguments, "quiet fedmkt.class=S");
        assert!(found.is_compatible("one,a") && found.is_compatible("two,b"));
        assert!(!found.is_compatible("two") && !found.is_compatible("not this"));
        assert_eq!(claimed_bytes(tree.first_chunk().expect("a header")), Some(tree.len() as u32));
    }

    #[test]
    fn a_damaged_tree_is_no_harm() {
        let whole = tree();
        for length in 0..whole.len() {
            read(&whole[..length]);
        }
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                read(&damaged);
            }
        }
        assert_eq!(read(b"not a device tree at all"), Found::default());
        assert_eq!(claimed_bytes(b"notatree"), None);
    }
}
