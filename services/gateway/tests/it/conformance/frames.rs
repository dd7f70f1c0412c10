//! RFC 9113, 3 to 5: preface, frames, and the states of a stream.

use super::{Case, Expected, case, wire::*};

const OK: Expected = Expected::Exactly(Reaction::Status(200));
const PONG: Expected = Expected::Exactly(Reaction::Pong);
const CONNECTION: Expected = Expected::ConnectionError(&[PROTOCOL]);
const CLOSED: Expected = Expected::StreamError(&[STREAM_CLOSED]);
/// A CONTINUATION without HEADERS is an error of its own, too.
const CLOSED_OR_PROTOCOL: Expected = Expected::StreamError(&[STREAM_CLOSED, PROTOCOL]);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = layout();
    cases.extend(half_closed());
    cases.extend(closed());
    cases.extend(identifiers());
    cases
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"quartet!")
}

fn data(stream: u32, flags: u8) -> Vec<u8> {
    frame(DATA, flags, stream, b"test")
}

fn continuation(stream: u32) -> Vec<u8> {
    frame(CONTINUATION, END_HEADERS, stream, &fields(&[("x", "1")]))
}

fn layout() -> Vec<Case> {
    let open = || frame(HEADERS, END_STREAM, 1, &request("GET", &[]));
    let reserved = {
        let mut ping = ping();
        ping[5] = 0x80;
        ping
    };
    vec![
        case(
            "3.4/1",
            "the preface: the first frame of the server is SETTINGS",
            Expected::Exactly(Reaction::Settings),
            &[PREFACE.to_vec(), settings(&[])],
        ),
        case(
            "3.4/2",
            "a preface that is none",
            Expected::ConnectionError(&[PROTOCOL]),
            &[b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec()],
        ),
        case(
            "4.1/1",
            "a frame of an unknown type",
            PONG,
            &[frame(0xff, 0, 0, &[0; 8]), ping()],
        ),
        case(
            "4.1/2",
            "undefined flags",
            PONG,
            &[frame(PING, 0xfe, 0, b"quartet!")],
        ),
        case("4.1/3", "the reserved bit", PONG, &[reserved]),
        case(
            "4.2/1",
            "DATA of 2^14 bytes",
            OK,
            &[post(1), frame(DATA, END_STREAM, 1, &[b'x'; 1 << 14])],
        ),
        case(
            "4.2/2",
            "DATA of more than SETTINGS_MAX_FRAME_SIZE",
            Expected::StreamError(&[FRAME_SIZE]),
            &[post(1), frame(DATA, END_STREAM, 1, &[b'x'; (1 << 14) + 1])],
        ),
        case(
            "4.2/3",
            "HEADERS of more than SETTINGS_MAX_FRAME_SIZE",
            Expected::ConnectionError(&[FRAME_SIZE]),
            &[frame(HEADERS, WHOLE, 1, &[0; (1 << 14) + 1])],
        ),
        case(
            "4.3/1",
            "an invalid header block",
            Expected::ConnectionError(&[COMPRESSION]),
            &[frame(HEADERS, WHOLE, 1, &[0x40])],
        )
        .code(PROTOCOL),
        case(
            "4.3/2",
            "PRIORITY within a header block",
            CONNECTION,
            &[open(), frame(PRIORITY, 0, 1, &priority(0, 9))],
        ),
        case(
            "4.3/3",
            "HEADERS of another stream within a header block",
            CONNECTION,
            &[open(), get(3)],
        ),
        case("5.1/1", "idle: DATA", CONNECTION, &[data(1, END_STREAM)]),
        case("5.1/2", "idle: RST_STREAM", CONNECTION, &[reset(1, 8)]),
        case(
            "5.1/3",
            "idle: WINDOW_UPDATE",
            CONNECTION,
            &[window_update(1, 100)],
        ),
        case(
            "5.1/4",
            "idle: CONTINUATION",
            CONNECTION,
            &[continuation(1)],
        ),
    ]
}

fn half_closed() -> Vec<Case> {
    vec![
        case(
            "5.1/5",
            "half-closed: DATA",
            CLOSED,
            &[get(1), data(1, END_STREAM)],
        ),
        case("5.1/6", "half-closed: HEADERS", CLOSED, &[get(1), get(1)]),
        case(
            "5.1/7",
            "half-closed: CONTINUATION",
            CLOSED_OR_PROTOCOL,
            &[get(1), continuation(1)],
        ),
    ]
}

fn closed() -> Vec<Case> {
    let after = |id, what, want, more: &[Vec<u8>]| {
        case(id, what, want, &[get(1)]).then(Reaction::End(1), more)
    };
    vec![
        case(
            "5.1/8",
            "closed by RST_STREAM: DATA",
            CLOSED,
            &[post(1), reset(1, 8), data(1, END_STREAM)],
        ),
        case(
            "5.1/9",
            "closed by RST_STREAM: HEADERS",
            CLOSED,
            &[post(1), reset(1, 8), get(1)],
        ),
        case(
            "5.1/10",
            "closed by RST_STREAM: CONTINUATION",
            CLOSED_OR_PROTOCOL,
            &[post(1), reset(1, 8), continuation(1)],
        ),
        after("5.1/11", "closed: DATA", CLOSED, &[data(1, END_STREAM)]),
        after("5.1/12", "closed: HEADERS", CLOSED_OR_PROTOCOL, &[get(1)]),
        after(
            "5.1/13",
            "closed: CONTINUATION",
            CLOSED_OR_PROTOCOL,
            &[continuation(1)],
        ),
    ]
}

fn identifiers() -> Vec<Case> {
    let self_dependent = [priority(1, 9), request("GET", &[])].concat();
    let many: Vec<Vec<u8>> = (0..150).map(|n| post(2 * n + 1)).collect();
    vec![
        case(
            "5.1.1/1",
            "an even stream identifier",
            CONNECTION,
            &[get(2)],
        ),
        case(
            "5.1.1/2",
            "a lower stream identifier than before",
            CONNECTION,
            &[get(5), get(3)],
        ),
        case(
            "5.1.2",
            "more streams than SETTINGS_MAX_CONCURRENT_STREAMS",
            Expected::StreamError(&[PROTOCOL, REFUSED]),
            &many,
        ),
        case(
            "5.3.1/1",
            "HEADERS that depend on their own stream (RFC 7540)",
            Expected::StreamError(&[PROTOCOL]),
            &[frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &self_dependent)],
        ),
        case(
            "5.3.1/2",
            "PRIORITY that depends on its own stream (RFC 7540)",
            Expected::StreamError(&[PROTOCOL]),
            &[frame(PRIORITY, 0, 1, &priority(1, 9)), ping()],
        ),
        case(
            "5.4.1",
            "an error of the connection: it is closed",
            CONNECTION,
            &[frame(PING, 0, 3, b"quartet!")],
        ),
        case(
            "5.5/1",
            "a frame of an extension",
            PONG,
            &[frame(0x16, 0, 0, &[0; 8]), ping()],
        ),
        case(
            "5.5/2",
            "a frame of an extension within a header block",
            CONNECTION,
            &[
                frame(HEADERS, END_STREAM, 1, &request("GET", &[])),
                frame(0x16, 0, 0, &[0; 8]),
            ],
        ),
    ]
}
