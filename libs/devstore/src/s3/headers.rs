//! What the headers of a request say about an object, and back.
//!
//! The store keeps headers by their name: the wire types have a field for each, but
//! another type for each operation.

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
};
use http::{HeaderMap, HeaderName};
use s3s::dto::ChecksumAlgorithm;
use s3s::{S3Result, s3_error};

use crate::disk::{CHECKSUMS, Headers};

/// The type that S3 gives objects without one.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";
/// The headers that are kept, beside user metadata.
pub(super) const KEPT: [HeaderName; 6] = [
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_TYPE,
    EXPIRES,
];
const USER_METADATA: &str = "x-amz-meta-";
const USER_METADATA_LIMIT_BYTES: usize = 2048;

/// The headers to keep of a request that writes an object.
pub(super) fn kept(request: &HeaderMap) -> S3Result<Headers> {
    let mut kept = Headers::new();
    let mut user_bytes = 0;
    for (name, value) in request {
        let Ok(mut value) = value.to_str().map(str::to_owned) else {
            continue;
        };
        if let Some(user) = name.as_str().strip_prefix(USER_METADATA) {
            user_bytes += user.len() + value.len();
        } else if !KEPT.contains(name) {
            continue;
        }
        if name == CONTENT_ENCODING {
            value = content_encoding(&value);
        }
        if !value.is_empty() {
            kept.insert(name.to_string(), value);
        }
    }
    if user_bytes > USER_METADATA_LIMIT_BYTES {
        return Err(s3_error!(
            MetadataTooLarge,
            "User metadata is limited to 2048 bytes"
        ));
    }
    kept.entry(CONTENT_TYPE.to_string())
        .or_insert_with(|| DEFAULT_CONTENT_TYPE.to_owned());
    Ok(kept)
}

/// Without `aws-chunked`, which describes the request and not the object.
fn content_encoding(value: &str) -> String {
    let codings = value.split(',').map(str::trim);
    let kept: Vec<&str> = codings
        .filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    kept.join(", ")
}

/// The digests in headers or trailers.
pub(super) fn checksums(headers: &HeaderMap) -> Headers {
    let digest = |name: &str| {
        let digest = headers.get(name)?.to_str().ok()?;
        Some((name.to_owned(), digest.to_owned()))
    };
    CHECKSUMS.into_iter().filter_map(digest).collect()
}

/// The header of a digest by this algorithm.
pub(super) fn checksum_name(algorithm: &ChecksumAlgorithm) -> String {
    format!("x-amz-checksum-{}", algorithm.as_str().to_ascii_lowercase())
}

/// For a response.
pub(super) fn header_map<'a>(
    pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> HeaderMap {
    let parse = |(name, value): (&String, &String)| {
        let name: HeaderName = name.parse().ok()?;
        Some((name, value.parse().ok()?))
    };
    pairs.into_iter().filter_map(parse).collect()
}

/// Objects have no versions, as in R2.
pub(super) fn refuse_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("null") => Ok(()),
        Some(_) => Err(s3_error!(InvalidArgument, "Versions are not supported")),
    }
}

/// Refuses headers that would be lost silently. R2 does not support them either.
pub(super) fn refuse_unsupported(headers: &HeaderMap) -> S3Result<()> {
    let unsupported = |name: &str, value: &[u8]| match name {
        "x-amz-acl" => value != b"private",
        "x-amz-storage-class" => value != b"STANDARD",
        "x-amz-tagging"
        | "x-amz-website-redirect-location"
        | "x-amz-write-offset-bytes"
        | "x-amz-server-side-encryption-aws-kms-key-id"
        | "x-amz-server-side-encryption-customer-algorithm" => true,
        _ => name.starts_with("x-amz-grant-") || name.starts_with("x-amz-object-lock-"),
    };
    let mut headers = headers.iter();
    match headers.find(|(name, value)| unsupported(name.as_str(), value.as_bytes())) {
        Some((name, _)) => Err(s3_error!(
            NotImplemented,
            "The header {} is not supported",
            name
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::content_encoding;

    #[test]
    fn aws_chunked_is_not_kept() {
        assert_eq!(content_encoding("aws-chunked"), "");
        assert_eq!(content_encoding("gzip,aws-chunked"), "gzip");
        assert_eq!(content_encoding("gzip, br"), "gzip, br");
    }
}
