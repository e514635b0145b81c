//! A network between a party and its node that drops requests, drops answers, delays, and sends twice. Which of these comes
//! next follows from a count.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub struct Proxy {
    address: String,
    dropped: Arc<AtomicUsize>,
    repeated: Arc<AtomicUsize>,
}

impl Proxy {
    /// Begins to forward to the node at this address. It ends with the process.
    pub fn start(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (dropped, repeated) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (node, counts) = (node.to_owned(), (dropped.clone(), repeated.clone()));
        std::thread::spawn(move || {
            for (count, connection) in listener.incoming().flatten().enumerate() {
                let (node, (dropped, repeated)) = (node.clone(), counts.clone());
                std::thread::spawn(move || forward(count, connection, &node, &dropped, &repeated));
            }
        });
        Self { address, dropped, repeated }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests or answers were dropped, and how many requests were sent twice.
    pub fn counts(&self) -> (usize, usize) {
        (self.dropped.load(Ordering::Relaxed), self.repeated.load(Ordering::Relaxed))
    }
}

/// One request of each connection.
fn forward(count: usize, mut client: TcpStream, node: &str, dropped: &AtomicUsize, repeated: &AtomicUsize) {
    let Some(body) = read(&mut client) else { return };
    let answer = match count % 7 {
        2 => {
            dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        3 => {
            std::thread::sleep(Duration::from_millis(150));
            ask(node, &body)
        }
        4 => {
            // The node does it, and nobody hears of it.
            dropped.fetch_add(1, Ordering::Relaxed);
            let _ = ask(node, &body);
            return;
        }
        5 => {
            repeated.fetch_add(1, Ordering::Relaxed);
            let _ = ask(node, &body);
            ask(node, &body)
        }
        _ => ask(node, &body),
    };
    if let Some(answer) = answer {
        let _ = client.write_all(&answer);
    }
}

/// The body of a request.
fn read(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    client.read_exact(&mut body).ok()?;
    Some(body)
}

fn ask(node: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(node).ok()?;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {node}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}
