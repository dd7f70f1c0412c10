//! RFC 9113, 8: requests in HTTP/2.

use super::{Case, Expected, case, wire::*};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = fields_of_requests();
    cases.extend(pseudo_headers());
    cases.extend(bodies());
    cases
}

/// A GET with further fields.
fn with(id: &'static str, what: &'static str, more: &[(&str, &str)]) -> Case {
    let block = request("GET", more);
    case(
        id,
        what,
        Expected::Malformed,
        &[frame(HEADERS, WHOLE, 1, &block)],
    )
}

/// A request of these fields alone.
fn of(id: &'static str, what: &'static str, list: &[(&str, &str)]) -> Case {
    let block = fields(list);
    case(
        id,
        what,
        Expected::Malformed,
        &[frame(HEADERS, WHOLE, 1, &block)],
    )
}

fn fields_of_requests() -> Vec<Case> {
    vec![
        case(
            "8.1",
            "a second HEADERS without END_STREAM",
            Expected::Malformed,
            &[
                post(1),
                frame(HEADERS, END_HEADERS, 1, &fields(&[("x", "1")])),
            ],
        ),
        with("8.2/1", "a name in upper case", &[("X-Upper", "1")]),
        with("8.2/2", "a name with a space", &[("x y", "1")]),
        with("8.2/3", "a name with a line end", &[("x\r\ny", "1")]),
        with("8.2/4", "a name with a colon", &[("x:y", "1")]),
        with("8.2/5", "an empty name", &[("", "1")]),
        with("8.2/6", "a value with a line end", &[("x", "1\r\ny: 2")]),
        with("8.2/7", "a value with a NUL", &[("x", "1\0")]),
        with("8.2.2/1", "`connection`", &[("connection", "keep-alive")]),
        with(
            "8.2.2/2",
            "`te` of another value than `trailers`",
            &[("trailers", "test"), ("te", "trailers, deflate")],
        ),
        with(
            "8.2.2/3",
            "`transfer-encoding`",
            &[("transfer-encoding", "chunked")],
        ),
        with(
            "8.2.2/4",
            "`proxy-connection`",
            &[("proxy-connection", "keep-alive")],
        ),
        with("8.2.2/5", "`keep-alive`", &[("keep-alive", "1")]),
        with("8.2.2/6", "`upgrade`", &[("upgrade", "websocket")]),
    ]
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/a/x");
const AUTHORITY: (&str, &str) = (":authority", "a");

fn pseudo_headers() -> Vec<Case> {
    let trailers = |name| {
        [
            post(1),
            frame(DATA, 0, 1, b"test"),
            frame(HEADERS, WHOLE, 1, &fields(&[(name, "GET")])),
        ]
    };
    vec![
        of(
            "8.3/1",
            "an unknown pseudo-header",
            &[METHOD, SCHEME, PATH, AUTHORITY, (":test", "ok")],
        ),
        of(
            "8.3/2",
            "a pseudo-header of responses",
            &[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")],
        ),
        case(
            "8.3/3",
            "a pseudo-header in trailers",
            Expected::Malformed,
            &trailers(":method"),
        )
        .differs(
            Reaction::Status(200),
            "differs: trailers are not forwarded, so h2's leniency has no effect",
        ),
        of(
            "8.3/4",
            "a pseudo-header after a field",
            &[METHOD, SCHEME, ("x", "1"), PATH, AUTHORITY],
        ),
        of(
            "8.3.1/1",
            "an empty `:path`",
            &[METHOD, SCHEME, (":path", ""), AUTHORITY],
        ),
        of("8.3.1/2", "no `:method`", &[SCHEME, PATH, AUTHORITY]),
        of("8.3.1/3", "no `:scheme`", &[METHOD, PATH, AUTHORITY]),
        of("8.3.1/4", "no `:path`", &[METHOD, SCHEME, AUTHORITY]),
        of(
            "8.3.1/5",
            "`:method` twice",
            &[METHOD, METHOD, SCHEME, PATH, AUTHORITY],
        ),
        of(
            "8.3.1/6",
            "`:scheme` twice",
            &[METHOD, SCHEME, SCHEME, PATH, AUTHORITY],
        ),
        of(
            "8.3.1/7",
            "`:path` twice",
            &[METHOD, SCHEME, PATH, PATH, AUTHORITY],
        ),
        of(
            "8.3.1/8",
            "`:authority` twice",
            &[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY],
        ),
        of(
            "8.3.1/9",
            "`:path` without a slash",
            &[METHOD, SCHEME, (":path", "a/x"), AUTHORITY],
        ),
        of(
            "8.3.1/10",
            "`host` and `:authority` differ",
            &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "b")],
        ),
        of(
            "8.3.1/11",
            "`:authority` with user information",
            &[METHOD, SCHEME, PATH, (":authority", "user@a")],
        ),
    ]
}

fn bodies() -> Vec<Case> {
    let head = |length| {
        let block = request("POST", &[("content-length", length)]);
        frame(HEADERS, END_HEADERS, 1, &block)
    };
    let promise = [&2_u32.to_be_bytes()[..], &request("GET", &[])].concat();
    vec![
        case(
            "8.1.1/1",
            "`content-length` that is not that of DATA",
            Expected::Malformed,
            &[head("1"), frame(DATA, END_STREAM, 1, b"test")],
        ),
        case(
            "8.1.1/2",
            "`content-length` that is not the sum of several DATA",
            Expected::Malformed,
            &[
                head("1"),
                frame(DATA, 0, 1, b"test"),
                frame(DATA, END_STREAM, 1, b"test"),
            ],
        ),
        case(
            "8.1.1/3",
            "`content-length` of more than DATA",
            Expected::Malformed,
            &[head("9"), frame(DATA, END_STREAM, 1, b"test")],
        ),
        case(
            "8.1.1/4",
            "`content-length` twice",
            Expected::Malformed,
            &[
                frame(
                    HEADERS,
                    END_HEADERS,
                    1,
                    &request("POST", &[("content-length", "4"), ("content-length", "4")]),
                ),
                frame(DATA, END_STREAM, 1, b"test"),
            ],
        ),
        case(
            "8.4",
            "PUSH_PROMISE from a client",
            Expected::ConnectionError(&[PROTOCOL]),
            &[post(1), frame(PUSH_PROMISE, END_HEADERS, 1, &promise)],
        ),
    ]
}
