//! Addresses of nodes and gateways.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use reqwest::Url;

/// The address of a node's RPC, or of a gateway: `http://127.0.0.1:5001`, `https://gateway.example`. A user name and
/// password before the host are used, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// The text is no address of a node or gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnEndpoint {
    /// It is no URL, or one of another kind.
    #[error("not an address: it should look like http://127.0.0.1:5001 or https://gateway.example")]
    Url,
    /// There is something after the path.
    #[error("an address ends with its host, port or path: leave out what begins with ? or #")]
    Query,
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let mut url = Url::parse(text).map_err(|_| NotAnEndpoint::Url)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(NotAnEndpoint::Url);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(NotAnEndpoint::Query);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl Endpoint {
    /// All of it, with user and password: for a connection, never to be shown.
    pub fn secret(&self) -> &str {
        self.0.as_str()
    }

    /// The URL of something below this address; `rest` begins with a slash.
    pub(super) fn join(&self, rest: &str) -> Url {
        let text = format!("{}{rest}", self.0.as_str().trim_end_matches('/'));
        text.parse().expect("a URL with a path and a query after it is a URL")
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether it is on this computer.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether an answer of this endpoint may lead to `url`: the same host or, as gateways do, a CID before it.
    pub(super) fn may_lead_to(&self, url: &Url) -> bool {
        let (own, other) = (self.0.host_str().unwrap_or_default(), url.host_str().unwrap_or_default());
        let below = other.strip_suffix(own).is_some_and(|before| before.ends_with('.'));
        let is_address = own.parse::<Ipv4Addr>().is_ok() || own.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok();
        let downgrade = self.is_https() && url.scheme() != "https";
        (own == other || below && !is_address) && !downgrade && matches!(url.scheme(), "http" | "https")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // They fail only for URLs that cannot have them.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        f.write_str(shown.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_is_a_plain_http_url() {
        for (text, shown) in [
            ("http://127.0.0.1:5001", "http://127.0.0.1:5001"),
            ("http://[::1]:5001/", "http://[::1]:5001"),
            ("https://gateway.example/some/path//", "https://gateway.example/some/path"),
        ] {
            assert_eq!(endpoint(text).to_string(), shown);
        }
        for text in ["", "127.0.0.1:5001", "/ip4/127.0.0.1/tcp/5001", "ftp://host", "http://", "file:///etc/passwd"] {
            assert_eq!(text.parse::<Endpoint>(), Err(NotAnEndpoint::Url), "{text}");
        }
        assert_eq!("http://host/?format=raw".parse::<Endpoint>(), Err(NotAnEndpoint::Query));
        assert_eq!(endpoint("http://host/a").join("/ipfs/x?y=1").as_str(), "http://host/a/ipfs/x?y=1");
    }

    #[test]
    fn passwords_are_never_shown() {
        let with_password = endpoint("https://user:secret@host");
        assert_eq!(format!("{with_password} {with_password:?}"), "https://host https://host");
        assert!(with_password.join("/x").as_str().contains("user:secret@"));
    }

    #[test]
    fn an_answer_leads_to_no_other_host() {
        let url = |text: &str| text.parse::<Url>().expect("a URL");
        let gateway = endpoint("https://dweb.example");
        assert!(gateway.may_lead_to(&url("https://dweb.example/ipfs/x")));
        assert!(gateway.may_lead_to(&url("https://bafy.ipfs.dweb.example/")));
        for other in ["http://dweb.example/", "https://evil.example/", "https://evildweb.example/", "http://127.0.0.1/"]
        {
            assert!(!gateway.may_lead_to(&url(other)), "{other}");
        }
        assert!(!endpoint("http://127.0.0.1:1").may_lead_to(&url("http://1.127.0.0.1.example/")));
    }
}
