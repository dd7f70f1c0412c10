//! The place of a claim in a token.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value};

const MAX_SEGMENTS: usize = 8;
const MAX_BYTES: usize = 255;

/// Names of members, each inside the one before: `realm_access.roles`.
///
/// A name with dots stands in quotes: `"https://hasura.io/jwt/claims".x-hasura-role`. A path without
/// quotes that has `://` in it is one name, since names with a namespace have this form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimPath(Box<[Box<str>]>);

/// A text is not the path of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be up to 8 names with dots between them and 255 bytes, such as realm_access.roles; \
     a name with dots stands in quotes"
)]
pub struct InvalidClaimPath;

impl ClaimPath {
    /// The value at this place.
    pub(super) fn find<'v>(&self, payload: &'v Map<String, Value>) -> Option<&'v Value> {
        let (first, rest) = self.0.split_first()?;
        let mut value = payload.get(&**first)?;
        for name in rest {
            value = value.as_object()?.get(&**name)?;
        }
        Some(value)
    }
}

impl FromStr for ClaimPath {
    type Err = InvalidClaimPath;

    fn from_str(text: &str) -> Result<Self, InvalidClaimPath> {
        if text.len() > MAX_BYTES || text.chars().any(char::is_control) {
            return Err(InvalidClaimPath);
        }
        let names = if text.contains("://") && !text.contains('"') {
            vec![text.into()]
        } else {
            names(text).ok_or(InvalidClaimPath)?
        };
        let is_valid = names.len() <= MAX_SEGMENTS && names.iter().all(|name| !name.is_empty());
        is_valid.then(|| Self(names.into())).ok_or(InvalidClaimPath)
    }
}

fn names(text: &str) -> Option<Vec<Box<str>>> {
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        let name;
        (name, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if name.contains('"') {
            return None;
        }
        names.push(name.into());
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix('.')?;
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            if name.contains('.') {
                write!(f, "{dot}\"{name}\"")?;
            } else {
                write!(f, "{dot}{name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_members() {
        let payload = json!({
            "a": {"b": {"c.d": 1}, "e": [2]},
            "a.b": 3,
            "https://x.example/roles": 4,
            "https://x.example": {"roles": 5},
        });
        let payload = payload.as_object().unwrap();
        for (path, expected) in [
            ("a.b.\"c.d\"", Some(json!(1))),
            ("a.b.c.d", None),
            ("a.e", Some(json!([2]))),
            ("a.e.0", None),
            ("\"a.b\"", Some(json!(3))),
            ("https://x.example/roles", Some(json!(4))),
            ("\"https://x.example\".roles", Some(json!(5))),
            ("b", None),
        ] {
            let path: ClaimPath = path.parse().unwrap();
            assert_eq!(path.find(payload).cloned(), expected, "{path}");
            assert_eq!(path.to_string().parse(), Ok(path));
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let (deep, long) = ("a.".repeat(8) + "a", "a".repeat(256));
        for text in [
            "", ".", "a.", ".a", "a..b", "\"", "\"a", "a\"", "a\"b\"", "\"a\"b", "\"\"", "a\nb",
            &deep, &long,
        ] {
            assert_eq!(text.parse::<ClaimPath>(), Err(InvalidClaimPath), "{text}");
        }
        assert!(("a.".repeat(7) + "a").parse::<ClaimPath>().is_ok());
    }
}
