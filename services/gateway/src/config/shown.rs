//! The configuration as operators see it, and its hash, by which replicas are compared.

use std::{fmt::Write as _, num::NonZeroU32, sync::Arc};

use aws_lc_rs::pbkdf2;
use quartet_common::config::{Settings, ShownSettings};
use sha2::{Digest as _, Sha256};

use super::model::Server;

/// Makes every guess at a secret as expensive as this number of hashes: the hash is in the metrics.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(20_000).expect("it is not zero");
const SALT: &[u8] = b"quartet-gateway configuration";
/// Of the hash, enough that no two configurations have the same.
const HASH_BYTES: usize = 16;
/// The addresses of a process: replicas on one machine have different ones.
const OWN: [&str; 3] = ["listen", "admin_listen", "probe_listen"];

/// Every setting, without secrets.
pub(crate) fn show(settings: &Settings) -> ShownSettings {
    settings.shown(&is_secret)
}

/// Equal for replicas with equal settings, secrets included, whatever addresses they listen on.
pub(super) fn hash(settings: &Settings, server: &Server) -> Arc<str> {
    let mut shown = show(settings);
    if let Some(server) = shown.settings["server"].as_object_mut() {
        server.retain(|name, _| !OWN.contains(&name.as_str()));
    }
    let mut hash = Sha256::new();
    hash.update(canonical(&shown.settings));
    for listen in &server.listen {
        let accepts = (listen.accepts_with(), listen.redirects_to_https());
        hash.update(format!("{:?}{accepts:?};", listen.http2()));
    }
    if !shown.secrets.is_empty() {
        let secrets = shown.secrets.iter();
        let secrets = secrets.fold(String::new(), |mut all, (key, secret)| {
            let _ = write!(all, "{key} {} {secret} ", secret.len());
            all
        });
        let mut derived = [0; 32];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(
            algorithm,
            ITERATIONS,
            SALT,
            secrets.as_bytes(),
            &mut derived,
        );
        hash.update(derived);
    }
    hex::encode(&hash.finalize()[..HASH_BYTES]).into()
}

/// In the order of the names.
fn canonical(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            let fields = fields.into_iter();
            let fields = fields.map(|(name, value)| format!("{name:?}:{}", canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// By the names of a setting, from the outside in. Whatever sounds like a secret is one.
fn is_secret(path: &[&str]) -> bool {
    let name = path.last().copied().unwrap_or_default();
    let is_header = path.len() > 3 && path[2] == "request_headers";
    let is_key = name.ends_with("_key") && name != "key";
    let sounds = ["secret", "password"];
    is_header
        || is_key
        || ["token", "tokens"].contains(&name)
        || sounds.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::config::load::Sources;

    fn hash_of(file: &str) -> Arc<str> {
        Sources::of_test(file).unwrap().hash
    }

    #[test]
    fn equal_settings_have_the_same_hash_and_different_ones_another() {
        let text = "[limits.a]\nrequests = 1\nwindow_seconds = 2\n[health]\ntoken = \"0123456789abcdef\"\n";
        let hash = hash_of(text);
        assert_eq!(hash.len(), 2 * HASH_BYTES);
        // Another order, an own address, a default that is written down.
        let same = "[health]\ntoken = \"0123456789abcdef\"\npath = \"/health\"\n[limits.a]\n\
                    window_seconds = 2\nrequests = 1\n[server]\nlisten = [\"127.0.0.1:1\"]\n\
                    admin_listen = \"127.0.0.1:2\"\nprobe_listen = \"127.0.0.1:3\"\n";
        assert_eq!(hash_of(same), hash);
        for (old, new) in [
            ("requests = 1", "requests = 2"),
            ("0123456789abcdef", "0123456789abcdeg"),
            ("[limits.a]", "[limits.b]"),
            (
                "[health]",
                "[[server.listen]]\naddress = \"127.0.0.1:1\"\nhttp2 = true\n[health]",
            ),
        ] {
            assert_ne!(hash_of(&text.replace(old, new)), hash, "{new}");
        }
    }

    /// Every secret of the model, by the types of its fields.
    #[test]
    fn no_secret_is_shown() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/model");
        let mut found = Vec::new();
        for file in fs::read_dir(directory).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            for line in text.lines().map(str::trim) {
                let Some((name, kind)) = line.split_once(": ") else {
                    continue;
                };
                let name = name.strip_prefix("pub(crate) ").unwrap_or(name);
                if kind.contains("SecretString") || kind.contains("PrivateKey") {
                    found.push(name.to_owned());
                }
            }
        }
        assert!(found.len() >= 10, "{found:?}");
        for name in found {
            let path: &[&str] = if name == "request_headers" {
                &["lookups", "a", "request_headers", "x"]
            } else {
                &["table", &name]
            };
            assert!(is_secret(path), "{name}");
        }
        let open = [
            "key",
            "key_prefix",
            "token_type",
            "token_from",
            "key_headers",
            "idempotency_keys",
        ];
        assert!(open.iter().all(|name| !is_secret(&["table", "a", name])));
    }
}
