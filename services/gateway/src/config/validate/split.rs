//! `split` and `sticky` of a route.

use std::{collections::BTreeSet, time::Duration};

use super::{checker::Checker, references::References, values::resolve};
use crate::{
    config::model,
    routing::{Split, Sticky},
};

const MAX_PARTS: usize = 16;
const MAX_WEIGHT: u32 = 1_000;
const YEAR_SECONDS: u64 = 31_536_000;

/// The outer `None`: a violation was found.
pub(super) fn check(
    key: &str,
    route: &model::Route,
    references: &References<'_>,
    checker: &mut Checker,
) -> Option<Option<Split>> {
    let sticky = route.sticky.as_ref();
    let sticky = sticky.map(|sticky| check_sticky(key, sticky, checker));
    let Some(parts) = &route.split else {
        if sticky.is_some() {
            checker.error(format!("{key}.sticky"), "needs `split`");
        }
        return Some(None);
    };
    let split_key = format!("{key}.split");
    let refused_weight = route
        .object
        .as_ref()
        .map_or(0, |object| object.refused_weight);
    let is_empty = parts.is_empty() && refused_weight == 0;
    if is_empty || parts.len() > MAX_PARTS {
        let message = format!("must have between 1 and {MAX_PARTS} upstreams");
        checker.error(&*split_key, message);
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = parts.iter().find(|part| !seen.insert(&part.upstream)) {
        checker.error(
            &*split_key,
            format!("must not have `{}` twice", twice.upstream),
        );
    }
    let has_choice = parts.is_empty() || refused_weight > 0;
    if !has_choice && parts.iter().all(|part| part.weight == 0) {
        checker.error(&*split_key, "must have a weight that is not 0");
    }
    let resolved: Vec<Option<(usize, u32)>> = parts
        .iter()
        .enumerate()
        .map(|(at, part)| {
            let key = format!("{split_key}[{at}]");
            checker.range(&format!("{key}.weight"), part.weight, 0, MAX_WEIGHT.into());
            let known = &references.upstreams;
            let index = resolve(&key, "upstream", &part.upstream, known, checker)?;
            Some((index, u32::try_from(part.weight).ok()?))
        })
        .collect();
    Some(Some(Split {
        parts: resolved.into_iter().collect::<Option<_>>()?,
        refused_weight,
        sticky: match sticky {
            None => None,
            Some(sticky) => Some(sticky?),
        },
    }))
}

fn check_sticky(key: &str, sticky: &model::Sticky, checker: &mut Checker) -> Option<Sticky> {
    let model::Sticky::Cookie(cookie) = sticky else {
        return Some(Sticky::ClientHash);
    };
    let key = format!("{key}.sticky");
    if let Some(seconds) = cookie.ttl_seconds {
        checker.range(&format!("{key}.ttl_seconds"), seconds, 1, YEAR_SECONDS);
    }
    let name = &cookie.cookie;
    // RFC 6265, 4.1.1, without the few characters that some parsers do not expect.
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_allowed) {
        let message = "must consist of up to 64 letters, digits, dashes, dots and underscores";
        checker.error(format!("{key}.cookie"), message);
        return None;
    }
    Some(Sticky::Cookie {
        name: name.clone(),
        ttl: cookie.ttl_seconds.map(Duration::from_secs),
    })
}
