//! API keys: create, list, revoke; and the route on which the gateway exchanges them.
//!
//! That route is not part of the API: no document names it, and the gateway has no route to it. It is
//! signed as events are.

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, header};
use quartet_common::{
    checks::{Checks, Violation},
    page::{Page, PageQuery},
    problem::{Problem, Rule, kinds::NOT_FOUND},
};
use quartet_http::extract::{Body, Json, Path, Query, Unchecked, from_json};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::signed;
use crate::{
    config::Config,
    domain::{
        Context,
        api_keys::{self, NewApiKey},
        sessions::CurrentSession,
        values::display_name::DisplayName,
    },
    problems::{STALE_LOGIN, TOO_MANY_API_KEYS},
    state::AppState,
    store::api_keys::{ApiKeyId, ApiKeyRow},
};

const EXCHANGE: &str = "/internal/api-keys/exchange";
/// Marks cursors of this list.
const CURSOR: &str = "api_keys";
const MIN_TTL_SECONDS: u64 = 60;

/// A key to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiKeyInput {
    /// What the key is for.
    #[schema(example = "Nightly export", min_length = 1, max_length = 100)]
    name: String,
    /// What the key permits. Duplicates are ignored.
    #[schema(example = json!(["links:read", "links:write"]), min_items = 1, max_items = 64)]
    scopes: Vec<String>,
    /// Lifetime of the key in seconds: 90 days by default, at most 366 days by default.
    #[schema(example = 7_776_000, minimum = 60, required = false, nullable = false, value_type = u64)]
    expires_in: Option<u64>,
}

/// A key that has not ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApiKey {
    id: ApiKeyId,
    #[schema(example = "Nightly export", min_length = 1, max_length = 100)]
    name: String,
    #[schema(example = json!(["links:read", "links:write"]), min_items = 1, max_items = 64)]
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    /// The latest use, to within the lifetime of an access token (15 minutes by default); null if there
    /// was none.
    last_used_at: Option<DateTime<Utc>>,
}

/// A key that was just created.
#[derive(Serialize, ToSchema)]
struct CreatedApiKey {
    api_key: ApiKey,
    /// For `Authorization: Bearer` or `X-API-Key`. Shown only now.
    #[schema(
        pattern = "^qrt_pat_[A-Za-z0-9_-]{43}[0-9a-f]{8}$",
        example = "qrt_pat_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAe2b1c3d4"
    )]
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExchangeRequest {
    key: SecretString,
}

#[derive(Serialize)]
struct ExchangeResponse {
    /// `None`: there is no live key like that.
    access_token: Option<String>,
    /// Lifetime of the token in seconds.
    expires_in: u64,
}

/// Create an API key
///
/// For a program that acts as you, within the scopes of the key. The key is sent to the gateway like an
/// access token, or as `X-API-Key`. Requires a session that was opened at most an hour ago, by default.
/// A user has at most 100 keys by default.
#[utoipa::path(
    post,
    path = "/v1/core/api-keys",
    operation_id = "create_api_key",
    tag = "api-keys",
    security(("bearer" = [])),
    request_body = ApiKeyInput,
    responses(
        (status = 201, description = "The new key", body = CreatedApiKey),
    ),
    extensions(("x-problem-codes" = json!([STALE_LOGIN.code, TOO_MANY_API_KEYS.code]))),
)]
pub(super) async fn create_api_key(
    State(ctx): State<Context>,
    current: CurrentSession,
    request: Unchecked<ApiKeyInput>,
) -> Result<Response, Problem> {
    let new = request.check(|input| input.check(&ctx.config))?;
    let (row, key) = api_keys::create(&ctx, current, new).await?;
    let body = CreatedApiKey {
        api_key: ApiKey::from(row),
        key: key.expose_secret().to_owned(),
    };
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(body)).into_response())
}

/// List API keys
///
/// The caller's keys that have not ended, newest first, in pages of up to 100.
#[utoipa::path(
    get,
    path = "/v1/core/api-keys",
    operation_id = "list_api_keys",
    tag = "api-keys",
    security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page of keys", body = Page<ApiKey>))
)]
pub(super) async fn list_api_keys(
    State(ctx): State<Context>,
    current: CurrentSession,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ApiKey>>, Problem> {
    let (limit, before) = (query.limit(), query.after(CURSOR)?);
    let rows = api_keys::list(&ctx, current.user_id, before, i64::from(limit) + 1).await?;
    let page = Page::from_rows(rows, limit, CURSOR, |row| row.id);
    Ok(Json(page.map(ApiKey::from)))
}

/// Revoke an API key
///
/// Requests with the key get 401 from then on; where the gateway has a cached token of the key, within
/// five seconds.
#[utoipa::path(
    delete,
    path = "/v1/core/api-keys/{id}",
    operation_id = "delete_api_key",
    tag = "api-keys",
    security(("bearer" = [])),
    params(("id" = ApiKeyId, Path, description = "The key")),
    responses((status = 204, description = "The key is revoked")),
    extensions(("x-problem-codes" = json!([NOT_FOUND.code]))),
)]
pub(super) async fn delete_api_key(
    State(ctx): State<Context>,
    current: CurrentSession,
    Path(id): Path<ApiKeyId>,
) -> Result<StatusCode, Problem> {
    api_keys::revoke(&ctx, current, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /internal/api-keys/exchange`.
pub(super) fn router(state: &AppState) -> Router {
    let ctx = state.ctx.clone();
    Router::new().route(EXCHANGE, post(exchange_api_key).with_state(ctx))
}

async fn exchange_api_key(
    State(ctx): State<Context>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    signed::verify(&ctx, &headers, &body)?;
    let request: ExchangeRequest = from_json(&body)?;
    let token = api_keys::exchange(&ctx, &request.key).await?;
    let body = ExchangeResponse {
        expires_in: token.as_ref().map_or(0, |token| token.expires_in_seconds),
        access_token: token.map(|token| token.token),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

impl ApiKeyInput {
    fn check(self, config: &Config) -> Result<NewApiKey, Vec<Violation<&'static str>>> {
        let mut checks = Checks::new();
        let name = checks.take("/name", DisplayName::parse(&self.name));
        let scopes = checks.take("/scopes", check_scopes(self.scopes, config));
        let ttl = checks.take("/expires_in", check_ttl(self.expires_in, config));
        checks.finish(|| {
            Some(NewApiKey {
                name: name?,
                scopes: scopes?,
                ttl: std::time::Duration::from_secs(ttl?),
            })
        })
    }
}

/// Sorted, without duplicates.
fn check_scopes(mut scopes: Vec<String>, config: &Config) -> Result<Vec<String>, Rule> {
    let known = &config.api_keys.scopes;
    if scopes.is_empty() || !scopes.iter().all(|scope| known.contains(scope)) {
        let rule = format!("must be one or more of: {}", known.join(", "));
        return Err(Rule::new("invalid_value", rule));
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

fn check_ttl(seconds: Option<u64>, config: &Config) -> Result<u64, Rule> {
    let (default, max) = (
        config.api_keys.default_ttl_seconds,
        config.api_keys.max_ttl_seconds,
    );
    let seconds = seconds.unwrap_or(default);
    if (MIN_TTL_SECONDS..=max).contains(&seconds) {
        return Ok(seconds);
    }
    let rule = format!("must be from {MIN_TTL_SECONDS} to {max} seconds");
    Err(Rule::new("out_of_range", rule))
}

impl From<ApiKeyRow> for ApiKey {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            scopes: row.scopes,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}
