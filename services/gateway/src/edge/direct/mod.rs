//! The path of the common request: HTTP/1.1 on both sides, no body or one with a length.
//!
//! ```text
//! connection -> request     the head, once more as positions; all else is left to pingora
//!               serve       route, policies, attempts, reply: the same rules as on the other path
//!               heads       both heads, written again
//!               exchange    both directions at once
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
//! - No wait on a socket without a deadline: all of them are in `exchange` and `alarm`.

#[cfg(test)]
mod agreement;
mod alarm;
mod body;
mod buffer;
mod chunks;
mod connect;
mod exchange;
mod heads;
mod request;
mod response_head;
mod serve;

#[cfg(test)]
pub(super) use request::RequestHead;
pub(super) use serve::Direct;
