//! `/healthz` and `/metrics`, on a port of this computer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::metrics::Metrics;

/// Connections at the same time.
const MOST_CONNECTIONS: usize = 16;

/// How long somebody may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);

/// Begins to answer, in a thread that ends with the process. Gives the address, whose port is a free one if 0 was wanted.
///
/// # Errors
/// When the address is not one of this computer alone, or is taken.
pub fn serve(address: SocketAddr, metrics: Arc<Metrics>, healthy_within: u64) -> anyhow::Result<SocketAddr> {
    if !address.ip().is_loopback() {
        bail!("{address} can be reached by others: name an address of this computer alone, such as 127.0.0.1");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener =
        runtime.block_on(TcpListener::bind(address)).with_context(|| format!("cannot listen at {address}"))?;
    let bound = listener.local_addr()?;
    std::thread::Builder::new().name("http".into()).spawn(move || {
        runtime.block_on(accept(listener, metrics, healthy_within));
    })?;
    Ok(bound)
}

async fn accept(listener: TcpListener, metrics: Arc<Metrics>, healthy_within: u64) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, say: others may give some back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let response = answer(&request, &metrics, healthy_within);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // Whoever goes away early has seen enough.
            let _ = tokio::time::timeout(2 * PATIENCE, connection).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, healthy_within: u64) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, metrics.text()),
        (&Method::GET, "/healthz") if metrics.is_healthy(healthy_within) => (StatusCode::OK, "ok\n".into()),
        (&Method::GET, "/healthz") => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the chain was not looked at for {healthy_within} s\n"))
        }
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "there are /healthz and /metrics\n".into()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "GET only\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::Ordering;

    use super::super::database::now;
    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn health_and_figures_are_told_and_nothing_else() {
        let metrics = Arc::new(Metrics::default());
        let address = serve("127.0.0.1:0".parse().expect("an address"), metrics.clone(), 60).expect("served");
        let get = |path: &str| ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(get("/healthz").starts_with("HTTP/1.1 503"));
        metrics.looked.store(now(), Ordering::Relaxed);
        assert!(get("/healthz").starts_with("HTTP/1.1 200"));
        assert!(get("/metrics").contains("fedmkt_verify_errors_total 0"));
        assert!(get("/").starts_with("HTTP/1.1 404"));
        assert!(
            ask(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").starts_with("HTTP/1.1 405")
        );
        assert!(ask(address, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
        let elsewhere = serve("0.0.0.0:0".parse().expect("an address"), metrics, 60);
        assert!(elsewhere.expect_err("refused").to_string().contains("can be reached by others"));
    }
}
