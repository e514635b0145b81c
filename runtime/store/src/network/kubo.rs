//! A Kubo node, by its RPC.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cid::Cid;
use fedmkt_core::unixfs::{DAG_PB, RAW};
use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::client::{Client, Failure, Kind, Patience};
use super::endpoint::Endpoint;
use crate::{BlockStore, IDENTITY, MAX_BLOCK_BYTES, StoreError, car, dag, verify};

/// The most bytes of an answer that is not a block.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Bytes of blocks after which a part of an upload ends. Parts that a node has taken need not be sent again.
const PART_BYTES: u64 = 16 << 20;

/// Parts on their way at the same time by a slow connection, which they share.
const PARTS_AT_ONCE: usize = 2;

/// Parts on their way at the same time by a fast one: the node is what takes time then.
const QUICK_PARTS_AT_ONCE: usize = 6;

/// A part that has arrived after this came by a fast connection.
const QUICK: Duration = Duration::from_secs(10);

/// A Kubo node.
///
/// As a [`BlockStore`] it gives and takes single blocks; [`Self::upload`] hands over whole DAGs.
#[derive(Clone)]
pub struct Kubo {
    pub(super) client: Arc<Client>,
    runtime: &'static Runtime,
}

/// What an upload has sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Uploaded {
    /// Bytes of all blocks of the DAG; 0 when the node had pinned it before.
    pub bytes: u64,
    /// Bytes of the blocks that were sent; the node had the others.
    pub sent: u64,
}

/// One part of an upload: a request's body.
struct Part {
    body: Body,
    /// Bytes of its blocks.
    bytes: u64,
    first: Cid,
    last: Cid,
}

/// A part to which blocks are added.
struct Collected {
    body: BodyBuilder,
    bytes: u64,
    /// The first and the last block.
    ends: Option<(Cid, Cid)>,
}

impl fmt::Debug for Kubo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kubo").field(&self.client).finish()
    }
}

impl Kubo {
    /// The node whose RPC is at this address, `http://127.0.0.1:5001` if it was not told otherwise. Nothing is asked yet.
    ///
    /// # Errors
    /// When this computer cannot make connections.
    pub fn new(endpoint: Endpoint, patience: Patience) -> Result<Self, StoreError> {
        Ok(Self { client: Arc::new(Client::new(Kind::Node, endpoint, patience)?), runtime: super::runtime()? })
    }

    /// The node's address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.client.endpoint
    }

    fn failed(&self, doing: &'static str, failure: &Failure) -> StoreError {
        let hint = match failure {
            Failure::Unreachable(_) => {
                "; is it running, and is this the address of its RPC (`ipfs config Addresses.API`)?"
            }
            Failure::Refused { code: 404 | 405, .. } => "; is this the address of its RPC, not of its gateway?",
            Failure::Refused { code: 401 | 403, .. } => {
                "; put the user and password that its API.Authorizations wants before the host: http://USER:PASSWORD@HOST"
            }
            _ => "",
        };
        StoreError::Network { doing, endpoint: self.client.endpoint.to_string(), why: format!("it {failure}{hint}") }
    }

    /// Asks until there is an answer, or an error that will not pass.
    fn ask(
        &self,
        doing: &'static str,
        most: usize,
        request: impl Fn(&Client) -> RequestBuilder + Send + 'static,
    ) -> Result<Vec<u8>, StoreError> {
        let client = self.client.clone();
        let time = client.patience.answer;
        let answer = super::wait(self.runtime, async move { ask(&client, most, time, request).await });
        answer.map_err(|failure| self.failed(doing, &failure))
    }

    /// Whether the node itself has the block; it does not look elsewhere.
    ///
    /// # Errors
    /// When the node does not answer as it should.
    pub fn has_block(&self, cid: &Cid) -> Result<bool, StoreError> {
        let client = self.client.clone();
        let cid = *cid;
        let found = super::wait(self.runtime, async move { has_block(&client, &cid).await });
        found.map_err(|failure| self.failed("look for a block on", &failure))
    }

    /// Pins everything below `root`, all of which the node must have.
    ///
    /// # Errors
    /// When something is missing, or the node does not answer as it should.
    pub fn pin(&self, root: &Cid) -> Result<(), StoreError> {
        self.try_pin(root).map_err(|failure| match failure {
            Failure::Absent => StoreError::Network {
                doing: "pin on",
                endpoint: self.client.endpoint.to_string(),
                why: format!("it does not have everything below {root}"),
            },
            failure => self.failed("pin on", &failure),
        })
    }

    fn try_pin(&self, root: &Cid) -> Result<(), Failure> {
        let client = self.client.clone();
        let rest = format!("/api/v0/pin/add?arg={root}&recursive=true&offline=true");
        let time = client.patience.upload;
        super::wait(self.runtime, async move {
            ask(&client, MAX_ANSWER_BYTES, time, |client| client.post(&rest)).await.map(drop)
        })
    }

    /// Lets go of `root`. Says whether it was pinned.
    ///
    /// # Errors
    /// When the node does not answer as it should.
    pub fn unpin(&self, root: &Cid) -> Result<bool, StoreError> {
        if !self.is_pinned(root)? {
            return Ok(false);
        }
        let rest = format!("/api/v0/pin/rm?arg={root}&recursive=true");
        self.ask("unpin on", MAX_ANSWER_BYTES, move |client| client.post(&rest)).map(|_| true)
    }

    /// Whether `root` is pinned with everything below it.
    ///
    /// # Errors
    /// When the node does not answer as it should.
    pub fn is_pinned(&self, root: &Cid) -> Result<bool, StoreError> {
        let rest = format!("/api/v0/pin/ls?arg={root}&type=recursive");
        match self.ask("list pins of", MAX_ANSWER_BYTES, move |client| client.post(&rest)) {
            Ok(_) => Ok(true),
            Err(StoreError::Network { why, .. }) if why.contains("is not pinned") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Hands everything below `root` over to the node and pins it there: exactly the blocks of `store`, in archives.
    /// `progress` is told how many bytes of blocks are there, again and again.
    ///
    /// What a part of the way down the network or the node breaks is sent again. After an error the same call goes on
    /// where this one has stopped; the node has pinned all or nothing.
    ///
    /// # Errors
    /// When `store` does not have all of it, and when the node cannot be reached or refuses.
    pub fn upload(
        &self,
        store: &impl BlockStore,
        root: &Cid,
        mut progress: impl FnMut(u64),
    ) -> Result<Uploaded, StoreError> {
        if self.is_pinned(root)? {
            return Ok(Uploaded::default());
        }
        let uploaded = self.send(store, root, true, &mut progress)?;
        let uploaded = match self.try_pin(root) {
            // It lacks something in the middle of a part that it seemed to have: it may have collected garbage.
            Err(Failure::Absent) => self.send(store, root, false, &mut progress)?,
            _ => uploaded,
        };
        self.pin(root).map(|()| uploaded)
    }

    /// Sends all parts; with `resume` not those that the node seems to have.
    fn send(
        &self,
        store: &impl BlockStore,
        root: &Cid,
        resume: bool,
        progress: &mut impl FnMut(u64),
    ) -> Result<Uploaded, StoreError> {
        let mut uploaded = Uploaded::default();
        let mut on_their_way: VecDeque<(Instant, Receiver<Result<Arrived, Failure>>)> = VecDeque::new();
        let mut at_once = PARTS_AT_ONCE;
        let mut arrive = |uploaded: &mut Uploaded, (begin, part): (Instant, Receiver<Result<Arrived, Failure>>)| {
            let arrived =
                part.recv().expect("a part ends somehow").map_err(|failure| self.failed("upload to", &failure))?;
            uploaded.bytes += arrived.bytes;
            uploaded.sent += if arrived.was_there { 0 } else { arrived.bytes };
            progress(uploaded.bytes);
            Ok::<_, StoreError>(begin.elapsed() < QUICK)
        };
        let mut post = |uploaded: &mut Uploaded, collected: Collected| {
            let Some(part) = collected.finish() else { return Ok(()) };
            while on_their_way.len() >= at_once {
                let part = on_their_way.pop_front().expect("some are on their way");
                let was_quick = arrive(uploaded, part)?;
                at_once = if was_quick { QUICK_PARTS_AT_ONCE } else { PARTS_AT_ONCE };
            }
            let (sender, receiver) = mpsc::sync_channel(1);
            let client = self.client.clone();
            self.runtime.spawn(async move {
                // Nobody waits when another part has failed.
                let _ = sender.send(send_part(&client, &part, resume).await);
            });
            on_their_way.push_back((Instant::now(), receiver));
            Ok::<_, StoreError>(())
        };
        let mut collected = Collected::new(root)?;
        dag::walk(store, &[*root], |cid, block| {
            collected.add(cid, block);
            if collected.bytes < PART_BYTES {
                return Ok(());
            }
            post(&mut uploaded, std::mem::replace(&mut collected, Collected::new(root)?))
        })?;
        post(&mut uploaded, collected)?;
        for part in on_their_way {
            arrive(&mut uploaded, part)?;
        }
        Ok(uploaded)
    }
}

/// What became of a part.
struct Arrived {
    bytes: u64,
    was_there: bool,
}

impl Collected {
    fn new(root: &Cid) -> Result<Self, StoreError> {
        let mut body = BodyBuilder::new(PART_BYTES as usize + MAX_BLOCK_BYTES)?;
        car::write_header(&mut body.content, &[*root]).expect("memory can be written");
        Ok(Self { body, bytes: 0, ends: None })
    }

    fn add(&mut self, cid: &Cid, block: &[u8]) {
        if cid.hash().code() == IDENTITY {
            return;
        }
        car::write_block(&mut self.body.content, cid, block).expect("memory can be written");
        self.bytes += block.len() as u64;
        self.ends = Some((self.ends.map_or(*cid, |(first, _)| first), *cid));
    }

    /// The part of what was collected; `None` when that is nothing.
    fn finish(self) -> Option<Part> {
        let (first, last) = self.ends?;
        Some(Part { body: self.body.finish(), bytes: self.bytes, first, last })
    }
}

/// The body of a request that has one file.
#[derive(Clone)]
struct Body {
    kind: String,
    content: Bytes,
}

impl Body {
    fn put_into(&self, request: RequestBuilder) -> RequestBuilder {
        request.header(CONTENT_TYPE, &self.kind).body(self.content.clone())
    }
}

/// A body to whose file bytes are added.
struct BodyBuilder {
    boundary: String,
    content: Vec<u8>,
}

impl BodyBuilder {
    fn new(capacity: usize) -> Result<Self, StoreError> {
        // What ends the file. The file cannot have it in it: it is there already when this is drawn.
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| StoreError::Stream("draw random numbers", std::io::Error::other(error.to_string())))?;
        let boundary: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"blocks\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let mut content = Vec::with_capacity(head.len() + capacity);
        content.extend_from_slice(head.as_bytes());
        Ok(Self { boundary, content })
    }

    fn finish(mut self) -> Body {
        let boundary = self.boundary;
        self.content.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Body { kind: format!("multipart/form-data; boundary={boundary}"), content: self.content.into() }
    }
}

/// Asks until there is an answer, or an error that will not pass.
async fn ask(
    client: &Client,
    most: usize,
    time: Duration,
    request: impl Fn(&Client) -> RequestBuilder,
) -> Result<Vec<u8>, Failure> {
    let mut tried = 0;
    loop {
        let answer = client.bytes(request(client), most, time).await;
        tried += 1;
        match answer {
            Err(failure) if failure.may_pass() && tried < client.patience.tries => {
                tokio::time::sleep(client.patience.pause_after(tried - 1)).await;
            }
            answer => return answer,
        }
    }
}

async fn has_block(client: &Client, cid: &Cid) -> Result<bool, Failure> {
    let rest = format!("/api/v0/block/stat?arg={cid}&offline=true");
    match ask(client, MAX_ANSWER_BYTES, client.patience.answer, |client| client.post(&rest)).await {
        Ok(_) => Ok(true),
        Err(Failure::Absent) => Ok(false),
        Err(failure) => Err(failure),
    }
}

async fn send_part(client: &Client, part: &Part, resume: bool) -> Result<Arrived, Failure> {
    let bytes = part.bytes;
    if resume && has_block(client, &part.last).await? && has_block(client, &part.first).await? {
        return Ok(Arrived { bytes, was_there: true });
    }
    // Pinned at the end, when everything is there.
    let request = |client: &Client| part.body.put_into(client.post("/api/v0/dag/import?pin-roots=false&silent=true"));
    ask(client, MAX_ANSWER_BYTES, client.patience.upload, request).await?;
    Ok(Arrived { bytes, was_there: false })
}

/// The request for a block.
pub(super) fn block(client: &Client, cid: &Cid) -> RequestBuilder {
    // The node stops looking when nobody waits any more.
    client.post(&format!("/api/v0/block/get?arg={cid}&timeout={}ms", client.patience.answer.as_millis()))
}

/// The request for everything below a CID, as an archive.
pub(super) fn archive(client: &Client, cid: &Cid) -> RequestBuilder {
    client.post(&format!("/api/v0/dag/export?arg={cid}&progress=false"))
}

impl BlockStore for Kubo {
    fn get(&self, cid: &Cid) -> Result<Vec<u8>, StoreError> {
        crate::check_supported(cid)?;
        if cid.hash().code() == IDENTITY {
            return Ok(cid.hash().digest().to_vec());
        }
        let wanted = *cid;
        let found = self.ask("get a block from", MAX_BLOCK_BYTES, move |client| block(client, &wanted))?;
        verify(cid, &found)?;
        Ok(found)
    }

    fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        if cid.hash().code() == IDENTITY { Ok(true) } else { self.has_block(cid) }
    }

    fn put_verified(&self, cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
        if !crate::is_to_be_kept(cid, block)? {
            return Ok(());
        }
        let codec = match cid.codec() {
            RAW => "raw",
            DAG_PB => "dag-pb",
            _ => "dag-cbor",
        };
        let rest = format!("/api/v0/block/put?cid-codec={codec}&mhtype=sha2-256&allow-big-block=true");
        let mut body = BodyBuilder::new(block.len())?;
        body.content.extend_from_slice(block);
        let body = body.finish();
        let put = move |client: &Client| body.put_into(client.post(&rest));
        let answer = self.ask("put a block on", MAX_ANSWER_BYTES, put)?;
        let answer: Option<Value> = serde_json::from_slice(&answer).ok();
        let key = answer.as_ref().and_then(|answer| answer.get("Key")?.as_str()?.parse::<Cid>().ok());
        if key.is_some_and(|key| key.hash() == cid.hash()) {
            return Ok(());
        }
        Err(self.failed("put a block on", &Failure::Wrong("it names the block otherwise".into())))
    }
}
