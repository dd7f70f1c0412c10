//! Reads a body or a query into a type, and reports every member at fault instead of the first.
//!
//! serde ends at the first error, and half a value cannot be built. So the error is noted, a *stand-in* that
//! the type accepts takes the place of the member (an unknown member is removed), and the whole is read
//! again, until it can be read or [`MAX_ERRORS`] are found. What comes out then holds stand-ins: rules may
//! look at it, so that their violations are reported as well, but [`Unchecked::check`] never hands it on.
//!
//! Two things remain hidden behind an error: the members of a value that should be an object and is
//! not, and those behind a member whose type accepts no stand-in. They are reported once that error is
//! gone. Of repeated members, the first is reported: a tree holds one of each.

use quartet_common::{
    checks::Violation,
    problem::{FieldError, Problem, kinds},
    wording::{self, Fault},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};
use url::form_urlencoded;

/// Of one request. More are of no use to anyone, and each costs another look at the body.
pub(crate) const MAX_ERRORS: usize = 32;

/// A value whose members may be at fault. It is given out by [`Unchecked::check`] alone.
#[derive(Debug)]
pub struct Unchecked<T> {
    /// With stand-ins where there are errors. `None` when not even that could be read.
    value: Option<T>,
    errors: Vec<FieldError>,
}

impl<T> Unchecked<T> {
    /// The value, if its types are right and it follows `rules`, which name members by pointer. They must
    /// have no effect: they also see values in which members at fault are replaced.
    ///
    /// # Errors
    /// 422 `invalid_body` with every member at fault.
    pub fn check<U>(
        self,
        rules: impl FnOnce(T) -> Result<U, Vec<Violation<&'static str>>>,
    ) -> Result<U, Problem> {
        let mut errors = self.errors;
        let checked = match self.value.map(rules) {
            Some(Ok(value)) => Some(value),
            Some(Err(violations)) => {
                let found = violations.into_iter().map(FieldError::from);
                let found: Vec<_> = found.filter(|error| !is_known(&errors, error)).collect();
                errors.extend(found);
                None
            }
            None => None,
        };
        match checked {
            Some(value) if errors.is_empty() => Ok(value),
            _ => Err(Problem::invalid(errors)),
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }
}

/// Whether an error of the same member, or of what it is in, has been found.
fn is_known(errors: &[FieldError], error: &FieldError) -> bool {
    let pointer = error.pointer.as_deref().unwrap_or_default();
    let covers = |known: &str| {
        let rest = pointer.strip_prefix(known);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    errors
        .iter()
        .any(|known| known.pointer.as_deref().is_some_and(covers))
}

/// # Errors
/// 400 `malformed_json` with line and column.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Unchecked<T>, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let first = match serde_path_to_error::deserialize(&mut json) {
        Ok(value) => {
            json.end().map_err(|error| malformed(&error))?;
            return Ok(Unchecked {
                value: Some(value),
                errors: Vec::new(),
            });
        }
        Err(error) if !error.inner().is_data() => return Err(malformed(error.inner())),
        Err(error) => AtFault::new(error.path(), &error.inner().to_string()),
    };
    let mut body: Value = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    let repeated = (first.error.code == "duplicate").then_some(first.error);
    let mut errors: Vec<FieldError> = repeated.into_iter().collect();
    // One more than the errors: the last one makes sure that nothing is left.
    for _ in 0..=MAX_ERRORS {
        let mut found = match attempt(&body) {
            Ok(value) => {
                let value = Some(value);
                return Ok(Unchecked { value, errors });
            }
            Err(found) => found,
        };
        let is_replaced = found.replace::<T>(&mut body);
        if errors.len() < MAX_ERRORS && !is_known(&errors, &found.error) {
            errors.push(found.error);
        }
        if !is_replaced {
            break;
        }
    }
    let value = None;
    Ok(Unchecked { value, errors })
}

/// # Errors
/// 400 `invalid_parameter` with every parameter at fault.
pub(crate) fn read_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let mut query = query.to_owned();
    let mut errors: Vec<FieldError> = Vec::new();
    loop {
        let pairs = form_urlencoded::parse(query.as_bytes());
        let text = serde_urlencoded::Deserializer::new(pairs);
        let found = match serde_path_to_error::deserialize(text) {
            Ok(value) if errors.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => parameter_at_fault(&error.path().to_string(), &error.inner().to_string()),
        };
        let is_known = errors
            .iter()
            .any(|known| known.parameter == found.parameter);
        if is_known || errors.len() == MAX_ERRORS {
            break;
        }
        let mut rest = form_urlencoded::Serializer::new(String::new());
        let name = found.parameter.clone().unwrap_or_default();
        rest.extend_pairs(pairs.filter(|(other, _)| *other != name));
        query = rest.finish();
        errors.push(found);
    }
    Err(Problem::new(&kinds::INVALID_PARAMETER).errors(errors))
}

fn parameter_at_fault(path: &str, message: &str) -> FieldError {
    let Fault {
        member, code, rule, ..
    } = wording::fault(message);
    let code = if code == "unknown" {
        "unknown_parameter"
    } else {
        code
    };
    FieldError::parameter(member.unwrap_or(path), code, rule)
}

fn attempt<T: DeserializeOwned>(body: &Value) -> Result<T, AtFault> {
    serde_path_to_error::deserialize(body)
        .map_err(|error| AtFault::new(error.path(), &error.inner().to_string()))
}

/// A member, and what is wrong with it.
#[derive(Debug)]
struct AtFault {
    /// Names of members and indices of elements, from the outside in.
    place: Vec<String>,
    error: FieldError,
    variants: Vec<String>,
}

impl AtFault {
    fn new(path: &Path, message: &str) -> Self {
        // Formats append their position.
        let message = message.split(" at line ").next().unwrap_or_default();
        let fault = wording::fault(message);
        let mut place: Vec<String> = path.iter().filter_map(name_of).collect();
        if let Some(member) = fault.member
            // Of an unknown and a repeated member, the path may name it already.
            && (fault.code == "missing" || place.last().is_none_or(|last| last != member))
        {
            place.push(member.to_owned());
        }
        let pointer: String = place.iter().map(|name| token(name)).collect();
        Self {
            place,
            error: FieldError::body(pointer, fault.code, fault.rule),
            variants: fault.variants.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Removes the member if it is unknown; otherwise puts a stand-in in its place that its type accepts.
    fn replace<T: DeserializeOwned>(&mut self, body: &mut Value) -> bool {
        if self.error.code == "unknown" {
            return put(body, &self.place, None);
        }
        let variants = self.variants.drain(..).map(Value::String);
        let mut candidates: Vec<Value> = variants.collect();
        candidates.extend([
            Value::Null,
            Value::from(""),
            Value::from(0),
            Value::from(false),
            Value::Array(Vec::new()),
            Value::Object(Map::new()),
        ]);
        let mut next = 0;
        while let Some(candidate) = candidates.get(next) {
            next += 1;
            if !put(body, &self.place, Some(candidate.clone())) {
                return false;
            }
            let Err(other) = attempt::<T>(body) else {
                return true;
            };
            if !is_known(std::slice::from_ref(&self.error), &other.error) {
                return true;
            }
            // An enumeration names its variants once it is given a string.
            if let Some(variant) = other.variants.first().filter(|_| self.place == other.place) {
                let variant = Value::from(variant.as_str());
                if !candidates.contains(&variant) {
                    candidates.insert(next, variant);
                    if self.error.code == "invalid_value" {
                        self.error.detail = other.error.detail;
                    }
                }
            }
        }
        false
    }
}

fn name_of(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    }
}

/// One token of a JSON pointer (RFC 6901).
fn token(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Sets or removes what is at a place. `false`: there is no such place.
fn put(body: &mut Value, place: &[String], value: Option<Value>) -> bool {
    let Some((last, parents)) = place.split_last() else {
        return value.is_some_and(|value| {
            *body = value;
            true
        });
    };
    let parent = parents.iter().try_fold(body, |at, name| match at {
        Value::Object(members) => members.get_mut(name),
        Value::Array(elements) => elements.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    });
    match (parent, value) {
        (Some(Value::Object(members)), Some(value)) => {
            members.insert(last.clone(), value);
            true
        }
        (Some(Value::Object(members)), None) => members.remove(last).is_some(),
        (Some(Value::Array(elements)), Some(value)) => {
            let index = last.parse::<usize>().ok();
            let element = index.and_then(|index| elements.get_mut(index));
            element.is_some_and(|element| {
                *element = value;
                true
            })
        }
        _ => false,
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(&kinds::MALFORMED_JSON).detail(format!(
        "syntax error or early end at line {} column {}",
        error.line(),
        error.column()
    ))
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use quartet_common::{checks::Checks, problem::Rule};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        customer: String,
        count: u8,
        express: bool,
        size: Size,
        note: Option<String>,
        #[serde(default)]
        items: Vec<Item>,
    }

    #[derive(Clone, Copy, Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Size {
        Small,
        Large,
    }

    #[derive(Debug, Deserialize)]
    struct Item {
        #[expect(dead_code, reason = "only parsing is tested")]
        size_bytes: u64,
    }

    const GOOD: &str = r#"{"customer": "c", "count": 1, "express": true, "size": "small"}"#;

    fn rules(order: Order) -> Result<Order, Vec<Violation<&'static str>>> {
        let mut checks = Checks::new();
        let short = Rule::new("empty", "must not be empty");
        let customer = Some(order.customer.clone()).filter(|text| !text.is_empty());
        checks.take("/customer", customer.ok_or(short.clone()));
        let note = order
            .note
            .as_ref()
            .map(|text| (!text.is_empty()).then_some(()).ok_or(short));
        checks.take_optional("/note", note);
        checks.finish(|| Some(order))
    }

    /// Pointer, code and detail of every error.
    fn errors(text: &str) -> Vec<String> {
        let read = read::<Order>(text.as_bytes()).unwrap();
        shown(read.check(rules).unwrap_err())
    }

    fn shown(problem: Problem) -> Vec<String> {
        let show = |error: FieldError| {
            let name = error.pointer.or(error.parameter).unwrap();
            format!("{name} {} {}", error.code, error.detail)
        };
        problem.errors.into_iter().map(show).collect()
    }

    #[test]
    fn every_member_at_fault_is_reported_once() {
        assert_eq!(
            errors("{}"),
            [
                "/customer missing is required",
                "/count missing is required",
                "/express missing is required",
                "/size missing is required",
            ]
        );
        let all = r#"{"count": 999, "customer": {"a": "s3cret"}, "express": 0, "note": "", "size": 5, "x": 1, "y~/": 2}"#;
        let known = "known are customer, count, express, size, note and items";
        let mut found = errors(all);
        found.sort();
        assert_eq!(
            found,
            [
                "/count invalid_value must be an integer from 0 to 255".to_owned(),
                "/customer invalid_value must be a string".to_owned(),
                "/express invalid_value must be true or false".to_owned(),
                "/note empty must not be empty".to_owned(),
                "/size invalid_value must be small or large".to_owned(),
                format!("/x unknown must not be present; {known}"),
                format!("/y~0~1 unknown must not be present; {known}"),
            ]
        );
        let deep = GOOD.replace(
            '}',
            r#", "items": [{"size_bytes": 1}, {"size_bytes": "s3cret"}, {}]}"#,
        );
        assert_eq!(
            errors(&deep),
            [
                "/items/1/size_bytes invalid_value must be a non-negative integer",
                "/items/2/size_bytes missing is required",
            ]
        );
        let twice = GOOD.replace('}', r#", "count": 1, "z": 1}"#);
        let found = errors(&twice);
        assert_eq!(found[0], "/count duplicate must not be repeated");
        assert!(found[1].starts_with("/z unknown"), "{found:?}");
    }

    #[test]
    fn what_follows_the_rules_is_handed_on() {
        let order = read::<Order>(GOOD.as_bytes())
            .unwrap()
            .check(rules)
            .unwrap();
        assert_eq!(order.customer, "c");
        assert_eq!(
            (order.count, order.express, order.items.len()),
            (1, true, 0)
        );
        assert!(matches!(order.size, Size::Small));
        // Rules that see only stand-ins find nothing, and yet nothing is handed on.
        let missing = read::<Order>(GOOD.replace("\"count\": 1, ", "").as_bytes()).unwrap();
        assert!(missing.check(rules).is_err());
    }

    #[test]
    fn the_number_of_errors_is_bounded() {
        let members: Vec<String> = (0..MAX_ERRORS + 8)
            .map(|n| format!("\"m{n}\": 1"))
            .collect();
        assert_eq!(
            errors(&format!("{{{}}}", members.join(","))).len(),
            MAX_ERRORS
        );
    }

    #[test]
    fn a_type_that_accepts_no_stand_in_ends_the_search() {
        #[derive(Debug, Deserialize)]
        struct Odd {
            #[expect(dead_code, reason = "only parsing is tested")]
            a: std::net::IpAddr,
            #[expect(dead_code, reason = "only parsing is tested")]
            b: u8,
        }
        let found = read::<Odd>(br#"{"a": "x", "b": "y"}"#).unwrap();
        assert_eq!(shown(found.check(Ok).unwrap_err()).len(), 1);
    }

    #[test]
    fn what_is_no_object_is_reported_alone() {
        for text in ["null", "5", "\"x\"", "true"] {
            assert_eq!(errors(text), [" invalid_value must be an object"], "{text}");
        }
    }

    #[test]
    fn syntax_errors_have_a_position() {
        for text in ["", "{", "{} x", "nul", r#"{"x": 1, "#] {
            let problem = read::<Value>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.kind.code, "malformed_json", "{text}");
            assert!(problem.detail.unwrap().contains("line 1"));
        }
        // Also behind a member at fault.
        let problem = read::<Order>(br#"{"x": 1, "#).unwrap_err();
        assert_eq!(problem.kind.code, "malformed_json");
    }

    #[test]
    fn every_parameter_at_fault_is_reported() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct List {
            limit: Option<u32>,
            size: Option<Size>,
        }
        fn failing<T: DeserializeOwned + Debug>(query: &str) -> Vec<String> {
            shown(read_query::<T>(query).unwrap_err())
        }
        let list: List = read_query("limit=3&size=large").unwrap();
        assert!(matches!(
            (list.limit, list.size),
            (Some(3), Some(Size::Large))
        ));
        let known = "must not be present; known are limit and size";
        for (query, expected) in [
            (
                "limit=1&limit=2",
                vec!["limit duplicate must not be repeated".to_owned()],
            ),
            (
                "limit=x&size=SMALL&lim%26it=1",
                vec![
                    "limit invalid_value must be an integer".to_owned(),
                    "size invalid_value must be small or large".to_owned(),
                    format!("lim&it unknown_parameter {known}"),
                ],
            ),
        ] {
            assert_eq!(failing::<List>(query), expected, "{query}");
        }
    }
}
