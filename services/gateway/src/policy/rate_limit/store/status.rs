//! What is known of the store, for people.

use std::time::Instant;

/// How the store is, since when, and why.
#[derive(Clone, Debug)]
pub(crate) struct StoreStatus {
    /// `single`, `sentinel` or `cluster`.
    pub(crate) kind: &'static str,
    /// `None`: it was not asked yet.
    pub(crate) is_up: Option<bool>,
    pub(crate) since: Instant,
    /// Where it is.
    pub(crate) address: Option<String>,
    /// The last error.
    pub(crate) error: Option<String>,
    /// The server must not be asked for the time.
    pub(crate) passes_time: bool,
}

impl StoreStatus {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            is_up: None,
            since: Instant::now(),
            address: None,
            error: None,
            passes_time: false,
        }
    }

    /// Whether that is new.
    pub(super) fn failed(&mut self, error: &str) -> bool {
        self.error = Some(error.to_owned());
        self.turn(false)
    }

    /// Whether that is new.
    pub(super) fn succeeded(&mut self, address: &str, passes_time: bool) -> bool {
        let is_other = self.address.as_deref() != Some(address);
        self.address = Some(address.to_owned());
        self.passes_time = passes_time;
        self.turn(true) || is_other
    }

    fn turn(&mut self, is_up: bool) -> bool {
        if self.is_up == Some(is_up) {
            return false;
        }
        self.is_up = Some(is_up);
        self.since = Instant::now();
        true
    }

    /// What operators should know; it names no error.
    pub(crate) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.is_up == Some(false) {
            let seconds = self.since.elapsed().as_secs();
            notices.push(format!("the store has been unavailable for {seconds} s"));
        }
        if self.passes_time {
            let notice = "the store refuses TIME, so that limits go by the clocks of the gateways";
            notices.push(notice.to_owned());
        }
        notices
    }
}
