//! Upload and download of a file against `ipfs add` and `ipfs get`, with a node on this computer.
//!
//! `FEDMKT_KUBO` names Kubo's program, `FEDMKT_MIB` how many MiB the file has (1024), `FEDMKT_ROUNDS` how often it goes
//! to and fro (3). Each round has a node and a store of its own; what counts is the median.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use fedmkt_store::{CachedStore, FolderStore, Kubo, Network, Patience, files};
use fedmkt_test_kit::kubo::Daemon;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Bytes that nothing can compress and no two blocks of which are alike.
fn write_file(path: &std::path::Path, mib: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..mib {
        for word in buffer.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&buffer)?;
    }
    file.sync_all()
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let done = work();
    (done, begin.elapsed())
}

fn main() {
    let (mib, rounds) = (number("FEDMKT_MIB", 1024), number("FEDMKT_ROUNDS", 3));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("file");
    write_file(&path, mib).expect("a disk with room");
    let name = path.to_str().expect("a path");
    let mut times: [Vec<Duration>; 7] = Default::default();
    for round in 0..rounds {
        let theirs = folder.path().join("theirs");
        {
            let Some(daemon) = Daemon::find("the benchmark") else { return };
            let (cid, add) = timed(|| daemon.repository.run(&["add", "--quieter", "--progress=false", name]));
            let output = theirs.to_str().expect("a path");
            let (_, get) = timed(|| daemon.repository.run(&["get", "--progress=false", "--output", output, &cid]));
            times[0].push(add);
            times[1].push(get);
        }
        fs::remove_file(&theirs).expect("a file");

        let daemon = Daemon::find("the benchmark").expect("it was there");
        let store = FolderStore::new(folder.path().join("store"));
        let (link, chunk) = timed(|| files::add_file(&store, File::open(&path).expect("a file")).expect("a file"));
        let node = Kubo::new(daemon.rpc.clone(), Patience::default()).expect("a node");
        let (_, upload) = timed(|| node.upload(&store, &link.cid, |_| ()).expect("an upload"));
        let fetched = |name: &str, rpc, gateways: Vec<_>| {
            let network = Network::new(rpc, gateways, Patience::default()).expect("a network");
            let cache = CachedStore::new(FolderStore::new(folder.path().join(name)), Some(network));
            let (_, fetch) = timed(|| cache.pin(&link.cid, u64::MAX).expect("everything"));
            (cache, fetch)
        };
        let (_, by_rpc) = fetched("by rpc", Some(daemon.rpc.clone()), Vec::new());
        let (cache, fetch) = fetched("cache", None, vec![daemon.gateway.clone()]);
        let ours = folder.path().join("ours");
        let (_, extract) = timed(|| files::extract(&cache, &link.cid, &ours, u64::MAX).expect("a file"));
        for (list, time) in times[2..].iter_mut().zip([chunk, upload, by_rpc, fetch, extract]) {
            list.push(time);
        }
        assert!(same(&path, &ours), "what came back is what went");
        fs::remove_file(&ours).expect("a file");
        for name in ["store", "by rpc", "cache"] {
            fs::remove_dir_all(folder.path().join(name)).expect("a folder");
        }
        println!("round {round}: {:.2?}", times.iter().map(|list| list[list.len() - 1]).collect::<Vec<_>>());
    }
    let [add, get, chunk, upload, by_rpc, fetch, extract] = times.map(|mut list| {
        list.sort();
        list[list.len() / 2].as_secs_f64()
    });
    println!("{mib} MiB, median of {rounds} rounds, seconds");
    println!("ipfs add                  {add:.2}");
    println!("files::add_file           {chunk:.2}");
    println!("Kubo::upload              {upload:.2}");
    println!("  both against ipfs add   {:.2}", (chunk + upload) / add);
    println!("  upload against ipfs add {:.2}", upload / add);
    println!("ipfs get                  {get:.2}");
    println!("CachedStore::pin by RPC   {by_rpc:.2}");
    println!("  against ipfs get        {:.2}", by_rpc / get);
    println!("CachedStore::pin, gateway {fetch:.2}");
    println!("files::extract            {extract:.2}");
    println!("  both against ipfs get   {:.2}", (fetch + extract) / get);
    println!("  pin against ipfs get    {:.2}", fetch / get);
}

fn same(one: &std::path::Path, other: &std::path::Path) -> bool {
    let (mut one, mut other) = (File::open(one).expect("a file"), File::open(other).expect("a file"));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    loop {
        first.clear();
        second.clear();
        Read::by_ref(&mut one).take(1 << 20).read_to_end(&mut first).expect("a file");
        Read::by_ref(&mut other).take(1 << 20).read_to_end(&mut second).expect("a file");
        if first != second || first.is_empty() {
            return first == second;
        }
    }
}
