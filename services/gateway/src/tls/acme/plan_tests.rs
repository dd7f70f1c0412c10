//! What is to be done with a certificate, and when; with a manual clock.

use std::{sync::atomic::Ordering, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use quartet_common::clock::Clock;
use quartet_telemetry::metrics::Metrics;

use super::{
    Acme, Slot,
    issued::tests::certificate,
    manager::Plan,
    row::{Failure, Renewal, Row, StoredCertificate},
    schedule::Window,
};
use crate::{
    config::acme::{AcmeConfig, AcmeStore, AcmeTimes, OrderedCertificate},
    metrics::GatewayMetrics,
};

const DIRECTORY: &str = "https://authority.example/directory";

struct Fixture {
    acme: Acme,
    clock: Clock,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual("2026-11-01T00:00:00Z".parse().unwrap());
        let second = Duration::from_secs(1);
        let config = AcmeConfig {
            directory_url: DIRECTORY.parse().unwrap(),
            authorities: Some(Vec::new()),
            contact: Vec::new(),
            external_account: None,
            store: AcmeStore::Directory(directory.path().to_owned()),
            encryption_keys: Vec::new(),
            certificates: vec![OrderedCertificate {
                name: "web".into(),
                hosts: vec!["a.example".to_owned()],
                profile: None,
            }],
            times: AcmeTimes {
                poll: second,
                renewal_check: second,
                retry: second,
                request: second,
                order: second,
            },
        };
        let metrics = GatewayMetrics::new(Metrics::new("gateway"));
        Self {
            acme: Acme::new(&config, &clock, &metrics.acme, None).unwrap(),
            clock,
            _directory: directory,
        }
    }

    fn slot(&self) -> &Slot {
        &self.acme.slots[0]
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// What is to be done with this row, whose certificate is installed.
    fn plan(&self, row: &Row) -> Plan {
        self.acme.install_stored(self.slot(), row, &|_, _, _| {});
        self.acme.plan(self.slot(), row)
    }

    fn row(&self, names: &[&str]) -> Row {
        let now = self.now();
        let (chain, key) = certificate(names, now);
        let certificate = StoredCertificate {
            chain,
            key: self.acme.sealer.seal("web", &key).unwrap(),
            profile: None,
            directory_url: DIRECTORY.to_owned(),
            issued_at: now,
        };
        Row {
            certificate: Some(certificate),
            ..Row::default()
        }
    }

    fn failure(&self) -> Failure {
        Failure {
            count: 1,
            outcome: "refused".to_owned(),
            error: String::new(),
            at: self.now(),
            retry_at: self.now() + TimeDelta::minutes(5),
        }
    }
}

#[test]
fn a_missing_certificate_is_ordered_at_once_and_after_each_pause() {
    let it = Fixture::new();
    let mut row = Row::default();
    assert_eq!(it.plan(&row).renew_at, Some(it.now()));
    row.failure = Some(it.failure());
    assert_eq!(
        it.plan(&row).renew_at,
        Some(it.now() + TimeDelta::minutes(5))
    );
    it.slot().is_asked.store(true, Ordering::Relaxed);
    assert_eq!(it.plan(&row).renew_at, Some(it.now()));
}

#[test]
fn what_an_operator_has_asked_for_is_tried_again_after_each_pause() {
    let it = Fixture::new();
    let mut unusable = it.row(&["a.example"]);
    unusable.certificate.as_mut().unwrap().key = "sealed:AAAA".to_owned();
    for mut row in [Row::default(), it.row(&["a.example"]), unusable] {
        // Another certificate would be what was asked for.
        it.plan(&row);
        it.slot().is_owed.store(true, Ordering::Relaxed);
        row.failure = Some(it.failure());
        let due_at = it.plan(&row).renew_at;
        assert_eq!(due_at, Some(it.now() + TimeDelta::minutes(5)));
    }
}

#[test]
fn a_certificate_is_renewed_in_time_and_the_authority_is_asked_before() {
    let it = Fixture::new();
    let mut row = it.row(&["a.example"]);
    let plan = it.plan(&row);
    assert_eq!(plan.ask_at, Some(it.now()));
    let age = plan.renew_at.unwrap() - it.now();
    assert!(
        age >= TimeDelta::days(40) && age <= TimeDelta::days(43),
        "{age}"
    );
    let window = |start, end| {
        Some(Renewal {
            window: Some(Window { start, end }),
            explanation_url: None,
            ask_at: it.now() + TimeDelta::hours(6),
        })
    };
    let (start, end) = (
        it.now() + TimeDelta::days(9),
        it.now() + TimeDelta::days(10),
    );
    row.renewal = window(start, end);
    let plan = it.plan(&row);
    assert!(plan.renew_at >= Some(start) && plan.renew_at <= Some(end));
    assert_eq!(plan.ask_at, Some(it.now() + TimeDelta::hours(6)));
    // Already over: at once, but not again and again.
    row.renewal = window(it.now() - TimeDelta::days(2), it.now() - TimeDelta::days(1));
    assert_eq!(it.plan(&row).renew_at, Some(it.now() + TimeDelta::hours(1)));
    let before = it.now();
    it.clock.advance(TimeDelta::hours(2));
    assert!(it.plan(&row).renew_at <= Some(it.now()));
    // A failure delays that for all gateways, and the questions too.
    row.failure = Some(it.failure());
    let pause = Some(it.now() + TimeDelta::minutes(5));
    assert_eq!(it.plan(&row).renew_at, pause);
    assert!(before < it.now());
}

#[test]
fn a_certificate_for_something_else_is_replaced() {
    let it = Fixture::new();
    let fine = it.row(&["a.example", "b.example"]);
    assert!(it.plan(&fine).renew_at > Some(it.now()));
    let other_hosts = it.row(&["b.example"]);
    assert_eq!(it.plan(&other_hosts).renew_at, Some(it.now()));
    for change in [
        |it: &mut StoredCertificate| it.profile = Some("shortlived".to_owned()),
        |it: &mut StoredCertificate| it.directory_url = "https://staging.example/".to_owned(),
    ] {
        let mut row = it.row(&["a.example"]);
        change(row.certificate.as_mut().unwrap());
        assert_eq!(it.plan(&row).renew_at, Some(it.now()));
    }
}

/// Another gateway may be able to use it.
#[test]
fn a_certificate_that_cannot_be_used_here_is_not_replaced_unless_an_operator_asks() {
    let it = Fixture::new();
    let mut row = it.row(&["a.example"]);
    row.certificate.as_mut().unwrap().key = "sealed:AAAA".to_owned();
    assert_eq!(it.plan(&row), Plan::default());
    assert!(it.slot().installed().is_none() && it.slot().failures() == 1);
    it.slot().is_asked.store(true, Ordering::Relaxed);
    assert_eq!(it.plan(&row).renew_at, Some(it.now()));
}
