//! Compares what the three readers of a request make of the same bytes: the check of the head and
//! the stream behind it, the direct path, and pingora. Whatever the first accepts must mean the same
//! to the others, or the end of one request could be the start of another.

use std::{io::Cursor, time::Duration};

use bytes::BytesMut;
use pingora::protocols::http::v1::server::HttpSession;
use proptest::prelude::*;

use super::{
    client_stream::Extent,
    direct::RequestHead,
    request_head::{FoundHead, HeadLimits, HeadScan},
};
use crate::fuzz;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 4096,
    count: 30,
    timeout: Duration::from_secs(1),
    idle_timeout: Duration::from_secs(1),
    closing_timeout: Duration::ZERO,
};

/// A request without what follows it.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    head: Vec<u8>,
    /// With chunks, if it has some.
    body: Vec<u8>,
    ended: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Request(Request),
    Incomplete,
    Http2,
    Refused(&'static str),
}

/// Feeds the bytes in parts of this size. `direct` is what the direct path reads.
fn read_here(bytes: &[u8], part: usize, direct: &mut RequestHead) -> Outcome {
    let mut scan = HeadScan::default();
    let mut buffer = BytesMut::new();
    let mut parts = bytes.chunks(part);
    let (length, extent, respelled) = loop {
        match scan.find(&mut buffer, LIMITS, direct) {
            Ok(Some(FoundHead::Request {
                length,
                extent,
                respelled,
            })) => break (length, extent, respelled),
            Ok(Some(FoundHead::Http2)) => return Outcome::Http2,
            Ok(None) => {}
            Err(problem) => return Outcome::Refused(problem.kind.code),
        }
        let Some(next) = parts.next() else {
            return Outcome::Incomplete;
        };
        buffer.extend_from_slice(next);
    };
    let head = buffer.split_to(length);
    let head = respelled.unwrap_or(head).to_vec();
    for next in parts {
        buffer.extend_from_slice(next);
    }
    let (length, ended) = match extent {
        Extent::Ended | Extent::Handshake | Extent::Tunnel => (0, true),
        Extent::Length(length) => {
            let here = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            (here, here as u64 == length)
        }
        Extent::Chunked(mut chunks) => match chunks.take(&buffer) {
            Ok(taken) => taken,
            Err(_) => return Outcome::Refused("malformed_request"),
        },
    };
    Outcome::Request(Request {
        head,
        body: buffer[..length].to_vec(),
        ended,
    })
}

/// Method, target and fields.
type Head = (String, Vec<u8>, Vec<(String, Vec<u8>)>);

/// The head, and the body without chunks; `None` if it does not end.
async fn read_by_pingora(request: &Request) -> Result<(Head, Option<Vec<u8>>), String> {
    let bytes = [&request.head[..], &request.body].concat();
    let mut session = HttpSession::new(Box::new(Cursor::new(bytes)));
    let read = session.read_request().await;
    read.map_err(|error| error.to_string())?.ok_or("no head")?;
    let head = session.req_header();
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let head = (
        head.method.to_string(),
        head.raw_path().to_vec(),
        fields.collect(),
    );
    let mut body = Vec::new();
    loop {
        match session.read_body_bytes().await {
            Ok(Some(part)) => body.extend_from_slice(&part),
            Ok(None) => return Ok((head, Some(body))),
            Err(_) => return Ok((head, None)),
        }
    }
}

fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut direct = RequestHead::default();
    let whole = read_here(bytes, bytes.len().max(1), &mut direct);
    for part in [1, 7] {
        let parted = read_here(bytes, part, &mut RequestHead::default());
        prop_assert_eq!(&whole, &parted, "in parts of {}", part);
    }
    let Outcome::Request(request) = whole else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let there = runtime.unwrap().block_on(read_by_pingora(&request));
    let (head, body) = match there {
        Ok(read) => read,
        Err(error) => return Err(TestCaseError::fail(format!("pingora refuses it: {error}"))),
    };
    prop_assert_eq!(body.is_some(), request.ended, "where the body ends");
    if direct.is_common() {
        let view = direct.view(&request.head);
        let fields = view.fields().map(|(name, value)| {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            (name, value.to_vec())
        });
        let mut fields: Vec<_> = fields.collect();
        let (method, target, mut others) = head;
        // pingora groups the values of one name.
        fields.sort();
        others.sort();
        prop_assert_eq!(direct.method().as_str(), method);
        prop_assert_eq!(view.target(), &target[..]);
        prop_assert_eq!(fields, others);
        if let Some(body) = body {
            prop_assert_eq!(direct.body_bytes(), body.len() as u64);
        }
    }
    Ok(())
}

const DICTIONARY: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ",",
    ";",
    ":",
    "/",
    "?",
    "#",
    "%",
    "@",
    "\\",
    "<",
    ">",
    "\"",
    "`",
    "{",
    "|",
    "^",
    "\u{e9}",
    "\u{7f}",
    "*",
    "\u{0}",
    "0",
    "5",
    "0\r\n\r\n",
    "\r\n\r\n",
    "5\r\nabcde\r\n",
    ";x=1",
    "chunked",
    "close",
    "http://",
    "a.",
    "HTTP/1.0",
    "HTTP/1.1",
    "GET ",
    "POST ",
    "HEAD ",
    "\r\nHost: a",
    "\r\nHost:",
    "\r\nContent-Length: 5",
    "\r\nContent-Length:",
    "\r\nTransfer-Encoding: chunked",
    "\r\nTransfer-Encoding:",
    "\r\nConnection: close",
    "\r\nExpect: 100-continue",
    "\r\nUpgrade: websocket",
    "\r\nX_Y: 1",
];

#[test]
fn fuzz_request_heads() {
    fuzz::run("requests", DICTIONARY, agree);
}

/// Every byte at every place where one is read into a type of its own.
#[test]
fn what_pingora_refuses_is_refused_before() {
    for byte in 0..=u8::MAX {
        for (before, after) in [
            ("GET", " / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET /x", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET /x?", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET http://a/x", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET ", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a", "\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX", ": 1\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: 1", "2\r\n\r\n"),
        ] {
            let bytes = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            if let Err(error) = agree(&bytes) {
                panic!("{error}: {}", bytes.escape_ascii());
            }
        }
    }
}
