//! `[logins.*]`, and what routes say of them.

mod provider;
mod routes;

use std::time::Duration;

use http::HeaderName;
use quartet_auth::master_key::MasterKey;
use url::{Host, Url};

use super::{
    access::is_cookie_name,
    checker::{Checker, DAY_SECONDS},
    encryption::check_keys,
    issuers::header_name,
    values::check_list,
};
use crate::{
    config::{
        logins::{AllowedUsers, IdentityHeaders, LoginConfig, SessionStorage},
        model::{self, LoginKind, LoginStore},
    },
    routing::HostPattern,
};
pub(super) use routes::check_route;

const MAX_LOGINS: usize = 32;
const MAX_LIST: usize = 1_000;
const MAX_TEXT_BYTES: usize = 512;
const OAUTH2_PROXY: &str = "/oauth2";
/// Adds a route for the pages of each login.
pub(super) fn add_routes(model: &mut model::Model) {
    for (name, login) in &model.logins {
        let mut paths = vec![format!("{}/*", login.path)];
        if login.oauth2_proxy_paths {
            paths.push(format!("{OAUTH2_PROXY}/*"));
        }
        let host = login.base_url.parse::<Url>().ok();
        let host = host.and_then(|url| url.host_str().map(str::to_owned));
        let route = model::Route::of_login(name, paths, host, login.limit.clone());
        model.routes.entry(format!("login_{name}")).or_insert(route);
    }
}

pub(super) fn check(model: &model::Model, checker: &mut Checker) -> Vec<LoginConfig> {
    if model.logins.len() > MAX_LOGINS {
        checker.error("logins", format!("must be at most {MAX_LOGINS}"));
    }
    let logins = model.logins.iter();
    let logins: Vec<_> = logins
        .filter_map(|(name, login)| check_login(name, login, model, checker))
        .collect();
    check_distinct(&logins, checker);
    logins
}

/// Two logins under one host must differ in everything that a browser names them by.
fn check_distinct(logins: &[LoginConfig], checker: &mut Checker) {
    for (at, one) in logins.iter().enumerate() {
        let same_host = |other: &&LoginConfig| other.base_url.host_str() == one.base_url.host_str();
        for other in logins[..at].iter().filter(same_host) {
            let key = |field: &str| format!("logins.{}.{field}", one.name);
            let with = &other.name;
            if one.path == other.path {
                checker.error(key("path"), format!("must not be that of `{with}`"));
            }
            if one.cookie == other.cookie {
                checker.error(key("cookie"), format!("must not be that of `{with}`"));
            }
            if one.oauth2_proxy_paths && other.oauth2_proxy_paths {
                let rule = format!("is that of `{with}` already");
                checker.error(key("oauth2_proxy_paths"), rule);
            }
        }
    }
}

fn check_login(
    name: &str,
    login: &model::Login,
    model: &model::Model,
    checker: &mut Checker,
) -> Option<LoginConfig> {
    let key = format!("logins.{name}");
    checker.name(&key, name);
    check_numbers(&key, login, checker);
    check_path(&key, &login.path, checker);
    let base_url = checker.ok(&format!("{key}.base_url"), parse_base(login));
    let provider = provider::check(&key, login, checker);
    let hosts = check_list(&key, "hosts", &login.hosts, HostPattern::parse, checker);
    let headers = check_headers(&key, &login.headers, checker);
    let token = login.access_token_header.as_deref();
    let token =
        token.map(|name| checker.ok(&format!("{key}.access_token_header"), token_header(name)));
    let verify_access_token = login.verify_access_token || login.kind == LoginKind::Core;
    // Routes name them.
    hosts?;
    Some(LoginConfig {
        name: name.into(),
        provider: provider?,
        base_url: base_url?,
        path: login.path.clone(),
        allowed: check_allowed(&key, login, checker),
        idle: Duration::from_secs(login.idle_seconds),
        max: Duration::from_secs(login.max_seconds),
        headers: headers?,
        access_token_header: match (token, verify_access_token) {
            (Some(name), _) => Some(name?),
            // Services verify it again.
            (None, true) => Some(http::header::AUTHORIZATION),
            (None, false) => None,
        },
        verify_access_token,
        cookie: check_cookie(&key, name, login, checker),
        insecure: login.insecure,
        store: check_store(&key, login, model, checker)?,
        max_flows: login.max_flows,
        allowed_targets: check_targets(&key, login, checker),
        oauth2_proxy_paths: login.oauth2_proxy_paths,
    })
}

fn check_numbers(key: &str, login: &model::Login, checker: &mut Checker) {
    let year = 365 * DAY_SECONDS;
    checker.ranges(
        key,
        &[
            ("idle_seconds", login.idle_seconds, 60, year),
            ("max_seconds", login.max_seconds, 60, year),
            ("leeway_seconds", login.leeway_seconds, 0, 300),
            ("timeout_ms", login.timeout_ms, 100, 30_000),
            ("max_sessions", login.max_sessions as u64, 1, 10_000_000),
            ("max_flows", login.max_flows as u64, 10, 1_000_000),
        ],
    );
}

fn check_path(key: &str, path: &str, checker: &mut Checker) {
    let is_segment = |segment: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !segment.is_empty() && segment.bytes().all(is_allowed)
    };
    let rest = path.strip_prefix('/');
    if path.len() > 64 || !rest.is_some_and(|rest| rest.split('/').all(is_segment)) {
        let rule = "must be a path such as /auth, of letters, digits, - and _";
        checker.error(format!("{key}.path"), rule);
    }
}

/// The origin under which browsers reach the gateway. Without TLS anyone on the way could take the cookie.
fn parse_base(login: &model::Login) -> Result<Url, String> {
    let rule = "must be an origin such as https://app.example.org";
    let url: Url = login.base_url.parse().map_err(|_| rule.to_owned())?;
    let is_origin = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    match (url.scheme(), url.host()) {
        _ if !is_origin => Err(rule.to_owned()),
        ("https", Some(_)) if login.insecure => {
            Err("must be http:// with insecure = true".to_owned())
        }
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if login.insecure && is_loopback(&host) => Ok(url),
        ("http", Some(_)) => {
            let rule = "must be https://; http:// is possible on this machine (localhost), with insecure = true";
            Err(rule.to_owned())
        }
        _ => Err(rule.to_owned()),
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

fn check_allowed(key: &str, login: &model::Login, checker: &mut Checker) -> AllowedUsers {
    let lists = [
        ("allowed_emails", &login.allowed_emails),
        ("allowed_domains", &login.allowed_domains),
        ("allowed_groups", &login.allowed_groups),
        ("allowed_hosted_domains", &login.allowed_hosted_domains),
    ];
    for (name, list) in lists {
        let fits = |text: &String| !text.is_empty() && text.len() <= MAX_TEXT_BYTES;
        if list.len() > MAX_LIST || !list.iter().all(fits) {
            let rule = format!("must be at most {MAX_LIST} short texts");
            checker.error(format!("{key}.{name}"), rule);
        }
    }
    if login
        .allowed_emails
        .iter()
        .any(|email| !email.contains('@'))
    {
        checker.error(
            format!("{key}.allowed_emails"),
            "must have emails with an @",
        );
    }
    if login
        .allowed_domains
        .iter()
        .any(|domain| domain.contains('@'))
    {
        let rule = "must have domains such as example.org";
        checker.error(format!("{key}.allowed_domains"), rule);
    }
    if !login.allowed_hosted_domains.is_empty() && login.kind != LoginKind::Google {
        let rule = "is only for kind = \"google\"";
        checker.error(format!("{key}.allowed_hosted_domains"), rule);
    }
    let lower = |list: &[String]| list.iter().map(|text| text.to_ascii_lowercase()).collect();
    AllowedUsers {
        emails: lower(&login.allowed_emails),
        domains: lower(&login.allowed_domains),
        groups: login.allowed_groups.clone(),
        hosted_domains: lower(&login.allowed_hosted_domains),
        allows_unverified_email: login.allow_unverified_email,
    }
}

fn check_headers(
    key: &str,
    headers: &model::LoginHeaders,
    checker: &mut Checker,
) -> Option<IdentityHeaders> {
    let mut parse = |field: &str, name: &str| {
        if name.is_empty() {
            return Some(None);
        }
        let name = checker.ok(&format!("{key}.headers.{field}"), header_name(name));
        name.map(Some)
    };
    let (user, email) = (parse("user", &headers.user), parse("email", &headers.email));
    let (groups, name) = (
        parse("groups", &headers.groups),
        parse("name", &headers.name),
    );
    let found = IdentityHeaders {
        user: user?,
        email: email?,
        groups: groups?,
        name: name?,
    };
    let names: Vec<_> = found.names().collect();
    let is_repeated = |(at, name): (usize, &&HeaderName)| names[..at].contains(name);
    if names.iter().enumerate().any(is_repeated) {
        checker.error(format!("{key}.headers"), "must not have a name twice");
    }
    Some(found)
}

fn token_header(name: &str) -> Result<HeaderName, String> {
    if name.eq_ignore_ascii_case("authorization") {
        return Ok(http::header::AUTHORIZATION);
    }
    header_name(name)
}

/// Browsers accept a name with a prefix only if the cookie keeps its rules; `__Secure-` ones could come from
/// another host of the same domain.
fn check_cookie(key: &str, name: &str, login: &model::Login, checker: &mut Checker) -> String {
    const PREFIX: &str = "__Host-";
    let default = if login.insecure {
        format!("quartet_{name}")
    } else {
        format!("{PREFIX}quartet_{name}")
    };
    let cookie = login.cookie.clone().unwrap_or(default);
    let key = format!("{key}.cookie");
    if !is_cookie_name(&cookie) || cookie.len() > 100 {
        checker.error(
            &key,
            "must be the name of a cookie (RFC 6265), up to 100 bytes",
        );
    }
    let has_prefix = cookie.starts_with(PREFIX);
    let begins = |prefix: &str| {
        let start = cookie.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if login.insecure && (begins("__host-") || begins("__secure-")) {
        checker.error(&key, "must not begin with __Host- or __Secure- without TLS");
    } else if !login.insecure && !has_prefix {
        checker.error(&key, "must begin with __Host-");
    }
    cookie
}

fn check_store(
    key: &str,
    login: &model::Login,
    model: &model::Model,
    checker: &mut Checker,
) -> Option<SessionStorage> {
    if login.store == LoginStore::Memory {
        let max_sessions = login.max_sessions;
        return Some(SessionStorage::Memory { max_sessions });
    }
    let limits = &model.rate_limit_store;
    if limits.url.is_none() && limits.sentinels.is_empty() && limits.cluster.is_empty() {
        let rule = "\"redis\" needs [rate_limit_store], whose server it uses";
        checker.error(format!("{key}.store"), rule);
    }
    let keys = check_keys(
        key,
        login.encryption_key.as_ref(),
        login.previous_encryption_key.as_ref(),
        checker,
    )?;
    let Some((current, previous)) = keys.split_first() else {
        let rule = "must be set with store = \"redis\": tokens are stored there";
        checker.error(format!("{key}.encryption_key"), rule);
        return None;
    };
    let key = MasterKey::new(current, previous);
    Some(SessionStorage::Redis { key })
}

fn check_targets(key: &str, login: &model::Login, checker: &mut Checker) -> Vec<String> {
    let is_host =
        |text: &String| HostPattern::parse(text.strip_prefix('.').unwrap_or(text)).is_ok();
    let targets = &login.allowed_targets;
    if targets.len() > MAX_LIST
        || !targets
            .iter()
            .all(|text| is_host(text) && !text.contains('*'))
    {
        let rule = "must be hosts such as app.example.org, or .example.org for all below";
        checker.error(format!("{key}.allowed_targets"), rule);
    }
    targets
        .iter()
        .map(|text| text.to_ascii_lowercase())
        .collect()
}
