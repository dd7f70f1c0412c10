//! What a route demands of headers and query.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::{checker::Checker, reserved::ReservedHeaders};
use crate::{
    config::model::{self, Condition},
    routing::{ExpectedValue, HeaderCondition, QueryCondition},
};

/// Looking for a parameter costs a pass over the query each.
const MAX_PARAMETERS: usize = 16;

pub(super) fn check_headers(
    key: &str,
    route: &model::Route,
    reserved: &ReservedHeaders,
    checker: &mut Checker,
) -> Option<Vec<HeaderCondition>> {
    let parse = |name: &str, condition: &Condition| {
        let name =
            HeaderName::try_from(name).map_err(|_| "is not a valid header name".to_owned())?;
        reserved.check_condition(&name)?;
        let value = |text: &str| {
            HeaderValue::try_from(text).map_err(|_| "is not a valid header value".to_owned())
        };
        let wanted = wanted(condition, value)?;
        Ok(HeaderCondition { name, wanted })
    };
    check_each(&format!("{key}.headers"), &route.headers, parse, checker)
}

pub(super) fn check_query(
    key: &str,
    route: &model::Route,
    checker: &mut Checker,
) -> Option<Vec<QueryCondition>> {
    let key = format!("{key}.query");
    if route.query.len() > MAX_PARAMETERS {
        checker.error(&*key, format!("must have at most {MAX_PARAMETERS} names"));
    }
    let parse = |name: &str, condition: &Condition| {
        Ok(QueryCondition {
            name: name.to_owned(),
            wanted: wanted(condition, |text| Ok(text.to_owned()))?,
        })
    };
    check_each(&key, &route.query, parse, checker)
}

fn wanted<V>(
    condition: &Condition,
    value: impl Fn(&str) -> Result<V, String>,
) -> Result<ExpectedValue<V>, String> {
    Ok(match condition {
        Condition::Value(text) => ExpectedValue::Value(value(text)?),
        Condition::IsPresent(true) => ExpectedValue::Present,
        Condition::IsPresent(false) => ExpectedValue::Absent,
    })
}

fn check_each<T>(
    table: &str,
    conditions: &BTreeMap<String, Condition>,
    parse: impl Fn(&str, &Condition) -> Result<T, String>,
    checker: &mut Checker,
) -> Option<Vec<T>> {
    let parsed: Vec<Option<T>> = conditions
        .iter()
        .map(|(name, condition)| checker.ok(&format!("{table}.{name}"), parse(name, condition)))
        .collect();
    parsed.into_iter().collect()
}
