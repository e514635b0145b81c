//! Requests to a node over HTTP, whose answers have a limit: a node is a stranger, and its answers are kept in memory.

use std::task;

use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::http::reqwest::{Client, Response, StatusCode, Url, header};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use tower_service::Service;

/// The longest answer, in bytes. A node that gives the events of many blocks at once is asked for fewer.
pub const MOST_ANSWER: usize = 64 << 20;

/// The connections to one node.
#[derive(Clone, Debug)]
pub struct Bounded {
    client: Client,
    url: Url,
}

impl Bounded {
    /// Requests to this address, made by `client`.
    pub fn new(client: Client, url: Url) -> Self {
        Self { client, url }
    }

    async fn ask(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let body = serde_json::to_vec(&request).map_err(TransportError::ser_err)?;
        let sent = self.client.post(self.url).header(header::CONTENT_TYPE, "application/json").body(body).send();
        let mut response = sent.await.map_err(TransportErrorKind::custom)?;
        let status = response.status();
        let body = read(&mut response).await?;
        match serde_json::from_slice(&body) {
            Ok(answer) => Ok(answer),
            Err(error) if status == StatusCode::OK => Err(TransportError::deser_err(error, "")),
            // Its words are not passed on: they may be a page of a proxy.
            Err(_) => Err(TransportErrorKind::http_error(status.as_u16(), String::new())),
        }
    }
}

async fn read(response: &mut Response) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(TransportErrorKind::custom)? {
        if body.len() + chunk.len() > MOST_ANSWER {
            let error = format!("its answer has more than {} MiB", MOST_ANSWER >> 20);
            return Err(TransportErrorKind::non_retryable_str(&error));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

impl Service<RequestPacket> for Bounded {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), TransportError>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}
