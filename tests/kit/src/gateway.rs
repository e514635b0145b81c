//! A trustless gateway of a test's own, on this computer: it gives the blocks of a folder one by one, but those that the
//! test wants to be gone.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cid::Cid;
use fedmkt_store::{BlockStore, Endpoint, FolderStore};

/// A gateway; it ends with the test's process.
pub struct Gateway {
    /// Its address.
    pub endpoint: Endpoint,
    withheld: Arc<Mutex<BTreeSet<Cid>>>,
    asked: Arc<AtomicUsize>,
}

impl Gateway {
    /// One that gives the blocks of a store, also such as come later.
    ///
    /// # Panics
    /// When this computer has no port for it.
    pub fn start(store: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let withheld: Arc<Mutex<BTreeSet<Cid>>> = Arc::default();
        let (hidden, store) = (withheld.clone(), Arc::new(FolderStore::new(store)));
        let asked = Arc::<AtomicUsize>::default();
        let counted = asked.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::Relaxed);
                let (hidden, store) = (hidden.clone(), store.clone());
                // Whoever asked may be gone: nothing is wrong with that.
                thread::spawn(move || drop(serve(connection, &hidden, &store)));
            }
        });
        Self { endpoint: endpoint.parse().expect("an address"), withheld, asked }
    }

    /// How often it was asked for something.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// From now on it says that it does not have this block.
    pub fn withhold(&self, cid: Cid) {
        lock(&self.withheld).insert(cid);
    }

    /// From now on it gives this block again.
    pub fn give(&self, cid: &Cid) {
        lock(&self.withheld).remove(cid);
    }
}

fn lock(withheld: &Mutex<BTreeSet<Cid>>) -> std::sync::MutexGuard<'_, BTreeSet<Cid>> {
    withheld.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut connection: TcpStream, withheld: &Mutex<BTreeSet<Cid>>, store: &FolderStore) -> io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    // Archives are for others to give.
    let asked = first.split(' ').nth(1).and_then(|path| path.strip_prefix("/ipfs/")?.strip_suffix("?format=raw"));
    let cid = asked.and_then(|cid| Cid::try_from(cid).ok()).filter(|cid| !lock(withheld).contains(cid));
    let (status, block) = match cid.and_then(|cid| store.get(&cid).ok()) {
        Some(block) => ("200 OK", block),
        None => ("404 Not Found", Vec::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", block.len());
    connection.write_all(head.as_bytes())?;
    connection.write_all(&block)
}
