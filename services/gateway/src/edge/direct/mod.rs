//! The path of the common request: HTTP/1.1 on both sides, no body or one with a length, and the
//! handshake of a WebSocket with the tunnel that follows.
//!
//! ```text
//! connection -> request     the head as positions in its bytes; what is rare is left to pingora
//!               serve       route and policies: the same rules as on the other path
//!                 answer, failed, closing        responses of the gateway's own
//!                 sendfile                       their bodies, from large files
//!               attempt     a replica, and what comes of it
//!               refresh     the same for a stored response, without a client
//!               heads       both heads, written again
//!               exchange    both directions at once
//!               tunnel      after the handshake of a WebSocket: the rest is gone by then
//!                 response_head, chunks, body    where the response ends
//!                 buffer, alarm                  what a connection has only while it is busy
//! ```
//!
//! This path knows bytes, the other one knows pingora; what is decided about a request is decided
//! by the code that they share. Invariants:
//!
//! - A request is declined before anything of its body is read or any policy has run, so that the
//!   other path finds it untouched.
//! - Whatever does not say in exactly one way where a response ends is refused, and its connection
//!   closed. Otherwise bytes of one client's response could reach another client.
//! - No wait on a socket without a deadline: all of them are in `exchange`, `tunnel` and `alarm`.

#[cfg(test)]
mod agreement;
mod alarm;
mod answer;
mod attempt;
mod body;
mod buffer;
mod chunks;
mod closing;
mod connect;
mod exchange;
mod failed;
mod heads;
mod refresh;
mod request;
mod response_head;
#[cfg(target_os = "linux")]
mod sendfile;
mod serve;
mod tunnel;

pub(super) use alarm::Alarm;
pub(super) use request::RequestHead;
pub(super) use serve::{DirectConnection, Served};
pub(super) use tunnel::Tunnel;
