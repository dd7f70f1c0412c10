//! What is known of a provider before it is asked.

use std::time::Duration;

use url::Url;

use crate::config::{
    logins::ProviderConfig,
    model::{self, LoginKind},
    validate::{checker::Checker, upstreams::parse_authorities},
};

const MAX_TEXT_BYTES: usize = 512;
/// What only the gateway may say to a provider.
const OWN_PARAMETERS: [&str; 9] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "response_mode",
    "response_type",
    "state",
];

pub(super) fn check(
    key: &str,
    login: &model::Login,
    checker: &mut Checker,
) -> Option<ProviderConfig> {
    if login.kind == LoginKind::Core {
        return Some(check_core(key, login, checker));
    }
    for (name, is_set) in [
        ("login_page", login.login_page.is_some()),
        ("refresh_url", login.refresh_url.is_some()),
        ("logout_url", login.logout_url.is_some()),
    ] {
        if is_set {
            checker.error(format!("{key}.{name}"), "is only for kind = \"core\"");
        }
    }
    let issuer = checker.ok(&format!("{key}.issuer"), issuer_of(login));
    if login.client_id.is_none() {
        checker.error(format!("{key}.client_id"), "must be set");
    }
    if login.client_secret.is_none() && matches!(login.kind, LoginKind::Google | LoginKind::Github)
    {
        checker.error(format!("{key}.client_secret"), "must be set for this kind");
    }
    let mut provider = base_provider(key, login, checker);
    provider.issuer = issuer?;
    provider.client_id = login.client_id.clone()?;
    provider.scopes = check_scopes(key, login, checker);
    provider.parameters = check_parameters(key, login, checker);
    provider.groups_claims = groups_claims(login);
    Some(provider)
}

fn base_provider(key: &str, login: &model::Login, checker: &mut Checker) -> ProviderConfig {
    if let Some(pem) = &login.tls_ca {
        checker.ok(&format!("{key}.tls_ca"), parse_authorities(pem));
    }
    let mut url = |name: &str, text: Option<&String>| {
        text.and_then(|text| checker.ok(&format!("{key}.{name}"), http_url(text)))
    };
    let (refresh_url, logout_url) = (
        url("refresh_url", login.refresh_url.as_ref()),
        url("logout_url", login.logout_url.as_ref()),
    );
    let api_url = url("api_url", login.api_url.as_ref());
    ProviderConfig {
        kind: login.kind,
        issuer: String::new(),
        client_id: String::new(),
        client_secret: login.client_secret.clone(),
        authorities: login.tls_ca.clone(),
        scopes: String::new(),
        parameters: Vec::new(),
        userinfo: login.userinfo,
        groups_claims: Vec::new(),
        leeway_seconds: login.leeway_seconds,
        timeout: Duration::from_millis(login.timeout_ms),
        login_page: login.login_page.clone(),
        refresh_url,
        logout_url,
        api_url,
    }
}

fn check_core(key: &str, login: &model::Login, checker: &mut Checker) -> ProviderConfig {
    for (name, is_set) in [
        ("issuer", login.issuer.is_some()),
        ("client_id", login.client_id.is_some()),
        ("client_secret", login.client_secret.is_some()),
        ("oauth2_proxy_paths", login.oauth2_proxy_paths),
    ] {
        if is_set {
            let rule = "is not for kind = \"core\", whose tokens [jwt] verifies";
            checker.error(format!("{key}.{name}"), rule);
        }
    }
    if login.refresh_url.is_none() {
        checker.error(
            format!("{key}.refresh_url"),
            "must be set for kind = \"core\"",
        );
    }
    let is_page =
        |page: &String| page.starts_with('/') && !page.starts_with("//") && page.is_ascii();
    if login.login_page.as_ref().is_some_and(|page| !is_page(page)) {
        checker.error(
            format!("{key}.login_page"),
            "must be a path of the same host",
        );
    }
    base_provider(key, login, checker)
}

/// What tokens have as `iss`.
fn issuer_of(login: &model::Login) -> Result<String, String> {
    let given = login.issuer.as_deref();
    match login.kind {
        LoginKind::Google => Ok(given.unwrap_or("https://accounts.google.com").to_owned()),
        LoginKind::Github => {
            let url = given.unwrap_or("https://github.com");
            http_url(url).map(|_| url.trim_end_matches('/').to_owned())
        }
        LoginKind::Keycloak => {
            let rule = "must be the URL of Keycloak, with its realm in `realm`";
            let server = given.ok_or(rule)?;
            http_url(server)?;
            match &login.realm {
                Some(realm) if is_plain(realm) => {
                    Ok(format!("{}/realms/{realm}", server.trim_end_matches('/')))
                }
                Some(_) => Err("must have a realm of letters, digits, - _ and .".to_owned()),
                None if server.contains("/realms/") => Ok(server.to_owned()),
                None => Err(rule.to_owned()),
            }
        }
        LoginKind::Oidc | LoginKind::Core => {
            let issuer = given.ok_or("must be set")?;
            http_url(issuer).map(|_| issuer.to_owned())
        }
    }
}

fn is_plain(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(is_allowed)
}

/// Secrets are sent there, so that only this machine may be reached without TLS.
fn http_url(text: &str) -> Result<Url, String> {
    let rule = "must be an https URL without a query, or an http one in the own network";
    let url: Url = text.parse().map_err(|_| rule.to_owned())?;
    let is_usable = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_usable {
        Ok(url)
    } else {
        Err(rule.to_owned())
    }
}

fn check_scopes(key: &str, login: &model::Login, checker: &mut Checker) -> String {
    let default: &[&str] = match login.kind {
        LoginKind::Github => &["read:user", "user:email", "read:org"],
        _ => &["openid", "profile", "email"],
    };
    let default = || default.iter().map(|&scope| scope.to_owned()).collect();
    let scopes: Vec<String> = login.scopes.clone().unwrap_or_else(default);
    let is_scope = |scope: &String| {
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        !scope.is_empty() && scope.len() <= 255 && scope.bytes().all(is_allowed)
    };
    let is_openid = login.kind == LoginKind::Github || scopes.iter().any(|scope| scope == "openid");
    if scopes.len() > 64 || !scopes.iter().all(is_scope) || !is_openid {
        let rule = "must be at most 64 scopes, `openid` among them";
        checker.error(format!("{key}.scopes"), rule);
    }
    scopes.join(" ")
}

fn check_parameters(
    key: &str,
    login: &model::Login,
    checker: &mut Checker,
) -> Vec<(String, String)> {
    let given = &login.authorize_parameters;
    let is_own = |name: &&String| OWN_PARAMETERS.contains(&name.as_str());
    if let Some(own) = given.keys().find(is_own) {
        let rule = "is a parameter that the gateway sets itself";
        checker.error(format!("{key}.authorize_parameters.{own}"), rule);
    }
    let fits = |(name, value): (&String, &String)| name.len() + value.len() <= MAX_TEXT_BYTES;
    if given.len() > 16 || !given.iter().all(fits) {
        let rule = "must be at most 16 short texts";
        checker.error(format!("{key}.authorize_parameters"), rule);
    }
    let mut parameters = given.clone();
    if login.kind == LoginKind::Google {
        // Without both, Google gives no refresh token.
        for (name, value) in [("access_type", "offline"), ("prompt", "consent")] {
            let name = name.to_owned();
            parameters.entry(name).or_insert_with(|| value.to_owned());
        }
        if let [domain] = login.allowed_hosted_domains.as_slice() {
            parameters
                .entry("hd".to_owned())
                .or_insert_with(|| domain.clone());
        }
    }
    parameters.into_iter().collect()
}

fn groups_claims(login: &model::Login) -> Vec<Vec<String>> {
    let mut paths: Vec<&str> = login.groups_claim.iter().collect();
    if paths.is_empty() {
        paths.push("groups");
        if login.kind == LoginKind::Keycloak {
            paths.push("realm_access.roles");
        }
    }
    let parts = |path: &str| path.split('.').map(str::to_owned).collect();
    paths.into_iter().map(parts).collect()
}
