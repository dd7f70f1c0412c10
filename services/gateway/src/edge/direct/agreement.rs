//! Compares what this path and pingora read of the same bytes.
//!
//! What is accepted here must mean the same there: a response that the two understand differently
//! is one whose end is in doubt. Responses are those in `tests/corpus`, changed at random
//! ([`fuzz`]).

use std::{io::Cursor, mem::MaybeUninit};

use pingora::protocols::http::v1::client::HttpSession;
use proptest::prelude::*;

use super::{
    body::BodyReader,
    chunks::BodyPart,
    response_head::{HeadEnd, MAX_FIELDS, parse},
};
use crate::{edge::response_framing::Framing, fuzz};

/// A whole response: status, body, and whether another may follow.
#[derive(Debug, PartialEq, Eq)]
struct ReadResponse {
    status: u16,
    body: Vec<u8>,
    persistent: bool,
}

/// `None`: refused, incomplete, or an interim response, which pingora reads one by one.
fn read_here(bytes: &[u8]) -> Option<ReadResponse> {
    let length = HeadEnd::default().find(bytes).ok()??;
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let head = parse(&bytes[..length], false, &mut room).ok()?;
    if head.is_interim() || head.switches() {
        return None;
    }
    let mut rest = &bytes[length..];
    let mut body = Vec::new();
    let mut reader = BodyReader::new(head.framing);
    loop {
        match reader.next(&mut rest).ok()? {
            BodyPart::Data(data) => body.extend_from_slice(data),
            BodyPart::More if head.framing == Framing::UntilClose => break,
            BodyPart::More => return None,
            BodyPart::End => break,
        }
    }
    let persistent = head.persistent && rest.is_empty();
    Some(ReadResponse {
        status: head.status,
        body,
        persistent,
    })
}

async fn read_by_pingora(bytes: &[u8]) -> Option<ReadResponse> {
    let mut session = HttpSession::new(Box::new(Cursor::new(bytes.to_vec())));
    session.read_response().await.ok()?;
    let status = session.get_status()?.as_u16();
    let mut body = Vec::new();
    while let Some(part) = session.read_body_bytes().await.ok()? {
        body.extend_from_slice(&part);
    }
    session.respect_keepalive();
    let persistent = session.reuse().await.is_some();
    Some(ReadResponse {
        status,
        body,
        persistent,
    })
}

/// # Errors
/// When the two disagree about bytes that are accepted here.
fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Some(here) = read_here(bytes) else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let there = runtime.unwrap().block_on(read_by_pingora(bytes));
    let text = bytes.escape_ascii().to_string();
    let Some(there) = there else {
        return Err(TestCaseError::fail(format!(
            "pingora refuses {text}: {here:?}"
        )));
    };
    prop_assert_eq!(
        (here.status, &here.body),
        (there.status, &there.body),
        "{}",
        text
    );
    // Being more careful than pingora is allowed.
    prop_assert!(there.persistent || !here.persistent, "{}", text);
    Ok(())
}

const DICTIONARY: [&str; 29] = [
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ",",
    ";",
    ":",
    "0",
    "3",
    "f",
    "0\r\n\r\n",
    "\r\n\r\n",
    "chunked",
    "close",
    "keep-alive",
    "\r\nContent-Length: 3",
    "\r\nContent-Length:",
    "\r\nTransfer-Encoding: chunked",
    "\r\nTransfer-Encoding:",
    "\r\nConnection: close",
    "\r\nConnection: keep-alive",
    "\u{0}",
    "-",
    "+",
    "_",
    "HTTP/1.1 200 OK",
    "204",
    "100",
];

#[test]
fn fuzz_responses() {
    let corpus = fuzz::corpus("responses");
    let accepted = corpus.iter().filter(|bytes| read_here(bytes).is_some());
    assert!(
        accepted.count() > 10,
        "most of the corpus would prove nothing"
    );
    fuzz::run("responses", &DICTIONARY, agree);
}
