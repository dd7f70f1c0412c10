//! RFC 9113, 6 and 7: each type of frame, and codes of errors.

use super::{Case, Expected, case, wire::*};

const OK: Expected = Expected::Exactly(Reaction::Status(200));
const PONG: Expected = Expected::Exactly(Reaction::Pong);
const CONNECTION: Expected = Expected::ConnectionError(&[PROTOCOL]);
const SIZE: Expected = Expected::ConnectionError(&[FRAME_SIZE]);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = messages();
    cases.extend(streams());
    cases.extend(configuration());
    cases.extend(connection());
    cases.extend(windows());
    cases.extend(continuations());
    cases
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"quartet!")
}

/// HEADERS whose block is not complete.
fn open() -> Vec<u8> {
    frame(HEADERS, END_STREAM, 1, &request("GET", &[]))
}

fn continuation(stream: u32) -> Vec<u8> {
    frame(CONTINUATION, END_HEADERS, stream, &fields(&[("x", "1")]))
}

fn messages() -> Vec<Case> {
    vec![
        case(
            "6.1/1",
            "DATA on stream 0",
            CONNECTION,
            &[get(1), frame(DATA, END_STREAM, 0, b"test")],
        ),
        case(
            "6.1/2",
            "DATA on a stream that is not open",
            Expected::StreamError(&[STREAM_CLOSED]),
            &[get(1), frame(DATA, END_STREAM, 1, b"test")],
        ),
        case(
            "6.1/3",
            "DATA with more padding than bytes",
            CONNECTION,
            &[post(1), frame(DATA, END_STREAM | PADDED, 1, b"\x06test")],
        ),
        case(
            "6.2/1",
            "HEADERS without END_HEADERS, then PRIORITY",
            CONNECTION,
            &[open(), frame(PRIORITY, 0, 1, &priority(0, 9))],
        ),
        case(
            "6.2/2",
            "HEADERS without END_HEADERS, then HEADERS of another stream",
            CONNECTION,
            &[open(), get(3)],
        ),
        case("6.2/3", "HEADERS on stream 0", CONNECTION, &[get(0)]),
        case(
            "6.2/4",
            "HEADERS with more padding than bytes",
            CONNECTION,
            &[frame(HEADERS, WHOLE | PADDED, 1, &[0xff, 0x82])],
        ),
    ]
}

fn streams() -> Vec<Case> {
    vec![
        case(
            "6.3/1",
            "PRIORITY on stream 0",
            CONNECTION,
            &[frame(PRIORITY, 0, 0, &priority(0, 9))],
        ),
        case(
            "6.3/2",
            "PRIORITY of four bytes",
            Expected::StreamError(&[FRAME_SIZE]),
            &[frame(PRIORITY, 0, 1, &[0; 4])],
        )
        .code(PROTOCOL),
        case(
            "6.4/1",
            "RST_STREAM on stream 0",
            CONNECTION,
            &[reset(0, 8)],
        ),
        case(
            "6.4/2",
            "RST_STREAM on an idle stream",
            CONNECTION,
            &[reset(1, 8)],
        ),
        case(
            "6.4/3",
            "RST_STREAM of three bytes",
            SIZE,
            &[post(1), frame(RST_STREAM, 0, 1, &[0; 3])],
        )
        .code(PROTOCOL),
    ]
}

fn configuration() -> Vec<Case> {
    vec![
        case(
            "6.5/1",
            "SETTINGS with ACK and content",
            SIZE,
            &[frame(SETTINGS, ACK, 0, &[0; 6])],
        )
        .code(PROTOCOL),
        case(
            "6.5/2",
            "SETTINGS on stream 1",
            CONNECTION,
            &[frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 9])],
        ),
        case(
            "6.5/3",
            "SETTINGS of three bytes",
            SIZE,
            &[frame(SETTINGS, 0, 0, &[0; 3])],
        )
        .code(PROTOCOL),
        case(
            "6.5.2/1",
            "SETTINGS_ENABLE_PUSH of 2",
            CONNECTION,
            &[settings(&[(ENABLE_PUSH, 2)])],
        ),
        case(
            "6.5.2/2",
            "SETTINGS_INITIAL_WINDOW_SIZE of 2^31",
            Expected::ConnectionError(&[FLOW_CONTROL]),
            &[settings(&[(INITIAL_WINDOW, 1 << 31)])],
        )
        .code(PROTOCOL),
        case(
            "6.5.2/3",
            "SETTINGS_MAX_FRAME_SIZE below 2^14",
            CONNECTION,
            &[settings(&[(MAX_FRAME, (1 << 14) - 1)])],
        ),
        case(
            "6.5.2/4",
            "SETTINGS_MAX_FRAME_SIZE of 2^24",
            CONNECTION,
            &[settings(&[(MAX_FRAME, 1 << 24)])],
        ),
        case(
            "6.5.2/5",
            "an unknown setting",
            PONG,
            &[settings(&[(0xff, 1)]), ping()],
        ),
        case(
            "6.5.3/1",
            "one setting twice: the last value counts",
            Expected::Exactly(Reaction::Data(1)),
            &[settings(&[(INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)])],
        )
        .then(Reaction::SettingsAck, &[get(1)]),
        case(
            "6.5.3/2",
            "SETTINGS are acknowledged",
            Expected::Exactly(Reaction::SettingsAck),
            &[settings(&[])],
        ),
    ]
}

fn connection() -> Vec<Case> {
    let unknown_code = [[0; 4], 0xff_u32.to_be_bytes()].concat();
    vec![
        case("6.7/1", "PING", PONG, &[ping()]),
        case(
            "6.7/2",
            "PING with ACK is not answered, the next one is",
            PONG,
            &[frame(PING, ACK, 0, b"invalid!"), ping()],
        ),
        case(
            "6.7/3",
            "PING on stream 1",
            CONNECTION,
            &[frame(PING, 0, 1, b"quartet!")],
        ),
        case(
            "6.7/4",
            "PING of six bytes",
            SIZE,
            &[frame(PING, 0, 0, &[0; 6])],
        )
        .code(PROTOCOL),
        case(
            "6.8",
            "GOAWAY on stream 1",
            CONNECTION,
            &[frame(GOAWAY, 0, 1, &[0; 8])],
        ),
        case(
            "7/1",
            "GOAWAY with an unknown code: the connection may end",
            Expected::ConnectionError(&[0, 0xff]),
            &[frame(GOAWAY, 0, 0, &unknown_code)],
        ),
        case(
            "7/2",
            "RST_STREAM with an unknown code",
            PONG,
            &[post(1), reset(1, 0xff), ping()],
        ),
    ]
}

fn windows() -> Vec<Case> {
    const MOST: u32 = (1 << 31) - 1;
    vec![
        case(
            "6.9/1",
            "WINDOW_UPDATE by 0, connection",
            CONNECTION,
            &[window_update(0, 0)],
        ),
        case(
            "6.9/2",
            "WINDOW_UPDATE by 0, stream",
            Expected::StreamError(&[PROTOCOL]),
            &[post(1), window_update(1, 0)],
        ),
        case(
            "6.9/3",
            "WINDOW_UPDATE of three bytes",
            SIZE,
            &[frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])],
        )
        .code(PROTOCOL),
        case(
            "6.9.1/1",
            "a window of one byte",
            Expected::Exactly(Reaction::Data(1)),
            &[get(1)],
        )
        .with(&[(INITIAL_WINDOW, 1)]),
        case(
            "6.9.1/2",
            "a window above 2^31-1, connection",
            Expected::ConnectionError(&[FLOW_CONTROL]),
            &[window_update(0, MOST), window_update(0, MOST)],
        ),
        case(
            "6.9.1/3",
            "a window above 2^31-1, stream",
            Expected::StreamError(&[FLOW_CONTROL]),
            &[post(1), window_update(1, MOST), window_update(1, MOST)],
        ),
        case(
            "6.9.2/1",
            "the initial window grows after HEADERS",
            Expected::Exactly(Reaction::Data(1)),
            &[get(1)],
        )
        .with(&[(INITIAL_WINDOW, 0)])
        .then(Reaction::Status(200), &[settings(&[(INITIAL_WINDOW, 1)])]),
        case(
            "6.9.2/2",
            "a window becomes negative",
            Expected::Exactly(Reaction::Data(1)),
            &[get(1)],
        )
        .with(&[(INITIAL_WINDOW, 3)])
        .then(
            Reaction::Data(3),
            &[settings(&[(INITIAL_WINDOW, 2)]), window_update(1, 2)],
        ),
        case(
            "6.9.2/3",
            "an initial window above 2^31-1",
            Expected::ConnectionError(&[FLOW_CONTROL]),
            &[settings(&[(INITIAL_WINDOW, 1 << 31)])],
        )
        .code(PROTOCOL),
    ]
}

fn continuations() -> Vec<Case> {
    vec![
        case(
            "6.10/1",
            "several CONTINUATION",
            OK,
            &[
                open(),
                frame(CONTINUATION, 0, 1, &fields(&[("x", "1")])),
                continuation(1),
            ],
        ),
        case(
            "6.10/2",
            "CONTINUATION, then DATA",
            CONNECTION,
            &[
                open(),
                frame(CONTINUATION, 0, 1, &fields(&[("x", "1")])),
                frame(DATA, END_STREAM, 1, b"test"),
            ],
        ),
        case(
            "6.10/3",
            "CONTINUATION on stream 0",
            CONNECTION,
            &[open(), continuation(0)],
        ),
        case(
            "6.10/4",
            "CONTINUATION after HEADERS with END_HEADERS",
            CONNECTION,
            &[post(1), continuation(1)],
        ),
        case(
            "6.10/5",
            "CONTINUATION after CONTINUATION with END_HEADERS",
            CONNECTION,
            &[
                frame(HEADERS, 0, 1, &request("POST", &[])),
                continuation(1),
                continuation(1),
            ],
        ),
        case(
            "6.10/6",
            "CONTINUATION after DATA",
            CONNECTION,
            &[post(1), frame(DATA, 0, 1, b"test"), continuation(1)],
        ),
    ]
}
