//! Converts the wire types, which repeat the same fields, from and to what the store keeps.

use std::collections::{BTreeMap, HashMap};

use http::HeaderMap;
use s3s::{S3Result, s3_error};

/// The type that S3 gives objects without one.
pub(super) const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";
const USER_METADATA_LIMIT_BYTES: usize = 2048;

/// The headers to keep, moved out of an input that writes an object.
macro_rules! headers_of {
    ($input:expr) => {
        $crate::disk::Headers {
            content_type: Some(
                $input
                    .content_type
                    .take()
                    .unwrap_or_else(|| $crate::s3::headers::DEFAULT_CONTENT_TYPE.to_owned()),
            ),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $crate::s3::headers::content_encoding($input.content_encoding.take()),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
            expires: $input.expires.take(),
            user: $crate::s3::headers::user_metadata($input.metadata.take())?,
        }
    };
}

/// The digests that an input contains, moved out of it.
macro_rules! checksums_of {
    ($input:expr) => {
        $crate::disk::Checksums {
            crc32: $input.checksum_crc32.take(),
            crc32c: $input.checksum_crc32c.take(),
            crc64nvme: $input.checksum_crc64nvme.take(),
            sha1: $input.checksum_sha1.take(),
            sha256: $input.checksum_sha256.take(),
            kind: None,
        }
    };
}

/// Puts kept digests into an output.
macro_rules! set_checksums {
    ($output:expr, $sums:expr) => {{
        let sums: $crate::disk::Checksums = $sums;
        $output.checksum_crc32 = sums.crc32;
        $output.checksum_crc32c = sums.crc32c;
        $output.checksum_crc64nvme = sums.crc64nvme;
        $output.checksum_sha1 = sums.sha1;
        $output.checksum_sha256 = sums.sha256;
        sums.kind
    }};
}

pub(super) use {checksums_of, headers_of, set_checksums};

/// Without `aws-chunked`, which describes the request and not the object.
pub(super) fn content_encoding(value: Option<String>) -> Option<String> {
    let value = value?;
    let kept: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

pub(super) fn user_metadata(
    given: Option<HashMap<String, String>>,
) -> S3Result<BTreeMap<String, String>> {
    let kept: BTreeMap<String, String> = given.into_iter().flatten().collect();
    let bytes: usize = kept
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > USER_METADATA_LIMIT_BYTES {
        return Err(s3_error!(
            MetadataTooLarge,
            "User metadata is limited to 2048 bytes"
        ));
    }
    Ok(kept)
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
    let mut names = headers
        .iter()
        .filter(|(name, value)| unsupported(name.as_str(), value.as_bytes()));
    match names.next() {
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
        let kept = |value: &str| content_encoding(Some(value.to_owned()));
        assert_eq!(kept("aws-chunked"), None);
        assert_eq!(kept("gzip,aws-chunked").as_deref(), Some("gzip"));
        assert_eq!(kept("gzip, br").as_deref(), Some("gzip, br"));
    }
}
