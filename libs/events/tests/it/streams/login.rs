//! TLS, and what a server demands of a login. In a process of its own, whose environment names the
//! authority.

use quartet_common::clock::Clock;
use quartet_events::{Delivery, Nats, Outbox};
use quartet_telemetry::metrics::Metrics;
use quartet_testing::{NatsServer, child::Logging};
use secrecy::SecretString;
use serde_json::json;
use sqlx::PgPool;

use super::{Consuming, context, outbox, outbox_at, through};
use crate::support::{Counting, Place, delivery, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_verified_and_the_password_is_sent() {
    let place = Place::new().await;
    let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/streams/tls");
    let settings = format!(
        r#"tls {{ cert_file: "{tls}/server.pem", key_file: "{tls}/server.key" }}
           authorization {{ user: core, password: "p4/:@" }}"#
    );
    let Some(server) = NatsServer::start_with(&settings) else {
        return;
    };
    let publisher = outbox(&place, &server);
    place.publish(&publisher, "ada").await;
    let port = server.address().port();
    let own = format!("{tls}/authority.pem");
    let system = "/etc/ssl/certs/ca-certificates.crt";
    let connect = |login: &str, host: &str, authority: &str| {
        let url = format!("tls://{login}@{host}:{port}");
        deliver(&place, &url, authority)
    };
    let wrong = connect("core:wrong", "localhost", &own);
    assert!(wrong.contains("authorization violation"), "{wrong}");
    assert!(!wrong.contains("wrong"), "{wrong}");
    let other = connect("core:p4%2F%3A%40", "localhost", system);
    assert!(other.contains("UnknownIssuer"), "{other}");
    // The certificate is for localhost.
    let address = connect("core:p4%2F%3A%40", "127.0.0.1", &own);
    assert!(
        address.contains("certificate not valid for name"),
        "{address}"
    );
    assert_eq!(connect("core:p4%2F%3A%40", "localhost", &own), "delivered");
}

/// What a core with this environment says of its delivery.
fn deliver(place: &Place, url: &str, authority: &str) -> String {
    let variables = [
        ("TEST_DATABASE", &*place.database.url()),
        ("TEST_NATS", url),
        ("SSL_CERT_FILE", authority),
    ];
    let mut core = Logging::start("streams::login::publisher", &variables);
    let line = core.next_line().unwrap();
    line["msg"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the publisher of another test"]
async fn publisher() {
    let variable = |name| std::env::var(name).unwrap();
    let db = PgPool::connect(&variable("TEST_DATABASE")).await.unwrap();
    let delivery = through(&variable("TEST_NATS"));
    let metrics = Metrics::new("core");
    let outbox = Outbox::new("core", delivery, db, Clock::system(), &metrics).unwrap();
    let delivered = outbox.deliver_once().await;
    let text = delivered.map_or_else(|error| error.to_string(), |()| "delivered".to_owned());
    println!("{}", json!({ "msg": text }));
}

/// Those that the documentation gives.
#[tokio::test(flavor = "multi_thread")]
async fn logins_with_the_documented_permissions_suffice() {
    let page = include_str!("../../../../../docs/events.md");
    let start = page.find("authorization { users").unwrap();
    let length = page[start..].find("```").unwrap();
    let logins = &page[start..start + length];
    let Some(server) = NatsServer::start_with(&logins.replace("\"...\"", "secret")) else {
        return;
    };
    let place = Place::new().await;
    let url = |user: &str| server.url().replace("//", &format!("//{user}:secret@"));
    let outbox = outbox_at(&place, &url("core"));
    place.publish(&outbox, "ada").await;
    outbox.deliver_once().await.unwrap();
    let consuming = Consuming::start_at(&place, &url("media"), Counting::default());
    until(async || place.effects("ada").await == [1]).await;
    // Counted after it was committed.
    until(async || consuming.received("applied", 1)).await;
    place.publish(&outbox, "ada").await;
    outbox.deliver_once().await.unwrap();
    until(async || place.effects("ada").await == [1, 2]).await;
}

/// A server without TLS is no server for `tls://`, whatever it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_sent_without_tls_if_the_url_demands_it() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let url = server.url().replace("nats://", "tls://ada:secret@");
    let outbox = outbox_at(&place, &url);
    place.publish(&outbox, "ada").await;
    let error = outbox.deliver_once().await.unwrap_err().to_string();
    let named = format!("no connection to {}", url.replace("ada:secret@", ""));
    let names = error.contains(&named) && error.contains("events.nats_url");
    assert!(names && !error.contains("secret"), "{error}");
    let stream = context(&server).await.get_stream("QUARTET_EVENTS").await;
    assert!(stream.is_err());
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for url in [
        "",
        "nats",
        "http://nats:4222",
        "nats://",
        "nats://nats:4222/a",
        "nats://nats:4222?a=b",
        "nats://nats:4222#a",
        "nats://ada@nats:4222",
        "nats://:secret@nats:4222",
        "nats://ada:%FF@nats:4222",
    ] {
        let error = Nats::new(&SecretString::from(url)).unwrap_err();
        assert!(error.to_string().contains("events.nats_url"), "{url}");
    }
    for url in ["nats://nats", "nats://a:b@nats:4222/", "tls://nats:4222"] {
        Nats::new(&SecretString::from(url)).unwrap();
    }
    let both = Delivery {
        nats: Some(Nats::new(&"nats://nats".into()).unwrap()),
        ..delivery(([127, 0, 0, 1], 1).into())
    };
    let error = both.check().unwrap_err().to_string();
    assert!(error.contains("events.media_url"), "{error}");
    through("nats://nats").check().unwrap();
}
