//! The only modules that know pingora: the life of a connection and of a request, a file per phase.
//!
//! ```text
//! connection ------ proxy_header        whose connection it is, on listeners behind such a proxy
//!     |             handshake, tls_stream    TLS, on listeners that have it
//!     |             request_head        reads one head, within its limits; else 400, 408 or 431
//!     |  ^          framing             the headers that say where it ends
//!     |  ^          absolute_form       a head whose target is a URL, written with a path
//!     |  ^          client_stream       lets a request be read to its end and no further
//!     |  ^          gather, date        joins what pingora writes in parts; puts a header back into it
//!     v  | keep-alive
//!     |  `- http2, abandoned            the same for a connection with HTTP/2
//!   proxy           (pingora calls these, in this order)
//!     1. ctx               client IP, request id, trace
//!        downstream        time-outs; what HTTP/2 heads and `Connection` may say
//!     2. request           route, policies, page of the gateway itself      -> reply
//!        refresh           the same request again, for a cache whose response was stale
//!     3. peer              a replica to try
//!        attempt           which one, and whether another one follows, for the direct path too
//!        departure         whether the client still waits for it
//!        try_timeout       the time-outs of one attempt, and of the whole request
//!        slow_try          whether an attempt is given up then
//!     4. upstream_request  headers for the replica
//!     5. request_body      counts the body as it arrives                    -> failure
//!        mirror            copies 4 and 5 for the mirror of the route
//!     6. response          replica is healthy; headers for the client
//!        response_framing  where the body ends, for the direct path too    -> failure
//!     7. logging           access line, metrics, span
//!        parts             heads without pingora's table of names, for 1, 4 and 6
//!        kept              the connection, if another response was sent whole
//!   failure         back to 3 with another replica if that is safe, else    -> reply
//! ```
//!
//! - [`ctx::Ctx`] is the only thing that passes from phase to phase. It holds the snapshot, so a
//!   reload does not change a request that is under way.
//! - `logging` runs exactly once for every request that reached `ctx`, however it ended; a head that
//!   was rejected before is logged by `reply`. Without that, refused traffic would be invisible.
//! - Only `reply` writes responses of the gateway's own, so that all of them have a request id, a
//!   trace and, as problems, the same body.
//! - A response that is sent before the request was read to its end is followed by a lingering
//!   close: a reset could otherwise overtake it, and the client would see a broken connection
//!   instead of the problem.

mod abandoned;
mod absolute_form;
#[cfg(test)]
mod agreement;
mod attempt;
mod chunks;
mod client_stream;
mod connection;
mod ctx;
mod date;
mod departure;
mod direct;
mod downstream;
mod failure;
mod framing;
mod gather;
mod handshake;
mod http2;
mod kept;
mod logging;
mod mirror;
mod parts;
mod peer;
mod pings;
mod proxy;
mod proxy_header;
mod refresh;
mod reply;
mod request;
mod request_body;
mod request_head;
mod response;
mod response_framing;
pub(crate) mod server;
mod slow_try;
mod socket;
mod tls_stream;
mod try_timeout;
mod tunnel;
mod upstream_request;
