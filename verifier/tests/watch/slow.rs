//! A gateway that takes as long as it can for the blocks that a test wants to be slow: a byte comes now and then, never so late
//! that nobody would wait for the next one, and never the last.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cid::Cid;
use fedmkt_store::Endpoint;
use fedmkt_test_kit::gateway::Gateway;

pub struct Slow {
    pub endpoint: Endpoint,
    held: Arc<Mutex<BTreeSet<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Slow {
    /// One that gives what this gateway gives.
    pub fn before(gateway: &Gateway) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let slow =
            Self { endpoint: endpoint.parse().expect("an address"), held: Arc::default(), asked: Arc::default() };
        let (held, asked) = (slow.held.clone(), slow.asked.clone());
        let behind = gateway.endpoint.to_string().trim_start_matches("http://").trim_end_matches('/').to_owned();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (held, asked, behind) = (held.clone(), asked.clone(), behind.clone());
                // Whoever asked may be gone: nothing is wrong with that.
                thread::spawn(move || drop(serve(connection, &held, &asked, &behind)));
            }
        });
        slow
    }

    /// From now on it gives this block slowly.
    pub fn hold(&self, cid: &Cid) {
        self.held.lock().expect("no test panics while it holds this").insert(cid.to_string());
    }

    /// How often it was asked for such a block.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn serve(
    mut connection: TcpStream,
    held: &Mutex<BTreeSet<String>>,
    asked: &AtomicUsize,
    behind: &str,
) -> io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let is_held = held.lock().expect("no test panics while it holds this").iter().any(|cid| first.contains(cid));
    if is_held {
        asked.fetch_add(1, Ordering::Relaxed);
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n")?;
        loop {
            connection.write_all(b"x")?;
            thread::sleep(Duration::from_millis(500));
        }
    }
    let mut other = TcpStream::connect(behind)?;
    other.write_all(format!("{first}Connection: close\r\n\r\n").as_bytes())?;
    io::copy(&mut other, &mut connection).map(drop)
}
