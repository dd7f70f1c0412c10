//! Valid use: all of it must be accepted.

use super::{Case, Expected, case, wire::*};

const OK: Expected = Expected::Exactly(Reaction::Status(200));

pub(super) fn cases() -> Vec<Case> {
    let mut cases = streams();
    cases.extend(frames());
    cases.extend(exchanges());
    cases
}

fn streams() -> Vec<Case> {
    let ping = || frame(PING, 0, 0, b"quartet!");
    vec![
        case("G1", "a request after the preface", OK, &[get(1)]),
        case(
            "G2/1",
            "PRIORITY on an idle stream",
            OK,
            &[frame(PRIORITY, 0, 1, &priority(0, 9)), get(1)],
        ),
        case(
            "G2/2",
            "WINDOW_UPDATE on a half-closed stream",
            OK,
            &[get(1), window_update(1, 10)],
        ),
        case(
            "G2/3",
            "PRIORITY on a half-closed stream",
            OK,
            &[get(1), frame(PRIORITY, 0, 1, &priority(0, 9))],
        ),
        case(
            "G2/4",
            "RST_STREAM on a half-closed stream, then PING",
            Expected::Exactly(Reaction::Pong),
            &[get(1), reset(1, 8), ping()],
        ),
        case(
            "G2/5",
            "PRIORITY on a closed stream, then PING",
            Expected::Exactly(Reaction::Pong),
            &[get(1)],
        )
        .then(
            Reaction::End(1),
            &[frame(PRIORITY, 0, 1, &priority(0, 9)), ping()],
        ),
    ]
}

fn frames() -> Vec<Case> {
    let padded = |flags, stream, payload: &[u8]| {
        let payload = [&[3], payload, &[0; 3]].concat();
        frame(HEADERS, flags | PADDED, stream, &payload)
    };
    let prioritized = [priority(0, 9), request("GET", &[])].concat();
    let data = |flags, payload: &[u8]| frame(DATA, flags, 1, payload);
    let block = request("GET", &[("x", "1")]);
    let split = |parts: usize| {
        let mut frames = vec![frame(HEADERS, END_STREAM, 1, &block[..4])];
        for part in 1..parts {
            frames.push(frame(CONTINUATION, 0, 1, &block[4 * part..4 * part + 4]));
        }
        frames.push(frame(CONTINUATION, END_HEADERS, 1, &block[4 * parts..]));
        frames
    };
    let pong = Expected::Exactly(Reaction::Pong);
    let ping = || frame(PING, 0, 0, b"quartet!");
    vec![
        case("G3.1/1", "DATA", OK, &[post(1), data(END_STREAM, b"test")]),
        case(
            "G3.1/2",
            "several DATA",
            OK,
            &[post(1), data(0, b"test"), data(END_STREAM, b"test")],
        ),
        case(
            "G3.1/3",
            "DATA with padding",
            OK,
            &[post(1), data(END_STREAM | PADDED, b"\x05test\0\0\0\0\0")],
        ),
        case("G3.2/1", "HEADERS", OK, &[get(1)]),
        case(
            "G3.2/2",
            "HEADERS with padding",
            OK,
            &[padded(WHOLE, 1, &request("GET", &[]))],
        ),
        case(
            "G3.2/3",
            "HEADERS with a priority",
            OK,
            &[frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &prioritized)],
        ),
        case(
            "G3.3/1",
            "PRIORITY with the weights 1 and 256",
            OK,
            &[
                frame(PRIORITY, 0, 1, &priority(0, 0)),
                frame(PRIORITY, 0, 1, &priority(0, 255)),
                get(1),
            ],
        ),
        case(
            "G3.3/2",
            "PRIORITY with a dependency, exclusive or not",
            OK,
            &[
                frame(PRIORITY, 0, 3, &priority(1, 9)),
                frame(PRIORITY, 0, 5, &priority(1 | 1 << 31, 9)),
                get(1),
            ],
        ),
        case(
            "G3.3/3",
            "PRIORITY on an idle stream, then HEADERS on a lower one",
            OK,
            &[frame(PRIORITY, 0, 5, &priority(0, 9)), get(3)],
        ),
        case(
            "G3.4",
            "RST_STREAM, then PING",
            pong,
            &[post(1), reset(1, 8), ping()],
        ),
        case(
            "G3.5",
            "SETTINGS",
            Expected::Exactly(Reaction::SettingsAck),
            &[settings(&[(3, 100)])],
        ),
        case("G3.7", "PING", pong, &[ping()]),
        case(
            "G3.8",
            "GOAWAY: the connection may end",
            Expected::ConnectionError(&[0]),
            &[frame(GOAWAY, 0, 0, &[0; 8])],
        ),
        case(
            "G3.9/1",
            "WINDOW_UPDATE of the connection",
            OK,
            &[window_update(0, 1), get(1)],
        ),
        case(
            "G3.9/2",
            "WINDOW_UPDATE of a stream",
            OK,
            &[get(1), window_update(1, 1)],
        ),
        case("G3.10/1", "CONTINUATION", OK, &split(1)),
        case("G3.10/2", "several CONTINUATION", OK, &split(3)),
    ]
}

fn exchanges() -> Vec<Case> {
    let block = |fields: Vec<u8>| [frame(HEADERS, WHOLE, 1, &fields)];
    // Indexed :method, :scheme and :path /; the authority as each representation.
    let start = |rest: &[u8]| {
        let path = [0x04, 4, b'/', b'a', b'/', b'x'];
        [&[0x82, 0x86], &path[..], rest].concat()
    };
    vec![
        case("G4/1", "GET", OK, &[get(1)]),
        case(
            "G4/2",
            "HEAD",
            OK,
            &[frame(HEADERS, WHOLE, 1, &request("HEAD", &[]))],
        ),
        case(
            "G4/3",
            "POST with a body",
            OK,
            &[post(1), frame(DATA, END_STREAM, 1, b"test")],
        ),
        case(
            "G4/4",
            "POST with trailers",
            OK,
            &[
                frame(
                    HEADERS,
                    END_HEADERS,
                    1,
                    &request("POST", &[("trailer", "x-test")]),
                ),
                frame(DATA, 0, 1, b"test"),
                frame(HEADERS, WHOLE, 1, &fields(&[("x-test", "ok")])),
            ],
        ),
        case(
            "G5/1",
            "indexed field",
            OK,
            &block([start(&[0x01, 1, b'a']), vec![0x90]].concat()),
        ),
        case(
            "G5/2",
            "literal with indexing, indexed name",
            OK,
            &block(start(&[0x41, 1, b'a'])),
        ),
        case(
            "G5/3",
            "literal with indexing, new name",
            OK,
            &block(start(&[0x01, 1, b'a', 0x40, 1, b'x', 1, b'y'])),
        ),
        case(
            "G5/4",
            "the field of the dynamic table that was entered before",
            OK,
            &block(start(&[0x01, 1, b'a', 0x40, 1, b'x', 1, b'y', 0xbe])),
        ),
        case(
            "G5/5",
            "literal without indexing, indexed name",
            OK,
            &block(start(&[0x01, 1, b'a'])),
        ),
        case(
            "G5/6",
            "literal without indexing, new name",
            OK,
            &block(start(&[0x01, 1, b'a', 0x00, 1, b'x', 1, b'y'])),
        ),
        case(
            "G5/7",
            "literal never indexed, indexed name",
            OK,
            &block(start(&[0x11, 1, b'a'])),
        ),
        case(
            "G5/8",
            "literal never indexed, new name",
            OK,
            &block(start(&[0x01, 1, b'a', 0x10, 1, b'x', 1, b'y'])),
        ),
        case(
            "G5/9",
            "Huffman code",
            OK,
            &block(start(&[
                0x01, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
            ])),
        ),
        case(
            "G5/10",
            "change of the table's size",
            OK,
            &block([vec![0x3f, 0xe1, 0x0f], start(&[0x01, 1, b'a'])].concat()),
        ),
        case(
            "G5/11",
            "several changes of the table's size",
            OK,
            &block([vec![0x20, 0x3f, 0xe1, 0x0f], start(&[0x01, 1, b'a'])].concat()),
        ),
    ]
}
