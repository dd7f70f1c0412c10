//! Pebble, the test server of Let's Encrypt: it checks every signature, refuses good nonces, and proves hosts
//! from three places at once.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
};

use futures_util::future::join_all;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::support::{Dns, Gateway, client, eventually, free_address, route};

/// When this variable is set, tests that need Pebble are skipped where it is not installed.
const WITHOUT: &str = "QUARTET_TEST_WITHOUT_PEBBLE";
const PROGRAM: &str = "/usr/bin/pebble";
const MAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A running server, killed when it is dropped.
struct Pebble {
    child: Child,
    address: SocketAddr,
    /// Of its own certificate.
    ca: String,
    directory: tempfile::TempDir,
    _dns: Dns,
}

/// How unkind it is.
#[derive(Clone, Copy)]
struct Mood {
    /// Of 100 good nonces.
    refused_nonces: u8,
    /// Of 100 proofs.
    reused_proofs: u8,
    needs_external_account: bool,
}

impl Pebble {
    /// `None` where it is not installed and that is expected. Hosts are proved at these addresses, all at
    /// the same port.
    async fn start(mood: Mood, hosts: &[&str], gateways: &[SocketAddr]) -> Option<Self> {
        if !Path::new(PROGRAM).is_file() {
            assert!(
                std::env::var_os(WITHOUT).is_some(),
                "Pebble is not installed (Debian: apt-get install pebble); \
                 with {WITHOUT}=1, its tests are skipped"
            );
            return None;
        }
        let dns = Dns::start().await;
        let addresses = gateways.iter().map(|gateway| match gateway.ip() {
            std::net::IpAddr::V4(ip) => ip,
            std::net::IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
        });
        let addresses: Vec<Ipv4Addr> = addresses.collect();
        for host in hosts {
            dns.set(host, &addresses);
        }
        let directory = tempfile::tempdir().unwrap();
        let (address, ca) = (free_address(), identity(directory.path()));
        let config = json!({ "pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": free_address().to_string(),
            "certificate": directory.path().join("server.pem"),
            "privateKey": directory.path().join("server.key"),
            "httpPort": gateways[0].port(),
            "tlsPort": 1,
            "externalAccountBindingRequired": mood.needs_external_account,
            "externalAccountMACKeys": { "kid-1": MAC_KEY },
        }});
        let file = directory.path().join("pebble.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let child = Command::new(PROGRAM)
            .args(["-strict", "-dnsserver", &dns.address.to_string(), "-config"])
            .arg(&file)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", mood.refused_nonces.to_string())
            .env("PEBBLE_AUTHZREUSE", mood.reused_proofs.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pebble = Self {
            child,
            address,
            ca,
            directory,
            _dns: dns,
        };
        eventually("Pebble listens", || async {
            tokio::net::TcpStream::connect(pebble.address).await.ok()
        })
        .await;
        Some(pebble)
    }

    fn settings(&self, hosts: &[&str], more: &str) -> String {
        let (address, ca) = (self.address, &self.ca);
        let store = self.directory.path().join("store");
        let store = store.display();
        format!(
            "[acme]\ndirectory_url = \"https://{address}/dir\"\ndirectory_ca = '''\n{ca}'''\n\
             terms_agreed = true\npoll_seconds = 1\nretry_seconds = 1\ndirectory = '{store}'\n{more}\n\
             [acme.certificates.web]\nhosts = {hosts:?}\n"
        )
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes certificate and key of a server on loopback; the authority's certificate in PEM.
fn identity(directory: &Path) -> String {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
    ca
}

/// Gateways at several addresses and one port, as behind a load balancer.
async fn gateways(count: u8) -> (Vec<Gateway>, Vec<SocketAddr>) {
    let port = free_address().port();
    let places: Vec<SocketAddr> = (1..=count)
        .map(|number| SocketAddr::from(([127, 0, 0, number], port)))
        .collect();
    let started = places.iter().map(|place| {
        let listen = format!(
            "shipped_routes = false\n[server]\nlisten = [\"{place}\"]\n{}",
            routes()
        );
        async move { Gateway::with_variables(&listen, &[("QUARTET_SERVER_LISTEN", "")]).await }
    });
    (join_all(started).await, places)
}

fn routes() -> String {
    route("all", "/*", "").replace("upstream = \"u\"", "respond = { status = 200 }")
}

async fn certificate(gateway: &Gateway) -> Value {
    eventually("there is a certificate", || async {
        let mut all: Value = gateway.admin("/acme").await.json().await.unwrap();
        let web = all["certificates"]["web"].take();
        (web["state"] == "valid").then_some(web)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_are_proved_by_an_unkind_server() {
    let mood = Mood {
        refused_nonces: 30,
        reused_proofs: 50,
        needs_external_account: false,
    };
    let (gateways, places) = gateways(3).await;
    let hosts = ["a.example.test", "b.example.test"];
    let Some(pebble) = Pebble::start(mood, &hosts, &places).await else {
        return;
    };
    for (gateway, place) in gateways.iter().zip(&places) {
        let settings = [
            format!("[server]\nlisten = [\"{place}\"]\n"),
            routes(),
            pebble.settings(&hosts, "contact = [\"a@example.org\"]"),
        ];
        gateway.reload(&settings.concat()).await;
    }
    let certificates = join_all(gateways.iter().map(certificate)).await;
    let first = &certificates[0]["not_after"];
    assert!(certificates.iter().all(|it| it["not_after"] == *first));
    let mut issued = 0;
    for gateway in &gateways {
        let labels = "service=\"gateway\",certificate=\"web\",outcome=\"issued\"";
        issued += gateway
            .count(&format!("gateway_acme_orders_total{{{labels}}}"))
            .await;
    }
    assert_eq!(issued, 1);
    // Renewals, some of which need no challenge.
    for number in 2..=4 {
        let gateway = &gateways[number % gateways.len()];
        let url = format!("http://{}/acme/web/renew", gateway.admin);
        assert_eq!(client().post(url).send().await.unwrap().status(), 202);
        // A nonce may be refused more often than it is tried: then it is ordered again.
        eventually("it is renewed", || async {
            let mut issued = 0;
            for gateway in &gateways {
                let labels = "service=\"gateway\",certificate=\"web\",outcome=\"issued\"";
                let name = format!("gateway_acme_orders_total{{{labels}}}");
                issued += gateway.count(&name).await;
            }
            (issued == number).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_bound_to_an_external_one() {
    let mood = Mood {
        refused_nonces: 5,
        reused_proofs: 0,
        needs_external_account: true,
    };
    let (gateways, places) = gateways(1).await;
    let hosts = ["a.example.test"];
    let Some(pebble) = Pebble::start(mood, &hosts, &places).await else {
        return;
    };
    let settings = |more: &str| {
        let listen = format!("[server]\nlisten = [\"{}\"]\n", places[0]);
        [listen, routes(), pebble.settings(&hosts, more)].concat()
    };
    gateways[0].reload(&settings("")).await;
    let refused = eventually("the refusal is shown", || async {
        let mut all: Value = gateways[0].admin("/acme").await.json().await.unwrap();
        let web = all["certificates"]["web"].take();
        (web["failures"] != 0).then_some(web)
    })
    .await;
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("externalAccountRequired"), "{error}");
    let bound = format!("external_account_id = \"kid-1\"\nexternal_account_key = \"{MAC_KEY}\"");
    gateways[0].reload(&settings(&bound)).await;
    certificate(&gateways[0]).await;
}
