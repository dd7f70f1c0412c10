//! What a client is still sending when its response is there.

use std::pin::pin;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::buffer::Buffer;
use crate::edge::{client_stream::ClientStream, reply};

/// True: the request was read to its end.
pub(super) async fn discard_small_body(stream: &mut ClientStream, bytes: u64) -> bool {
    stream.take_body();
    if !stream.has_ended() && bytes <= reply::DISCARDED_BYTES {
        let read = async {
            let mut buffer = Buffer::lend();
            while !stream.has_ended() {
                let read = std::future::poll_fn(|context| {
                    buffer.consume(usize::MAX);
                    buffer.poll_read(stream, u64::MAX, context)
                });
                if !matches!(read.await, Ok(1..)) {
                    return;
                }
            }
        };
        let _ = timeout(reply::DISCARD_TIMEOUT, read).await;
    }
    stream.has_ended()
}

/// Closes, and reads what the client was sending: a reset could otherwise overtake the response.
pub(super) async fn linger(stream: &mut ClientStream) {
    stream.read_on();
    let closing = pin!(async {
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    });
    let _ = timeout(reply::LINGER, closing).await;
}
