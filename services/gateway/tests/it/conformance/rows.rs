//! The table of [`requests`](super::requests).

use super::requests::Row;

const fn row(
    what: &'static str,
    sent: &'static str,
    statuses: &'static [u16],
    forwarded: &'static [&'static str],
) -> Row {
    Row {
        what,
        sent,
        statuses,
        forwarded,
    }
}

/// Refused at once.
const fn bad(what: &'static str, sent: &'static str) -> Row {
    row(what, sent, &[400], &[])
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = framing();
    rows.extend(lines());
    rows.extend(request_line());
    rows.extend(targets());
    rows.extend(host());
    rows.extend(chunks());
    rows.extend(one_after_the_other());
    rows
}

fn framing() -> Vec<Row> {
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

fn lines() -> Vec<Row> {
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

fn request_line() -> Vec<Row> {
    vec![
        bad("two spaces", "GET  /~/x HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad("a tab", "GET\t/~/x HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad(
            "a space in the target",
            "GET /~/x y HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "a space at the end",
            "GET /~/x HTTP/1.1 \r\nhost: a\r\n\r\n",
        ),
        bad("HTTP/0.9", "GET /~/x\r\n\r\n"),
        bad("HTTP/1.2", "GET /~/x HTTP/1.2\r\nhost: a\r\n\r\n"),
        bad("HTTP/2.0", "GET /~/x HTTP/2.0\r\nhost: a\r\n\r\n"),
        bad("`http/1.1`", "GET /~/x http/1.1\r\nhost: a\r\n\r\n"),
        bad("HTTP/01.1", "GET /~/x HTTP/01.1\r\nhost: a\r\n\r\n"),
        bad("a fragment", "GET /~/x#y HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad(
            "a NUL in the target",
            "GET /~/\0 HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "a method with a colon",
            "GET: /~/x HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        row(
            "a method in lower case, which is another one",
            "get /~/x HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["get /x 0"],
        ),
        row(
            "CONNECT",
            "CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n",
            &[405],
            &[],
        ),
        row(
            "TRACE",
            "TRACE /~/x HTTP/1.1\r\nhost: a\r\n\r\n",
            &[405],
            &[],
        ),
        bad(
            "a method with a bracket",
            "G[T /~/x HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad("the asterisk form", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
    ]
}

/// Characters that a URL cannot have, and those that clients send all the same.
fn targets() -> Vec<Row> {
    vec![
        bad("`<` in the path", "GET /~/x< HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad("`>` in the path", "GET /~/x> HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad("`\"` in the path", "GET /~/x\" HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad(
            "a backtick in the path",
            "GET /~/x` HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad("`{` in the path", "GET /~/x{ HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad("`}` in the path", "GET /~/x} HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad("`\\` in the path", "GET /~/x\\ HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad("`^` in the path", "GET /~/x^ HTTP/1.1\r\nhost: a\r\n\r\n"),
        row(
            "`\\|` in the path",
            "GET /~/x| HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["GET /x%7C 0"],
        ),
        row(
            "`[` in the path",
            "GET /~/x[ HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["GET /x%5B 0"],
        ),
        bad(
            "one byte beyond ASCII in the path",
            "GET /~/\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "UTF-8 in the path",
            "GET /~/\u{c3}\u{a9} HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad("`<` in the query", "GET /~/x?< HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad("`>` in the query", "GET /~/x?> HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad(
            "`\"` in the query",
            "GET /~/x?\" HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        row(
            "a backtick in the query",
            "GET /~/x?` HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["GET /x?` 0"],
        ),
        row(
            "`{`, `}`, `\\|`, `\\`, `^`, `[`, `]` in the query",
            "GET /~/x?{}|\\^[] HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["GET /x?{}|\\^[] 0"],
        ),
        bad(
            "one byte beyond ASCII in the query",
            "GET /~/x?\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        row(
            "UTF-8 in the query",
            "GET /~/x?\u{c3}\u{a9} HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["GET /x?\u{e9} 0"],
        ),
        bad(
            "DEL in the target",
            "GET /~/x\u{7f} HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "`<` in the absolute form",
            "GET http://a/~/x< HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "a target of 70,000 bytes",
            "GET /~/\u{2026} HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "a name of 70,000 bytes",
            "GET /~/x HTTP/1.1\r\nhost: a\r\n\u{2026}: 1\r\n\r\n",
        ),
    ]
}

fn host() -> Vec<Row> {
    vec![
        bad("no `Host`", "GET /~/x HTTP/1.1\r\n\r\n"),
        bad(
            "`Host` twice, equal",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        ),
        bad(
            "`Host` twice, different",
            "GET /~/x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        ),
        bad("`Host` of two", "GET /~/x HTTP/1.1\r\nhost: a, b\r\n\r\n"),
        bad(
            "`Host` with a path",
            "GET /~/x HTTP/1.1\r\nhost: a/x\r\n\r\n",
        ),
        bad(
            "`Host` with user information",
            "GET /~/x HTTP/1.1\r\nhost: user@a\r\n\r\n",
        ),
        bad(
            "`Host` with two ports",
            "GET /~/x HTTP/1.1\r\nhost: a:80:80\r\n\r\n",
        ),
        bad(
            "`Host` with a port that is no number",
            "GET /~/x HTTP/1.1\r\nhost: a:http\r\n\r\n",
        ),
        bad(
            "`Host` with a query",
            "GET /~/x HTTP/1.1\r\nhost: a?b\r\n\r\n",
        ),
        bad(
            "`Host` with a space",
            "GET /~/x HTTP/1.1\r\nhost: a b\r\n\r\n",
        ),
        row(
            "no `Host` in HTTP/1.0",
            "GET /~/x HTTP/1.0\r\n\r\n",
            &[200],
            &["GET /x 0"],
        ),
        row(
            "absolute form",
            "GET http://a/~/x HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["GET /x 0"],
        ),
        row(
            "absolute form, `Host` spelled otherwise",
            "GET http://A./~/x HTTP/1.1\r\nhost: a\r\n\r\n",
            &[200],
            &["GET /x 0"],
        ),
        bad(
            "absolute form, another `Host`",
            "GET http://b/~/x HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "absolute form, another port",
            "GET http://a:81/~/x HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "absolute form with user information",
            "GET http://user@a/~/x HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        bad(
            "absolute form without a host",
            "GET http:///~/x HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
    ]
}

fn chunks() -> Vec<Row> {
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

fn one_after_the_other() -> Vec<Row> {
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
