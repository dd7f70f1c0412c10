//! Shares of replicas, and which of them are passed over.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use super::*;
use crate::{
    config::{HashBy, Host, UpstreamConfig, UpstreamTarget},
    upstream::{HealthState, ReplicaOutcome},
};

fn upstream(addresses: &[&str]) -> Upstream {
    Upstream::new(UpstreamConfig::of_test(addresses), None)
}

fn fail(upstream: &Upstream, replica: &Replica, now: Instant) {
    replica
        .health
        .record_failure(now, upstream.config.min_eject, upstream.config.max_eject);
}

#[test]
fn replicas_take_turns_and_tried_ones_are_skipped() {
    let upstream = upstream(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let now = Instant::now();
    let three: HashSet<_> = (0..3)
        .map(|_| {
            upstream
                .pick(BalanceKey::default(), &[], now)
                .unwrap()
                .address
        })
        .collect();
    assert_eq!(three.len(), 3);
    let mut tried = Vec::new();
    while let Some(replica) = upstream.pick(BalanceKey::default(), &tried, now) {
        tried.push(replica.address);
    }
    assert_eq!(tried.len(), 3);
}

#[test]
fn failed_replica_is_ejected_and_then_probed_once() {
    let upstream = upstream(&["10.0.0.1", "10.0.0.2"]);
    let now = Instant::now();
    let bad = upstream.pick(BalanceKey::default(), &[], now).unwrap();
    fail(&upstream, &bad, now);
    for _ in 0..4 {
        assert_ne!(
            upstream
                .pick(BalanceKey::default(), &[], now)
                .unwrap()
                .address,
            bad.address
        );
    }
    let later = now + Duration::from_millis(150);
    let picked = (0..6).filter(|_| {
        upstream
            .pick(BalanceKey::default(), &[], later)
            .unwrap()
            .address
            == bad.address
    });
    assert_eq!(picked.count(), 1, "one probe until its outcome is known");
    bad.health.record_success(later);
    let picked = (0..6).filter(|_| {
        upstream
            .pick(BalanceKey::default(), &[], later)
            .unwrap()
            .address
            == bad.address
    });
    assert_eq!(picked.count(), 3);
}

#[test]
fn a_lease_counts_in_flight_until_it_is_dropped() {
    let upstream = Arc::new(upstream(&["10.0.0.1"]));
    let now = Instant::now();
    let replica = upstream.replicas()[0].clone();
    let first = upstream.acquire(BalanceKey::default(), &[], now).unwrap();
    let second = upstream.acquire(BalanceKey::default(), &[], now).unwrap();
    assert_eq!(replica.in_flight(), 2);
    first.report(ReplicaOutcome::ConnectFailed, now);
    drop(first);
    assert_eq!(replica.in_flight(), 1);
    assert_ne!(replica.health.state(now), HealthState::Healthy);
    second.report(ReplicaOutcome::Responded, now);
    drop(second);
    assert_eq!(replica.in_flight(), 0);
    assert_eq!(replica.health.state(now), HealthState::Healthy);
    // Dropped without a report: canceled, which says nothing about the replica.
    drop(upstream.acquire(BalanceKey::default(), &[], now).unwrap());
    assert_eq!(replica.health.state(now), HealthState::Healthy);
}

#[test]
fn an_ejected_replica_is_chosen_if_all_are_ejected() {
    let upstream = upstream(&["10.0.0.1", "10.0.0.2"]);
    let now = Instant::now();
    for replica in upstream.replicas().iter() {
        fail(&upstream, replica, now);
    }
    assert!(upstream.pick(BalanceKey::default(), &[], now).is_some());
}

#[test]
fn health_survives_a_reload_by_address() {
    let before = upstream(&["10.0.0.1", "10.0.0.2"]);
    let now = Instant::now();
    let bad = before.replicas()[0].clone();
    fail(&before, &bad, now);
    let mut config = before.config.clone();
    config.targets.push(UpstreamTarget {
        host: Host::Ip([10, 0, 0, 3].into()),
        port: 80,
        weight: 3,
    });
    let after = Upstream::new(config, Some(&before));
    assert_eq!(after.replicas().len(), 3);
    for _ in 0..6 {
        assert_ne!(
            after.pick(BalanceKey::default(), &[], now).unwrap().address,
            bad.address
        );
    }
    // Its weight is in force at once.
    bad.health.record_success(now);
    let heavy: IpAddr = [10, 0, 0, 3].into();
    let picks = (0..50).filter(|_| {
        after
            .pick(BalanceKey::default(), &[], now)
            .unwrap()
            .address
            .ip()
            == heavy
    });
    assert_eq!(picks.count(), 30);
}

#[test]
fn clients_keep_their_replica() {
    let mut config = upstream(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]).config;
    config.balance = Balancing::Hash(HashBy::Client);
    config.targets[2].weight = 2;
    let three = Upstream::new(config.clone(), None);
    config.targets.pop();
    let two = Upstream::new(config, None);
    let now = Instant::now();
    let of = |upstream: &Upstream, client: u32| {
        let key = BalanceKey::of(client);
        let first = upstream.pick(key, &[], now).unwrap().address;
        assert_eq!(upstream.pick(key, &[], now).unwrap().address, first);
        first
    };
    let heavy: SocketAddr = "10.0.0.3:80".parse().unwrap();
    let mut of_heavy = 0;
    for client in 0..4_000 {
        let before = of(&three, client);
        if before == heavy {
            of_heavy += 1;
        } else {
            assert_eq!(of(&two, client), before, "only its clients move");
        }
    }
    assert!(
        (1_800..2_200).contains(&of_heavy),
        "{of_heavy}: half of the weight"
    );
    // An ejected one is passed over, and then has its clients again.
    let key = BalanceKey::of(7);
    let own = three.pick(key, &[], now).unwrap();
    fail(&three, &own, now);
    assert_ne!(three.pick(key, &[], now).unwrap().address, own.address);
    own.health.record_success(now);
    assert_eq!(three.pick(key, &[], now).unwrap().address, own.address);
    assert_ne!(
        three.pick(key, &[own.address], now).unwrap().address,
        own.address
    );
}

fn weighted(weights: &[u32], balance: Balancing) -> Arc<Upstream> {
    let mut config = UpstreamConfig::of_test(&[]);
    for (last, &weight) in (1_u8..).zip(weights) {
        config.targets.push(UpstreamTarget {
            host: Host::Ip([10, 0, 0, last].into()),
            port: 80,
            weight,
        });
    }
    config.balance = balance;
    Arc::new(Upstream::new(config, None))
}

fn shares(upstream: &Upstream, requests: u32, now: Instant) -> Vec<u32> {
    let mut shares = vec![0; upstream.replicas().len()];
    for request in 0..requests {
        let picked = upstream.pick(BalanceKey::of(request), &[], now).unwrap();
        shares[usize::from(last(&picked)) - 1] += 1;
    }
    shares
}

fn last(replica: &Replica) -> u8 {
    match replica.address.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => unreachable!("addresses of the test are IPv4"),
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn in_turn_shares_are_exactly_the_weights(
        weights in proptest::collection::vec(1_u32..20, 1..8),
    ) {
        let upstream = weighted(&weights, Balancing::RoundRobin);
        let round: u32 = weights.iter().sum();
        let expected: Vec<u32> = weights.iter().map(|weight| weight * 6).collect();
        // With equal weights, a round has each once.
        proptest::prop_assert_eq!(shares(&upstream, round * 6, Instant::now()), expected);
    }

    #[test]
    fn other_shares_are_about_the_weights(
        weights in proptest::collection::vec(1_u32..10, 1..6),
        by_key in proptest::bool::ANY,
    ) {
        let balance = if by_key { Balancing::Hash(HashBy::Client) } else { Balancing::LeastLoaded };
        let upstream = weighted(&weights, balance);
        let requests = 8_000;
        let all: u32 = weights.iter().sum();
        for (share, weight) in shares(&upstream, requests, Instant::now()).into_iter().zip(&weights) {
            let expected = requests * weight / all;
            proptest::prop_assert!(share.abs_diff(expected) < 300, "{share} {expected}");
        }
    }
}

#[test]
fn what_a_replica_does_not_get_is_spread_over_the_others() {
    for balance in [
        Balancing::RoundRobin,
        Balancing::LeastLoaded,
        Balancing::Hash(HashBy::Client),
    ] {
        let upstream = weighted(&[1, 1, 1, 1, 1], balance);
        let now = Instant::now();
        fail(&upstream, &upstream.replicas()[0], now);
        let slow_start = Duration::from_secs(100);
        upstream.replicas()[1].health.warm(now, slow_start);
        let shares = shares(&upstream, 8_000, now + Duration::from_millis(50));
        assert_eq!(shares[0], 0);
        // A sixteenth of a fifth, and a part of what the ejected one does not get.
        assert!((80..160).contains(&shares[1]), "{shares:?}");
        let others = &shares[2..];
        assert!(
            others.iter().all(|share| (2_300..2_950).contains(share)),
            "{shares:?}"
        );
    }
}

/// With requests in flight for as long as a replica takes for them.
#[test]
fn loads_follow_weights_and_speeds() {
    let upstream = weighted(&[1, 1, 2], Balancing::LeastLoaded);
    let now = Instant::now();
    let held: Vec<_> = (0..400)
        .map(|_| upstream.acquire(BalanceKey::default(), &[], now).unwrap())
        .collect();
    let loads: Vec<_> = upstream
        .replicas()
        .iter()
        .map(|replica| replica.in_flight())
        .collect();
    for (load, expected) in loads.iter().zip([100_usize, 100, 200]) {
        assert!(load.abs_diff(expected) < 15, "{loads:?}");
    }
    drop(held);
}

#[test]
fn a_tier_is_used_while_those_before_it_are_not() {
    let mut config = UpstreamConfig::of_test(&[]);
    config.targets.push(UpstreamTarget {
        host: Host::Service("u".to_owned()),
        port: 0,
        weight: 1,
    });
    let upstream = Upstream::new(config, None);
    let found = |last: u8, priority| crate::upstream::replicas::FoundAddress {
        priority,
        ..crate::upstream::replicas::FoundAddress::new(([10, 0, 0, last], 80).into(), 1)
    };
    upstream.record_lookup(0, Ok(vec![found(1, 2), found(3, 1), found(2, 1)]));
    upstream.publish();
    let now = Instant::now();
    assert_eq!(shares(&upstream, 30, now), [0, 15, 15]);
    let replica = |last: u8| {
        let all = upstream.replicas();
        all.iter()
            .find(|replica| self::last(replica) == last)
            .cloned()
            .unwrap()
    };
    fail(&upstream, &replica(2), now);
    assert_eq!(shares(&upstream, 30, now), [0, 0, 30]);
    fail(&upstream, &replica(3), now);
    assert_eq!(shares(&upstream, 30, now), [30, 0, 0]);
    // Of replicas that fail, one of the first tier is used.
    fail(&upstream, &replica(1), now);
    assert_eq!(shares(&upstream, 30, now)[0], 0);
}

#[test]
fn a_key_is_that_of_the_header_or_cookie_and_else_the_client_ip() {
    use http::{HeaderMap, HeaderName, HeaderValue, header::COOKIE};
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_static("a"));
    headers.insert(COOKIE, HeaderValue::from_static("x=1; tenant=a"));
    let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
    let key = |hash_by: &HashBy, user, ip| BalanceKey::of_request(hash_by, &headers, user, ip);
    let header = HashBy::Header(HeaderName::from_static("x-tenant"));
    let cookie = HashBy::Cookie("tenant".into());
    let missing = HashBy::Cookie("other".into());
    assert_eq!(key(&header, None, ip(1)), key(&cookie, None, ip(2)));
    assert_eq!(
        key(&missing, None, ip(1)),
        key(&HashBy::ClientIp, Some("u"), ip(1))
    );
    assert_ne!(
        key(&HashBy::ClientIp, None, ip(1)),
        key(&HashBy::ClientIp, None, ip(2))
    );
    assert_eq!(
        key(&HashBy::Client, Some("u"), ip(1)),
        key(&HashBy::Client, Some("u"), ip(2))
    );
    assert_eq!(
        key(&HashBy::Client, None, ip(1)),
        key(&HashBy::ClientIp, None, ip(1))
    );
}
