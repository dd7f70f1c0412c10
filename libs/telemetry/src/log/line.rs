//! One JSON object, formatted by hand into a buffer that the thread reuses.

use std::{
    cell::Cell,
    fmt::{self, Write as _},
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, Utc};

use crate::trace_context::{TraceContext, write_hex};

/// A buffer that one long line made larger than this is not kept.
const SPARE_BYTES: usize = 16 * 1024;
/// `2026-01-31T23:59:59`
const SECOND_BYTES: usize = 19;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The last second that was formatted, since 1970, and its text.
    static SECOND: Cell<(u64, [u8; SECOND_BYTES])> = const { Cell::new((u64::MAX, [0; SECOND_BYTES])) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

/// A line that is being written. Fields appear in the order of the calls.
pub(super) struct LogLine {
    /// Begins with `{` and has no closing brace yet.
    buffer: Vec<u8>,
}

impl LogLine {
    /// A line with `timestamp` and `level`.
    pub(super) fn start(level: Level) -> Self {
        // Taken out of its place, so that a value that logs while it is formatted finds another.
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(b"{\"timestamp\":\"");
        write_timestamp(&mut buffer);
        buffer.extend_from_slice(b"\",\"level\":\"");
        buffer.extend_from_slice(level.as_str().as_bytes());
        buffer.push(b'"');
        Self { buffer }
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.buffer.push(b'"');
        escape(&mut self.buffer, value);
        self.buffer.push(b'"');
    }

    pub(super) fn optional_text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Text that is formatted into the line, without a string in between.
    pub(super) fn format(&mut self, name: &str, value: fmt::Arguments<'_>) {
        self.name(name);
        self.buffer.push(b'"');
        // Only a value's own implementation can fail; the line stays valid.
        let _ = Escaping(&mut self.buffer).write_fmt(value);
        self.buffer.push(b'"');
    }

    /// An IP address, with its port if there is one.
    pub(super) fn address(&mut self, name: &str, ip: IpAddr, port: Option<u16>) {
        let IpAddr::V4(v4) = ip else {
            return match port {
                Some(port) => self.format(name, format_args!("[{ip}]:{port}")),
                None => self.format(name, format_args!("{ip}")),
            };
        };
        self.name(name);
        let mut before = b'"';
        for octet in v4.octets() {
            self.buffer.push(before);
            let _ = serde_json::to_writer(&mut self.buffer, &octet);
            before = b'.';
        }
        if let Some(port) = port {
            self.buffer.push(b':');
            let _ = serde_json::to_writer(&mut self.buffer, &port);
        }
        self.buffer.push(b'"');
    }

    pub(super) fn integer(&mut self, name: &str, value: impl serde::Serialize) {
        self.number(name, &value);
    }

    /// `null` for infinite values and NaN.
    pub(super) fn float(&mut self, name: &str, value: f64) {
        self.number(name, &value);
    }

    pub(super) fn boolean(&mut self, name: &str, value: bool) {
        self.name(name);
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.buffer.extend_from_slice(text);
    }

    /// Milliseconds with microseconds behind the point.
    pub(super) fn milliseconds(&mut self, name: &str, value: Duration) {
        self.name(name);
        let micros = value.as_micros() + u128::from(value.subsec_nanos() % 1000 >= 500);
        let millis = u64::try_from(micros / 1000).unwrap_or(u64::MAX);
        // Writing a number to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.buffer, &millis);
        let part = |unit: u128| b'0' + u8::try_from(micros / unit % 10).unwrap_or(0);
        self.buffer
            .extend_from_slice(&[b'.', part(100), part(10), part(1)]);
        // At least one digit remains, so that the value is always a floating-point number.
        while self.buffer.ends_with(b"0") && !self.buffer.ends_with(b".0") {
            self.buffer.pop();
        }
    }

    pub(super) fn trace(&mut self, trace: TraceContext) {
        self.hex("trace_id", trace.trace_id, 32);
        self.hex("span_id", trace.span_id.into(), 16);
    }

    /// The finished line with its newline.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.buffer.extend_from_slice(b"}\n");
        &self.buffer
    }

    fn hex(&mut self, name: &str, value: u128, digits: usize) {
        self.name(name);
        self.buffer.push(b'"');
        let start = self.buffer.len();
        self.buffer.resize(start + digits, b'0');
        write_hex(&mut self.buffer[start..], value);
        self.buffer.push(b'"');
    }

    fn number(&mut self, name: &str, value: &impl serde::Serialize) {
        self.name(name);
        // Writing a number to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.buffer, value);
    }

    fn name(&mut self, name: &str) {
        self.buffer.extend_from_slice(b",\"");
        escape(&mut self.buffer, name);
        self.buffer.extend_from_slice(b"\":");
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() <= SPARE_BYTES {
            let _ = BUFFER.try_with(|place| place.set(buffer));
        }
    }
}

struct Escaping<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// Appends text as the inside of a JSON string (RFC 8259, section 7).
fn escape(buffer: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    // Without a branch per byte, so that many are looked at at once. Nearly all texts are clean.
    let special = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if !bytes
        .iter()
        .fold(false, |found, byte| found | special(byte))
    {
        buffer.extend_from_slice(bytes);
        return;
    }
    let mut clean = 0;
    for (position, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => 0,
            _ => continue,
        };
        buffer.extend_from_slice(&bytes[clean..position]);
        clean = position + 1;
        if short == 0 {
            buffer.extend_from_slice(b"\\u00");
            let start = buffer.len();
            buffer.extend_from_slice(b"00");
            write_hex(&mut buffer[start..], byte.into());
        } else {
            buffer.extend_from_slice(&[b'\\', short]);
        }
    }
    buffer.extend_from_slice(&bytes[clean..]);
}

/// RFC 3339 in UTC with milliseconds. The text of the second is reused within it.
fn write_timestamp(buffer: &mut Vec<u8>) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let text = |second: u64| {
        let (known, text) = SECOND.get();
        if known == second {
            return text;
        }
        let text = format_second(second);
        SECOND.set((second, text));
        text
    };
    buffer.extend_from_slice(&text(now.as_secs()));
    let millis = now.subsec_millis();
    let digit = |value: u32| b'0' + u8::try_from(value % 10).unwrap_or(0);
    buffer.extend_from_slice(&[
        b'.',
        digit(millis / 100),
        digit(millis / 10),
        digit(millis),
        b'Z',
    ]);
}

fn format_second(second: u64) -> [u8; SECOND_BYTES] {
    let at = i64::try_from(second)
        .ok()
        .and_then(|second| DateTime::<Utc>::from_timestamp(second, 0))
        .unwrap_or_default();
    let text = at.format("%Y-%m-%dT%H:%M:%S").to_string();
    // Years of five digits do not fit; they can wait.
    text.as_bytes()
        .try_into()
        .unwrap_or(*b"1970-01-01T00:00:00")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn with_message(text: &str) -> LogLine {
        let mut line = LogLine::start(Level::Info);
        line.text("msg", text);
        line
    }

    fn parsed(line: &mut LogLine) -> Value {
        let bytes = line.finish();
        let end = bytes.iter().position(|&byte| byte == b'\n');
        assert_eq!(end, bytes.len().checked_sub(1), "one line");
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn every_character_survives_in_names_and_values() {
        let all: String = (0..0x300_u32).filter_map(char::from_u32).collect();
        for text in [&*all, "", "\u{1f600}\u{2028}", "\\\"", "a\0b"] {
            let mut line = with_message(text);
            line.text(&format!("field {text}"), text);
            line.format("formatted", format_args!("<{text}>"));
            let value = parsed(&mut line);
            assert_eq!(value["msg"], text);
            assert_eq!(value[format!("field {text}")], text);
            assert_eq!(value["formatted"], format!("<{text}>"));
        }
    }

    #[test]
    fn numbers_are_numbers() {
        let mut line = LogLine::start(Level::Warn);
        line.integer("u", u64::MAX);
        line.integer("i", i64::MIN);
        line.float("f", 0.1);
        line.float("nan", f64::NAN);
        line.boolean("b", true);
        let value = parsed(&mut line);
        assert_eq!(value["u"], u64::MAX);
        assert_eq!(value["i"], i64::MIN);
        assert_eq!(value["f"], 0.1);
        assert!(value["nan"].is_null());
        assert_eq!(value["b"], true);
    }

    #[test]
    fn milliseconds_are_rounded_to_microseconds() {
        for (nanos, expected) in [
            (0, "0.0"),
            (499, "0.0"),
            (500, "0.001"),
            (1_499_600, "1.5"),
            (12_000_000, "12.0"),
            (1_234_567_890, "1234.568"),
        ] {
            let mut line = LogLine::start(Level::Info);
            line.milliseconds("duration_ms", Duration::from_nanos(nanos));
            let text = String::from_utf8(line.finish().to_vec()).unwrap();
            assert!(
                text.contains(&format!("\"duration_ms\":{expected}}}")),
                "{text}"
            );
        }
    }

    #[test]
    fn addresses_are_as_the_standard_library_writes_them() {
        for text in ["127.0.0.1", "255.0.10.99", "::1", "2001:db8::ff"] {
            let ip: IpAddr = text.parse().unwrap();
            let mut line = LogLine::start(Level::Info);
            line.address("ip", ip, None);
            line.address("socket", ip, Some(8080));
            let value = parsed(&mut line);
            assert_eq!(value["ip"], text);
            let socket = std::net::SocketAddr::new(ip, 8080);
            assert_eq!(value["socket"], socket.to_string());
        }
    }

    #[test]
    fn timestamps_are_rfc_3339_in_utc() {
        let value = parsed(&mut LogLine::start(Level::Info));
        let text = value["timestamp"].as_str().unwrap();
        assert_eq!(text.len(), "2026-01-31T23:59:59.000Z".len());
        let at = DateTime::parse_from_rfc3339(text).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(
            now.as_millis()
                .abs_diff(at.timestamp_millis().unsigned_abs().into())
                < 60_000
        );
        assert_eq!(&format_second(951_782_400), b"2000-02-29T00:00:00");
    }

    #[test]
    fn a_value_that_logs_while_it_is_formatted_does_not_mix_lines() {
        struct Logging;
        impl fmt::Display for Logging {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let inner = parsed(&mut with_message("inner"));
                f.write_str(inner["msg"].as_str().unwrap_or_default())
            }
        }
        let mut line = with_message("outer");
        line.format("value", format_args!("{Logging}"));
        let value = parsed(&mut line);
        assert_eq!(
            (&value["msg"], &value["value"]),
            (&"outer".into(), &"inner".into())
        );
    }
}
