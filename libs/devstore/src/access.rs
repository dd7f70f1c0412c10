//! Access: anything with a signature, reads from public buckets without one.

use std::borrow::Cow;

use http::Uri;
use percent_encoding::percent_decode_str;
use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Result, s3_error};

pub(crate) struct Access {
    pub(crate) public_buckets: Vec<String>,
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_some() {
            return check_signed_headers(cx);
        }
        let reads = matches!(cx.s3_op().name(), "GetObject" | "HeadObject");
        let public = cx
            .s3_path()
            .get_bucket_name()
            .is_some_and(|name| self.public_buckets.iter().any(|it| it == name));
        if !(reads && public) {
            return Err(s3_error!(AccessDenied, "A signature is required"));
        }
        if query(cx.uri()).any(|(name, _)| name.starts_with("response-")) {
            return Err(s3_error!(
                InvalidRequest,
                "Response headers can be changed only by signed requests"
            ));
        }
        Ok(())
    }
}

/// S3 refuses `x-amz-*` headers that a presigned URL did not sign. Without this check a
/// holder of the URL could add metadata that the signer never saw.
fn check_signed_headers(cx: &S3AccessContext<'_>) -> S3Result<()> {
    if !query(cx.uri()).any(|(name, _)| name == "X-Amz-Signature") {
        return Ok(());
    }
    let signed = query(cx.uri())
        .find_map(|(name, value)| (name == "X-Amz-SignedHeaders").then_some(value))
        .unwrap_or_default()
        .to_ascii_lowercase();
    let unsigned = cx
        .headers()
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| {
            name.starts_with("x-amz-")
                && *name != "x-amz-content-sha256"
                && !signed.split(';').any(|entry| entry == *name)
        });
    match unsigned {
        Some(name) => Err(s3_error!(
            AccessDenied,
            "The request has a header that is not signed: {}",
            name
        )),
        None => Ok(()),
    }
}

/// Decoded names and values: the signature covers these, not their encoding.
pub(crate) fn query(uri: &Uri) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}
