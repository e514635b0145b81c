//! What may stand between a party and its node: a network that drops requests, drops answers, delays, sends twice and lets
//! later ones overtake, which of these follows from a count; or a node that lies.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long an answer waits to be overtaken.
const PATIENCE: Duration = Duration::from_millis(300);

pub struct Proxy {
    address: String,
    counts: Arc<Counts>,
}

/// What a bad network did.
#[derive(Default, Debug)]
pub struct Counts {
    /// Requests or answers that were dropped.
    pub dropped: AtomicUsize,
    /// Requests that were sent twice.
    pub repeated: AtomicUsize,
    /// Answers that came after one to a later request.
    pub overtaken: AtomicUsize,
    answered: AtomicUsize,
}

impl Proxy {
    /// A bad network before the node at this address. It ends with the process.
    pub fn bad(node: &str) -> Self {
        let counts = Arc::<Counts>::default();
        let (node, seen) = (node.to_owned(), counts.clone());
        let address = serve(move |count, mut client| forward(count, &mut client, &node, &seen));
        Self { address, counts }
    }

    /// A node that answers as the one at this address would, but for what `lie` makes of the result. It is given the request.
    pub fn lying(node: &str, lie: impl Fn(&Value, &mut Value) + Send + Sync + 'static) -> Self {
        Self::answering(node, move |request, honest| {
            let mut answer = honest();
            if answer.get("result").is_some() {
                lie(request, &mut answer["result"]);
            }
            answer
        })
    }

    /// A node that answers each request with what `answer` says, which can ask the one at this address.
    pub fn answering(node: &str, answer: impl Fn(&Value, &dyn Fn() -> Value) -> Value + Send + Sync + 'static) -> Self {
        let node = node.to_owned();
        let address = serve(move |_, mut client| {
            let Some(body) = read(&mut client) else { return };
            let request: Value = serde_json::from_slice(&body).expect("a request");
            let honest = || -> Value {
                let answer = ask(&node, &body).expect("the node answers");
                let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
                serde_json::from_slice(&answer[head + 4..]).expect("an answer")
            };
            let body = answer(&request, &honest).to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length";
            let _ = write!(client, "{head}: {}\r\n\r\n{body}", body.len());
        });
        Self { address, counts: Arc::default() }
    }

    /// A node that begins an answer and never ends it.
    pub fn endless() -> Self {
        let address = serve(|_, mut client| {
            let _ = read(&mut client);
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n");
            while client.write_all(&[b' '; 1 << 20]).is_ok() {}
        });
        Self { address, counts: Arc::default() }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// Calls `handle` with each connection and how many came before it.
fn serve(handle: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let handle = Arc::new(handle);
    std::thread::spawn(move || {
        for (count, connection) in listener.incoming().flatten().enumerate() {
            let handle = handle.clone();
            std::thread::spawn(move || handle(count, connection));
        }
    });
    address
}

/// One request of each connection.
fn forward(count: usize, client: &mut TcpStream, node: &str, counts: &Counts) {
    let add = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::Relaxed);
    let Some(body) = read(client) else { return };
    let answer = match count % 8 {
        2 => {
            add(&counts.dropped);
            return;
        }
        3 => {
            std::thread::sleep(PATIENCE / 2);
            ask(node, &body)
        }
        4 => {
            // The node does it, and nobody hears of it.
            add(&counts.dropped);
            let _ = ask(node, &body);
            return;
        }
        5 => {
            add(&counts.repeated);
            let _ = ask(node, &body);
            ask(node, &body)
        }
        6 => {
            let answer = ask(node, &body);
            let (before, since) = (counts.answered.load(Ordering::Relaxed), Instant::now());
            while since.elapsed() < PATIENCE && counts.answered.load(Ordering::Relaxed) == before {
                std::thread::sleep(Duration::from_millis(5));
            }
            if counts.answered.load(Ordering::Relaxed) > before {
                add(&counts.overtaken);
            }
            answer
        }
        _ => ask(node, &body),
    };
    if let Some(answer) = answer {
        let _ = client.write_all(&answer);
        add(&counts.answered);
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
