//! Emails as the service accepts and stores them.

use quartet_common::problem::Rule;
use url::Host;

const MAX_BYTES: usize = 254;
const MAX_LOCAL_BYTES: usize = 64;

/// An email in its stored form: trimmed, the domain in lower case and in ASCII (IDNA).
///
/// The local part keeps its case, which mail servers may respect; the database compares emails
/// case-insensitively. It is ASCII only: look-alike letters would allow impersonation, and few mail
/// servers accept others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Email(String);

impl Email {
    /// # Errors
    /// The rule that the text breaks: `too_long` or `invalid_email`.
    pub(crate) fn parse(text: &str) -> Result<Self, Rule> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(too_long());
        }
        let (local, domain) = text
            .split_once('@')
            .ok_or_else(|| invalid("must contain one @"))?;
        if domain.contains('@') {
            return Err(invalid("must contain one @"));
        }
        check_local(local)?;
        let email = format!("{local}@{}", ascii_domain(domain)?);
        if email.len() > MAX_BYTES {
            Err(too_long())
        } else {
            Ok(Self(email))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the database considers both equal.
    pub(crate) fn is_same_as(&self, stored: &str) -> bool {
        self.0.eq_ignore_ascii_case(stored)
    }
}

fn check_local(local: &str) -> Result<(), Rule> {
    if local.is_empty() || local.len() > MAX_LOCAL_BYTES {
        return Err(invalid("must have 1 to 64 characters before the @"));
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(invalid(
            "must not start or end with a dot, or contain two in a row, before the @",
        ));
    }
    // RFC 5322 `atext` and the dot; quoted local parts are not accepted.
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte);
    if local.bytes().all(is_allowed) {
        Ok(())
    } else {
        Err(invalid(
            "must contain only ASCII letters, digits and .!#$%&'*+/=?^_`{|}~- before the @",
        ))
    }
}

fn ascii_domain(domain: &str) -> Result<String, Rule> {
    let no_domain = || invalid("must end in a domain name such as example.com");
    if domain.contains(['%', '[', ':']) || domain.contains(char::is_whitespace) {
        return Err(no_domain());
    }
    let Ok(Host::Domain(domain)) = Host::parse(domain) else {
        return Err(no_domain());
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels: Vec<&str> = domain.split('.').collect();
    if labels.len() >= 2 && labels.iter().all(|label| is_label(label)) {
        Ok(domain)
    } else {
        Err(no_domain())
    }
}

fn too_long() -> Rule {
    Rule::new(
        "too_long",
        format!("must have at most {MAX_BYTES} characters"),
    )
}

fn invalid(detail: &str) -> Rule {
    Rule::new("invalid_email", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_are_normalized() {
        let cases = [
            ("  Ada.Love@Example.COM\n", "Ada.Love@example.com"),
            ("a+tag@sub.example.org", "a+tag@sub.example.org"),
            ("ada@bücher.example", "ada@xn--bcher-kva.example"),
            ("o'neil@example.ie", "o'neil@example.ie"),
        ];
        for (text, stored) in cases {
            assert_eq!(Email::parse(text).unwrap().as_str(), stored);
        }
    }

    #[test]
    fn invalid_emails_are_rejected() {
        let long = format!("{}@example.com", "a".repeat(65));
        let longer = format!("a@{}example.com", "label.".repeat(50));
        let invalid = [
            "",
            "@",
            "ada",
            "ada@",
            "@example.com",
            "a@b@example.com",
            "ada@localhost",
            "a b@example.com",
            "a\u{0}@example.com",
            "ada@exa mple.com",
            "ada@[127.0.0.1]",
            "ada@127.0.0.1",
            "ada@example.com.",
            "ada@-example.com",
            "ada@example..com",
            ".ada@example.com",
            "a..b@example.com",
            "ädä@example.com",
            "\"a\"@example.com",
            "ada@ex%61mple.com",
            "ada@exa_mple.com",
            "ada,eve@example.com",
            &long,
            &longer,
        ];
        for text in invalid {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
    }
}
