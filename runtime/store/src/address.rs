//! How people write a CID.

use cid::Cid;

/// The text does not name a block.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotACid {
    /// There is a path after the CID.
    #[error("a path after the CID is not supported: use the CID of what it leads to")]
    Path,
    /// It is no CID.
    #[error("not a CID: it should look like bafyrei..., bafybei... or bafkrei..., with or without ipfs:// before it")]
    Text,
}

/// Reads a CID, alone or as `ipfs://CID` or `/ipfs/CID`. Any version and base; the answer is of version 1.
///
/// # Errors
/// When it is something else.
pub fn parse_cid(text: &str) -> Result<Cid, NotACid> {
    let cid = text.strip_prefix("ipfs://").or_else(|| text.strip_prefix("/ipfs/")).unwrap_or(text);
    let cid = cid.strip_suffix('/').unwrap_or(cid);
    if let Some((first, _)) = cid.split_once(['/', '?', '#']) {
        return Err(if Cid::try_from(first).is_ok() { NotACid::Path } else { NotACid::Text });
    }
    let cid = Cid::try_from(cid).map_err(|_| NotACid::Text)?;
    Ok(Cid::new_v1(cid.codec(), *cid.hash()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

    #[test]
    fn a_cid_may_be_written_as_a_uri() {
        let cid = Cid::try_from(EMPTY).expect("a CID");
        for text in ["", "ipfs://", "/ipfs/"] {
            assert_eq!(parse_cid(&format!("{text}{EMPTY}")), Ok(cid));
            assert_eq!(parse_cid(&format!("{text}{EMPTY}/")), Ok(cid));
        }
        let version_0 = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH";
        let version_1 = parse_cid(version_0).expect("a CID");
        assert_eq!(version_1.to_string(), "bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y");
    }

    #[test]
    fn what_is_no_cid_is_refused() {
        for text in ["", "ipfs://", "bafkrei", "job.toml", "https://example.com", "http://host/ipfs/x", "a/b"] {
            assert_eq!(parse_cid(text), Err(NotACid::Text), "{text}");
        }
        assert_eq!(parse_cid(&format!("ipfs://{EMPTY}/model")), Err(NotACid::Path));
        assert_eq!(parse_cid(&format!("/home/ipfs/{EMPTY}")), Err(NotACid::Text));
    }
}
