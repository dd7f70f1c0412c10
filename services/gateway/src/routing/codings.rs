//! What a route says about compressed bodies.

use serde::{Deserialize, Serialize};

/// A coding of bodies, by its name in `Content-Encoding`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Coding {
    Zstd,
    #[serde(rename = "br")]
    Brotli,
    Gzip,
}

/// How responses are compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompressionSettings {
    /// Smaller bodies are sent as they are, if their length is known.
    pub(crate) min_size_bytes: u64,
    /// Media types in lower case; `text/*` are all of one kind.
    pub(crate) content_types: Vec<Box<str>>,
    /// The preferred one first, where the client has no preference.
    pub(crate) algorithms: Vec<Coding>,
    /// 1 to 9.
    pub(crate) level: u32,
}

/// What becomes of compressed request bodies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RequestDecompression {
    #[default]
    Pass,
    /// 415.
    Refuse,
    /// 413 beyond the bounds, 415 for other codings.
    Decode,
}

impl Coding {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// The coding of the highest quality that the client accepts; of equals, the first of `offered`. `None`:
/// the body is sent as it is, also to a client that accepts nothing at all.
pub(crate) fn preferred<'v>(
    accepted: impl Iterator<Item = &'v [u8]>,
    offered: &[Coding],
) -> Option<Coding> {
    let (mut any, mut identity) = (None, None);
    let mut qualities = vec![None; offered.len()];
    for item in accepted.flat_map(|value| value.split(|&byte| byte == b',')) {
        let mut parts = item.split(|&byte| byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let quality = quality(parts);
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("*") {
            any = Some(quality);
        } else if is("identity") {
            identity = Some(quality);
        }
        for (coding, place) in offered.iter().zip(&mut qualities) {
            if is(coding.name()) || (*coding == Coding::Gzip && is("x-gzip")) {
                *place = Some(quality);
            }
        }
    }
    let mut best: Option<(u16, Coding)> = None;
    for (coding, quality) in offered.iter().zip(qualities) {
        let quality = quality.or(any).unwrap_or(0);
        if quality > best.map_or(0, |(best, _)| best) {
            best = Some((quality, *coding));
        }
    }
    let (quality, coding) = best?;
    // A client may prefer what is not encoded.
    (quality >= identity.unwrap_or(0)).then_some(coding)
}

/// In thousandths (RFC 9110, 12.4.2); what cannot be read is not accepted.
fn quality<'p>(parameters: impl Iterator<Item = &'p [u8]>) -> u16 {
    for parameter in parameters {
        let parameter = parameter.trim_ascii();
        let Some(value) = parameter
            .strip_prefix(b"q=")
            .or(parameter.strip_prefix(b"Q="))
        else {
            continue;
        };
        let number = std::str::from_utf8(value).ok();
        let number = number.and_then(|text| text.parse::<f32>().ok());
        let number = number.filter(|number| (0.0..=1.0).contains(number));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 1000"
        )]
        return number.map_or(0, |number| (number * 1000.0).round() as u16);
    }
    1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    #[test]
    fn a_client_gets_what_it_prefers() {
        let choose = |text: &str| {
            let coding = preferred([text.as_bytes()].into_iter(), &ALL);
            coding.map_or("", Coding::name)
        };
        for (accepted, expected) in [
            ("", ""),
            ("gzip", "gzip"),
            ("GZIP", "gzip"),
            ("x-gzip", "gzip"),
            ("gzip, br, zstd", "zstd"),
            ("gzip, br;q=0.9", "gzip"),
            ("gzip;q=0.5, br;q=0.8", "br"),
            ("gzip;q=0", ""),
            ("gzip;q=0.000", ""),
            ("*", "zstd"),
            ("*;q=0", ""),
            ("*;q=0.1, zstd;q=0", "br"),
            ("identity", ""),
            ("identity;q=0", ""),
            ("identity;q=0, gzip;q=0.1", "gzip"),
            ("identity;q=1, gzip;q=0.5", ""),
            ("deflate, compress", ""),
            ("gzip;q=x", ""),
            ("gzip;q=2", ""),
            ("gzip; q=1", "gzip"),
            ("gzipped, br\u{0}", ""),
        ] {
            assert_eq!(choose(accepted), expected, "{accepted}");
        }
    }
}
