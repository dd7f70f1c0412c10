//! `/.well-known`: what a verifier of access tokens needs.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{StatusCode, header};
use quartet_http::extract::{IfNoneMatch, Json};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::{
    config::JWKS_CACHED_SECONDS,
    domain::{Context, crypto::signing_keys::ONE_FACTOR},
};

/// Public keys (RFC 7517).
#[derive(Serialize, ToSchema)]
struct JwksDocument {
    keys: Vec<PublicKey>,
}

/// One public key: Ed25519 (RFC 8037), P-256 or RSA (RFC 7518). It verifies the algorithm in `alg` and
/// no other.
#[derive(Serialize, ToSchema)]
struct PublicKey {
    /// `OKP` for `EdDSA`, `EC` for `ES256`, `RSA` for `RS256`.
    #[schema(example = "OKP")]
    kty: String,
    #[schema(example = "EdDSA")]
    alg: String,
    #[schema(rename = "use", example = "sig")]
    #[serde(rename = "use")]
    usage: String,
    #[schema(example = "Rm9vYmFyLTEy")]
    kid: String,
    /// Of `EdDSA` and `ES256`.
    #[schema(nullable = false, example = "Ed25519")]
    crv: Option<String>,
    /// Of `EdDSA` and `ES256`.
    #[schema(
        nullable = false,
        example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    )]
    x: Option<String>,
    /// Of `ES256`.
    #[schema(
        nullable = false,
        example = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    )]
    y: Option<String>,
    /// Modulus, of RS256. Here shortened.
    #[schema(
        nullable = false,
        example = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp"
    )]
    n: Option<String>,
    /// Exponent, of RS256.
    #[schema(nullable = false, example = "AQAB")]
    e: Option<String>,
}

/// Metadata of the issuer (OpenID Connect Discovery 1.0). There are no ID tokens and there is no
/// authorization endpoint yet.
#[derive(Serialize, ToSchema)]
struct OpenIdConfiguration {
    /// The `iss` claim of every token.
    #[schema(format = "uri", example = "https://quartet.example")]
    issuer: String,
    /// URL of the public keys.
    #[schema(
        format = "uri",
        example = "https://quartet.example/.well-known/jwks.json"
    )]
    jwks_uri: String,
    /// Always empty: there is no authorization endpoint.
    #[schema(example = json!([]))]
    response_types_supported: Vec<String>,
    /// Always empty: sessions are opened at `/v1/core/sessions`, not through OAuth.
    #[schema(example = json!([]))]
    grant_types_supported: Vec<String>,
    #[schema(example = json!(["public"]))]
    subject_types_supported: Vec<String>,
    #[schema(example = json!(["EdDSA"]))]
    id_token_signing_alg_values_supported: Vec<String>,
    /// The classes of authentication in the `acr` claim. `aal1`: one factor.
    #[schema(example = json!(["aal1"]))]
    acr_values_supported: Vec<String>,
}

/// Get the public keys
///
/// Every key that may have signed a valid token, and the next one before it becomes active. Cache
/// them for 5 minutes; fetch them again when a token names an unknown key.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "get_jwks",
    tag = "keys",
    params(("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The keys", body = JwksDocument, headers(("ETag" = String, description = "Changes whenever the keys change"))),
        (status = 304, description = "The keys have not changed"),
    )
)]
pub(super) async fn get_jwks(
    State(ctx): State<Context>,
    if_none_match: Option<IfNoneMatch>,
) -> Response {
    let keys = ctx.keys.published();
    let ids = keys
        .keys
        .iter()
        .filter_map(|key| key.common.key_id.as_deref());
    let ids: Vec<&str> = ids.collect();
    let tag = URL_SAFE_NO_PAD.encode(Sha256::digest(ids.join(",")));
    let tag = format!("\"{}\"", &tag[..16]);
    let headers = [
        (header::CACHE_CONTROL, cache_control()),
        (header::ETAG, tag.clone()),
    ];
    if if_none_match.is_some_and(|tags| tags.has(&tag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, Json(keys)).into_response()
}

/// Get the OpenID configuration
///
/// The URL of the public keys and the algorithms that sign tokens.
#[utoipa::path(
    get,
    path = "/.well-known/openid-configuration",
    operation_id = "get_openid_configuration",
    tag = "keys",
    responses((status = 200, description = "The configuration", body = OpenIdConfiguration))
)]
pub(super) async fn get_openid_configuration(State(ctx): State<Context>) -> Response {
    let algorithms = ctx.config.keys.algorithms.iter();
    let issuer = ctx.config.jwt.issuer.clone().unwrap_or_default();
    let body = OpenIdConfiguration {
        jwks_uri: format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')),
        issuer,
        response_types_supported: Vec::new(),
        grant_types_supported: Vec::new(),
        subject_types_supported: vec!["public".into()],
        id_token_signing_alg_values_supported: algorithms.map(ToString::to_string).collect(),
        acr_values_supported: vec![ONE_FACTOR.into()],
    };
    ([(header::CACHE_CONTROL, cache_control())], Json(body)).into_response()
}

fn cache_control() -> String {
    format!("public, max-age={JWKS_CACHED_SECONDS}")
}
