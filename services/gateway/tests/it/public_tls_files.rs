//! Certificate files that change while the gateway runs.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use quartet_ca::{Identity, Request, Validity};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::support::{
    Certificates, TlsGateway, echo, eventually, read_next, route, serve, upstream,
};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n";

async fn echoing() -> String {
    [upstream(&[serve(echo()).await]), route("all", "/*", "")].concat()
}

fn reloads(outcome: &str) -> String {
    format!(
        "gateway_certificate_reloads_total{{service=\"gateway\",certificate=\"a\",outcome=\"{outcome}\"}}"
    )
}

const REFUSED: &str = "gateway_certificate_refused{service=\"gateway\",certificate=\"a\"}";

fn leaf(identity: &Identity) -> Vec<u8> {
    let parsed = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
    parsed.unwrap().to_vec()
}

async fn served(files: &Certificates, gateway: &TlsGateway) -> Vec<u8> {
    let stream = gateway.connect(files.client_config(None), "a.test").await;
    let stream = stream.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Until then, handshakes may fail.
async fn waits_for(files: &Certificates, gateway: &TlsGateway, identity: &Identity) {
    let expected = leaf(identity);
    eventually("the new certificate is in force", || async {
        let stream = gateway.connect(files.client_config(None), "a.test").await;
        let stream = stream.ok()?;
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        (*chain[0] == *expected).then_some(())
    })
    .await;
}

/// Clients connect all the time, others keep their connections, and certificates change meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_under_load_drops_nothing() {
    let files = Arc::new(Certificates::new());
    let settings = [echoing().await, files.table("a", &["a.test"], "")];
    let gateway = Arc::new(TlsGateway::start(&settings.concat()).await);
    let done = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let (files, gateway) = (Arc::clone(&files), Arc::clone(&gateway));
            let (done, served) = (Arc::clone(&done), Arc::clone(&served));
            tokio::spawn(async move {
                let connect = || async {
                    let config = files.client_config(None);
                    gateway.connect(config, "a.test").await.unwrap()
                };
                let (mut stream, mut rest) = (connect().await, Vec::new());
                while !done.load(Ordering::Relaxed) {
                    if client % 2 == 0 {
                        stream = connect().await;
                    }
                    stream.write_all(REQUEST).await.unwrap();
                    let response = read_next(&mut stream, &mut rest).await;
                    assert_eq!(response.status, 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 1..=3 {
        let before = served.load(Ordering::Relaxed);
        files.write("a", &files.issue(&["a.test"]));
        eventually("the certificate is replaced", || async {
            (gateway.gateway.count(&reloads("applied")).await == round).then_some(())
        })
        .await;
        eventually("requests continue", || async {
            (served.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(gateway.gateway.count(&reloads("refused")).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_leave_the_last_certificate_in_force() {
    let files = Certificates::new();
    let settings = [echoing().await, files.table("a", &["a.test"], "")].concat();
    let gateway = TlsGateway::start(&settings).await;
    let certificate = fs::read_to_string(files.path("a.pem")).unwrap();
    let key = fs::read_to_string(files.path("a.key")).unwrap();
    let first = Identity { certificate, key };
    let expected = leaf(&first);
    let other = files.issue(&["a.test"]);
    let half = &other.certificate[..other.certificate.len() / 2];
    for (certificate, key) in [
        (Some(&*other.certificate), Some(&*first.key)),
        (Some(half), Some(&*first.key)),
        (Some(""), Some(&*other.key)),
        (Some(&*first.certificate), None),
        (Some("not a certificate"), Some("not a key")),
    ] {
        let refused = gateway.gateway.count(&reloads("refused")).await;
        for (file, text) in [("a.pem", certificate), ("a.key", key)] {
            match text {
                Some(text) => fs::write(files.path(file), text).unwrap(),
                None => fs::remove_file(files.path(file)).unwrap(),
            }
        }
        eventually("they are refused", || async {
            let count = gateway.gateway.count(&reloads("refused")).await;
            (count > refused && gateway.gateway.count(REFUSED).await == 1).then_some(())
        })
        .await;
        assert_eq!(served(&files, &gateway).await, expected);
        // A reload does not read them either.
        gateway
            .gateway
            .reload(&gateway.settings(&format!("{settings}\n")))
            .await;
        assert_eq!(served(&files, &gateway).await, expected);
    }
    let lines = gateway.gateway.lines();
    let line = lines
        .iter()
        .find(|line| line["msg"].to_string().contains("certificate refused"));
    let line = line.expect("it is logged");
    assert_eq!(
        (&line["level"], &line["certificate"]),
        (&"error".into(), &"a".into())
    );
    assert!(!line.to_string().contains(first.key.lines().nth(1).unwrap()));
    let ready: Value = gateway.gateway.admin("/ready").await.json().await.unwrap();
    assert!(
        ready["notices"]["certificates"][0]
            .as_str()
            .unwrap()
            .contains("certificate a")
    );
    let status: Value = gateway.gateway.admin("/status").await.json().await.unwrap();
    assert!(status["certificates"][0]["problem"].is_string(), "{status}");
    // The same files as before, and then new ones.
    files.write("a", &first);
    eventually("nothing is wrong any more", || async {
        (gateway.gateway.count(REFUSED).await == 0).then_some(())
    })
    .await;
    files.write("a", &other);
    waits_for(&files, &gateway, &other).await;
    let ready: Value = gateway.gateway.admin("/ready").await.json().await.unwrap();
    assert!(ready["notices"].get("certificates").is_none(), "{ready}");
}

/// The files are links to a directory that is a link, which is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_swapped_as_kubernetes_does_is_noticed() {
    let files = Certificates::new();
    let table = files.table("a", &["a.test"], "");
    let put = |directory: &str, identity: &Identity| {
        let directory = files.path(directory);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.pem"), &identity.certificate).unwrap();
        fs::write(directory.join("a.key"), &identity.key).unwrap();
    };
    let (first, second) = (files.issue(&["a.test"]), files.issue(&["a.test", "b.test"]));
    put("..1", &first);
    symlink("..1", files.path("..data")).unwrap();
    for file in ["a.pem", "a.key"] {
        fs::remove_file(files.path(file)).unwrap();
        symlink(Path::new("..data").join(file), files.path(file)).unwrap();
    }
    let gateway = TlsGateway::start(&[echoing().await, table].concat()).await;
    assert_eq!(served(&files, &gateway).await, leaf(&first));
    put("..2", &second);
    symlink("..2", files.path("..data.new")).unwrap();
    fs::rename(files.path("..data.new"), files.path("..data")).unwrap();
    fs::remove_dir_all(files.path("..1")).unwrap();
    waits_for(&files, &gateway, &second).await;
    // With the names of the new one.
    let config = files.client_config(None);
    assert!(gateway.connect(config, "b.test").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_served_and_complained_about() {
    let files = Certificates::new();
    let table = files.table("a", &["a.test"], "");
    let now = SystemTime::now();
    let mut request = Request::of(&["a.test"]);
    request.validity = Validity {
        not_before: now - Duration::from_hours(2),
        not_after: now - Duration::from_hours(1),
    };
    let expired = files.authority.issue(&request).unwrap();
    files.write("a", &expired);
    let gateway = TlsGateway::start(&[echoing().await, table].concat()).await;
    let refused = gateway.connect(files.client_config(None), "a.test").await;
    assert!(refused.unwrap_err().to_string().contains("xpired"));
    let by_client =
        "gateway_tls_handshake_failures_total{service=\"gateway\",reason=\"by_client\"}";
    assert_eq!(gateway.gateway.count(by_client).await, 1);
    eventually("it is logged", || async {
        let lines = gateway.gateway.lines().into_iter();
        let mut texts = lines.map(|line| line["msg"].to_string());
        texts.find(|text| text.contains("has expired"))
    })
    .await;
    let ready: Value = gateway.gateway.admin("/ready").await.json().await.unwrap();
    assert!(
        ready["notices"]["certificates"][0]
            .as_str()
            .unwrap()
            .contains("expired")
    );
    let metric = "gateway_certificate_not_after_seconds{service=\"gateway\",certificate=\"a\"}";
    let until = request
        .validity
        .not_after
        .duration_since(SystemTime::UNIX_EPOCH);
    let until = usize::try_from(until.unwrap().as_secs()).unwrap();
    eventually("the metric is set", || async {
        (gateway.gateway.count(metric).await == until).then_some(())
    })
    .await;
    let next = files.issue(&["a.test"]);
    files.write("a", &next);
    waits_for(&files, &gateway, &next).await;
}

/// Holds up anyone who opens a file, as a file system does that hangs.
struct Lease(std::process::Child);

impl Lease {
    fn take(file: &Path) -> Self {
        const PROGRAM: &str = "import fcntl, os, signal, sys\n\
            signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
            file = os.open(sys.argv[1], os.O_RDWR)\n\
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
            print('held', flush=True)\n\
            sys.stdin.read()\n";
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is known of certificates is shown while their files are being read.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_read_now_hold_up_no_status() {
    let files = Certificates::new();
    let table = files.table("a", &["a.test"], "");
    let gateway = TlsGateway::start(&[echoing().await, table].concat()).await;
    // The gateway has the files open for a moment each second, and then there is no lease.
    let next = files.issue(&["a.test"]);
    let aside = files.path("aside");
    fs::write(&aside, &next.certificate).unwrap();
    let lease = Lease::take(&aside);
    fs::write(files.path("a.key"), &next.key).unwrap();
    fs::rename(&aside, files.path("a.pem")).unwrap();
    let pid = lease.0.id().to_string();
    eventually("the gateway opens the file", || async {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        // A lease that is to be given up, because someone else waits for the file.
        let mut lines = locks.lines().filter(|line| line.contains("LEASE"));
        let breaks = |line: &str| line.contains("BREAK") && line.contains(&format!(" {pid} "));
        lines.any(breaks).then_some(())
    })
    .await;
    for path in ["/status", "/metrics", "/ready"] {
        let asked = gateway.gateway.admin(path);
        let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
        assert_eq!(answer.expect(path).status(), 200, "{path}");
    }
    drop(lease);
    waits_for(&files, &gateway, &next).await;
}
