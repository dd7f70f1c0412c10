//! What says where a request ends, and the lines of a head.

use super::{bad, row};
use crate::conformance::requests::Row;

pub(super) fn framing() -> Vec<Row> {
    vec![
        bad(
            "`Content-Length` and `Transfer-Encoding`",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` and `Content-Length`",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "`Content-Length` twice, equal",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\ntest",
        ),
        bad(
            "`Content-Length` twice, different",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 0\r\n\r\ntest",
        ),
        bad(
            "`Content-Length` as a list",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4, 4\r\n\r\ntest",
        ),
        bad(
            "`Content-Length` with a sign",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: +4\r\n\r\ntest",
        ),
        bad(
            "`Content-Length` negative",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: -4\r\n\r\ntest",
        ),
        bad(
            "`Content-Length` in hexadecimal",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 0x4\r\n\r\ntest",
        ),
        bad(
            "`Content-Length` with a space",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4 4\r\n\r\ntest",
        ),
        bad(
            "`Content-Length` empty",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: \r\n\r\ntest",
        ),
        bad(
            "`Content-Length` of 2^64",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\ntest",
        ),
        bad(
            "`Content-Length` with a parameter",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4;x=1\r\n\r\ntest",
        ),
        bad(
            "`Content-Length` with a fraction",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4.0\r\n\r\ntest",
        ),
        row(
            "`Content-Length` with leading zeros",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 0004\r\n\r\ntest",
            &[200],
            &["POST /x 4"],
        ),
        row(
            "`Content-Length` with a tab before it",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length:\t4\r\n\r\ntest",
            &[200],
            &["POST /x 4"],
        ),
        bad(
            "`Content-Length` with a vertical tab",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\u{b}\r\n\r\ntest",
        ),
        bad(
            "`Transfer-Encoding` of an unknown coding",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` that does not end with chunked",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` of two codings",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` with chunked twice",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` identity",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` empty",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \r\n\r\n0\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` with a parameter",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` with a vertical tab",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\u{b}\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` with a no-break space",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \u{a0}chunked\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` quoted",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        ),
        bad(
            "`Transfer-Encoding` twice",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        row(
            "`Transfer-Encoding` in upper case",
            "POST /~/x HTTP/1.1\r\nhost: a\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n4\r\ntest\r\n0\r\n\r\n",
            &[200],
            &["POST /x 4"],
        ),
        row(
            "`Transfer_Encoding`, which is dropped",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer_encoding: chunked\r\n\r\ntest",
            &[200],
            &["POST /x 4"],
        ),
        bad(
            "`Transfer-Encoding` in HTTP/1.0",
            "POST /~/x HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        row(
            "no length: the rest is the next request",
            "POST /~/x HTTP/1.1\r\nhost: a\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200, 200],
            &["POST /x 0", "GET /next 0"],
        ),
        row(
            "a GET with a body",
            "GET /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\ntestGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200, 200],
            &["GET /x 4", "GET /next 0"],
        ),
        row(
            "`Connection` that names `Content-Length`",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nconnection: content-length\r\n\r\ntest",
            &[200],
            &["POST /x 4"],
        ),
    ]
}

pub(super) fn lines() -> Vec<Row> {
    vec![
        bad("bare line feeds", "GET /~/x HTTP/1.1\nhost: a\n\n"),
        bad(
            "one bare line feed",
            "GET /~/x HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n",
        ),
        bad(
            "a bare carriage return in a value",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nx: 1\ry: 2\r\n\r\n",
        ),
        bad(
            "a carriage return before CR LF",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nx: 1\r\r\n\r\n",
        ),
        bad(
            "a NUL in a value",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nx: 1\0\r\n\r\n",
        ),
        bad(
            "a folded value",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n",
        ),
        bad(
            "a folded `Transfer-Encoding`",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding:\r\n chunked\r\n\r\ntest",
        ),
        bad(
            "a space before the first field",
            "GET /~/x HTTP/1.1\r\n host: a\r\n\r\n",
        ),
        bad(
            "a space before a colon",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding : chunked\r\n\r\ntest",
        ),
        bad(
            "a tab before a colon",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding\t: chunked\r\n\r\ntest",
        ),
        bad(
            "a field without a colon",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nx\r\n\r\n",
        ),
        bad(
            "a field without a name",
            "GET /~/x HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n",
        ),
        bad(
            "a name with a byte outside of ASCII",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nx\u{e9}: 1\r\n\r\n",
        ),
        bad(
            "a name in brackets",
            "GET /~/x HTTP/1.1\r\nhost: a\r\n(x): 1\r\n\r\n",
        ),
        row(
            "empty lines before a request",
            "\r\n\r\nGET /~/x HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["GET /x 0"],
        ),
        bad(
            "a space before a request",
            " GET /~/x HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
    ]
}
