//! Who may do what: everything with a signature, reading public buckets without one.

use std::sync::Arc;

use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Result, s3_error};

use crate::options::Options;

pub(crate) struct Access {
    pub(crate) options: Arc<Options>,
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
            .is_some_and(|name| self.options.is_public(name));
        if !(reads && public) {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        if cx
            .uri()
            .query()
            .is_some_and(|query| query.contains("response-"))
        {
            return Err(s3_error!(
                InvalidRequest,
                "Request specific response headers cannot be used for anonymous GET requests"
            ));
        }
        Ok(())
    }
}

/// S3 refuses `x-amz-*` headers that a presigned URL did not sign; without this check a
/// holder of the URL could add metadata that the signer never saw.
fn check_signed_headers(cx: &S3AccessContext<'_>) -> S3Result<()> {
    let Some(query) = cx
        .uri()
        .query()
        .filter(|query| query.contains("X-Amz-Signature="))
    else {
        return Ok(());
    };
    let signed = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("X-Amz-SignedHeaders="))
        .unwrap_or_default()
        .to_ascii_lowercase()
        .replace("%3b", ";");
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
            "There were headers present in the request which were not signed: {}",
            name
        )),
        None => Ok(()),
    }
}
