//! Texts in several languages, as Fluent resources.

use std::borrow::Cow;

use fluent_bundle::{FluentResource, concurrent::FluentBundle};
use http::{HeaderMap, header};
use unic_langid::{CharacterDirection, LanguageIdentifier};

use crate::accept::weighted;

/// Why resources cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("texts of {language}: {reason}")]
pub struct TextsError {
    language: String,
    reason: String,
}

/// The same messages in several languages.
pub struct Texts(Vec<Language>);

/// One language with its messages.
pub struct Language {
    tag: String,
    id: LanguageIdentifier,
    messages: FluentBundle<FluentResource>,
}

impl Texts {
    /// Reads resources by language tag. The first language is that of clients that accept none.
    ///
    /// # Errors
    /// When there is no resource, or one is invalid or lacks a message that the first one has.
    pub fn new(resources: &[(&str, &str)]) -> Result<Self, TextsError> {
        let failed = |language: &str, reason: String| TextsError {
            language: language.to_owned(),
            reason,
        };
        let (_, first) = resources
            .first()
            .ok_or_else(|| failed("any language", "there are none".into()))?;
        let mut languages = Vec::new();
        for (tag, text) in resources {
            let language = Language::new(tag, text).map_err(|reason| failed(tag, reason))?;
            let missing = message_ids(first).find(|id| !language.messages.has_message(id));
            if let Some(id) = missing {
                return Err(failed(tag, format!("{id} is missing")));
            }
            languages.push(language);
        }
        Ok(Self(languages))
    }

    /// The language that a client prefers among those there are (RFC 4647, 3.4).
    pub fn negotiate(&self, headers: &HeaderMap) -> &Language {
        let accepted = weighted(headers, &header::ACCEPT_LANGUAGE);
        let wanted = accepted.into_iter().filter(|(_, weight)| *weight > 0);
        let mut found = wanted.filter_map(|(range, _)| self.lookup(range));
        found.next().unwrap_or(&self.0[0])
    }

    /// `de-AT` finds `de` if there is no `de-AT`.
    fn lookup(&self, range: &str) -> Option<&Language> {
        let mut range = range;
        loop {
            let same = |language: &&Language| language.tag.eq_ignore_ascii_case(range);
            if let Some(language) = self.0.iter().find(same) {
                return Some(language);
            }
            range = range.rsplit_once('-')?.0;
        }
    }
}

impl Language {
    fn new(tag: &str, text: &str) -> Result<Self, String> {
        let id: LanguageIdentifier = tag
            .parse()
            .map_err(|_| "is not a language tag".to_owned())?;
        let resource = FluentResource::try_new(text.to_owned())
            .map_err(|(_, errors)| format!("cannot be read: {errors:?}"))?;
        let mut messages = FluentBundle::new_concurrent(vec![id.clone()]);
        messages
            .add_resource(resource)
            .map_err(|errors| format!("{errors:?}"))?;
        Ok(Self {
            tag: tag.to_owned(),
            id,
            messages,
        })
    }

    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// `ltr` or `rtl`.
    pub fn direction(&self) -> &'static str {
        match self.id.character_direction() {
            CharacterDirection::RTL => "rtl",
            _ => "ltr",
        }
    }

    /// A message without arguments. An id that does not exist is returned as it is: [`Texts::new`] has
    /// compared the languages, and a test of the caller calls it with every id.
    pub fn text<'a>(&'a self, id: &'a str) -> Cow<'a, str> {
        let message = self.messages.get_message(id);
        let Some(pattern) = message.and_then(|message| message.value()) else {
            return id.into();
        };
        let mut errors = Vec::new();
        self.messages.format_pattern(pattern, None, &mut errors)
    }
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl std::fmt::Debug for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.tag)
    }
}

/// Of the lines `id = text`; what follows a line is indented.
fn message_ids(resource: &str) -> impl Iterator<Item = &str> {
    let lines = resource.lines().filter(|line| {
        line.bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic())
    });
    lines.filter_map(|line| Some(line.split_once('=')?.0.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: &str = "# A comment = none.\nhello = Hello\nbye = Good\n    bye\n";
    const GERMAN: &str = "hello = Hallo\nbye = Tschüss\n";
    const ARABIC: &str = "hello = مرحبا\nbye = وداعا\n";

    fn texts() -> Texts {
        Texts::new(&[("en", ENGLISH), ("de", GERMAN), ("ar", ARABIC)]).unwrap()
    }

    #[test]
    fn the_best_language_is_chosen() {
        let texts = texts();
        for (accepted, expected) in [
            ("de", "de"),
            ("de-AT", "de"),
            ("DE-ch-1996", "de"),
            ("fr, de;q=0.5", "de"),
            ("en;q=0.5, de;q=0.9", "de"),
            ("de;q=0.5, en", "en"),
            ("de;q=0", "en"),
            ("fr", "en"),
            ("*", "en"),
            ("", "en"),
            ("-", "en"),
            ("d", "en"),
            ("ar-EG", "ar"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, accepted.parse().unwrap());
            assert_eq!(texts.negotiate(&headers).tag(), expected, "{accepted}");
        }
        assert_eq!(texts.negotiate(&HeaderMap::new()).tag(), "en");
        assert_eq!(texts.lookup("ar").unwrap().direction(), "rtl");
        assert_eq!(texts.lookup("de").unwrap().direction(), "ltr");
    }

    #[test]
    fn messages_are_found_and_languages_have_the_same() {
        let texts = texts();
        assert_eq!(texts.lookup("de").unwrap().text("bye"), "Tschüss");
        assert_eq!(texts.lookup("en").unwrap().text("bye"), "Good\nbye");
        assert_eq!(texts.lookup("en").unwrap().text("none"), "none");
        let lacking = Texts::new(&[("en", ENGLISH), ("de", "hello = Hallo\n")]);
        assert_eq!(
            lacking.unwrap_err().to_string(),
            "texts of de: bye is missing"
        );
        assert!(Texts::new(&[("en", "hello = { $broken")]).is_err());
        assert!(Texts::new(&[("not a tag", ENGLISH)]).is_err());
        assert!(Texts::new(&[]).is_err());
    }
}
