//! Compares what this path and pingora read of the same bytes.
//!
//! What is accepted here must mean the same there: a response that the two understand differently
//! is one whose end is in doubt. Responses are made from those in `tests/corpus` by chance; add the
//! ones that are found. `PROPTEST_CASES` sets how many are tried.

use std::{io::Cursor, mem::MaybeUninit};

use pingora::protocols::http::v1::client::HttpSession;
use proptest::prelude::*;

use super::{
    body::BodyReader,
    chunks::Part,
    response_head::{Framing, HeadEnd, MAX_FIELDS, parse},
};

/// A whole response: status, body, and whether another may follow.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    status: u16,
    body: Vec<u8>,
    persistent: bool,
}

/// `None`: refused, incomplete, or an interim response, which pingora reads one by one.
fn read_here(bytes: &[u8]) -> Option<Read> {
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
            Part::Data(data) => body.extend_from_slice(data),
            Part::More if head.framing == Framing::UntilClose => break,
            Part::More => return None,
            Part::End => break,
        }
    }
    let persistent = head.persistent && rest.is_empty();
    Some(Read {
        status: head.status,
        body,
        persistent,
    })
}

async fn read_by_pingora(bytes: &[u8]) -> Option<Read> {
    let mut session = HttpSession::new(Box::new(Cursor::new(bytes.to_vec())));
    session.read_response().await.ok()?;
    let status = session.get_status()?.as_u16();
    let mut body = Vec::new();
    while let Some(part) = session.read_body_bytes().await.ok()? {
        body.extend_from_slice(&part);
    }
    session.respect_keepalive();
    let persistent = session.reuse().await.is_some();
    Some(Read {
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

fn corpus() -> Vec<Vec<u8>> {
    let text = include_str!("../../../tests/corpus/responses.txt");
    text.lines().map(unescape).collect()
}

fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        let (byte, length) = match rest.get(..2) {
            Some("\\r") => (b'\r', 2),
            Some("\\n") => (b'\n', 2),
            Some("\\x") => (u8::from_str_radix(&rest[2..4], 16).unwrap(), 4),
            _ => (u8::try_from(character).unwrap(), 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

/// One change of a response.
#[derive(Clone, Debug)]
enum Change {
    Replace(u8),
    Insert(&'static str),
    Remove(usize),
    Repeat(usize),
}

fn change() -> impl Strategy<Value = (usize, Change)> {
    let fragment = prop::sample::select(vec![
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
    ]);
    let change = prop_oneof![
        any::<u8>().prop_map(Change::Replace),
        fragment.prop_map(Change::Insert),
        (1_usize..8).prop_map(Change::Remove),
        (1_usize..20).prop_map(Change::Repeat),
    ];
    (any::<prop::sample::Index>(), change).prop_map(|(at, change)| (at.index(1 << 16), change))
}

fn changed(mut bytes: Vec<u8>, changes: Vec<(usize, Change)>) -> Vec<u8> {
    for (at, change) in changes {
        let at = at % (bytes.len() + 1);
        let end = |length: usize| bytes.len().min(at + length);
        match change {
            Change::Replace(byte) if at < bytes.len() => bytes[at] = byte,
            Change::Replace(byte) => bytes.push(byte),
            Change::Insert(text) => drop(bytes.splice(at..at, text.bytes())),
            Change::Remove(length) => drop(bytes.drain(at..end(length))),
            Change::Repeat(length) => {
                let part = bytes[at..end(length)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

#[test]
fn the_corpus_is_read_as_pingora_reads_it() {
    let accepted = corpus()
        .into_iter()
        .filter(|bytes| read_here(bytes).is_some());
    assert!(
        accepted.count() > 10,
        "most of the corpus would prove nothing"
    );
    for bytes in corpus() {
        agree(&bytes).unwrap();
    }
}

proptest! {
    #[test]
    fn what_is_accepted_means_the_same_to_pingora(
        seed in prop::sample::select(corpus()),
        changes in prop::collection::vec(change(), 0..4),
    ) {
        agree(&changed(seed, changes))?;
    }
}
