//! When a changed text is put in force.
//!
//! Programs write a file in steps: `cp` and most editors empty it first. A text caught in between
//! can be valid, and would then be in force for a moment: an empty file means the default routes.
//! So a text counts only once two reads in a row are identical, and a file without a setting never
//! replaces one that had some. Content is compared rather than time stamps, because Kubernetes swaps
//! symbolic links and editors replace files. A text that was refused is not tried again.

use super::ConfigTexts;

/// The texts that were read, compared with those that were tried.
#[derive(Debug)]
pub struct Watch {
    /// In force, or refused.
    tried: ConfigTexts,
    /// Read once; tried when it is read again.
    candidate: Option<ConfigTexts>,
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

    /// Even an unchanged text is to be tried once.
    pub fn request(&mut self) {
        self.requested = true;
        self.candidate = None;
    }

    /// The texts to try, once two reads in a row are identical.
    pub fn observe(&mut self, read: ConfigTexts) -> Option<ConfigTexts> {
        if !self.requested && read == self.tried {
            self.candidate = None;
            return None;
        }
        if self.candidate.as_ref() != Some(&read) {
            self.candidate = Some(read);
            return None;
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

    #[test]
    fn texts_are_tried_once_after_two_identical_reads() {
        let text = ConfigTexts::of_file;
        let mut watch = Watch::new(text("a"));
        assert_eq!(watch.observe(text("a")), None);
        // Written in steps: each reading differs from the one before.
        for step in ["", "b", "b1"] {
            assert_eq!(watch.observe(text(step)), None);
        }
        assert_eq!(watch.observe(text("b1")), Some(text("b1")));
        assert_eq!(watch.observe(text("b1")), None);
        // Changed and changed back between two readings.
        assert_eq!(watch.observe(text("c")), None);
        assert_eq!(watch.observe(text("b1")), None);
        assert_eq!(watch.observe(text("c")), None);
        assert_eq!(watch.observe(text("c")), Some(text("c")));
    }

    #[test]
    fn a_request_tries_an_unchanged_text_once() {
        let text = ConfigTexts::of_file;
        let mut watch = Watch::new(text("a"));
        watch.request();
        assert_eq!(watch.observe(text("a")), None);
        assert_eq!(watch.observe(text("a")), Some(text("a")));
        assert_eq!(watch.observe(text("a")), None);
        watch.request();
        assert!(watch.unreadable() && !watch.unreadable());
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
