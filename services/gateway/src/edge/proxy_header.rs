//! The PROXY header (versions 1 and 2) with which a load balancer names the client of a connection.
//!
//! Only for listeners that demand it, and from trusted proxies: anyone else could claim any address.
//! Read before anything else, within its bounds and a deadline. Type-length-values are skipped.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    str::FromStr,
    time::Duration,
};

use pingora::protocols::{
    GetSocketDigest as _, SocketDigest,
    l4::{socket::SocketAddr::Inet, stream::Stream as L4},
};
use tokio::{io::AsyncReadExt as _, time::timeout};

/// With its CR LF.
const MAX_V1_BYTES: usize = 107;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length.
const V2_HEAD_BYTES: usize = 16;
/// Addresses and all that is said beside them, a certificate's name for example.
const MAX_V2_REST_BYTES: usize = 4096;

/// A client whose proxy does not know it. Not the proxy: what it would be believed about clients may
/// come from anyone.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A whole header.
#[derive(Debug, PartialEq, Eq)]
struct ProxyHeader {
    /// `None`: the proxy speaks for itself, as when it checks the health of the gateway.
    client: Option<SocketAddr>,
    length: usize,
}

/// Reads the header, and makes the client that it names the peer of the connection.
///
/// # Errors
/// When the header is invalid or does not arrive in time. Nothing, if the connection ends before its
/// first byte: that is how load balancers check a port.
pub(super) async fn receive(stream: &mut L4, limit: Duration) -> Result<(), Option<String>> {
    let read = timeout(limit, read(stream)).await;
    let late = || Some("the PROXY header did not arrive in time".to_owned());
    let header = read.map_err(|_| late())?;
    let Some(client) = header.map_err(|error| error.map(|error| error.to_string()))? else {
        return Ok(());
    };
    // The connection, as if it were the client's.
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    let _ = digest.peer_addr.set(Some(Inet(client)));
    stream.set_socket_digest(digest);
    Ok(())
}

/// `None` as an error: nothing came.
async fn read(stream: &mut L4) -> Result<Option<SocketAddr>, Option<io::Error>> {
    let invalid = |rule| Some(io::Error::new(io::ErrorKind::InvalidData, rule));
    let mut bytes = Vec::with_capacity(V2_HEAD_BYTES + MAX_V2_REST_BYTES);
    loop {
        // One that is full has a whole header or an invalid one.
        let left = bytes.capacity() - bytes.len();
        let received = (&mut *stream).take(left as u64).read_buf(&mut bytes).await;
        match received {
            Ok(1..) => {}
            _ if bytes.is_empty() => return Err(None),
            Ok(0) => return Err(invalid("the connection ended within its PROXY header")),
            Err(error) => return Err(Some(error)),
        }
        if let Some(header) = parse(&bytes).map_err(invalid)? {
            stream.rewind(&bytes[header.length..]);
            return Ok(header.client);
        }
    }
}

/// `None`: more is needed.
///
/// # Errors
/// The rule that is broken.
fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, &'static str> {
    let begins = |signature: &[u8]| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    };
    if begins(V2) {
        parse_v2(bytes)
    } else if begins(V1) {
        parse_v1(bytes)
    } else {
        Err("the connection does not begin with a PROXY header")
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<ProxyHeader>, &'static str> {
    let known = &bytes[..bytes.len().min(MAX_V1_BYTES)];
    let Some(end) = memchr::memchr(b'\n', known) else {
        if known.len() == MAX_V1_BYTES {
            return Err("the PROXY header is too long");
        }
        return Ok(None);
    };
    let invalid = "the PROXY header is not one of version 1";
    let line = known[..end].strip_suffix(b"\r").ok_or(invalid)?;
    let line = std::str::from_utf8(line).map_err(|_| invalid)?;
    let mut words = line.split(' ').skip(1);
    let client = match words.next() {
        Some("UNKNOWN") => Some(UNKNOWN),
        Some("TCP4") => Some(v1_client::<Ipv4Addr>(words).ok_or(invalid)?),
        Some("TCP6") => Some(v1_client::<Ipv6Addr>(words).ok_or(invalid)?),
        _ => return Err(invalid),
    };
    Ok(Some(ProxyHeader {
        client,
        length: end + 1,
    }))
}

/// Source address, destination address, source port, destination port, and nothing else.
fn v1_client<'w, A: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'w str>,
) -> Option<SocketAddr> {
    let port = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| is_plain)
    };
    let client = words.next()?.parse::<A>().ok()?;
    words.next()?.parse::<A>().ok()?;
    let client_port = port(words.next()?)?;
    port(words.next()?)?;
    words
        .next()
        .is_none()
        .then(|| SocketAddr::new(client.into(), client_port))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<ProxyHeader>, &'static str> {
    let Some((head, rest)) = bytes.split_at_checked(V2_HEAD_BYTES) else {
        return Ok(None);
    };
    let rest_length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if rest_length > MAX_V2_REST_BYTES {
        return Err("the PROXY header is too long");
    }
    let is_local = match head[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err("the PROXY header has an unknown version or command"),
    };
    let Some(rest) = rest.get(..rest_length) else {
        return Ok(None);
    };
    let client = match head[13] {
        _ if is_local => None,
        // TCP over IPv4 and IPv6: source address, destination address, source port, and so on.
        0x11 => Some(v2_client::<4>(rest).ok_or("the PROXY header is too short")?),
        0x21 => Some(v2_client::<16>(rest).ok_or("the PROXY header is too short")?),
        // Not specified, and Unix sockets.
        0x00 | 0x31 => Some(UNKNOWN),
        _ => return Err("the PROXY header has an unknown family or protocol"),
    };
    Ok(Some(ProxyHeader {
        client,
        length: V2_HEAD_BYTES + rest_length,
    }))
}

fn v2_client<const N: usize>(rest: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let (source, after) = rest.split_first_chunk::<N>()?;
    let (_, ports) = after.split_first_chunk::<N>()?;
    let (port, after) = ports.split_first_chunk::<2>()?;
    after.split_first_chunk::<2>()?;
    Some(SocketAddr::new((*source).into(), u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, rest].concat()
    }

    fn client(bytes: &[u8]) -> Result<Option<String>, &'static str> {
        let header = parse(bytes)?.ok_or("incomplete")?;
        assert!(header.length <= bytes.len());
        Ok(header.client.map(|client| client.to_string()))
    }

    #[test]
    fn version_1_is_read_strictly() {
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443",
                Some("192.0.2.1:56324"),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535",
                Some("255.255.255.255:65535"),
            ),
            ("PROXY TCP6 2001:db8::1 ::1 1 2", Some("[2001:db8::1]:1")),
            ("PROXY UNKNOWN", Some("0.0.0.0:0")),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2", Some("0.0.0.0:0")),
        ] {
            let expected = Ok(expected.map(str::to_owned));
            assert_eq!(client(format!("{line}\r\n").as_bytes()), expected, "{line}");
            // Also with what follows, and not before its end.
            assert_eq!(
                client(format!("{line}\r\nGET / HTTP/1.1").as_bytes()),
                expected,
                "{line}"
            );
            for end in 0..line.len() {
                assert_eq!(client(&line.as_bytes()[..end]), Err("incomplete"), "{line}");
            }
        }
        for line in [
            "PROXY",
            "PROXY ",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2",
            "PROXY TCP4 192.0.2.1  192.0.2.2 1 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 ",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2",
            "PROXY TCP4 192.0.2.1 192.0.2 1 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2",
            "PROXY TCP4 ::1 ::1 1 2",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2",
            "PROXY TCP6 [::1] ::1 1 2",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2",
            "PROXY tcp4 192.0.2.1 192.0.2.2 1 2",
            "PROXY UNKNOWNX",
            "PROXY \u{e9}",
        ] {
            let read = client(format!("{line}\r\n").as_bytes());
            assert!(
                !matches!(read, Ok(_) | Err("incomplete")),
                "{line}: {read:?}"
            );
        }
        for bytes in [
            &b"PROXY UNKNOWN\n"[..],
            b"proxy UNKNOWN\r\n",
            b"GET / HTTP/1.1\r\n",
            b"\r\n\r\nGET",
            b"X",
        ] {
            let read = client(bytes);
            assert!(
                !matches!(read, Ok(_) | Err("incomplete")),
                "{bytes:?}: {read:?}"
            );
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(MAX_V1_BYTES - 14));
        assert_eq!(client(long.as_bytes()), Err("the PROXY header is too long"));
        assert_eq!(
            client(&long.as_bytes()[..MAX_V1_BYTES - 1]),
            Err("incomplete")
        );
    }

    #[test]
    fn version_2_is_read_strictly() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 1, 0xbb];
        let mut six = [0; 36];
        (six[0], six[15], six[33]) = (0x20, 1, 80);
        let with_more = [&four[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        for (bytes, expected) in [
            (v2(0x21, 0x11, &four), Some("192.0.2.1:56324")),
            (v2(0x21, 0x11, &with_more), Some("192.0.2.1:56324")),
            (v2(0x21, 0x21, &six), Some("[2000::1]:80")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &four), None),
            (v2(0x20, 0xff, &[1, 2, 3]), None),
            (v2(0x21, 0x00, &[1, 2, 3]), Some("0.0.0.0:0")),
            (v2(0x21, 0x31, &[0; 216]), Some("0.0.0.0:0")),
        ] {
            assert_eq!(client(&bytes), Ok(expected.map(str::to_owned)), "{bytes:?}");
            for end in 0..bytes.len() {
                assert_eq!(client(&bytes[..end]), Err("incomplete"), "{bytes:?}");
            }
            let length = bytes.len();
            let followed = [&bytes[..], b"GET"].concat();
            assert_eq!(parse(&followed).unwrap().unwrap().length, length);
        }
        for bytes in [
            v2(0x11, 0x11, &four),
            v2(0x22, 0x11, &four),
            v2(0x31, 0x11, &four),
            v2(0x21, 0x12, &four),
            v2(0x21, 0x22, &six),
            v2(0x21, 0x41, &four),
            v2(0x21, 0x11, &four[..11]),
            v2(0x21, 0x21, &six[..35]),
            v2(0x21, 0x11, &[0; MAX_V2_REST_BYTES + 1]),
        ] {
            let read = client(&bytes);
            assert!(
                !matches!(read, Ok(_) | Err("incomplete")),
                "{bytes:?}: {read:?}"
            );
        }
        let longest = [&four[..], &[0; MAX_V2_REST_BYTES - 12]].concat();
        assert!(client(&v2(0x21, 0x11, &longest)).is_ok());
    }

    /// A header is found at its end and no sooner, what follows it changes nothing, and an incomplete
    /// one is shorter than the longest.
    fn ends_in_one_place(input: &[u8]) -> Result<(), TestCaseError> {
        match parse(input) {
            Ok(Some(header)) => {
                prop_assert!(header.length <= V2_HEAD_BYTES + MAX_V2_REST_BYTES);
                let exact = parse(&input[..header.length]).ok().flatten();
                prop_assert_eq!(exact.as_ref(), Some(&header));
                let shorter = parse(&input[..header.length - 1]);
                prop_assert_eq!(shorter, Ok(None));
                let longer = parse(&[input, b"x"].concat()).ok().flatten();
                prop_assert_eq!(longer, Some(header));
            }
            Ok(None) => prop_assert!(input.len() < V2_HEAD_BYTES + MAX_V2_REST_BYTES),
            Err(rule) => prop_assert_eq!(parse(&[input, b"x"].concat()), Err(rule)),
        }
        Ok(())
    }

    #[test]
    fn fuzz_proxy_headers() {
        let dictionary = [
            "PROXY ",
            "TCP4 ",
            "TCP6 ",
            "UNKNOWN",
            "192.0.2.1 ",
            "::1 ",
            "1 ",
            "65535",
            "\r\n",
            "\n",
            "\r\n\r\n\0\r\nQUIT\n",
            "!",
            " ",
            "\u{11}",
            "!\u{11}\0\u{c}",
            "!!\0$",
            "\0\0\0\0",
        ];
        fuzz::run("proxy_headers", &dictionary, ends_in_one_place);
    }
}
