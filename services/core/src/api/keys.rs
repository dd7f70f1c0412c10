//! `/.well-known`: what others need to verify our tokens.

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
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{config::JWKS_CACHED_SECONDS, state::AppState};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_jwks))
        .routes(routes!(get_openid_configuration))
}

/// Public keys (RFC 7517).
#[derive(Serialize, ToSchema)]
struct JwksDocument {
    keys: Vec<PublicKey>,
}

/// One Ed25519 key (RFC 8037).
#[derive(Serialize, ToSchema)]
struct PublicKey {
    #[schema(example = "OKP")]
    kty: String,
    #[schema(example = "Ed25519")]
    crv: String,
    #[schema(example = "EdDSA")]
    alg: String,
    #[schema(rename = "use", example = "sig")]
    #[serde(rename = "use")]
    usage: String,
    #[schema(example = "Rm9vYmFyLTEy")]
    kid: String,
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    x: String,
}

/// What OpenID Connect Discovery 1.0 asks for, as far as it exists: this service issues access
/// tokens and has neither ID tokens nor an authorization endpoint yet.
#[derive(Serialize, ToSchema)]
struct OpenIdConfiguration {
    /// The `iss` of every token.
    #[schema(format = "uri", example = "https://quartet.example")]
    issuer: String,
    /// Where the public keys are.
    #[schema(
        format = "uri",
        example = "https://quartet.example/.well-known/jwks.json"
    )]
    jwks_uri: String,
    /// None: there is no authorization endpoint.
    #[schema(example = json!([]))]
    response_types_supported: Vec<String>,
    /// None: sessions are opened at `/v1/core/sessions`, not by OAuth.
    #[schema(example = json!([]))]
    grant_types_supported: Vec<String>,
    #[schema(example = json!(["public"]))]
    subject_types_supported: Vec<String>,
    #[schema(example = json!(["EdDSA"]))]
    id_token_signing_alg_values_supported: Vec<String>,
}

/// Get the public keys
///
/// Every key whose tokens may be valid, and the next one before it signs. Keep them for 5 minutes;
/// fetch again when a token names an unknown key.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "get_jwks",
    tag = "keys",
    params(("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The keys", body = JwksDocument, headers(("ETag" = String, description = "Changes when the keys do"))),
        (status = 304, description = "The client has these keys"),
    )
)]
async fn get_jwks(State(state): State<AppState>, known: Option<IfNoneMatch>) -> Response {
    let keys = state.keys.published();
    let ids = keys
        .keys
        .iter()
        .filter_map(|key| key.common.key_id.as_deref());
    let ids: Vec<&str> = ids.collect();
    let tag = URL_SAFE_NO_PAD.encode(Sha256::digest(ids.join(",")));
    let tag = format!("\"{}\"", &tag[..16]);
    let headers = [
        (header::CACHE_CONTROL, cached()),
        (header::ETAG, tag.clone()),
    ];
    if known.is_some_and(|known| known.has(&tag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, Json(keys)).into_response()
}

/// Get the issuer's description
///
/// Where the public keys are, and how tokens are signed.
#[utoipa::path(
    get,
    path = "/.well-known/openid-configuration",
    operation_id = "get_openid_configuration",
    tag = "keys",
    responses((status = 200, description = "The description", body = OpenIdConfiguration))
)]
async fn get_openid_configuration(State(state): State<AppState>) -> Response {
    let issuer = state.config.jwt.issuer.clone().unwrap_or_default();
    let body = OpenIdConfiguration {
        jwks_uri: format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')),
        issuer,
        response_types_supported: Vec::new(),
        grant_types_supported: Vec::new(),
        subject_types_supported: vec!["public".into()],
        id_token_signing_alg_values_supported: vec!["EdDSA".into()],
    };
    ([(header::CACHE_CONTROL, cached())], Json(body)).into_response()
}

fn cached() -> String {
    format!("public, max-age={JWKS_CACHED_SECONDS}")
}
