//! What the standards demand, as tables: the cases of h2spec, and requests that two servers could
//! read differently. The results are in docs/conformance.md, which this test compares;
//! `QUARTET_WRITE_CONFORMANCE=1` writes it.

#![expect(clippy::too_many_lines, reason = "tables")]

mod frames;
mod generic;
mod hpack;
mod messages;
mod requests;
mod rows;
mod types;
mod wire;

use std::{fmt::Write as _, fs, path::Path, sync::Mutex};

use futures_util::{StreamExt as _, stream};

use crate::support::{Gateway, echo, route, serve, upstream};
use wire::{PREFACE, PROTOCOL, Peer, Reaction, frame, settings};

const WRITE: &str = "QUARTET_WRITE_CONFORMANCE";
/// Connections at a time.
const AT_ONCE: usize = 8;

/// One case of h2spec.
struct Case {
    /// Section of RFC 9113, or of RFC 7541 with `H`; `G` for general use; and a number.
    id: &'static str,
    what: &'static str,
    /// Settings that the client starts with.
    settings: &'static [(u16, u32)],
    steps: Vec<Step>,
    want: Expected,
    /// The code that a connection ends with, where another one is demanded. Its end is enough for
    /// h2spec.
    code: Option<u32>,
    differs: Option<(Reaction, &'static str)>,
}

enum Step {
    Send(Vec<u8>),
    /// Reads until this.
    Until(Reaction),
}

/// What is demanded.
#[derive(Clone, Copy)]
enum Expected {
    /// GOAWAY with one of these codes, or the end of the connection.
    ConnectionError(&'static [u32]),
    /// `RST_STREAM` or GOAWAY with one of these codes, or the end of the connection.
    StreamError(&'static [u32]),
    /// As `StreamError` with `PROTOCOL_ERROR`, or a response that says so (RFC 9113, 8.1.1).
    Malformed,
    /// Exactly this.
    Exactly(Reaction),
}

fn case(id: &'static str, what: &'static str, want: Expected, frames: &[Vec<u8>]) -> Case {
    Case {
        id,
        what,
        settings: &[],
        steps: vec![Step::Send(frames.concat())],
        want,
        code: None,
        differs: None,
    }
}

impl Case {
    fn with(mut self, settings: &'static [(u16, u32)]) -> Self {
        self.settings = settings;
        self
    }

    /// Waits for this, and sends more.
    fn then(mut self, seen: Reaction, frames: &[Vec<u8>]) -> Self {
        self.steps.push(Step::Until(seen));
        self.steps.push(Step::Send(frames.concat()));
        self
    }

    fn code(mut self, code: u32) -> Self {
        self.code = Some(code);
        self
    }

    /// What happens instead, and why.
    fn differs(mut self, seen: Reaction, why: &'static str) -> Self {
        self.differs = Some((seen, why));
        self
    }

    /// # Errors
    /// What was seen instead of what is expected.
    async fn run(&self, gateway: &Gateway) -> Result<(), Reaction> {
        let mut peer = Peer::connect(gateway).await;
        // Cases of the preface itself send their own.
        if !self.id.starts_with("3.4") {
            let start = [PREFACE, &settings(self.settings)].concat();
            peer.send(&start).await;
            until(&mut peer, Reaction::Settings).await?;
            peer.send(&frame(wire::SETTINGS, wire::ACK, 0, &[])).await;
            until(&mut peer, Reaction::SettingsAck).await?;
        }
        for step in &self.steps {
            match step {
                Step::Send(frames) => peer.send(frames).await,
                Step::Until(seen) => until(&mut peer, *seen).await?,
            }
        }
        let mut code = None;
        loop {
            let seen = peer.see().await;
            let is_final = match self.differs {
                Some((differs, _)) => seen == differs,
                None => self.want.is_met(seen),
            };
            if is_final && (self.code.is_none() || self.code == code) {
                return Ok(());
            }
            match seen {
                Reaction::GoAway(sent) => code = Some(sent),
                Reaction::Closed | Reaction::Nothing => return Err(seen),
                _ => {}
            }
        }
    }

    fn result(&self) -> &'static str {
        match (self.differs, self.code) {
            (Some((_, why)), _) => why,
            (None, Some(PROTOCOL)) => "passes; closed with PROTOCOL_ERROR",
            (None, Some(_)) => "passes; closed with another code",
            (None, None) => "passes",
        }
    }
}

async fn until(peer: &mut Peer, awaited: Reaction) -> Result<(), Reaction> {
    loop {
        match peer.see().await {
            seen if seen == awaited => return Ok(()),
            seen @ (Reaction::Closed | Reaction::Nothing | Reaction::GoAway(_)) => {
                return Err(seen);
            }
            _ => {}
        }
    }
}

impl Expected {
    fn is_met(self, seen: Reaction) -> bool {
        match (self, seen) {
            (Self::ConnectionError(codes), Reaction::GoAway(code))
            | (Self::StreamError(codes), Reaction::GoAway(code) | Reaction::Reset(code)) => {
                codes.contains(&code)
            }
            (Self::Malformed, Reaction::GoAway(code) | Reaction::Reset(code)) => code == PROTOCOL,
            (Self::Malformed, Reaction::Status(status)) => status == 400,
            (
                Self::ConnectionError(_) | Self::StreamError(_) | Self::Malformed,
                Reaction::Closed,
            ) => true,
            (Self::Exactly(wanted), seen) => wanted == seen,
            _ => false,
        }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = generic::cases();
    cases.extend(frames::cases());
    cases.extend(types::cases());
    cases.extend(messages::cases());
    cases.extend(hpack::cases());
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_http2_are_answered_as_the_standard_demands() {
    let settings = [
        upstream(&[serve(echo()).await]),
        "[server]\nhttp2 = true\n".to_owned(),
        route("all", "/a/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let cases = cases();
    let running = stream::iter(&cases).map(|case| async { (case.id, case.run(&gateway).await) });
    let results: Vec<_> = running.buffered(AT_ONCE).collect().await;
    let failed: Vec<_> = results
        .into_iter()
        .filter_map(|(id, result)| Some((id, result.err()?)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let mut table = "| case | what is sent | result |\n|---|---|---|\n".to_owned();
    for case in &cases {
        let _ = writeln!(table, "| {} | {} | {} |", case.id, case.what, case.result());
    }
    document("h2spec", &table);
}

/// Compares a part of docs/conformance.md with what was found.
fn document(part: &str, found: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let text = fs::read_to_string(&file).unwrap();
    let (start, end) = (format!("<!-- {part} -->\n"), format!("<!-- /{part} -->"));
    let (before, rest) = text.split_once(&start).unwrap();
    let (known, after) = rest.split_once(&end).unwrap();
    if known != found && std::env::var_os(WRITE).is_some() {
        let text = [before, &start, found, &end, after].concat();
        fs::write(&file, text).unwrap();
        return;
    }
    assert_eq!(known, found, "docs/conformance.md is stale: {WRITE}=1");
}
