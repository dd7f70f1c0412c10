//! What a terminal may and may not be sent.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Whether to use colors: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn has_color(stream: &impl IsTerminal) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !no_color
}

/// Replaces characters that control the terminal: names and titles come from other people.
pub(crate) fn clean(text: &str) -> String {
    let controls = |c: char| {
        c.is_control()
            || matches!(c,
                '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .map(|c| if controls(c) { '\u{fffd}' } else { c })
        .collect()
}

/// A progress bar on standard error; invisible unless that is a terminal.
pub(crate) fn progress_bar(total_bytes: u64, name: &str) -> ProgressBar {
    let bar = ProgressBar::new(total_bytes);
    let style = ProgressStyle::with_template(
        "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    );
    bar.set_style(
        style
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> "),
    );
    bar.set_message(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(
            clean("a\x1b[2Jb\nc\u{202e}d"),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d"
        );
        for c in "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{2066}\u{2069}\u{feff}".chars() {
            assert_eq!(clean(&c.to_string()), "\u{fffd}", "{c:?}");
        }
        assert_eq!(clean("Zürich 東京"), "Zürich 東京");
    }
}
