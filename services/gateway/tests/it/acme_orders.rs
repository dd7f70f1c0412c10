//! Certificates of one gateway: ordered, renewed, resumed, and kept in use whatever fails.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use quartet_common::clock::Clock;
use serde_json::Value;

use crate::support::{
    Authority, Certificates, Gateway, Refusal, client, command, echo, eventually, route, serve,
    upstream,
};

const HOST: &str = "a.example";

/// A gateway whose store is in a directory that outlives it.
struct Site {
    authority: Authority,
    files: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        Self {
            authority: Authority::start().await,
            files: tempfile::tempdir().unwrap(),
        }
    }

    fn settings(&self, hosts: &[&str], more: &str) -> String {
        let directory = self.files.path().display();
        let more = format!("directory = '{directory}/acme'\n{more}");
        let routes = ["shipped_routes = false\n", &route("all", "/*", "")].concat();
        let routes = routes.replace("upstream = \"u\"", "respond = { status = 200 }");
        [routes, self.authority.settings(hosts, &more)].concat()
    }

    /// A gateway with these lines in `[acme]`, which the authority asks for tokens.
    async fn gateway(&self, more: &str) -> Gateway {
        let gateway = Gateway::start(&self.settings(&[HOST], more)).await;
        self.authority.state().validators = vec![gateway.public];
        gateway
    }

    /// Waits until a gateway has no lease, and nothing to do with one, and kills it. One that is killed before
    /// keeps the next one waiting for a minute.
    async fn end(&self, gateway: Gateway) {
        eventually("the lease is released", || async {
            let file: Value = serde_json::from_str(&self.row()).unwrap();
            let until: DateTime<Utc> = file["lease"]["until"].as_str()?.parse().unwrap();
            let row: Value = serde_json::from_str(file["row"].as_str()?).unwrap();
            let is_noted = row["renewal"].is_object() || row["failure"].is_object();
            (is_noted && until <= Clock::system().now()).then_some(())
        })
        .await;
        drop(gateway);
    }

    /// A row of the store, as it is in its file.
    fn row(&self) -> String {
        let file = self.files.path().join("acme/certificate-web.json");
        std::fs::read_to_string(file).unwrap()
    }
}

async fn status(gateway: &Gateway) -> Value {
    let mut all: Value = gateway.admin("/acme").await.json().await.unwrap();
    all["certificates"]["web"].take()
}

/// Waits for a status.
async fn until(gateway: &Gateway, what: &str, is_met: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async {
        let status = status(gateway).await;
        is_met(&status).then_some(status)
    })
    .await
}

async fn issued(site: &Site, count: usize) {
    eventually(&format!("{count} certificates are issued"), || async {
        (site.authority.issued() >= count).then_some(())
    })
    .await;
}

fn is_valid(status: &Value) -> bool {
    status["state"] == "valid"
}

async fn renew(gateway: &Gateway, name: &str) -> reqwest::Response {
    let url = format!("http://{}/acme/{name}/renew", gateway.admin);
    client().post(url).send().await.unwrap()
}

async fn orders(gateway: &Gateway, outcome: &str) -> usize {
    let labels = format!("service=\"gateway\",certificate=\"web\",outcome=\"{outcome}\"");
    gateway
        .count(&format!("gateway_acme_orders_total{{{labels}}}"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_ordered_once_and_found_by_the_next_process() {
    let site = Site::new().await;
    let gateway = site.gateway("contact = [\"a@example.org\"]").await;
    let first = until(&gateway, "a certificate is in use", is_valid).await;
    assert_eq!(
        (&first["failures"], &first["error"]),
        (&0.into(), &Value::Null)
    );
    assert_eq!(orders(&gateway, "issued").await, 1);
    let row = site.row();
    site.end(gateway).await;
    let accounts = site.authority.state().accounts.clone();
    assert_eq!(accounts.len(), 1);
    assert_eq!(accounts[0]["contact"][0], "mailto:a@example.org");
    assert_eq!(accounts[0]["termsOfServiceAgreed"], true);
    // With the authority away, the next process has it at once.
    let settings = site.settings(&[HOST], "contact = [\"a@example.org\"]");
    let settings = settings.replace(&site.authority.url, "https://127.0.0.1:1/directory");
    let again = Gateway::start(&settings).await;
    assert_eq!(status(&again).await["not_after"], first["not_after"]);
    assert!(row.contains("plain:"), "protected by the mode of the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_keys_are_encrypted_with_the_key_of_the_configuration() {
    let site = Site::new().await;
    let key = |digit: &str| format!("encryption_key = \"{}\"", digit.repeat(64));
    let gateway = site.gateway(&key("1")).await;
    let first = until(&gateway, "a certificate is in use", is_valid).await;
    assert!(site.row().contains("sealed:") && !site.row().contains("plain:"));
    site.end(gateway).await;
    // Without the key, the certificate is of no use, and no other one is ordered in its place: other
    // gateways may use it.
    let other = site.gateway(&key("2")).await;
    let broken = until(&other, "the error is shown", |it| it["failures"] == 1).await;
    assert_eq!(broken["state"], "missing");
    assert!(
        broken["error"].as_str().unwrap().contains("another key"),
        "{broken}"
    );
    drop(other);
    let rotated = key("1").replace("encryption", "previous_encryption");
    let rotated = site.gateway(&format!("{}\n{rotated}", key("2"))).await;
    let same = until(&rotated, "the certificate is in use", is_valid).await;
    assert_eq!(same["not_after"], first["not_after"]);
    assert_eq!(site.authority.issued(), 1);
    // Renewed, it needs the old key no longer.
    assert_eq!(renew(&rotated, "web").await.status(), 202);
    issued(&site, 2).await;
    until(&rotated, "the certificate is in use", is_valid).await;
    drop(rotated);
    let gateway = site.gateway(&key("2")).await;
    until(&gateway, "the certificate is in use", is_valid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_says_when_to_renew_and_what_is_replaced() {
    let site = Site::new().await;
    {
        let mut state = site.authority.state();
        // Without Retry-After, which the standard asks for.
        (state.window, state.retry_after) = (Some((86_400, 90_000)), None);
    }
    let gateway = site.gateway("").await;
    let first = until(&gateway, "the suggestion is known", |status| {
        let renew_at = status["renew_at"].as_str().unwrap_or_default();
        let days = renew_at
            .parse::<chrono::DateTime<chrono::Utc>>()
            .map(|at| (at - quartet_common::clock::Clock::system().now()).num_hours());
        is_valid(status) && days.is_ok_and(|hours| hours < 26)
    })
    .await;
    assert!(first["renew_at"].is_string());
    // The window moves into the past, as after a revocation; not for a certificate of this minute.
    {
        let mut state = site.authority.state();
        (state.life, state.retry_after) = (Duration::from_secs(30), Some(1));
    }
    assert_eq!(renew(&gateway, "web").await.status(), 202);
    issued(&site, 2).await;
    site.authority.state().window = Some((-20, -10));
    issued(&site, 3).await;
    let seen = site.authority.state().orders.clone();
    assert_eq!(seen[0].replaces, None);
    let replaced: Vec<_> = seen[1..3]
        .iter()
        .map(|order| order.replaces.clone())
        .collect();
    assert!(replaced[0].is_some() && replaced[1].is_some());
    assert_ne!(replaced[0], replaced[1]);
    assert!(replaced[0].as_ref().unwrap().split('.').count() == 2);
    assert_eq!(renew(&gateway, "unknown").await.status(), 404);
}

/// As left behind by an order that was begun, and whose certificate was never fetched.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_may_not_replace_is_made_without() {
    let site = Site::new().await;
    let gateway = site.gateway("").await;
    until(&gateway, "a certificate is in use", is_valid).await;
    site.authority.state().refuses_replacing = true;
    renew(&gateway, "web").await;
    issued(&site, 2).await;
    let seen = site.authority.state().orders.clone();
    assert!(seen[1].status == "refused" && seen[1].replaces.is_some());
    assert!(seen[2].status == "valid" && seen[2].replaces.is_none());
    assert_eq!(orders(&gateway, "refused").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_suggestions_a_certificate_is_renewed_after_two_thirds_of_its_life() {
    let site = Site::new().await;
    {
        let mut state = site.authority.state();
        (state.has_renewal_info, state.life) = (false, Duration::from_secs(9));
    }
    let gateway = site.gateway("").await;
    issued(&site, 1).await;
    let started = Instant::now();
    issued(&site, 2).await;
    let after = started.elapsed();
    // Times in certificates are whole seconds.
    assert!(
        (Duration::from_secs(4)..Duration::from_secs(8)).contains(&after),
        "{after:?}"
    );
    let seen = site.authority.state().orders.clone();
    assert!(seen.iter().all(|order| order.replaces.is_none()));
    until(&gateway, "the certificate is in use", is_valid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_not_asked_before_it_wants_to_be() {
    let site = Site::new().await;
    for retry_after in [Some(3), None] {
        site.authority.state().refusals.push_back(Refusal {
            status: if retry_after.is_some() { 429 } else { 503 },
            kind: if retry_after.is_some() {
                "rateLimited"
            } else {
                "serverInternal"
            },
            retry_after,
        });
    }
    let gateway = site.gateway("").await;
    let limited = until(&gateway, "the refusal is shown", |it| it["failures"] == 1).await;
    let refused_at = Instant::now();
    assert!(
        limited["error"].as_str().unwrap().contains("rateLimited"),
        "{limited}"
    );
    assert_eq!(limited["state"], "missing");
    let ready: Value = gateway.admin("/ready").await.json().await.unwrap();
    let notice = ready["notices"]["acme"][0].as_str().unwrap();
    assert!(
        notice.contains("orders fail") && notice.contains("there is none"),
        "{notice}"
    );
    until(&gateway, "a certificate is in use", is_valid).await;
    assert!(
        refused_at.elapsed() > Duration::from_millis(2_500),
        "{:?}",
        refused_at.elapsed()
    );
    for outcome in ["rate_limited", "unavailable", "issued"] {
        assert_eq!(orders(&gateway, outcome).await, 1, "{outcome}");
    }
    assert_eq!(site.authority.state().accounts.len(), 1);
    let failures = "gateway_acme_failures{service=\"gateway\",certificate=\"web\"}";
    assert_eq!(gateway.count(failures).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_must_be_one_of_the_directory() {
    let site = Site::new().await;
    let gateway = site.gateway("profile = \"tlsserver\"").await;
    let refused = until(&gateway, "the error is shown", |it| it["failures"] == 1).await;
    let error = refused["error"].as_str().unwrap();
    assert!(
        error.contains("`tlsserver`, only classic, shortlived"),
        "{error}"
    );
    assert!(site.authority.state().orders.is_empty());
    gateway
        .reload(&site.settings(&[HOST], "profile = \"shortlived\""))
        .await;
    until(&gateway, "a certificate is in use", is_valid).await;
    let profile = site.authority.state().orders[0].profile.clone();
    assert_eq!(profile.as_deref(), Some("shortlived"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_in_use_stays_when_its_renewal_fails() {
    let site = Site::new().await;
    let gateway = site.gateway("").await;
    let first = until(&gateway, "a certificate is in use", is_valid).await;
    site.authority.state().validators = vec!["127.0.0.1:1".parse().unwrap()];
    renew(&gateway, "web").await;
    let failed = until(&gateway, "the failure is shown", |it| it["failures"] == 1).await;
    assert!(
        is_valid(&failed) && failed["not_after"] == first["not_after"],
        "{failed}"
    );
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains(HOST) && error.contains("127.0.0.1:1"),
        "{error}"
    );
    assert_eq!(orders(&gateway, "refused").await, 1);
    let line = eventually("the error is logged", || async {
        let lines = gateway.lines().into_iter();
        lines
            .filter(|line| line["in_use"] == true)
            .find(|line| line["level"] == "error")
    })
    .await;
    assert!(
        line["error"].as_str().unwrap().contains("127.0.0.1:1"),
        "{line}"
    );
    // Repaired, an operator need not wait for the pause.
    site.authority.state().validators = vec![gateway.public];
    renew(&gateway, "web").await;
    issued(&site, 2).await;
    until(&gateway, "the failure is over", |it| it["failures"] == 0).await;
}

/// An operator asks once: what fails is tried again after the pause, until there is another certificate.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_was_asked_for_is_tried_again() {
    let site = Site::new().await;
    let gateway = site.gateway("").await;
    until(&gateway, "a certificate is in use", is_valid).await;
    site.authority.state().validators = vec!["127.0.0.1:1".parse().unwrap()];
    renew(&gateway, "web").await;
    until(&gateway, "the failure is shown", |it| it["failures"] == 1).await;
    // A reload does not forget it.
    let settings = format!("{}\n", site.settings(&[HOST], ""));
    gateway.reload(&settings).await;
    site.authority.state().validators = vec![gateway.public];
    issued(&site, 2).await;
    let renewed = until(&gateway, "the failure is over", |it| it["failures"] == 0).await;
    // Once is enough.
    assert!(
        renewed["renew_at"].as_str() > renewed["retry_at"].as_str(),
        "{renewed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_ordered_at_once_share_an_account() {
    let site = Site::new().await;
    let others: Vec<String> = (0..5)
        .map(|n| format!("[acme.certificates.other{n}]\nhosts = [\"other{n}.example\"]\n"))
        .collect();
    let settings = [site.settings(&[HOST], ""), others.concat()].concat();
    let gateway = Gateway::start(&settings).await;
    site.authority.state().validators = vec![gateway.public];
    eventually("all have a certificate", || async {
        let all: Value = gateway.admin("/acme").await.json().await.unwrap();
        let all = all["certificates"].as_object().unwrap();
        (all.len() == 6 && all.values().all(is_valid)).then_some(())
    })
    .await;
    assert_eq!(site.authority.state().accounts.len(), 1);
}

/// The process is killed while the authority works on its order; the next one waits for the same one.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_resumed_with_its_key() {
    let site = Site::new().await;
    site.authority.state().is_slow = true;
    let gateway = site.gateway("order_timeout_seconds = 1").await;
    until(&gateway, "the order takes too long", |it| {
        it["failures"] == 1
    })
    .await;
    site.end(gateway).await;
    site.authority.state().is_slow = false;
    let gateway = site.gateway("order_timeout_seconds = 10").await;
    until(&gateway, "a certificate is in use", is_valid).await;
    assert_eq!(site.authority.state().orders.len(), 1);
    assert_eq!(site.authority.state().accounts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_that_the_authority_still_has_need_no_challenge() {
    let site = Site::new().await;
    let gateway = site.gateway("").await;
    until(&gateway, "a certificate is in use", is_valid).await;
    {
        let mut state = site.authority.state();
        state.reuses_proofs = true;
        state.validators = vec!["127.0.0.1:1".parse().unwrap()];
    }
    renew(&gateway, "web").await;
    issued(&site, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_hosts_need_another_certificate() {
    let site = Site::new().await;
    let gateway = site.gateway("").await;
    until(&gateway, "a certificate is in use", is_valid).await;
    gateway
        .reload(&site.settings(&[HOST, "b.example"], ""))
        .await;
    issued(&site, 2).await;
    let hosts = site.authority.state().orders[1].hosts.clone();
    assert_eq!(hosts, [HOST, "b.example"]);
    // Fewer hosts do not.
    gateway.reload(&site.settings(&["b.example"], "")).await;
    until(&gateway, "the certificate is in use", is_valid).await;
    assert_eq!(site.authority.issued(), 2);
    let none = [upstream(&[serve(echo()).await]), route("all", "/*", "")].concat();
    gateway.reload(&none).await;
    let all: Value = gateway.admin("/acme").await.json().await.unwrap();
    assert_eq!(all["certificates"], serde_json::json!({}));
    assert!(!gateway.metrics().await.contains("gateway_acme_failures{"));
}

/// The key of the account is lost: nothing but an operator makes another account.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_read_is_replaced_when_an_operator_asks() {
    let site = Site::new().await;
    let key = |digit: &str| format!("encryption_key = \"{}\"", digit.repeat(64));
    let gateway = site.gateway(&key("1")).await;
    let first = until(&gateway, "a certificate is in use", is_valid).await;
    site.end(gateway).await;
    let gateway = site.gateway(&key("2")).await;
    until(&gateway, "the error is shown", |it| it["failures"] == 1).await;
    // Renewed with the account that it cannot read, it says what would help.
    assert_eq!(renew(&gateway, "web").await.status(), 202);
    let failed = until(&gateway, "the order has failed", |it| {
        it["error"].to_string().contains("--new-account")
    })
    .await;
    assert!(
        failed["error"].as_str().unwrap().contains("encryption_key"),
        "{failed}"
    );
    assert_eq!(site.authority.state().accounts.len(), 1);
    let renewal = |name: &str| {
        let mut command = command();
        let file = gateway.file();
        command.args(["acme", "renew", name, "--new-account", "--config"]);
        command.arg(file);
        command.env("QUARTET_SERVER_ADMIN_LISTEN", gateway.admin.to_string());
        command.output().unwrap()
    };
    assert!(!renewal("other").status.success());
    let output = renewal("web");
    assert!(output.status.success(), "{output:?}");
    let second = until(&gateway, "the certificate is in use", is_valid).await;
    assert_ne!(first["not_after"], second["not_after"]);
    assert_eq!(site.authority.state().accounts.len(), 2);
    // Once: further orders are of the new account, which the next process reads.
    site.end(gateway).await;
    let gateway = site.gateway(&key("2")).await;
    until(&gateway, "the certificate is in use", is_valid).await;
    assert_eq!(renew(&gateway, "web").await.status(), 202);
    issued(&site, 3).await;
    assert_eq!(site.authority.state().accounts.len(), 2);
}

/// What is known before the lease is taken may be old by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_another_gateway_stores_meanwhile_is_not_ordered_again() {
    let site = Site::new().await;
    let gateway = site.gateway("").await;
    let first = until(&gateway, "a certificate is in use", is_valid).await;
    site.end(gateway).await;
    let directory = site.files.path().join("acme");
    let (file, aside) = (
        directory.join("certificate-web.json"),
        directory.join("aside"),
    );
    std::fs::rename(&file, &aside).unwrap();
    // No lease can be taken while this is locked.
    let lock = std::fs::File::open(directory.join("lock")).unwrap();
    lock.lock().unwrap();
    let gateway = site.gateway("").await;
    eventually("the gateway waits for the lease", || async {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let inode = format!(
            ":{} ",
            std::os::unix::fs::MetadataExt::ino(&lock.metadata().unwrap())
        );
        let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&inode);
        locks.lines().any(waits).then_some(())
    })
    .await;
    std::fs::rename(&aside, &file).unwrap();
    lock.unlock().unwrap();
    let found = until(&gateway, "the certificate is in use", is_valid).await;
    assert_eq!(found["not_after"], first["not_after"]);
    assert_eq!(site.authority.state().orders.len(), 1);
}

/// Certificates of files and of authorities may have the same names, and so may their tables.
#[tokio::test(flavor = "multi_thread")]
async fn each_certificate_has_metrics_of_its_own() {
    let site = Site::new().await;
    let files = Certificates::new();
    let of_file = [
        site.settings(&["web", "other"], ""),
        files.table("web", &["web"], ""),
    ];
    let settings = of_file.concat();
    let gateway = Gateway::start(&settings).await;
    site.authority.state().validators = vec![gateway.public];
    until(&gateway, "a certificate is in use", is_valid).await;
    let end = async |certificate: &str| {
        let labels = format!("service=\"gateway\",certificate=\"{certificate}\"");
        let metric = format!("gateway_certificate_not_after_seconds{{{labels}}}");
        gateway.count(&metric).await
    };
    let now = usize::try_from(Clock::system().now().timestamp()).unwrap();
    let day = 24 * 3_600;
    eventually("both have metrics", || async {
        let (of_file, issued) = (end("web").await, end("acme.web").await);
        // One is valid for a day, the other one for sixty.
        let are_own = of_file > now && of_file < now + 2 * day && issued > now + 2 * day;
        are_own.then_some(())
    })
    .await;
    // Two in force with the same first name: the table of one has given a host to another table.
    site.authority.state().life = Duration::from_hours(24 * 10);
    let moved = settings.replace(
        "hosts = [\"web\", \"other\"]\n",
        "hosts = [\"web\"]\n[acme.certificates.next]\nhosts = [\"other\"]\n",
    );
    assert_ne!(moved, settings);
    gateway.reload(&moved).await;
    eventually("each table has its own", || async {
        let (before, next) = (end("acme.web").await, end("acme.next").await);
        (before > now + 20 * day && next > now && next < now + 20 * day).then_some(())
    })
    .await;
    gateway.reload(&files.table("web", &["web"], "")).await;
    eventually("those of the authority are gone", || async {
        let are_gone = end("acme.web").await == 0 && end("acme.next").await == 0;
        (are_gone && end("web").await > 0).then_some(())
    })
    .await;
}
