//! Blocks of other computers: a Kubo node by its RPC, and trustless gateways.
//!
//! Nobody is trusted: a block counts when it matches its CID, an archive as far as its blocks belong to what was asked
//! for. Whoever gives something wrong is not asked again; whoever is slow is overtaken; whoever fails is asked again
//! later, after those who did not.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;

use cid::Cid;
use fedmkt_core::unixfs::{DAG_PB, RAW};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

mod client;
mod endpoint;
mod kubo;
mod stream;
mod until;

pub use client::{Failure, Patience};
pub use endpoint::{Endpoint, NotAnEndpoint};
pub use kubo::{Kubo, Uploaded};
pub use until::{Ended, Until};

use client::{Client, Kind};
use stream::Stream;

use crate::{
    BlockStore, Counted, FolderStore, IDENTITY, MAX_BLOCK_BYTES, StoreError, car, check_supported, dag, files, verify,
};

/// The most blocks of one DAG.
const MAX_BLOCKS: usize = 1 << 22;

/// Blocks that are asked for at the same time.
const BLOCKS_AT_ONCE: usize = 8;

/// If so many parts are lacking, an archive is worth its request, although it brings those that are there as well.
const MANY_PARTS: usize = 32;

/// Bytes below which a request takes longer than what it brings. Larger blocks come sooner one by one: nobody makes an
/// archive faster than its blocks one after the other.
const SMALL_PART_BYTES: u64 = 64 << 10;

/// The threads that talk to others. They are never more, and live as long as the process.
fn runtime() -> Result<&'static Runtime, StoreError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(4);
    let made = Builder::new_multi_thread().worker_threads(threads).thread_name("fedmkt-net").enable_all().build();
    let made = made.map_err(|error| StoreError::Stream("start the network's threads", error))?;
    Ok(RUNTIME.get_or_init(|| made))
}

/// Waits for a task; may be called anywhere, also on the threads of another runtime.
fn wait<T: Send + 'static>(runtime: &Runtime, task: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        let _ = sender.send(task.await);
    });
    receiver.recv().expect("a task does not panic")
}

/// What became of asking somebody for a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tried {
    /// The node or gateway.
    pub endpoint: String,
    /// Why it was of no use.
    pub failure: Failure,
}

impl Tried {
    fn new(client: &Client, failure: Failure) -> Self {
        Self { endpoint: client.endpoint.to_string(), failure }
    }
}

/// Where blocks may be had: a Kubo node, gateways, or both.
pub struct Network {
    node: Option<Kubo>,
    /// The node first.
    backends: Vec<Arc<Client>>,
    patience: Patience,
    until: Until,
    runtime: &'static Runtime,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Network").field(&self.backends).finish()
    }
}

impl Network {
    /// The network of these; nobody is asked for anything yet.
    ///
    /// # Errors
    /// When this computer cannot make connections.
    pub fn new(
        node: Option<Endpoint>,
        gateways: impl IntoIterator<Item = Endpoint>,
        patience: Patience,
    ) -> Result<Self, StoreError> {
        let node = node.map(|endpoint| Kubo::new(endpoint, patience)).transpose()?;
        let mut backends: Vec<_> = node.iter().map(|node| node.client.clone()).collect();
        for gateway in gateways {
            backends.push(Arc::new(Client::new(Kind::Gateway, gateway, patience)?));
        }
        Ok(Self { node, backends, patience, until: Until::default(), runtime: runtime()? })
    }

    /// The same network, which is asked for blocks only until then. All that it does counts, also what was begun before:
    /// an end is noticed within a moment, whatever the other side does. Uploads by [`Self::node`] have no such end.
    #[must_use]
    pub fn until(self, until: Until) -> Self {
        Self { until, ..self }
    }

    /// The node, which takes uploads.
    pub fn node(&self) -> Option<&Kubo> {
        self.node.as_ref()
    }

    /// Those who may be asked, in this order.
    fn backends(&self) -> Vec<Arc<Client>> {
        let mut backends: Vec<_> = self.backends.iter().filter(|backend| !backend.is_banned()).cloned().collect();
        backends.sort_by_key(|backend| backend.faults());
        backends
    }

    /// The block with this CID, verified, from whoever gives it first.
    ///
    /// # Errors
    /// When nobody does.
    pub fn block(&self, cid: &Cid) -> Result<Vec<u8>, StoreError> {
        check_supported(cid)?;
        if cid.hash().code() == IDENTITY {
            return Ok(cid.hash().digest().to_vec());
        }
        let (race, until) = (race(self.backends(), self.patience, *cid), self.until.clone());
        let block = wait(self.runtime, async move { until.wait_for(race).await });
        block.map_err(|why| StoreError::Ended { cid: *cid, why })?.map_err(|tried| self.unavailable(cid, tried))
    }

    fn unavailable(&self, cid: &Cid, mut tried: Vec<Tried>) -> StoreError {
        for backend in self.backends.iter().filter(|backend| backend.is_banned()) {
            let tried_now = tried.iter().any(|tried| tried.endpoint == backend.endpoint.to_string());
            if !tried_now {
                tried.push(Tried::new(backend, Failure::Wrong("it did so before, and is not asked again".into())));
            }
        }
        StoreError::Unavailable { cid: *cid, tried: tried.into() }
    }

    /// Gets everything below `root` that `store` does not have: block by block, and many small ones as archives where that
    /// works. Blocks that came before an error stay in the store.
    ///
    /// # Errors
    /// When a block cannot be had or is malformed, the store cannot take it, or all blocks below `root`, with those that
    /// the store has, have more than `most_bytes`; and when it has taken as long as it may ([`Self::until`]).
    pub fn fetch(&self, store: &FolderStore, root: &Cid, most_bytes: u64) -> Result<(), StoreError> {
        let (until, counted) = (&self.until, BTreeSet::new());
        let mut fetch = Fetch { store, root: *root, most_bytes, until, bytes: 0, blocks: 0, counted };
        let mut walked = BTreeSet::new();
        let mut open = vec![version_1(root)];
        let mut archives = true;
        while !open.is_empty() {
            let mut absent = Vec::new();
            while let Some(cid) = open.pop() {
                if !walked.insert(cid) {
                    continue;
                }
                match fetch.links(&cid)? {
                    Some(links) => open.extend(links.into_iter().rev()),
                    None => absent.push(cid),
                }
            }
            for node in self.blocks(&mut fetch, absent)? {
                if archives && node.has_small_parts && fetch.lacks_many(&node.links)? {
                    archives = self.archive(&mut fetch, &node.cid)?;
                }
                open.extend(node.links.into_iter().rev());
            }
        }
        Ok(())
    }

    /// Takes all it can get of an archive of everything below `cid`. Says whether anybody gives archives.
    fn archive(&self, fetch: &mut Fetch<'_>, cid: &Cid) -> Result<bool, StoreError> {
        let before = fetch.counted.len();
        let backends = self.backends();
        for backend in &backends {
            let others = backends.iter().any(|other| !Arc::ptr_eq(other, backend) && other.faults() == 0);
            let (wanted, client, until) = (*cid, backend.clone(), self.until.clone());
            let stream = wait(self.runtime, async move {
                let long = until.wait_for(client.archive(&wanted)).await;
                long.map(|long| long.map(|long| Stream::of(if others { long.hurried() } else { long }, until)))
            });
            let taken = match stream.map_err(|why| StoreError::Ended { cid: *cid, why })? {
                Ok(stream) => fetch.take_archive(cid, stream),
                Err(failure) => Err(Trouble::Backend(failure)),
            };
            match taken {
                Ok(()) => {
                    backend.note(None);
                    return Ok(true);
                }
                Err(Trouble::Backend(failure)) => backend.note(Some(&failure)),
                Err(Trouble::Ours(error)) => return Err(error),
            }
            // What has come is of use; the rest is asked for block by block, of all of them.
            if fetch.counted.len() > before {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Gets these blocks; gives those that have links.
    fn blocks(&self, fetch: &mut Fetch<'_>, wanted: Vec<Cid>) -> Result<Vec<Parent>, StoreError> {
        let (sender, receiver) = mpsc::channel();
        let mut wanted = wanted.into_iter();
        let mut under_way = 0;
        let mut parents = Vec::new();
        loop {
            while under_way < BLOCKS_AT_ONCE
                && let Some(cid) = wanted.next()
            {
                let (sender, race) = (sender.clone(), race(self.backends(), self.patience, cid));
                let until = self.until.clone();
                self.runtime.spawn(async move {
                    // Nobody waits when another block cannot be had.
                    let _ = sender.send((cid, until.wait_for(race).await));
                });
                under_way += 1;
            }
            if under_way == 0 {
                return Ok(parents);
            }
            let (cid, block) = receiver.recv().expect("there is a sender here");
            under_way -= 1;
            let block = block.map_err(|why| StoreError::Ended { cid, why })?;
            let block = block.map_err(|tried| self.unavailable(&cid, tried))?;
            fetch.store.put_verified(&cid, &block)?;
            let links = fetch.take(&cid, &block)?;
            if !links.is_empty() {
                parents.push(Parent { cid, has_small_parts: has_small_parts(&cid, &block)?, links });
            }
        }
    }
}

/// A block that links to others.
struct Parent {
    cid: Cid,
    has_small_parts: bool,
    links: Vec<Cid>,
}

/// As far as the block itself tells: it may be wrong about what lies below it.
fn has_small_parts(cid: &Cid, block: &[u8]) -> Result<bool, StoreError> {
    if cid.codec() != DAG_PB {
        return Ok(false);
    }
    let links = files::Node::decode(cid, block)?.links;
    let bytes = links.iter().fold(0, |sum: u64, link| sum.saturating_add(link.tree_bytes));
    Ok(bytes < SMALL_PART_BYTES.saturating_mul(links.len() as u64))
}

/// Why an archive was not taken to its end.
enum Trouble {
    /// Another backend may do better.
    Backend(Failure),
    /// Nobody else can help.
    Ours(StoreError),
}

/// One DAG that is being fetched.
struct Fetch<'a> {
    store: &'a FolderStore,
    root: Cid,
    most_bytes: u64,
    until: &'a Until,
    /// Bytes of the blocks that were counted.
    bytes: u64,
    /// Those blocks, and links to others.
    blocks: usize,
    /// Blocks that the store has.
    counted: BTreeSet<Cid>,
}

impl Fetch<'_> {
    /// The links of a block of the store; `None` if it does not have it, or only damaged.
    fn links(&mut self, cid: &Cid) -> Result<Option<Vec<Cid>>, StoreError> {
        check_supported(cid)?;
        if cid.codec() == RAW {
            // Not read: nothing is below it, and it is checked when it is used.
            let bytes = self.store.block_bytes(cid)?;
            return bytes.map(|bytes| self.count(cid, bytes, 0).map(|()| Vec::new())).transpose();
        }
        match self.store.get(cid) {
            Ok(block) => self.take(cid, &block).map(Some),
            Err(StoreError::Missing(_) | StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lacks_many(&self, parts: &[Cid]) -> Result<bool, StoreError> {
        let mut lacking = 0;
        for part in parts {
            lacking += usize::from(!self.store.has(part)?);
        }
        Ok(lacking >= MANY_PARTS)
    }

    /// Every block comes by here, wherever it is from.
    fn count(&mut self, cid: &Cid, bytes: u64, links: usize) -> Result<(), StoreError> {
        self.until.check().map_err(|why| StoreError::Ended { cid: *cid, why })?;
        if !self.counted.insert(version_1(cid)) {
            return Ok(());
        }
        self.bytes += bytes;
        self.blocks += 1 + links;
        if self.bytes > self.most_bytes {
            return Err(StoreError::TooMuch { cid: self.root, what: Counted::Bytes, most: self.most_bytes });
        }
        if self.blocks > MAX_BLOCKS {
            return Err(StoreError::TooMuch { cid: self.root, what: Counted::Blocks, most: MAX_BLOCKS as u64 });
        }
        Ok(())
    }

    /// Counts a block; gives the CIDs it links to.
    fn take(&mut self, cid: &Cid, block: &[u8]) -> Result<Vec<Cid>, StoreError> {
        let mut links = dag::links(cid, block)?;
        self.count(cid, block.len() as u64, links.len())?;
        links.iter_mut().for_each(|link| *link = version_1(link));
        Ok(links)
    }

    /// Takes blocks as long as they lie below `top` and come after what links to them.
    fn take_archive(&mut self, top: &Cid, stream: impl io::Read) -> Result<(), Trouble> {
        let (mut wanted, mut taken) = (BTreeSet::from([*top]), BTreeSet::new());
        let of_stream = |error| of_stream(top, error);
        let mut reader = car::Reader::new(stream).map_err(of_stream)?;
        let (mut repeated, mut repeated_bytes) = (0, 0);
        while let Some(section) = reader.next().map_err(of_stream)? {
            let cid = version_1(&section.cid);
            let block = section.block();
            if !wanted.remove(&cid) {
                // Some send a block as often as it is linked to.
                repeated += 1;
                repeated_bytes += block.len() as u64;
                if taken.contains(&cid) && repeated <= self.blocks && repeated_bytes <= self.most_bytes {
                    continue;
                }
                return Err(Trouble::Backend(Failure::Wrong("a block that was not asked for".into())));
            }
            check_supported(&cid).map_err(Trouble::Ours)?;
            verify(&cid, block)
                .map_err(|_| Trouble::Backend(Failure::Wrong("a block that does not match its CID".into())))?;
            // Before it is written: there may be too many.
            let links = self.take(&cid, block).map_err(Trouble::Ours)?;
            self.store.put_verified(&cid, block).map_err(Trouble::Ours)?;
            taken.insert(cid);
            wanted.extend(links.into_iter().filter(|link| !taken.contains(link)));
        }
        // It may be incomplete, but not about something else.
        if taken.contains(top) { Ok(()) } else { Err(Trouble::Backend(Failure::Absent)) }
    }
}

/// Blame for an archive that cannot be read on.
fn of_stream(cid: &Cid, error: StoreError) -> Trouble {
    if let StoreError::Stream(_, error) = &error
        && let Some(why) = error.get_ref().and_then(|error| error.downcast_ref::<Ended>())
    {
        return Trouble::Ours(StoreError::Ended { cid: *cid, why: *why });
    }
    let failure = match &error {
        StoreError::Stream(_, error) => error.get_ref().and_then(|error| error.downcast_ref::<Failure>()).cloned(),
        // One that was cut short between two pieces.
        StoreError::Car(why) => Some(Failure::Cut(why.clone())),
        _ => None,
    };
    failure.map_or(Trouble::Ours(error), Trouble::Backend)
}

fn version_1(cid: &Cid) -> Cid {
    Cid::new_v1(cid.codec(), *cid.hash())
}

impl Client {
    async fn block(&self, cid: &Cid) -> Result<Vec<u8>, Failure> {
        let request = match self.kind {
            Kind::Node => kubo::block(self, cid),
            Kind::Gateway => self.get(&format!("/ipfs/{cid}?format=raw"), "application/vnd.ipld.raw"),
        };
        let block = self.long(request).await?.whole(MAX_BLOCK_BYTES).await?;
        match verify(cid, &block) {
            Ok(()) => Ok(block),
            Err(_) => Err(Failure::Wrong("a block that does not match its CID".into())),
        }
    }

    async fn archive(&self, cid: &Cid) -> Result<client::Long, Failure> {
        const KIND: &str = "application/vnd.ipld.car; version=1; order=dfs; dups=n";
        let request = match self.kind {
            Kind::Node => kubo::archive(self, cid),
            Kind::Gateway => self.get(&format!("/ipfs/{cid}?format=car&dag-scope=all"), KIND),
        };
        self.long(request).await
    }
}

/// Asks one after the other, the next as soon as one has failed or takes longer than its head start; those who may do
/// better another time again, after a pause.
async fn race(backends: Vec<Arc<Client>>, patience: Patience, cid: Cid) -> Result<Vec<u8>, Vec<Tried>> {
    let mut latest: Vec<Option<Failure>> = vec![None; backends.len()];
    for round in 0..patience.tries.max(1) {
        if round > 0 {
            tokio::time::sleep(patience.pause_after(round - 1)).await;
        }
        let again = |failure: &Option<Failure>| failure.as_ref().is_none_or(Failure::may_pass);
        let mut waiting = (0..backends.len()).filter(|index| again(&latest[*index])).collect::<Vec<_>>().into_iter();
        let mut asked = JoinSet::new();
        loop {
            if let Some(index) = waiting.next() {
                let backend = backends[index].clone();
                asked.spawn(async move { (index, backend.block(&cid).await) });
            }
            let answer = if waiting.len() > 0 {
                // Nobody has answered yet: the next one starts.
                let Ok(answer) = tokio::time::timeout(patience.head_start, asked.join_next()).await else { continue };
                answer
            } else {
                asked.join_next().await
            };
            let Some(answer) = answer else { break };
            let (index, answer) = answer.expect("a request neither panics nor is cancelled");
            backends[index].note(answer.as_ref().err());
            match answer {
                // The others are dropped, and their connections with them.
                Ok(block) => return Ok(block),
                Err(failure) => latest[index] = Some(failure),
            }
        }
        if !latest.iter().flatten().any(Failure::may_pass) {
            break;
        }
    }
    let tried = backends.iter().zip(latest);
    Err(tried.filter_map(|(backend, failure)| Some(Tried::new(backend, failure?))).collect())
}
