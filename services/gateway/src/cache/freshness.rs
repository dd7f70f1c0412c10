//! How long a response is fresh, how old it is, and whether it may be used (RFC 9111, 4.2).

use http::{HeaderMap, StatusCode, header};

use super::{
    control::{RequestControl, ResponseControl, digits},
    date,
};

/// How long responses are fresh that do not say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// 0: they are stale at once.
    pub(crate) ttl_seconds: u64,
    /// At most this tenth of the time since the last modification. 0: never.
    pub(crate) max_heuristic_seconds: u64,
    /// For responses without `stale-while-revalidate`.
    pub(crate) stale_while_revalidate_seconds: u64,
    /// For responses without `stale-if-error`.
    pub(crate) stale_if_error_seconds: u64,
}

/// The times of a stored response, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// When it would have been received if it had never been in another cache.
    pub(super) born: i64,
    pub(super) lifetime: u64,
    pub(super) stale_while_revalidate: u64,
    pub(super) stale_if_error: u64,
}

/// What may be done with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It answers the request.
    Fresh,
    /// It answers the request although it is stale, as the client allows.
    Stale,
    /// It answers the request, and is revalidated in the meantime.
    WhileRevalidating,
    /// The upstream is asked first.
    Revalidate {
        /// It may be used if the upstream fails.
        if_error: bool,
    },
}

impl Times {
    /// `sent`, `received`: the request to the upstream, and the head of its response.
    pub(crate) fn of(
        status: StatusCode,
        headers: &HeaderMap,
        control: &ResponseControl,
        defaults: &Defaults,
        (sent, received): (i64, i64),
    ) -> Self {
        let sent_date = headers.get(header::DATE);
        let date = sent_date.and_then(|value| date::parse(value.as_bytes()));
        let apparent_age = received.saturating_sub(date.unwrap_or(received)).max(0);
        let age = headers.get(header::AGE).and_then(age);
        let delay = received.saturating_sub(sent).max(0);
        let corrected_age = i64::try_from(age.unwrap_or(0)).unwrap_or(0) + delay;
        let lifetime = lifetime(status, headers, control, defaults, date.unwrap_or(received));
        Self {
            born: received - apparent_age.max(corrected_age),
            lifetime,
            stale_while_revalidate: control
                .stale_while_revalidate
                .unwrap_or(defaults.stale_while_revalidate_seconds),
            stale_if_error: control
                .stale_if_error
                .unwrap_or(defaults.stale_if_error_seconds),
        }
    }

    pub(crate) fn age(&self, now: i64) -> u64 {
        u64::try_from(now.saturating_sub(self.born)).unwrap_or(0)
    }

    /// Seconds until it is stale; negative since then.
    pub(crate) fn ttl(&self, now: i64) -> i64 {
        let lifetime = i64::try_from(self.lifetime).unwrap_or(i64::MAX);
        lifetime.saturating_sub(i64::try_from(self.age(now)).unwrap_or(i64::MAX))
    }

    /// What a request may do with the response.
    pub(crate) fn usable(
        &self,
        control: &ResponseControl,
        request: &RequestControl,
        now: i64,
    ) -> Use {
        let (age, ttl) = (self.age(now), self.ttl(now));
        let staleness = u64::try_from(ttl.saturating_neg()).unwrap_or(0);
        let if_error = request.stale_if_error.unwrap_or(self.stale_if_error);
        let revalidate = Use::Revalidate {
            if_error: !control.forbids_stale() && (ttl > 0 || staleness < if_error),
        };
        let too_old = request.max_age.is_some_and(|max| max == 0 || age > max);
        let too_stale = request
            .min_fresh
            .is_some_and(|min| ttl < i64::try_from(min).unwrap_or(i64::MAX));
        if control.no_cache || request.no_cache || too_old || too_stale {
            return revalidate;
        }
        if ttl > 0 {
            return Use::Fresh;
        }
        if control.forbids_stale() {
            return revalidate;
        }
        if request.max_stale.is_some_and(|max| staleness <= max) {
            return Use::Stale;
        }
        if staleness < self.stale_while_revalidate {
            return Use::WhileRevalidating;
        }
        revalidate
    }
}

fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    control: &ResponseControl,
    defaults: &Defaults,
    date: i64,
) -> u64 {
    if let Some(seconds) = control.s_maxage.or(control.max_age) {
        return seconds;
    }
    let mut expires = headers.get_all(header::EXPIRES).iter();
    if let (Some(value), false) = (expires.next(), control.targeted) {
        // One that cannot be read is in the past, such as the common 0 (RFC 9111, 5.3).
        let at = date::parse(value.as_bytes()).unwrap_or(i64::MIN);
        return u64::try_from(at.saturating_sub(date)).unwrap_or(0);
    }
    if !(control.public || is_heuristic(status)) {
        return 0;
    }
    let modified = headers.get(header::LAST_MODIFIED);
    let modified = modified.and_then(|value| date::parse(value.as_bytes()));
    let since = modified.map_or(0, |at| u64::try_from(date.saturating_sub(at)).unwrap_or(0));
    let heuristic = (since / 10).min(defaults.max_heuristic_seconds);
    heuristic.max(defaults.ttl_seconds)
}

/// Statuses whose responses may be fresh without saying so (RFC 9110, 15.1), but for 206.
pub(super) fn is_heuristic(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// The first one counts; `None`: it cannot be read.
fn age(value: &http::HeaderValue) -> Option<u64> {
    let first = value.as_bytes().split(|&byte| byte == b',').next()?;
    digits(first.trim_ascii())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    /// Of a response received now.
    fn times(fields: &[(&'static str, String)], defaults: Defaults) -> (Times, ResponseControl) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::try_from(value).unwrap());
        }
        let control = ResponseControl::of(&headers, &[]);
        let times = Times::of(StatusCode::OK, &headers, &control, &defaults, (NOW, NOW));
        (times, control)
    }

    fn at(seconds: i64) -> String {
        date::format(NOW + seconds)
    }

    #[test]
    fn a_lifetime_comes_from_the_most_specific_field() {
        let defaults = Defaults {
            ttl_seconds: 7,
            max_heuristic_seconds: 100,
            ..Defaults::default()
        };
        let cc = |text: &str| ("cache-control", text.to_owned());
        for (fields, lifetime) in [
            (vec![cc("s-maxage=1, max-age=2"), ("expires", at(3))], 1),
            (vec![cc("max-age=2"), ("expires", at(3))], 2),
            (vec![("expires", at(3))], 3),
            (vec![("expires", at(3)), ("date", at(1))], 2),
            (vec![("expires", "0".to_owned())], 0),
            (vec![("expires", at(-3))], 0),
            (vec![("last-modified", at(-500))], 50),
            (vec![("last-modified", at(-5_000))], 100),
            (vec![("last-modified", at(5_000))], 7),
            (vec![], 7),
            (vec![cc("max-age=0")], 0),
        ] {
            assert_eq!(times(&fields, defaults).0.lifetime, lifetime, "{fields:?}");
        }
        let of = |status, text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("cache-control", HeaderValue::from_static(text));
            let control = ResponseControl::of(&headers, &[]);
            let status = StatusCode::from_u16(status).unwrap();
            Times::of(status, &headers, &control, &defaults, (NOW, NOW)).lifetime
        };
        assert_eq!((of(500, "x"), of(500, "public"), of(404, "x")), (0, 7, 7));
    }

    #[test]
    fn an_age_is_the_larger_of_two() {
        let none = Defaults::default();
        let age = |fields: &[(&'static str, String)]| times(fields, none).0.age(NOW);
        assert_eq!(age(&[]), 0);
        assert_eq!(age(&[("age", "5".to_owned())]), 5);
        assert_eq!(age(&[("age", "5, 9".to_owned())]), 5);
        assert_eq!(age(&[("age", "-5".to_owned())]), 0);
        assert_eq!(age(&[("age", "x".to_owned())]), 0);
        assert_eq!(age(&[("date", at(-8))]), 8);
        assert_eq!(age(&[("date", at(8))]), 0);
        assert_eq!(age(&[("date", at(-8)), ("age", "9".to_owned())]), 9);
        let headers = HeaderMap::new();
        let control = ResponseControl::default();
        let delayed = Times::of(StatusCode::OK, &headers, &control, &none, (NOW - 4, NOW));
        assert_eq!(delayed.age(NOW + 1), 5, "the delay counts");
    }

    #[test]
    fn what_may_be_done_with_a_stored_response() {
        use Use::{Fresh, Stale, WhileRevalidating};
        let (yes, no) = (
            Use::Revalidate { if_error: true },
            Use::Revalidate { if_error: false },
        );
        for (response, request, age, expected) in [
            ("max-age=10", "", 9, Fresh),
            ("max-age=10", "", 10, no),
            ("max-age=10", "no-cache", 0, yes),
            ("max-age=10", "max-age=0", 0, yes),
            ("max-age=10", "max-age=5", 5, Fresh),
            ("max-age=10", "max-age=5", 6, yes),
            ("max-age=10", "min-fresh=5", 5, Fresh),
            ("max-age=10", "min-fresh=5", 6, yes),
            ("max-age=10", "max-stale=5", 15, Stale),
            ("max-age=10", "max-stale=5", 16, no),
            ("max-age=10", "max-stale", 99, Stale),
            ("max-age=10, must-revalidate", "max-stale", 11, no),
            ("max-age=10, proxy-revalidate", "max-stale", 11, no),
            ("s-maxage=10", "max-stale", 11, no),
            ("max-age=10, no-cache", "max-stale", 1, no),
            (
                "max-age=10, stale-while-revalidate=5",
                "",
                14,
                WhileRevalidating,
            ),
            ("max-age=10, stale-while-revalidate=5", "", 15, no),
            (
                "max-age=10, stale-while-revalidate=5, must-revalidate",
                "",
                14,
                no,
            ),
            ("max-age=10, stale-if-error=5", "", 14, yes),
            ("max-age=10, stale-if-error=5", "", 15, no),
            ("max-age=10, stale-if-error=5, must-revalidate", "", 14, no),
            ("max-age=10", "stale-if-error=9", 14, yes),
        ] {
            let fields = [("cache-control", response.to_owned())];
            let (times, control) = times(&fields, Defaults::default());
            let mut sent = HeaderMap::new();
            sent.insert("cache-control", HeaderValue::from_static(request));
            let request_control = RequestControl::of(&sent);
            let found = times.usable(&control, &request_control, NOW + age);
            assert_eq!(found, expected, "{response} / {request} at {age}");
        }
    }
}
