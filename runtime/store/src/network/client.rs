//! HTTP with one endpoint. Whatever the other side does, an answer ends, by its size or by the time it takes.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_ENCODING};
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use tokio::time::{Instant, timeout};

use super::endpoint::Endpoint;
use crate::StoreError;

/// The most bytes of what an endpoint says about an error.
const MAX_MESSAGE_BYTES: usize = 1 << 16;

/// The most characters of it that are shown.
const MAX_SHOWN: usize = 200;

/// So many bytes of a longer answer must come within [`Patience::portion`].
const PORTION_BYTES: usize = 64 << 10;

/// So many where others can be asked for the same: otherwise one of them could hold for days what another gives in a minute.
const HURRIED_PORTION_BYTES: usize = 1 << 20;

/// How long and how often to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Patience {
    /// For a connection. 10 seconds by default.
    pub connect: Duration,
    /// For an answer to begin, as a node may have to look for a block, and for a short one to be there. A minute by default.
    pub answer: Duration,
    /// For each 64 KiB of a block or an archive, or each MiB of an archive where others can be asked. 30 seconds by default.
    pub portion: Duration,
    /// For a part of an upload to be taken. 10 minutes by default.
    pub upload: Duration,
    /// After so long the next backend is asked as well. Half a second by default.
    pub head_start: Duration,
    /// How often to try what may work another time. 5 by default.
    pub tries: u32,
    /// Before the second try; twice as long before each further one. A quarter of a second by default.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            portion: Duration::from_secs(30),
            upload: Duration::from_secs(600),
            head_start: Duration::from_millis(500),
            tries: 5,
            pause: Duration::from_millis(250),
        }
    }
}

impl Patience {
    /// How long to wait after the try with this number, the first being 0.
    pub(super) fn pause_after(&self, tried: u32) -> Duration {
        self.pause.saturating_mul(1 << tried.min(10))
    }
}

/// Why an endpoint did not do what was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// There is no connection.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("did not answer within {} seconds", .0.as_secs_f32())]
    Silent(Duration),
    /// Its answer came too slowly.
    #[error("answered too slowly: less than {} KiB in {} seconds", PORTION_BYTES >> 10, .0.as_secs_f32())]
    Slow(Duration),
    /// Its answer broke off.
    #[error("broke off its answer: {0}")]
    Cut(String),
    /// It does not have the block.
    #[error("does not have it")]
    Absent,
    /// It refused.
    #[error("answered {code}{}", colon(.said))]
    Refused {
        /// The HTTP status.
        code: u16,
        /// What it said.
        said: String,
    },
    /// It gave something else than what was asked for.
    #[error("gave something else: {0}")]
    Wrong(String),
}

fn colon(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl Failure {
    /// Whether the same request may work another time.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Silent(_) | Self::Slow(_) | Self::Cut(_) => true,
            Self::Refused { code, .. } => matches!(code, 408 | 425 | 429 | 502..=504),
            Self::Absent | Self::Wrong(_) => false,
        }
    }

    /// What went wrong on the way. The innermost cause says most, and has no URL with a password in it.
    fn of(error: &reqwest::Error) -> Self {
        let mut cause: &dyn Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let why = if error.source().is_some() { shown(&cause.to_string()) } else { "no answer".into() };
        if error.is_redirect() {
            Self::Wrong("a redirection that is not followed".into())
        } else if error.is_connect() || error.is_builder() {
            Self::Unreachable(why)
        } else {
            Self::Cut(why)
        }
    }
}

/// Text of a stranger that can stand in a line on any terminal.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { ' ' });
    plain.take(MAX_SHOWN).collect::<String>().trim().to_owned()
}

/// What an endpoint speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Kubo's RPC.
    Node,
    /// The trustless gateway's protocol.
    Gateway,
}

/// One endpoint, and what is known about it.
pub(super) struct Client {
    pub kind: Kind,
    http: reqwest::Client,
    pub endpoint: Endpoint,
    pub patience: Patience,
    /// How often it has failed.
    faults: AtomicU32,
    /// It gave a block that was wrong: it is not asked again.
    banned: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.endpoint, f)
    }
}

impl Client {
    pub fn new(kind: Kind, endpoint: Endpoint, patience: Patience) -> Result<Self, StoreError> {
        let from = endpoint.clone();
        let follow = move |attempt: redirect::Attempt<'_>| {
            if attempt.previous().len() <= 3 && from.may_lead_to(attempt.url()) {
                attempt.follow()
            } else {
                attempt.error("not followed")
            }
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("fedmkt/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            .redirect(redirect::Policy::custom(follow))
            .referer(false);
        if endpoint.is_loopback() {
            builder = builder.no_proxy();
        }
        if !endpoint.is_https() {
            // A system without certificates must not keep anybody from a node on it.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| StoreError::Network {
            doing: "connect to",
            endpoint: endpoint.to_string(),
            why: Failure::of(&error).to_string(),
        })?;
        Ok(Self { kind, http, endpoint, patience, faults: AtomicU32::new(0), banned: AtomicBool::new(false) })
    }

    /// What [`super::Network`] sorts by: the best first.
    pub fn faults(&self) -> u32 {
        self.faults.load(Ordering::Relaxed)
    }

    pub fn is_banned(&self) -> bool {
        self.banned.load(Ordering::Relaxed)
    }

    /// Remembers how a request has ended.
    pub fn note(&self, failure: Option<&Failure>) {
        match failure {
            None => self.faults.store(0, Ordering::Relaxed),
            Some(Failure::Wrong(_)) => self.banned.store(true, Ordering::Relaxed),
            Some(_) => drop(self.faults.fetch_add(1, Ordering::Relaxed)),
        }
    }

    pub fn get(&self, rest: &str, accept: &'static str) -> RequestBuilder {
        self.http.request(Method::GET, self.endpoint.join(rest)).header(ACCEPT, accept)
    }

    pub fn post(&self, rest: &str) -> RequestBuilder {
        self.http.request(Method::POST, self.endpoint.join(rest))
    }

    /// The beginning of a good answer.
    async fn begin(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| Failure::of(&error))?;
        let status = response.status();
        if status.is_success() {
            // None was asked for: unpacked it could be of any size.
            return match response.headers().get(CONTENT_ENCODING) {
                Some(encoding) if encoding.as_bytes() != b"identity" => {
                    Err(Failure::Wrong("its answer is compressed".into()))
                }
                _ => Ok(response),
            };
        }
        if self.kind == Kind::Gateway && matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Err(Failure::Absent);
        }
        let mut said = Vec::new();
        // What cannot be read of it is not worth another error.
        let _ = read(response, &mut said, MAX_MESSAGE_BYTES).await;
        let said = message(&said);
        if self.kind == Kind::Node && status == StatusCode::INTERNAL_SERVER_ERROR && is_absence(&said) {
            return Err(Failure::Absent);
        }
        Err(Failure::Refused { code: status.as_u16(), said: shown(&said) })
    }

    /// A whole answer of at most `most` bytes, within `time`.
    pub async fn bytes(&self, request: RequestBuilder, most: usize, time: Duration) -> Result<Vec<u8>, Failure> {
        let whole = async {
            let mut answer = Vec::new();
            read(self.begin(request).await?, &mut answer, most).await?;
            Ok(answer)
        };
        timeout(time, whole).await.unwrap_or(Err(Failure::Silent(time)))
    }

    /// The beginning of a long answer.
    pub async fn long(&self, request: RequestBuilder) -> Result<Long, Failure> {
        let time = self.patience.answer;
        let response = timeout(time, self.begin(request)).await.unwrap_or(Err(Failure::Silent(time)))?;
        let time = self.patience.portion;
        Ok(Long { response, least: PORTION_BYTES, time, left: time, portion: 0 })
    }
}

/// Reads at most `most` bytes; more are an error.
async fn read(mut response: Response, into: &mut Vec<u8>, most: usize) -> Result<(), Failure> {
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::of(&error))? {
        append(into, &chunk, most)?;
    }
    Ok(())
}

fn append(into: &mut Vec<u8>, chunk: &[u8], most: usize) -> Result<(), Failure> {
    if into.len() + chunk.len() > most {
        return Err(Failure::Wrong(format!("its answer has more than {most} bytes")));
    }
    into.extend_from_slice(chunk);
    Ok(())
}

/// What a node says about an error: a JSON object with a message, or plain text.
fn message(answer: &[u8]) -> String {
    let object: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
    match object.as_ref().and_then(|object| object.get("Message")?.as_str()) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(answer).into_owned(),
    }
}

/// Kubo has one status for all errors.
fn is_absence(said: &str) -> bool {
    said.contains("not found") || said.contains("could not find") || said.contains("not have the block")
}

/// A long answer, piece by piece.
pub(super) struct Long {
    response: Response,
    /// Bytes of a portion, and the time for it.
    least: usize,
    time: Duration,
    /// Time that is left for the rest of this portion.
    left: Duration,
    /// Bytes of this portion that have come.
    portion: usize,
}

impl Long {
    /// The same answer, which must come quicker: others can be asked.
    pub fn hurried(self) -> Self {
        Self { least: HURRIED_PORTION_BYTES, ..self }
    }

    /// All of it, at most `most` bytes.
    pub async fn whole(mut self, most: usize) -> Result<Vec<u8>, Failure> {
        let mut answer = Vec::new();
        while let Some(chunk) = self.next().await? {
            append(&mut answer, &chunk, most)?;
        }
        Ok(answer)
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let begin = Instant::now();
        let chunk = timeout(self.left, self.response.chunk()).await;
        let chunk = chunk.map_err(|_| self.slow())?.map_err(|error| Failure::of(&error))?;
        self.portion += chunk.as_ref().map_or(0, Bytes::len);
        self.left = self.left.saturating_sub(begin.elapsed());
        if self.portion >= self.least {
            (self.portion, self.left) = (0, self.time);
        }
        Ok(chunk)
    }

    fn slow(&self) -> Failure {
        Failure::Slow(self.time / (self.least / PORTION_BYTES) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_says_cannot_rewrite_the_screen() {
        assert_eq!(shown("no\u{1b}[2J\nsuch\u{202e}block"), "no [2J such block");
        assert_eq!(shown(&"x".repeat(1000)).len(), MAX_SHOWN);
    }

    #[test]
    fn pauses_double() {
        let patience = Patience::default();
        assert_eq!(patience.pause_after(0), patience.pause);
        assert_eq!(patience.pause_after(3), patience.pause * 8);
        assert!(patience.pause_after(u32::MAX) > Duration::from_secs(60));
    }
}
