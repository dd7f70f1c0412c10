//! When a changed text is put in force.
//!
//! Programs write a file in steps: `cp` and most editors empty it first. A text caught in between
//! can be valid, and would then be in force for a moment: an empty file means the default routes.
//! So a text counts only once it has been read for a whole [`PAUSE`] without a difference, however
//! often it is read, and a file without a setting never replaces one that had some. Content is
//! compared rather than time stamps, because Kubernetes swaps symbolic links and editors replace
//! files. A text that was refused is not tried again.

use std::time::{Duration, Instant};

use super::ConfigTexts;

/// A writer that pauses for longer may be read half-way.
const PAUSE: Duration = Duration::from_secs(1);

/// The texts that were read, compared with those that were tried.
#[derive(Debug)]
pub struct Watch {
    /// In force, or refused.
    tried: ConfigTexts,
    /// Read since then; tried once it is read again after the pause.
    candidate: Option<(ConfigTexts, Instant)>,
    /// A reload was asked for, so that even an unchanged text is tried.
    requested: bool,
}

impl Watch {
    /// Begins with the texts in force.
    pub fn new(in_force: ConfigTexts) -> Self {
        Self {
            tried: in_force,
            candidate: None,
            requested: false,
        }
    }

    /// Even an unchanged text is to be tried once. A flood of requests delays nothing.
    pub fn request(&mut self) {
        self.requested = true;
    }

    /// The texts to try, once they have been the same for a pause. `now`: when they were read.
    pub fn observe(&mut self, read: ConfigTexts, now: Instant) -> Option<ConfigTexts> {
        if !self.requested && read == self.tried {
            self.candidate = None;
            return None;
        }
        match &self.candidate {
            Some((text, since)) if *text == read => {
                if now.saturating_duration_since(*since) < PAUSE {
                    return None;
                }
            }
            _ => {
                self.candidate = Some((read, now));
                return None;
            }
        }
        self.candidate = None;
        self.requested = false;
        self.tried = read.clone();
        Some(read)
    }

    /// The files could not be read. True: a reload was asked for, so this is worth an error.
    pub fn unreadable(&mut self) -> bool {
        self.candidate = None;
        std::mem::take(&mut self.requested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads texts, and reports which of them are tried.
    struct Reader {
        watch: Watch,
        now: Instant,
    }

    impl Reader {
        fn new() -> Self {
            let now = Instant::now();
            let watch = Watch::new(ConfigTexts::of_file("a"));
            Self { watch, now }
        }

        /// This long after the last one.
        fn read(&mut self, text: &str, later: Duration) -> bool {
            self.now += later;
            let text = ConfigTexts::of_file(text);
            let tried = self.watch.observe(text.clone(), self.now);
            assert!(tried.as_ref().is_none_or(|tried| *tried == text));
            tried.is_some()
        }
    }

    #[test]
    fn texts_are_tried_once_after_a_pause_without_a_difference() {
        let mut reader = Reader::new();
        assert!(!reader.read("a", PAUSE));
        // Written in steps: each reading differs from the one before.
        for step in ["", "b", "b1"] {
            assert!(!reader.read(step, PAUSE));
        }
        assert!(reader.read("b1", PAUSE));
        assert!(!reader.read("b1", PAUSE));
        // Changed and changed back between two readings.
        for step in ["c", "b1", "c"] {
            assert!(!reader.read(step, PAUSE));
        }
        assert!(reader.read("c", PAUSE));
    }

    #[test]
    fn a_request_tries_an_unchanged_text_once() {
        let mut reader = Reader::new();
        reader.watch.request();
        assert!(!reader.read("a", PAUSE));
        assert!(reader.read("a", PAUSE));
        assert!(!reader.read("a", PAUSE));
        reader.watch.request();
        assert!(reader.watch.unreadable() && !reader.watch.unreadable());
    }

    #[test]
    fn many_requests_neither_delay_a_text_nor_shorten_the_pause() {
        let mut reader = Reader::new();
        let step = PAUSE / 10;
        for text in ["b", "c"] {
            let mut before = 0;
            reader.watch.request();
            while !reader.read(text, step) {
                reader.watch.request();
                before += 1;
            }
            assert_eq!(before, 10, "{text}");
        }
    }

    #[test]
    fn only_a_file_with_content_can_be_emptied() {
        let text = ConfigTexts::of_file;
        for empty in ["", " \n", "# a = 1\n", "[routes]\n[routes.a]\n"] {
            assert!(text("a = 1").is_emptied_by(&text(empty)), "{empty}");
            assert!(!text(empty).is_emptied_by(&text("")), "{empty}");
        }
        assert!(!text("a = 1").is_emptied_by(&text("b = 1")));
        assert!(!text("a = 1").is_emptied_by(&text("not TOML")));
    }
}
