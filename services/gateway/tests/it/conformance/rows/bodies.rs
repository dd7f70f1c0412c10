//! Chunks, and what follows a request.

use super::{bad, row};
use crate::conformance::requests::Row;

pub(super) fn chunks() -> Vec<Row> {
    vec![
        row(
            "an extension",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4;x=1\r\ntest\r\n0\r\n\r\n",
            &[200],
            &["POST /x 4"],
        ),
        row(
            "a quoted extension",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4;x=\"1\"\r\ntest\r\n0\r\n\r\n",
            &[200],
            &["POST /x 4"],
        ),
        bad(
            "a bare line feed in an extension",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4;x\ny\r\ntest\r\n0\r\n\r\n",
        ),
        row(
            "a size with leading zeros",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0004\r\ntest\r\n0\r\n\r\n",
            &[200],
            &["POST /x 4"],
        ),
        row(
            "a size in upper and lower case",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            &[200],
            &["POST /x 20"],
        ),
        bad(
            "a size with 0x",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x4\r\ntest\r\n0\r\n\r\n",
        ),
        bad(
            "a size with a sign",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n+4\r\ntest\r\n0\r\n\r\n",
        ),
        bad(
            "a size with a minus",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n-4\r\ntest\r\n0\r\n\r\n",
        ),
        bad(
            "a size with a space before it",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n 4\r\ntest\r\n0\r\n\r\n",
        ),
        bad(
            "a size with an underscore",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4_0\r\ntest\r\n0\r\n\r\n",
        ),
        bad(
            "a size of nothing",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\r\ntest\r\n0\r\n\r\n",
        ),
        bad(
            "a size of letters",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nz\r\ntest\r\n0\r\n\r\n",
        ),
        bad(
            "a size of 17 digits",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n00000000000000004\r\ntest\r\n0\r\n\r\n",
        ),
        bad(
            "a size of 2^64-1",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\ntest\r\n0\r\n\r\n",
        ),
        bad(
            "a size of 2^64",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n10000000000000000\r\ntest\r\n0\r\n\r\n",
        ),
        row(
            "a size of 2^63",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n8000000000000000\r\ntest\r\n0\r\n\r\n",
            &[400],
            &[],
        ),
        row(
            "a space after a size",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4 \r\ntest\r\n0\r\n\r\n",
            &[200],
            &["POST /x 4"],
        ),
        bad(
            "a bare line feed after a size",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\ntest\r\n0\r\n\r\n",
        ),
        bad(
            "no line end after a chunk",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\ntest0\r\n\r\n",
        ),
        bad(
            "more bytes than the size",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\ntestx\r\n0\r\n\r\n",
        ),
        bad(
            "a bare line feed after a chunk",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\ntest\n0\r\n\r\n",
        ),
        row(
            "trailers",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\ntest\r\n0\r\nx: 1\r\n\r\n",
            &[200],
            &["POST /x 4"],
        ),
        row(
            "trailers that frame or identify",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\ntest\r\n0\r\ncontent-length: 9\r\nx-user-id: 1\r\nhost: b\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200, 200],
            &["POST /x 4", "GET /next 0"],
        ),
        row(
            "chunks larger than the limit",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n",
            &[413],
            &[],
        ),
        row(
            "the end of the connection within a body",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nte",
            &[],
            &[],
        ),
        row(
            "chunks, then another request",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\ntest\r\n0\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200, 200],
            &["POST /x 4", "GET /next 0"],
        ),
    ]
}

pub(super) fn one_after_the_other() -> Vec<Row> {
    vec![
        row(
            "two requests at once",
            "GET /~/x HTTP/1.1\r\nhost: a\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200, 200],
            &["GET /x 0", "GET /next 0"],
        ),
        row(
            "a body, line ends, another request",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\ntest\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200, 200],
            &["POST /x 4", "GET /next 0"],
        ),
        bad(
            "a request after one that is refused",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nx : 1\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        row(
            "a request after `Connection: close`",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["GET /x 0"],
        ),
        row(
            "a request after one in HTTP/1.0",
            "GET /~/x HTTP/1.0\r\nhost: a\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["GET /x 0"],
        ),
        row(
            "a request after an ambiguous path",
            "GET /~/../y HTTP/1.1\r\nhost: a\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[400, 200],
            &["GET /next 0"],
        ),
        row(
            "a request in the body of another",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 37\r\n\r\nGET /smuggled/x HTTP/1.1\r\nhost: a\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200, 200],
            &["POST /x 37", "GET /next 0"],
        ),
        row(
            "an upgrade to HTTP/2, which is ignored",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\nGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200, 200],
            &["GET /x 0", "GET /next 0"],
        ),
        row(
            "`Expect` that is unknown",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: x\r\n\r\ntest",
            &[200],
            &["POST /x 4"],
        ),
        row(
            "`Expect: 100-continue`, another request",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\ntestGET /~/next HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200, 200],
            &["POST /x 4", "GET /next 0"],
        ),
        row(
            "a head that does not end",
            "GET /~/x HTTP/1.1\r\nhost: a\r\n",
            &[],
            &[],
        ),
        row(
            "a body that does not end",
            "POST /~/x HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\ntest",
            &[],
            &[],
        ),
    ]
}
