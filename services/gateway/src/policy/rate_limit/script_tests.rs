//! The script in a real server beside the counters in memory, and both beside a log of every request.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderName;
use proptest::{prelude::*, test_runner::TestRunner};
use quartet_testing::RedisServer;

use super::{
    bucket::Bucket,
    rule::LimitDecision,
    subject::{CounterKey, Subject},
    window::Window,
};

const SCRIPT: &str = include_str!("script.lua");
/// Some time in 2026, with all digits.
const START: u64 = 1_795_791_629_909_123;
const WINDOW_US: u64 = 40_000_000;
const SLICE_MS: u64 = 2_000;
/// A window of 40 s with 12 requests, 4 of them at once.
const REQUESTS: u64 = 12;
const BURST: u32 = 4;
const INTERVAL_US: u64 = 5_000_000;

#[derive(Clone, Debug)]
enum Step {
    /// After this number of microseconds.
    Take(u64),
    /// This number of requests before the last.
    Give(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![Just(0), 0..1_000_u64, 0..9_000_000_u64, 0..90_000_000_u64];
    let step = prop_oneof![8 => pause.prop_map(Step::Take), 1 => (0..3_usize).prop_map(Step::Give)];
    prop::collection::vec(step, 1..80)
}

struct Store {
    connection: redis::Connection,
    keys: [String; 2],
}

impl Store {
    fn ask(&mut self, at: &str, mode: &str, requests: u32) -> Vec<i64> {
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(2).arg(&self.keys).arg(at).arg(mode);
        command.arg("w").arg(requests).arg(SLICE_MS);
        command.arg("b").arg(BURST).arg(INTERVAL_US);
        command.query(&mut self.connection).unwrap()
    }
}

fn of_script(numbers: &[i64]) -> (bool, u64, u64) {
    let number = |at: usize| u64::try_from(numbers[at]).unwrap();
    (numbers[0] == 1, number(1), number(2))
}

fn of_memory(decision: LimitDecision) -> (bool, u64, u64) {
    let reset = u64::try_from(decision.reset.as_micros()).unwrap();
    (decision.allowed, decision.remaining.into(), reset)
}

/// Both limits of a request in one call: counted in both or in none.
fn is_the_same(store: &mut Store, requests: u32, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut now = START;
    let mut window = Window::new(SLICE_MS, now);
    let mut bucket = Bucket::new(now);
    let mut taken: Vec<u64> = Vec::new();
    for step in steps {
        match step {
            Step::Take(pause) => {
                now += pause;
                let mut expected = [
                    window.look(requests, now),
                    bucket.look(BURST, INTERVAL_US, now),
                ];
                if expected.iter().all(|limit| limit.allowed) {
                    expected = [
                        window.count(requests, now),
                        bucket.count(BURST, INTERVAL_US, now),
                    ];
                    taken.push(now);
                }
                let answer = store.ask(&now.to_string(), "take", requests);
                prop_assert_eq!(u64::try_from(answer[0]).unwrap(), now);
                prop_assert_eq!(of_script(&answer[1..4]), of_memory(expected[0]));
                prop_assert_eq!(of_script(&answer[4..7]), of_memory(expected[1]));
            }
            Step::Give(back) => {
                let Some(place) = taken.len().checked_sub(back + 1) else {
                    continue;
                };
                let at = taken.remove(place);
                window.give_back(at);
                bucket.give_back(INTERVAL_US);
                store.ask(&at.to_string(), "give", requests);
            }
        }
    }
    let most = u64::from(requests).min(REQUESTS);
    for (first, at) in taken.iter().enumerate() {
        let inside = taken[first..].iter().take_while(|it| **it < at + WINDOW_US);
        prop_assert!(inside.count() as u64 <= most, "from {} on", at);
    }
    Ok(())
}

#[test]
fn the_script_counts_as_memory_does() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_connection().unwrap();
    let mut store = Store {
        connection,
        keys: Default::default(),
    };
    let mut number = 0;
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let store = std::cell::RefCell::new(&mut store);
    let number = std::cell::RefCell::new(&mut number);
    let inputs = (1..15_u32, steps());
    let result = TestRunner::new(config).run(&inputs, |(requests, steps)| {
        let (mut store, mut number) = (store.borrow_mut(), number.borrow_mut());
        **number += 1;
        store.keys = [format!("{{{number}}}:w"), format!("{{{number}}}:b")];
        is_the_same(&mut store, requests, &steps)
    });
    result.unwrap();
}

/// After a failover the clock may be behind: nothing is forgotten, and nothing is kept for good.
#[test]
fn a_clock_that_goes_back_forgets_nothing() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let client = redis::Client::open(server.url()).unwrap();
    let mut store = Store {
        connection: client.get_connection().unwrap(),
        keys: ["{a}:w".to_owned(), "{a}:b".to_owned()],
    };
    let mut take = |at: u64| {
        let answer = store.ask(&at.to_string(), "take", 3);
        let window = (answer[1], answer[2]);
        (window, (answer[4], answer[5]))
    };
    let (second, hour) = (1_000_000, 3_600_000_000);
    assert_eq!(take(START), ((1, 2), (1, 3)));
    // A little: what was counted still counts.
    assert_eq!(take(START - second), ((1, 1), (1, 1)));
    // A lot: it counts as if it had just been, and no longer.
    let early = START - hour;
    assert_eq!(take(early), ((1, 1), (0, 0)));
    assert_eq!(take(early + 4 * second), ((1, 1), (0, 0)));
    assert_eq!(take(early + 5 * second), ((1, 0), (1, 0)));
    assert_eq!(take(early + 39 * second), ((0, 0), (1, 4)));
    assert_eq!(take(early + 43 * second), ((1, 1), (1, 3)));
    // What was written expires within the window, whatever time it names.
    let left = |key: &str| server.command(&["PTTL", key]).parse::<u64>().unwrap();
    assert!((1..=42_000).contains(&left("{a}:w")), "{}", left("{a}:w"));
    assert!((1..=20_000).contains(&left("{a}:b")), "{}", left("{a}:b"));
    // What something else has written is overwritten.
    server.command(&["SET", "{a}:w", "text"]);
    server.command(&["SET", "{a}:b", "text"]);
    let answer = store.ask(&START.to_string(), "take", 3);
    let reset = 42 * second - START % (2 * second);
    assert_eq!(answer[1..4], [1, 2, i64::try_from(reset).unwrap()]);
    assert_eq!(answer[4..6], [1, 3]);
}

#[derive(Clone, Debug, PartialEq)]
enum Owned {
    User(String, String),
    Session(String, String),
    Token(String, String, i64, i64),
    ApiKey(String, String),
    Header(String, Vec<u8>),
    Ip(IpAddr),
    Site(Ipv6Addr),
}

/// Of few characters, so that parts of different subjects are the same.
fn subject() -> impl Strategy<Value = Owned> {
    let text = || "[a4u\\x00\\x01]{0,4}";
    let number = || prop_oneof![Just(0_i64), Just(0x61), Just(0x0075_6161)];
    let bytes = || prop::collection::vec(prop_oneof![Just(0_u8), Just(0x61)], 0..6);
    let v6 = || prop::array::uniform8(prop_oneof![Just(0_u16), Just(0x6161)]);
    prop_oneof![
        (text(), text()).prop_map(|(issuer, name)| Owned::User(issuer, name)),
        (text(), text()).prop_map(|(issuer, id)| Owned::Session(issuer, id)),
        (text(), text(), number(), number())
            .prop_map(|(issuer, name, from, to)| Owned::Token(issuer, name, from, to)),
        (text(), text()).prop_map(|(issuer, client)| Owned::ApiKey(issuer, client)),
        ("[ah]{1,3}", bytes()).prop_map(|(name, value)| Owned::Header(name, value)),
        prop::array::uniform4(prop_oneof![Just(0_u8), Just(0x61)])
            .prop_map(|octets| Owned::Ip(octets.into())),
        v6().prop_map(|parts| Owned::Ip(Ipv6Addr::from(parts).into())),
        v6().prop_map(|parts| Owned::Site(parts.into())),
    ]
}

fn key(limit: &str, subject: &Owned) -> Vec<u8> {
    let name;
    let subject = match subject {
        Owned::User(issuer, name) => Subject::User { issuer, name },
        Owned::Session(issuer, id) => Subject::Session { issuer, id },
        Owned::Token(issuer, name, issued, expires) => Subject::Token {
            issuer,
            name,
            issued: *issued,
            expires: *expires,
        },
        Owned::ApiKey(issuer, client) => Subject::ApiKey { issuer, client },
        Owned::Header(text, value) => {
            name = HeaderName::try_from(text).unwrap();
            Subject::Header(&name, value)
        }
        Owned::Ip(address) => Subject::ClientIp(*address),
        Owned::Site(address) => Subject::Site(*address),
    };
    CounterKey::new(limit, subject).as_bytes().to_vec()
}

/// What is counted of a subject.
fn counted(subject: Owned) -> Owned {
    match subject {
        Owned::Ip(IpAddr::V6(address)) => {
            let mut parts = address.segments();
            parts[4..].fill(0);
            Owned::Ip(Ipv6Addr::from(parts).into())
        }
        Owned::Site(address) => {
            let mut parts = address.segments();
            parts[3..].fill(0);
            Owned::Site(parts.into())
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_096) })]

    #[test]
    fn two_subjects_or_limits_never_share_a_key(
        (one, other) in ("[ahu4]{0,2}", "[ahu4]{0,2}"),
        (first, second) in (subject(), subject()),
    ) {
        let is_same = one == other && counted(first.clone()) == counted(second.clone());
        prop_assert_eq!(key(&one, &first) == key(&other, &second), is_same);
    }
}
