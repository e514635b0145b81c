//! An HTTP server on this computer that answers as a test says, also with nonsense or not at all.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fedmkt_store::Endpoint;

/// What a server does about one request.
pub enum Answer {
    /// A status and a body.
    Whole(u16, Vec<u8>),
    /// As above with another header, `Name: value`.
    With(u16, String, Vec<u8>),
    /// A body that is said to be one byte longer than what comes before the connection ends.
    Cut(Vec<u8>),
    /// Something that comes first, then the second thing again and again until nobody reads.
    Endless(Vec<u8>, Vec<u8>),
    /// Something, and then silence while the connection stays.
    Stuck(Vec<u8>),
    /// A body of which so many bytes come at a time, and then a pause.
    Trickle(Vec<u8>, usize, Duration),
    /// No answer while the connection stays.
    Silence,
}

/// A server; it ends with the test's process.
pub struct Server {
    pub endpoint: Endpoint,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` is given the path with its query.
    pub fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (seen, answer) = (seen.clone(), answer.clone());
                // Whoever asked may be gone: nothing is wrong with that.
                thread::spawn(move || drop(serve(connection, &seen, &*answer)));
            }
        });
        Self { endpoint: endpoint.parse().expect("an address"), requests }
    }

    /// Paths and queries of all requests.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no test panics while it holds this").clone()
    }
}

fn serve(mut connection: TcpStream, seen: &Mutex<Vec<String>>, answer: &dyn Fn(&str) -> Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        line.clear();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    std::io::copy(&mut std::io::Read::take(&mut reader, length), &mut std::io::sink())?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.lock().expect("no test panics while it holds this").push(path.clone());
    let whole = |status: u16, header: &str, length: usize| {
        format!("HTTP/1.1 {status} X\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    let unknown = "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n";
    match answer(&path) {
        Answer::Whole(status, body) => {
            connection.write_all(whole(status, "", body.len()).as_bytes())?;
            connection.write_all(&body)
        }
        Answer::With(status, header, body) => {
            connection.write_all(whole(status, &format!("{header}\r\n"), body.len()).as_bytes())?;
            connection.write_all(&body)
        }
        Answer::Cut(body) => {
            connection.write_all(whole(200, "", body.len() + 1).as_bytes())?;
            connection.write_all(&body)
        }
        Answer::Endless(first, rest) => {
            connection.write_all(unknown.as_bytes())?;
            connection.write_all(&first)?;
            loop {
                connection.write_all(&rest)?;
            }
        }
        Answer::Stuck(body) => {
            connection.write_all(unknown.as_bytes())?;
            connection.write_all(&body)?;
            reader.read_line(&mut line).map(drop)
        }
        Answer::Trickle(body, bytes, pause) => {
            connection.write_all(whole(200, "", body.len()).as_bytes())?;
            body.chunks(bytes).try_for_each(|chunk| {
                thread::sleep(pause);
                connection.write_all(chunk)
            })
        }
        // Until the other side closes the connection.
        Answer::Silence => reader.read_line(&mut line).map(drop),
    }
}
