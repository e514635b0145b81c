//! A long answer as something to read from, on a thread that may block.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

use bytes::{Buf, Bytes};
use tokio::sync::Semaphore;

use super::client::{Failure, Long};
use super::until::{MOMENT, Until};

/// Pieces that may wait to be read.
const PIECES: usize = 64;

/// A long answer; the transfer ends when this is dropped.
pub(super) struct Stream {
    pieces: Receiver<Result<Bytes, Failure>>,
    room: Arc<Semaphore>,
    piece: Bytes,
    until: Until,
}

impl Stream {
    /// Must be called on a thread of a runtime.
    pub fn of(mut long: Long, until: Until) -> Self {
        let (sender, pieces) = mpsc::channel();
        let room = Arc::new(Semaphore::new(PIECES));
        let taken = room.clone();
        tokio::spawn(async move {
            // The semaphore is closed when nobody reads any more.
            while let Ok(permit) = taken.acquire().await {
                permit.forget();
                let piece = match long.next().await {
                    Ok(Some(piece)) => Ok(piece),
                    Ok(None) => return,
                    Err(failure) => Err(failure),
                };
                let failed = piece.is_err();
                if sender.send(piece).is_err() || failed {
                    return;
                }
            }
        });
        Self { pieces, room, piece: Bytes::new(), until }
    }
}

impl Read for Stream {
    /// Errors hold a [`Failure`], or why it is no longer waited.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            self.until.check().map_err(io::Error::other)?;
            match self.pieces.recv_timeout(MOMENT) {
                Ok(piece) => self.piece = piece.map_err(io::Error::other)?,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
            self.room.add_permits(1);
        }
        let bytes = buffer.len().min(self.piece.len());
        buffer[..bytes].copy_from_slice(&self.piece[..bytes]);
        self.piece.advance(bytes);
        Ok(bytes)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.room.close();
    }
}
