//! AWS Signature Version 4 for URLs. Signing is local: it sends no request.
//!
//! The SDK signs through its whole stack of interceptors and derives the key each time, which is most
//! of what a presigned upload costs. The key depends on the date only, so that [`Signer`] keeps it. A
//! test compares the URLs with those of the SDK.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use chrono::{DateTime, NaiveDate, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use url::{Position, Url};

use crate::config::S3;

/// What a signature leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// How long a signed URL is valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) from: DateTime<Utc>,
    pub(crate) ttl: Duration,
}

/// A signed URL and the headers that are part of the signature.
#[derive(Clone, Debug)]
pub(crate) struct SignedRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Validity {
    pub(crate) fn ends_at(self) -> DateTime<Utc> {
        self.from + self.ttl
    }
}

/// Signs requests for the objects of one bucket.
pub(super) struct Signer {
    /// What precedes the key: scheme, host, and the bucket where it is part of the path.
    base: String,
    host: String,
    /// The path in `base`.
    path: String,
    region: String,
    /// May be replaced at any time.
    pair: RwLock<Arc<KeyPair>>,
}

struct KeyPair {
    access_key: SecretString,
    secret_key: SecretString,
    /// The day's key, derived from the secret key.
    day: Mutex<Option<(NaiveDate, Vec<u8>)>>,
}

/// The parts of a request that are signed.
pub(super) struct UnsignedRequest<'a> {
    pub(super) method: &'static str,
    pub(super) key: &'a str,
    /// Sorted, in lower case.
    pub(super) query: &'a [(&'static str, String)],
    pub(super) headers: BTreeMap<&'static str, String>,
}

impl Signer {
    pub(super) fn new(settings: &S3, endpoint: &Url, bucket: &str) -> Self {
        let (host, path) = place(settings.path_style, endpoint, bucket);
        Self {
            base: format!("{}://{host}{path}", endpoint.scheme()),
            host,
            path,
            region: settings.region.clone(),
            pair: RwLock::new(KeyPair::new(settings)),
        }
    }

    /// Signs with the key pair of these settings from now on.
    pub(super) fn rotate(&self, settings: &S3) {
        *self.pair.write().unwrap_or_else(PoisonError::into_inner) = KeyPair::new(settings);
    }

    fn pair(&self) -> Arc<KeyPair> {
        let pair = self.pair.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&pair)
    }

    pub(super) fn sign(&self, request: UnsignedRequest<'_>, validity: Validity) -> SignedRequest {
        let pair = self.pair();
        let day = validity.from.format("%Y%m%d");
        let time = validity.from.format("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let mut signed = vec![("host", self.host.as_str())];
        signed.extend(
            request
                .headers
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        signed.sort_unstable();
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let credential = format!("{}/{scope}", pair.access_key.expose_secret());
        let ttl = validity.ttl.as_secs().to_string();
        let query = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &time),
            ("X-Amz-Expires", &ttl),
            ("X-Amz-SignedHeaders", &names),
        ];
        // Capitals sort first, so this is the order that is signed.
        let own = request
            .query
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let query: Vec<String> = query
            .into_iter()
            .chain(own)
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, UNRESERVED)))
            .collect();
        let query = query.join("&");
        let key = utf8_percent_encode(request.key, PATH);
        let mut canonical = format!("{}\n{}/{key}\n{query}\n", request.method, self.path);
        for (name, value) in signed {
            // Writing to a string cannot fail.
            let _ = writeln!(canonical, "{name}:{value}");
        }
        let _ = write!(canonical, "\n{names}\nUNSIGNED-PAYLOAD");
        let hash = hex::encode(Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
        let signature = pair.signature(&self.region, validity.from, text.as_bytes());
        SignedRequest {
            method: request.method.to_owned(),
            url: format!("{}/{key}?{query}&X-Amz-Signature={signature}", self.base),
            headers: request
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }
}

impl KeyPair {
    fn new(settings: &S3) -> Arc<Self> {
        Arc::new(Self {
            access_key: settings.access_key.clone(),
            secret_key: settings.secret_key.clone(),
            day: Mutex::default(),
        })
    }

    fn signature(&self, region: &str, at: DateTime<Utc>, text: &[u8]) -> String {
        let today = at.date_naive();
        let mut day = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match &mut *day {
            Some((date, key)) if *date == today => key,
            other => {
                let secret = self.secret_key.expose_secret();
                let key = generate_signing_key(secret, SystemTime::from(at), region, "s3");
                &mut other.insert((today, key.as_ref().to_vec())).1
            }
        };
        calculate_signature(key, text)
    }
}

/// The URL of a bucket, without a slash at its end.
pub(super) fn bucket_url(settings: &S3, endpoint: &Url, bucket: &str) -> String {
    let (host, path) = place(settings.path_style, endpoint, bucket);
    format!("{}://{host}{path}", endpoint.scheme())
}

/// Host and path of a bucket.
fn place(path_style: bool, endpoint: &Url, bucket: &str) -> (String, String) {
    let authority = &endpoint[Position::BeforeHost..Position::AfterPort];
    let prefix = endpoint.path().trim_end_matches('/');
    if path_style || !can_be_host(bucket, endpoint) {
        (authority.to_owned(), format!("{prefix}/{bucket}"))
    } else {
        (format!("{bucket}.{authority}"), prefix.to_owned())
    }
}

/// By the rules of S3: a bucket is part of the host name where that yields a name whose certificate
/// can match.
fn can_be_host(bucket: &str, endpoint: &Url) -> bool {
    let is_label = |text: &str| {
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        ends(bytes.first())
            && ends(bytes.last())
            && bytes
                .iter()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    let is_ip = endpoint
        .host_str()
        .is_some_and(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok());
    let labels_allowed = endpoint.scheme() == "http" || !bucket.contains('.');
    !is_ip && labels_allowed && (3..=63).contains(&bucket.len()) && bucket.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{
        operation::put_object::builders::PutObjectFluentBuilder, presigning::PresigningConfig,
    };
    use serde_json::json;

    use super::*;
    use crate::store::objects::client::{Keys, connect};

    const BUCKET: &str = "quartet-private";

    fn settings(endpoint: &str, path_style: bool, bucket: &str) -> S3 {
        let settings = json!({
            "endpoint": endpoint, "public_endpoint": "", "region": "auto", "access_key": "AKIA/+x",
            "secret_key": "s3cret/with+signs", "path_style": path_style, "private_bucket": bucket,
            "public_bucket": "quartet-public", "public_base_url": "", "create_buckets": false,
            "timeout_seconds": 1,
        });
        serde_json::from_value(settings).unwrap()
    }

    fn validity(second: i64) -> Validity {
        Validity {
            from: DateTime::from_timestamp(second, 987_654_321).unwrap(),
            ttl: Duration::from_mins(15),
        }
    }

    /// Address, parameters in any order, and headers.
    fn parts(url: &str) -> (String, Vec<String>) {
        let (address, query) = url.split_once('?').unwrap();
        let mut query: Vec<String> = query.split('&').map(str::to_owned).collect();
        query.sort_unstable();
        (address.to_owned(), query)
    }

    async fn compare_upload(
        settings: &S3,
        key: &str,
        validity: Validity,
        headers: &[(&'static str, &str)],
    ) {
        let header = |name: &str| {
            let found = headers.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let signer = Signer::new(settings, &settings.endpoint, &settings.private_bucket);
        let ours = signer.sign(
            UnsignedRequest {
                method: "PUT",
                key,
                query: &[("x-id", "PutObject".to_owned())],
                headers: headers
                    .iter()
                    .map(|(name, value)| (*name, (*value).to_owned()))
                    .collect(),
            },
            validity,
        );
        let request: PutObjectFluentBuilder =
            connect(settings, &settings.endpoint, &Keys::new(settings))
                .put_object()
                .bucket(&settings.private_bucket)
                .key(key)
                .set_content_type(header("content-type"))
                .set_content_length(header("content-length").map(|it| it.parse().unwrap()))
                .set_if_none_match(header("if-none-match"))
                .set_content_disposition(header("content-disposition"))
                .set_checksum_sha256(header("x-amz-checksum-sha256"));
        let theirs = request.presigned(config(validity)).await.unwrap();
        assert_eq!(parts(&ours.url), parts(theirs.uri()), "{}", ours.url);
        assert_eq!(ours.method, theirs.method());
        let theirs: BTreeMap<String, String> = theirs
            .headers()
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        assert_eq!(ours.headers, theirs);
    }

    fn config(validity: Validity) -> PresigningConfig {
        PresigningConfig::builder()
            .start_time(SystemTime::from(validity.from))
            .expires_in(validity.ttl)
            .build()
            .unwrap()
    }

    #[tokio::test]
    async fn uploads_are_signed_as_the_sdk_signs_them() {
        let all = [
            ("content-disposition", "attachment"),
            ("content-length", "48213"),
            ("content-type", "image/svg+xml"),
            ("if-none-match", "*"),
            (
                "x-amz-checksum-sha256",
                "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            ),
        ];
        let stores = [
            ("http://127.0.0.1:9000", true, BUCKET),
            ("http://127.0.0.1:9000", false, BUCKET),
            ("http://[::1]:9000", false, BUCKET),
            ("https://account.r2.cloudflarestorage.com", true, BUCKET),
            ("https://account.r2.cloudflarestorage.com", false, BUCKET),
            ("https://store.example:8443/s3/", false, BUCKET),
            ("https://store.example:8443/s3/", true, BUCKET),
            ("https://store.example/storage/v1/s3", true, BUCKET),
            ("https://store.example/storage/v1/s3", true, "with.dots"),
            ("https://store.example/s3", false, "with.dots"),
            ("http://127.0.0.1:9000/s3", false, BUCKET),
            ("http://store.example", false, "with.dots"),
            ("https://store.example", false, "with.dots"),
            ("https://store.example", false, "ends-with-"),
        ];
        for (endpoint, path_style, bucket) in stores {
            let settings = settings(endpoint, path_style, bucket);
            for (key, headers) in [("incoming/0198-a", &all[..]), ("a b/ü+~:@.x", &all[1..4])] {
                compare_upload(&settings, key, validity(1_800_000_000), headers).await;
            }
        }
    }

    #[tokio::test]
    async fn downloads_are_signed_as_the_sdk_signs_them() {
        let settings = settings("https://store.example", true, BUCKET);
        let disposition = "attachment; filename*=UTF-8''a%20b%26c%2B.png";
        let signer = Signer::new(&settings, &settings.endpoint, BUCKET);
        let request = UnsignedRequest {
            method: "GET",
            key: "uploads/1",
            query: &[
                ("response-content-disposition", disposition.to_owned()),
                ("x-id", "GetObject".to_owned()),
            ],
            headers: BTreeMap::new(),
        };
        let ours = signer.sign(request, validity(1_800_000_000));
        let theirs = connect(&settings, &settings.endpoint, &Keys::new(&settings))
            .get_object()
            .bucket(BUCKET)
            .key("uploads/1")
            .response_content_disposition(disposition)
            .presigned(config(validity(1_800_000_000)))
            .await
            .unwrap();
        assert_eq!(parts(&ours.url), parts(theirs.uri()));
        assert!(ours.headers.is_empty());
    }

    #[tokio::test]
    async fn the_key_changes_with_the_date_and_only_then() {
        let settings = settings("http://127.0.0.1:9000", true, BUCKET);
        let signer = Signer::new(&settings, &settings.endpoint, BUCKET);
        let day = 86_400;
        let sign = |second| {
            let request = UnsignedRequest {
                method: "GET",
                key: "k",
                query: &[],
                headers: BTreeMap::new(),
            };
            signer.sign(request, validity(second)).url
        };
        let (first, next) = (sign(20_000 * day), sign(20_001 * day));
        assert_ne!(first, next);
        // Not what the key of the other date would give.
        assert_eq!(sign(20_000 * day), first);
        assert_eq!(sign(20_001 * day), next);
        let fresh = Signer::new(&settings, &settings.endpoint, BUCKET);
        let text = b"text";
        let at = validity(20_001 * day).from;
        let of = |signer: &Signer| signer.pair().signature("auto", at, text);
        assert_eq!(of(&signer), of(&fresh));
    }
}
