//! Percent-encoded texts.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Percent-encoded text; what is not UTF-8 becomes U+FFFD. A plus sign is one.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// The same in a query, where a plus sign is a space.
pub(super) fn decode_form(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(decode(&spaced).into_owned());
    }
    decode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded_as_they_stand() {
        for (text, plain, form) in [
            ("a+b", "a+b", "a b"),
            ("a%20b%2Bc", "a b+c", "a b+c"),
            ("a%26b%3Dc", "a&b=c", "a&b=c"),
            ("a=b&c%20d", "a=b&c d", "a=b&c d"),
            ("%C3%A9", "é", "é"),
            ("%ff%", "\u{fffd}%", "\u{fffd}%"),
            ("", "", ""),
        ] {
            assert_eq!(
                (&*decode(text), &*decode_form(text)),
                (plain, form),
                "{text}"
            );
        }
    }
}
