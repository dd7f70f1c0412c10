//! `quartet-gateway acme`: the certificates by ACME of the running gateway of a configuration.

use std::fmt::Write as _;

use anyhow::Context as _;
use http::Method;
use serde::Deserialize;

use super::client::AdminClient;
use crate::{
    config::load::Sources,
    tls::acme::{AcmeStatus, AcmeStatuses},
};

#[derive(Deserialize)]
struct Listed {
    certificates: AcmeStatuses,
}

/// A line for each certificate, and one for its last error.
///
/// # Errors
/// When the gateway does not answer.
pub(crate) fn acme_status(sources: &Sources) -> anyhow::Result<String> {
    let body = ask(sources, Method::GET, "/acme")?;
    let listed: Listed = serde_json::from_slice(&body)
        .context("the gateway answers with another report than expected")?;
    let mut text = String::new();
    for (name, status) in &listed.certificates {
        describe(&mut text, name, status);
    }
    if text.is_empty() {
        text.push_str("no certificates by ACME are configured\n");
    }
    Ok(text)
}

/// # Errors
/// When the gateway does not answer, or has no certificate of this name.
pub(crate) fn renew_certificate(
    sources: &Sources,
    name: &str,
    new_account: bool,
) -> anyhow::Result<()> {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    anyhow::ensure!(
        !name.is_empty() && name.bytes().all(is_name),
        "`{name}` is not the name of a certificate"
    );
    let query = if new_account { "?new_account=true" } else { "" };
    ask(sources, Method::POST, &format!("/acme/{name}/renew{query}")).map(drop)
}

fn ask(sources: &Sources, method: Method, path: &str) -> anyhow::Result<Vec<u8>> {
    let client = AdminClient::of_config(&sources.load()?, None, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(client.send(method, path))
}

fn describe(text: &mut String, name: &str, status: &AcmeStatus) {
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| {
        at.map_or("-".to_owned(), |at| {
            at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
        })
    };
    let _ = writeln!(
        text,
        "{name}: {}, until {}, renewed at {}, for {}",
        status.state,
        time(status.not_after),
        time(status.renew_at),
        status.hosts.join(", ")
    );
    if let Some(error) = &status.error {
        let (failures, retry_at) = (status.failures, time(status.retry_at));
        let _ = writeln!(
            text,
            "  failures: {failures}, tried again at {retry_at}: {error}"
        );
    }
}
