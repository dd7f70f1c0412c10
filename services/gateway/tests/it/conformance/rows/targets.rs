//! Methods, targets and hosts.

use super::{bad, row};
use crate::conformance::requests::Row;

pub(super) fn request_line() -> Vec<Row> {
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

/// Characters that a URL cannot have, and those that clients send nevertheless.
pub(super) fn targets() -> Vec<Row> {
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

pub(super) fn host() -> Vec<Row> {
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
            "`Host` with a port that is not a number",
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
