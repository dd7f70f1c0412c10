//! Certificates by ACME in handshakes: refused before the first one, and swapped under load.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;

use crate::support::{
    Authority, DEADLINE, Gateway, client, echo, eventually, free_address, route, serve, upstream,
};

const HOST: &str = "a.example";
/// Renewed after four seconds.
const LIFE: Duration = Duration::from_secs(6);
const CLIENTS: usize = 8;

/// A gateway with a plain listener, which the authority asks, and one with TLS.
struct Site {
    authority: Authority,
    gateway: Gateway,
    plain: SocketAddr,
    secure: SocketAddr,
    _files: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let (authority, files) = (Authority::start().await, tempfile::tempdir().unwrap());
        let address = serve(echo()).await;
        {
            let mut state = authority.state();
            // It asks no one who could answer.
            (state.life, state.validators) = (LIFE, vec![SocketAddr::from(([127, 0, 0, 1], 1))]);
        }
        let (plain, secure) = (free_address(), free_address());
        let store = format!("directory = '{}/acme'", files.path().display());
        let settings = [
            upstream(&[address]),
            format!(
                "[server]\nlisten = [{{ address = \"{plain}\", redirect_to_https = true }}, \
                 {{ address = \"{secure}\", tls = true }}]\n"
            ),
            route("all", "/*", ""),
            authority.settings(&[HOST], &store),
        ];
        let variables = [("QUARTET_SERVER_LISTEN", "")];
        let gateway = Gateway::with_variables(&settings.concat(), &variables).await;
        Self {
            authority,
            gateway,
            plain,
            secure,
            _files: files,
        }
    }

    /// Trusts the authority, and knows where the host is.
    fn client(&self, kept_connections: usize) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.authority.ca().as_bytes()).unwrap();
        reqwest::Client::builder()
            .tls_certs_only([ca])
            .resolve(HOST, self.secure)
            .resolve("b.example", self.secure)
            .no_proxy()
            .pool_max_idle_per_host(kept_connections)
            .timeout(DEADLINE)
            .build()
            .unwrap()
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/", self.secure.port())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_under_load_drops_nothing() {
    let site = Site::start().await;
    // Without a certificate, nothing stands in for it.
    let refused = site.client(0).get(site.url(HOST)).send().await;
    assert!(refused.is_err());
    site.authority.state().validators = vec![site.plain];
    let url = format!("http://{}/acme/web/renew", site.gateway.admin);
    client().post(url).send().await.unwrap();
    let trusting = site.client(0);
    eventually("the certificate is in use", || async {
        let response = trusting.get(site.url(HOST)).send().await.ok()?;
        (response.status() == 200).then_some(())
    })
    .await;
    let before = site.authority.issued();
    let (is_over, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients = (0..CLIENTS).map(|number| {
        // Every other one makes a handshake for each request.
        let client = site.client(number % 2);
        let (url, is_over, served) = (site.url(HOST), Arc::clone(&is_over), Arc::clone(&served));
        tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let response = client
                    .get(&url)
                    .send()
                    .await
                    .map_err(|error| format!("{error:?}"))?;
                if response.status() != 200 || response.bytes().await.is_err() {
                    return Err("a response was cut".to_owned());
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    });
    let clients: Vec<_> = clients.collect();
    eventually("it is renewed twice", || async {
        (site.authority.issued() >= before + 2).then_some(())
    })
    .await;
    let renewed = served.load(Ordering::Relaxed);
    eventually("requests go on", || async {
        (served.load(Ordering::Relaxed) > renewed + 100).then_some(())
    })
    .await;
    is_over.store(true, Ordering::Relaxed);
    for outcome in join_all(clients).await {
        assert_eq!(outcome.unwrap(), Ok(()));
    }
    let failures =
        "gateway_tls_handshake_failures_total{service=\"gateway\",reason=\"unknown_name\"}";
    assert!(site.gateway.count(failures).await >= 1);
    // Another host of this address has none.
    assert!(
        site.client(0)
            .get(site.url("b.example"))
            .send()
            .await
            .is_err()
    );
}
