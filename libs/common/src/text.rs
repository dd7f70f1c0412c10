//! Characters of names: what may not be in one, and what can be seen.

/// Whether a character is a control character, ends a line, or changes the direction of the text:
/// with them, a name looks like another one (`a<U+202E>gpj.exe` ends in "exe.jpg").
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{feff}')
}

/// Whether there is a character that leaves ink. Of those that do not, beside white space and
/// controls, this knows `Default_Ignorable_Code_Point` of Unicode 16 and the empty Braille pattern.
pub fn has_visible(text: &str) -> bool {
    let is_visible = |c: char| !c.is_whitespace() && !is_control(c) && !is_ignorable(c);
    text.chars().any(is_visible)
}

fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{2800}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_every_direction_mark_are_recognized() {
        let marks = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        for c in marks
            .chars()
            .chain("\0\n\u{7f}\u{85}\u{2028}\u{2029}\u{feff}".chars())
        {
            assert!(is_control(c), "{c:?}");
        }
        // Joiners are part of words and of emoji.
        for c in "a ü\u{200d}\u{200c}名\u{5d0}\u{627}".chars() {
            assert!(!is_control(c), "{c:?}");
        }
    }

    #[test]
    fn invisible_characters_alone_are_not_visible() {
        for c in
            " \u{a0}\u{200b}\u{2060}\u{ad}\u{3164}\u{115f}\u{ffa0}\u{200d}\u{fe0f}\u{2800}\u{e0020}"
                .chars()
        {
            let text = c.to_string().repeat(3);
            assert!(!has_visible(&text), "{text:?}");
        }
        assert!(!has_visible(""));
        for text in ["a", "\u{200b}a", "名", "👩\u{200d}💻", "."] {
            assert!(has_visible(text), "{text:?}");
        }
    }
}
