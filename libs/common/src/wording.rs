//! What serde says about a value, as a rule for the sender.
//!
//! Messages of serde and of parsers speak of types of Rust, and quote the value, which may be a secret.
//! A rule names neither. Requests and settings share the words; a message that is a rule already
//! passes unchanged.

/// What is wrong with a value, or with one of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault<'m> {
    /// The member that is missing, unknown or repeated. serde reports it of the object.
    pub member: Option<&'m str>,
    /// Stable name of the rule.
    pub code: &'static str,
    pub rule: String,
    /// The values that an enumeration has.
    pub variants: Vec<&'m str>,
}

const ABSOLUTE_URL: &str = "must be an absolute URL such as https://example.com";
/// Messages of the `url` crate.
const NO_URL: [&str; 8] = [
    "empty host",
    "invalid international domain name",
    "invalid port number",
    "invalid IPv4 address",
    "invalid IPv6 address",
    "invalid domain character",
    "relative URL without a base",
    "relative URL with a cannot-be-a-base base",
];
/// Messages of the parsers of the standard library.
const PARSERS: [(&str, &str); 8] = [
    ("invalid digit found in string", "must be an integer"),
    (
        "cannot parse integer from empty string",
        "must be an integer",
    ),
    ("number too large to fit in target type", "is too large"),
    ("number too small to fit in target type", "is too small"),
    ("invalid float literal", "must be a number"),
    ("cannot parse float from empty string", "must be a number"),
    (
        "provided string was not `true` or `false`",
        "must be true or false",
    ),
    (
        "invalid socket address syntax",
        "must be ip:port such as 127.0.0.1:8080",
    ),
];

/// Reads a message of serde. The position that some formats append must be cut off.
pub fn fault(message: &str) -> Fault<'_> {
    of_member(message).unwrap_or_else(|| {
        let (rule, variants) = of_value(message);
        Fault {
            member: None,
            code: "invalid_value",
            rule,
            variants,
        }
    })
}

fn of_member(message: &str) -> Option<Fault<'_>> {
    let named = |start: &str| message.strip_prefix(start)?.strip_suffix('`');
    let (member, code, rule) = if let Some(member) = named("missing field `") {
        (member, "missing", "is required".to_owned())
    } else if let Some(member) = named("duplicate field `") {
        (member, "duplicate", "must not be repeated".to_owned())
    } else {
        // The name is that of the client, and may hold anything: the last match is serde's own.
        let rest = message.strip_prefix("unknown field `")?;
        let rule = "must not be present";
        match rest.rsplit_once("`, expected ") {
            Some((member, known)) => {
                let known = listed(&quoted(known), "and");
                (member, "unknown", format!("{rule}; known are {known}"))
            }
            None => (
                rest.strip_suffix("`, there are no fields")?,
                "unknown",
                rule.to_owned(),
            ),
        }
    };
    Some(Fault {
        member: Some(member),
        code,
        rule,
        variants: Vec::new(),
    })
}

fn of_value(message: &str) -> (String, Vec<&str>) {
    let known = PARSERS.iter().find(|(text, _)| *text == message);
    if let Some((_, rule)) = known {
        return ((*rule).to_owned(), Vec::new());
    }
    match message.rsplit_once(", expected ") {
        Some((_, variants)) if message.starts_with("unknown variant `") => {
            let variants = quoted(variants);
            (format!("must be {}", listed(&variants, "or")), variants)
        }
        Some((_, kind)) if message.starts_with("invalid ") => (must_be(kind), Vec::new()),
        _ if is_no_url(message) => (ABSOLUTE_URL.to_owned(), Vec::new()),
        _ => (message.to_owned(), Vec::new()),
    }
}

/// The rule of a type as serde or Rust names it: `u8`, `a sequence`, `struct Order`.
pub fn must_be(kind: &str) -> String {
    let kind = match kind {
        "u8" => "an integer from 0 to 255",
        "u16" => "an integer from 0 to 65535",
        "u32" => "an integer from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a non-negative integer",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "an integer",
        "f32" | "f64" => "a number",
        "a boolean" | "bool" => "true or false",
        "string" | "borrowed string" | "a borrowed string" | "string or map" => "a string",
        "a sequence" => "an array",
        "a map" => "an object",
        "unit" => "null",
        kind if kind.starts_with("struct ") => "an object",
        kind if is_no_url(kind) => return ABSOLUTE_URL.to_owned(),
        kind => kind,
    };
    format!("must be {kind}")
}

fn is_no_url(message: &str) -> bool {
    NO_URL.iter().any(|text| message.starts_with(text))
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// `a, b or c`.
fn listed(names: &[&str], last: &str) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., end] => format!("{} {last} {end}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_rules_without_types_of_rust() {
        for (message, rule) in [
            (
                "invalid type: string \"s3cret\", expected u64",
                "must be a non-negative integer",
            ),
            (
                "invalid value: integer `999`, expected u8",
                "must be an integer from 0 to 255",
            ),
            ("invalid type: map, expected a string", "must be a string"),
            (
                "invalid type: string \"no, expected u8\", expected a boolean",
                "must be true or false",
            ),
            (
                "invalid type: null, expected struct SignUp",
                "must be an object",
            ),
            ("invalid type: map, expected a sequence", "must be an array"),
            ("invalid digit found in string", "must be an integer"),
            (
                "cannot parse integer from empty string",
                "must be an integer",
            ),
            (
                "provided string was not `true` or `false`",
                "must be true or false",
            ),
            ("relative URL without a base: \"s3cret\"", ABSOLUTE_URL),
            (
                "invalid value: string \"s3cret\", expected relative URL without a base",
                ABSOLUTE_URL,
            ),
            ("must be ast_ followed by 26", "must be ast_ followed by 26"),
        ] {
            let fault = fault(message);
            assert_eq!((fault.rule.as_str(), fault.code), (rule, "invalid_value"));
            assert_eq!(fault.member, None);
        }
    }

    #[test]
    fn variants_are_listed() {
        let one = fault("unknown variant `READY`, expected one of `pending`, `ready`, `failed`");
        assert_eq!(one.rule, "must be pending, ready or failed");
        assert_eq!(one.variants, ["pending", "ready", "failed"]);
        let one = fault("unknown variant `, expected `x`, expected `private` or `public`");
        assert_eq!(one.rule, "must be private or public");
    }

    #[test]
    fn members_are_named_by_themselves() {
        for (message, member, code, rule) in [
            ("missing field `email`", "email", "missing", "is required"),
            (
                "duplicate field `limit`",
                "limit",
                "duplicate",
                "must not be repeated",
            ),
            (
                "unknown field `x`, expected one of `a`, `b`, `c`",
                "x",
                "unknown",
                "must not be present; known are a, b and c",
            ),
            (
                "unknown field `x`, expected `a`",
                "x",
                "unknown",
                "must not be present; known are a",
            ),
            (
                "unknown field `x`, expected `y`, expected `a` or `b`",
                "x`, expected `y",
                "unknown",
                "must not be present; known are a and b",
            ),
            (
                "unknown field `x`, there are no fields",
                "x",
                "unknown",
                "must not be present",
            ),
        ] {
            let fault = fault(message);
            assert_eq!(
                (fault.member, fault.code),
                (Some(member), code),
                "{message}"
            );
            assert_eq!(fault.rule, rule, "{message}");
        }
    }
}
