//! Writes the heads that are passed on: field by field from what was parsed, never as a copy of the
//! bytes received.
//!
//! A head so written has one reading, whatever the one received may have been. Fields that concern
//! one connection only (RFC 9110, 7.6.1) and fields that the gateway sets itself are left out.

use std::{cell::Cell, io::Write as _, ops::Range};

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::protocols::http::date::get_cached_date;

use super::{body::BodyWriter, buffer::Buffer, request::RequestView, response_head::ResponseHead};
use crate::{
    policy::ResponseHead as Head,
    reply::Reply,
    request::{is_alias, is_untrusted},
};

thread_local! {
    /// The lists of the last edits of this thread, so that no request allocates its own.
    static SPARE: Cell<Option<(Vec<HeadChange>, Vec<u8>)>> = const { Cell::new(None) };
}

/// Larger bodies are sent from where they are.
const MAX_COPIED_BYTES: usize = 8 * 1024;
/// Lists that one long value made larger are not kept.
const SPARE_BYTES: usize = 4096;

/// What the gateway changes of a head.
#[derive(Debug)]
pub(super) struct HeadEdits {
    status: StatusCode,
    /// In order: what is added is written after the fields that pass.
    changes: Vec<HeadChange>,
    /// The values, one behind the other.
    values: Vec<u8>,
}

#[derive(Debug)]
struct HeadChange {
    name: HeaderName,
    /// A field of this name does not pass.
    removes: bool,
    /// A value to add.
    value: Option<Range<usize>>,
    /// It is added only if no field of this name passes.
    if_missing: bool,
}

impl HeadEdits {
    /// `status`: of the response; irrelevant for a request.
    pub(super) fn new(status: StatusCode) -> Self {
        let (changes, values) = SPARE
            .try_with(Cell::take)
            .ok()
            .flatten()
            .unwrap_or_default();
        Self {
            status,
            changes,
            values,
        }
    }

    /// As `removes`, with any spelling that an upstream may take for a removed name.
    fn removes_alias(&self, name: &[u8]) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|change| change.removes && is_alias(change.name.as_str().as_bytes(), name))
    }

    fn removes(&self, name: &[u8]) -> bool {
        self.changes.iter().any(|change| {
            change.removes && name.eq_ignore_ascii_case(change.name.as_str().as_bytes())
        })
    }

    fn add(&mut self, name: &HeaderName, value: &[u8], removes: bool) {
        let start = self.values.len();
        self.values.extend_from_slice(value);
        self.changes.push(HeadChange {
            name: name.clone(),
            removes,
            value: Some(start..self.values.len()),
            if_missing: false,
        });
    }

    fn forget(&mut self, name: &HeaderName) {
        for change in &mut self.changes {
            if change.name == *name {
                change.value = None;
            }
        }
    }
}

impl Drop for HeadEdits {
    fn drop(&mut self) {
        self.changes.clear();
        self.values.clear();
        if self.values.capacity() <= SPARE_BYTES && self.changes.capacity() <= SPARE_BYTES / 64 {
            let spare = (
                std::mem::take(&mut self.changes),
                std::mem::take(&mut self.values),
            );
            // Fails only while the thread ends.
            let _ = SPARE.try_with(|place| place.set(Some(spare)));
        }
    }
}

/// Where a message ends is not a matter of policy: such changes have no effect.
impl Head for HeadEdits {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.set_bytes(&name, value.as_bytes());
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.append_bytes(&name, value.as_bytes());
    }

    fn set_bytes(&mut self, name: &HeaderName, value: &[u8]) {
        if !is_framing(name) && is_value(value) {
            self.forget(name);
            self.add(name, value, true);
        }
    }

    fn append_bytes(&mut self, name: &HeaderName, value: &[u8]) {
        if !is_framing(name) && is_value(value) {
            self.add(name, value, false);
        }
    }

    fn remove(&mut self, name: &HeaderName) {
        if !is_framing(name) {
            self.forget(name);
            self.changes.push(HeadChange {
                name: name.clone(),
                removes: true,
                value: None,
                if_missing: false,
            });
        }
    }

    fn set_missing(&mut self, name: &HeaderName, value: &HeaderValue) {
        let mut changes = self.changes.iter();
        let is_set = changes.any(|change| change.value.is_some() && change.name == *name);
        if is_framing(name) || !is_value(value.as_bytes()) || is_set {
            return;
        }
        self.add(name, value.as_bytes(), false);
        if let Some(change) = self.changes.last_mut() {
            change.if_missing = true;
        }
    }
}

/// The rule of [`HeaderValue::from_bytes`]. Without it, a value could end its field and begin
/// another one.
fn is_value(value: &[u8]) -> bool {
    #[expect(
        clippy::needless_bitwise_bool,
        reason = "without branches, many bytes are compared at once"
    )]
    let is_control = |byte: u8| (byte != b'\t') & ((byte < b' ') | (byte == 0x7f));
    !value
        .iter()
        .fold(false, |found, &byte| found | is_control(byte))
}

fn is_framing(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || is_hop_by_hop(name.as_str().as_bytes())
}

/// Says that the connection becomes a WebSocket.
const SWITCH: &[u8] = b"connection: upgrade\r\nupgrade: websocket\r\n";

/// Writes the head for a replica, up to the empty line that [`end_request`] writes.
pub(super) fn write_request(
    method: &Method,
    target: &[u8],
    request: RequestView<'_>,
    edits: &HeadEdits,
    out: &mut Buffer,
) {
    out.push_all([method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
    let passes =
        |name: &[u8]| !is_hop_by_hop(name) && !is_untrusted(name) && !edits.removes_alias(name);
    for (name, value) in request.fields() {
        if passes(name) {
            write_field(name, value, out);
        }
    }
    write_edits(edits, out, |missing| {
        let mut fields = request.fields();
        fields.any(|(name, _)| is_alias(name, missing) && passes(name))
    });
}

/// `handshake`: the request asks for a WebSocket.
pub(super) fn end_request(handshake: bool, out: &mut Buffer) {
    if handshake {
        out.push(SWITCH);
    }
    out.push(b"\r\n");
}

/// Writes the head for the client. `keep`: the connection stays open.
pub(super) fn write_response(
    head: &ResponseHead<'_, '_>,
    edits: &HeadEdits,
    keep: bool,
    out: &mut Buffer,
) {
    write_status(head, out);
    let mut has_date = false;
    for field in head.fields {
        let name = field.name.as_bytes();
        if passes(head, name) && !edits.removes(name) {
            has_date |= name.eq_ignore_ascii_case(b"date");
            write_field(name, field.value, out);
        }
    }
    if !has_date {
        // RFC 9110, 6.6.1.
        write_field(b"date", get_cached_date().as_bytes(), out);
    }
    if BodyWriter::new(head.framing) == BodyWriter::Chunked {
        out.push(b"transfer-encoding: chunked\r\n");
    }
    if head.switches() {
        out.push(SWITCH);
    } else if !keep {
        out.push(b"connection: close\r\n");
    }
    write_edits(edits, out, |missing| {
        let is_named = |name: &[u8]| name.eq_ignore_ascii_case(missing);
        let mut fields = head.fields.iter().map(|field| field.name.as_bytes());
        fields.any(|name| is_named(name) && passes(head, name) && !edits.removes(name))
    });
    out.push(b"\r\n");
}

/// Writes a response of the gateway's own.
pub(super) fn write_reply(
    reply: &Reply,
    to: &Method,
    edits: &HeadEdits,
    keep: bool,
    out: &mut Buffer,
) {
    let reason = reply.status.canonical_reason().unwrap_or_default();
    // Writing to a buffer cannot fail.
    let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", reply.status.as_u16());
    let own = reply
        .headers
        .iter()
        .filter(|(name, _)| !edits.removes(name.as_str().as_bytes()));
    for (name, value) in own {
        write_field(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    if let Some(length) = reply.content_length() {
        let _ = write!(out, "content-length: {length}\r\n");
    }
    if !reply.has_date() {
        write_field(b"date", get_cached_date().as_bytes(), out);
    }
    if !keep {
        out.push(b"connection: close\r\n");
    }
    write_edits(edits, out, |missing| {
        let mut names = reply
            .headers
            .iter()
            .map(|(name, _)| name.as_str().as_bytes());
        names.any(|name| name == missing && !edits.removes(name))
    });
    out.push(b"\r\n");
    if *to != Method::HEAD && reply.body.len() <= MAX_COPIED_BYTES {
        out.push(&reply.body);
    }
}

/// The body of a response of the gateway's own, if it is too large to be copied behind the head.
pub(super) fn body_beside_head<'r>(reply: &'r Reply, to: &Method) -> &'r [u8] {
    if *to == Method::HEAD || reply.body.len() <= MAX_COPIED_BYTES {
        &[]
    } else {
        &reply.body
    }
}

/// Passes an interim response on, without what the gateway adds to final ones.
pub(super) fn write_interim(head: &ResponseHead<'_, '_>, out: &mut Buffer) {
    write_status(head, out);
    for field in head.fields {
        if passes(head, field.name.as_bytes()) {
            write_field(field.name.as_bytes(), field.value, out);
        }
    }
    out.push(b"\r\n");
}

fn write_status(head: &ResponseHead<'_, '_>, out: &mut Buffer) {
    let digit = |unit: u16| b'0' + u8::try_from(head.status / unit % 10).unwrap_or(0);
    let status = [digit(100), digit(10), digit(1)];
    out.push_all([b"HTTP/1.1 ", &status, b" ", head.reason.as_bytes(), b"\r\n"]);
}

/// `passes`: whether the head that is written has a field of this name already.
fn write_edits(edits: &HeadEdits, out: &mut Buffer, passes: impl Fn(&[u8]) -> bool) {
    for change in &edits.changes {
        let name = change.name.as_str().as_bytes();
        if let Some(value) = change.value.clone()
            && !(change.if_missing && passes(name))
        {
            write_field(name, &edits.values[value], out);
        }
    }
}

fn write_field(name: &[u8], value: &[u8], out: &mut Buffer) {
    out.push_all([name, b": ", value, b"\r\n"]);
}

/// Whether a field of a response is passed on.
fn passes(head: &ResponseHead<'_, '_>, name: &[u8]) -> bool {
    // Not allowed in these (RFC 9110, 8.6), and 0 in a 204 that reaches here.
    let is_bodiless = matches!(head.status, 100..=199 | 204);
    let bodiless_length = is_bodiless && name.eq_ignore_ascii_case(b"content-length");
    !bodiless_length && !is_hop_by_hop(name) && !is_nominated(head, name)
}

/// Whether `Connection` of the response names the field.
fn is_nominated(head: &ResponseHead<'_, '_>, name: &[u8]) -> bool {
    // Nominating it would leave the body without a length.
    !name.eq_ignore_ascii_case(b"content-length")
        && head
            .fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("connection"))
            .flat_map(|field| field.value.split(|&byte| byte == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
}

/// Fields that concern one connection only.
fn is_hop_by_hop(name: &[u8]) -> bool {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 => is(b"te"),
        7 => is(b"trailer") || is(b"upgrade"),
        10 => is(b"connection") || is(b"keep-alive"),
        14 => is(b"http2-settings"),
        16 => is(b"proxy-connection"),
        17 => is(b"transfer-encoding"),
        18 => is(b"proxy-authenticate"),
        19 => is(b"proxy-authorization"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::{
        super::{
            request::RequestHead,
            response_head::{MAX_FIELDS, parse},
        },
        *,
    };
    fn edits() -> HeadEdits {
        let mut edits = HeadEdits::new(StatusCode::OK);
        let id = HeaderName::from_static("x-request-id");
        edits.set(id.clone(), HeaderValue::from_static("replaced"));
        edits.set(id, HeaderValue::from_static("ours"));
        // These would change where the message ends.
        edits.set(header::CONTENT_LENGTH, HeaderValue::from_static("9"));
        edits.append(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
        edits.remove(&header::CONTENT_LENGTH);
        edits
    }

    fn text(out: &Buffer) -> String {
        String::from_utf8(out.unused().to_vec()).unwrap()
    }

    #[test]
    fn request_heads_lose_what_is_forged_or_of_the_connection() {
        let sent = "GET /a HTTP/1.1\r\nHost: a\r\nX-Request-ID: forged\r\nX_User_Id: forged\r\nx-forwarded-for: forged\r\n\
             Connection: keep-alive\r\nKeep-Alive: 1\r\nTE: trailers\r\nTrailer: x\r\nProxy-Authorization: x\r\n\
             Accept: b\r\naccept: c\r\n\r\n";
        let mut head = RequestHead::default();
        head.note_text(sent);
        assert!(head.is_common());
        let mut out = Buffer::lend();
        let view = head.view(sent.as_bytes());
        write_request(head.method(), view.target(), view, &edits(), &mut out);
        end_request(false, &mut out);
        let expected =
            "GET /a HTTP/1.1\r\nHost: a\r\nAccept: b\r\naccept: c\r\nx-request-id: ours\r\n\r\n";
        assert_eq!(text(&out), expected);
    }

    #[test]
    fn values_are_those_of_the_crate_http() {
        for byte in 0..=u8::MAX {
            for at in [0, 15, 39] {
                let mut text = [b'a'; 40];
                text[at] = byte;
                let expected = HeaderValue::from_bytes(&text).is_ok();
                assert_eq!(is_value(&text), expected, "{byte} at {at}");
            }
        }
    }

    fn response(sent: &str, keep: bool) -> String {
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let head = parse(sent.as_bytes(), false, &mut room).unwrap();
        let mut out = Buffer::lend();
        if head.is_interim() {
            write_interim(&head, &mut out);
        } else {
            write_response(&head, &edits(), keep, &mut out);
        }
        text(&out)
    }

    #[test]
    fn response_heads_are_framed_again() {
        for (sent, keep, expected) in [
            (
                "200 OK\r\nDate: d\r\nX-Request-Id: forged\r\nContent-Length: 3\r\nConnection: x-hop, keep-alive, content-length\r\n\
                 X-Hop: 1\r\nKeep-Alive: 1\r\nProxy-Authenticate: x\r\nUpgrade: x\r\nSet-Cookie: a\r\nset-cookie: b",
                true,
                "200 OK\r\nDate: d\r\nContent-Length: 3\r\nSet-Cookie: a\r\nset-cookie: b\r\nx-request-id: ours",
            ),
            (
                "404 Nothing here\r\nDate: d\r\nTransfer-Encoding: chunked\r\nTrailer: x",
                false,
                "404 Nothing here\r\nDate: d\r\ntransfer-encoding: chunked\r\nconnection: close\r\nx-request-id: ours",
            ),
            (
                "200 OK\r\nDate: d",
                true,
                "200 OK\r\nDate: d\r\ntransfer-encoding: chunked\r\nx-request-id: ours",
            ),
            (
                "204 No Content\r\nDate: d\r\nContent-Length: 0",
                true,
                "204 No Content\r\nDate: d\r\nx-request-id: ours",
            ),
            (
                "304 Not Modified\r\nDate: d\r\nContent-Length: 7",
                true,
                "304 Not Modified\r\nDate: d\r\nContent-Length: 7\r\nx-request-id: ours",
            ),
            (
                "103 Early Hints\r\nLink: a\r\nConnection: x\r\nContent-Length: 0",
                true,
                "103 Early Hints\r\nLink: a",
            ),
        ] {
            let sent = format!("HTTP/1.1 {sent}\r\n\r\n");
            assert_eq!(
                response(&sent, keep),
                format!("HTTP/1.1 {expected}\r\n\r\n")
            );
        }
        for nominated in ["", "Date: d\r\nConnection: date\r\n"] {
            let sent = format!("HTTP/1.1 200 OK\r\n{nominated}Content-Length: 0\r\n\r\n");
            let dated = response(&sent, true);
            assert!(dated.contains("\r\ndate: "), "{dated}");
            assert!(!dated.contains("Date: d"), "{dated}");
        }
    }
}
