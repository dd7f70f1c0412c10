//! Random inputs: those of `tests/corpus`, changed at random. What breaks a rule is minimized and
//! added to the corpus, which is tried first.
//!
//! A target runs `PROPTEST_CASES` times in a test, which ends with the first finding. `cargo xtask
//! fuzz` sets `QUARTET_FUZZ_SECONDS` of processor time, which are spent whatever is found on the way.

use std::{
    cell::Cell,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};

/// What is demanded of any input.
pub(crate) type Check = fn(&[u8]) -> Result<(), TestCaseError>;

/// One change of an input.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(u8),
    Insert(&'static str),
    Remove(usize),
    Repeat(usize),
    /// Continues as another input of the corpus does from there.
    Cross(Vec<u8>),
}

/// Findings of one run; what breaks this often needs no further search.
const MAX_FINDINGS: usize = 20;

/// Checks the corpus `name`, and then changes of it, in which the words of `dictionary` appear.
pub(crate) fn run(name: &str, dictionary: &[&'static str], check: Check) {
    let (corpus, seconds) = (corpus(name), budget());
    let mut findings = Findings {
        corpus: name,
        found: Vec::new(),
        most: if seconds == 0.0 { 1 } else { MAX_FINDINGS },
    };
    for input in &corpus {
        if let Err(error) = check(input) {
            findings.add(&error.to_string(), input, false);
        }
    }
    let count = Cell::new(0_u64);
    let changes = prop::collection::vec(change(dictionary, &corpus), 0..6);
    let inputs = (prop::sample::select(corpus), changes);
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let start = processor_seconds();
    while !findings.are_enough() {
        let result = TestRunner::new(config.clone()).run(&inputs, |(input, changes)| {
            count.set(count.get() + 1);
            check(&changed(input, changes))
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(reason, (input, changes))) => {
                findings.add(reason.message(), &changed(input, changes), true);
            }
            Err(error) => panic!("{error}"),
        }
        if processor_seconds() - start >= seconds {
            break;
        }
    }
    let seconds = processor_seconds() - start;
    println!("{name}: {} inputs in {seconds:.0} s", count.get());
    let found = findings.found;
    assert!(
        found.is_empty(),
        "{} findings:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// What was found so far.
struct Findings<'n> {
    corpus: &'n str,
    found: Vec<String>,
    most: usize,
}

impl Findings<'_> {
    /// Notes what broke, and keeps the input if it is `new` to the corpus.
    fn add(&mut self, reason: &str, input: &[u8], new: bool) {
        let finding = format!("{reason}: {}", escape(input));
        // The same input may be found again and again.
        if self.found.contains(&finding) {
            return;
        }
        if new {
            keep(self.corpus, input);
        }
        println!("{finding}");
        self.found.push(finding);
    }

    fn are_enough(&self) -> bool {
        self.found.len() >= self.most
    }
}

fn budget() -> f64 {
    let seconds = std::env::var("QUARTET_FUZZ_SECONDS").ok();
    seconds.map_or(0.0, |seconds| seconds.parse().expect("seconds"))
}

/// Used by this thread.
fn processor_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1e9
}

fn path(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    directory.join(format!("{name}.txt"))
}

/// The inputs of `tests/corpus/{name}.txt`, one a line, without line ends and other control
/// characters: `\r`, `\n`, `\t`, `\\` and `\x00`.
pub(crate) fn corpus(name: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path(name)).unwrap();
    text.lines().map(unescape).collect()
}

fn keep(name: &str, input: &[u8]) {
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(path(name))
        .unwrap();
    writeln!(file, "{}", escape(input)).unwrap();
}

fn escape(input: &[u8]) -> String {
    let mut line = String::new();
    for &byte in input {
        match byte {
            b'\r' => line.push_str("\\r"),
            b'\n' => line.push_str("\\n"),
            b'\t' => line.push_str("\\t"),
            b'\\' => line.push_str("\\\\"),
            b' '..=b'~' => line.push(char::from(byte)),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
    line
}

fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        let (byte, length) = match rest.get(..2) {
            Some("\\r") => (b'\r', 2),
            Some("\\n") => (b'\n', 2),
            Some("\\t") => (b'\t', 2),
            Some("\\\\") => (b'\\', 2),
            Some("\\x") => (u8::from_str_radix(&rest[2..4], 16).unwrap(), 4),
            _ => (u8::try_from(character).unwrap(), 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

fn change(
    dictionary: &[&'static str],
    corpus: &[Vec<u8>],
) -> impl Strategy<Value = (usize, Mutation)> + use<> {
    let change = prop_oneof![
        2 => any::<u8>().prop_map(Mutation::Replace),
        4 => prop::sample::select(dictionary.to_vec()).prop_map(Mutation::Insert),
        2 => (1_usize..8).prop_map(Mutation::Remove),
        1 => (1_usize..20).prop_map(Mutation::Repeat),
        1 => prop::sample::select(corpus.to_vec()).prop_map(Mutation::Cross),
    ];
    (any::<prop::sample::Index>(), change).prop_map(|(at, change)| (at.index(1 << 16), change))
}

fn changed(mut bytes: Vec<u8>, changes: Vec<(usize, Mutation)>) -> Vec<u8> {
    for (at, change) in changes {
        let at = at % (bytes.len() + 1);
        let end = |length: usize| bytes.len().min(at + length);
        match change {
            Mutation::Replace(byte) if at < bytes.len() => bytes[at] = byte,
            Mutation::Replace(byte) => bytes.push(byte),
            Mutation::Insert(text) => drop(bytes.splice(at..at, text.bytes())),
            Mutation::Remove(length) => drop(bytes.drain(at..end(length))),
            Mutation::Repeat(length) => {
                let part = bytes[at..end(length)].to_vec();
                bytes.splice(at..at, part);
            }
            Mutation::Cross(other) => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
        }
    }
    bytes
}

#[test]
fn inputs_are_kept_as_they_were() {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    assert_eq!(unescape(&escape(&all)), all);
    assert!(!escape(&all).contains('\n'));
}

#[test]
fn findings_are_counted_once_each() {
    let mut findings = Findings {
        corpus: "",
        found: Vec::new(),
        most: 2,
    };
    for (input, are_enough) in [(b"a", false), (b"a", false), (b"b", true)] {
        findings.add("reason", input, false);
        assert_eq!(findings.are_enough(), are_enough);
    }
    assert_eq!(findings.found, ["reason: a", "reason: b"]);
}
