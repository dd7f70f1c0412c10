//! Sessions: open, refresh, list, end.

use std::net::IpAddr;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, header};
use quartet_common::{
    checks::{Checks, Violation},
    ids::InvalidId,
    page::{Page, PageQuery},
    problem::{
        Problem,
        kinds::{NOT_FOUND, UNAVAILABLE},
    },
};
use quartet_http::{
    extract::{Json, Path, Query, Unchecked},
    layers::ClientIp,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    config::Config,
    domain::{
        Context,
        sessions::{self, Client, Credentials, CurrentSession, SessionTokens},
        values::{email::Email, password::Password},
    },
    problems::{INVALID_CREDENTIALS, INVALID_REFRESH_TOKEN, TOO_MANY_ATTEMPTS},
    store::sessions::{SessionId, SessionRow},
};

/// Marks cursors of this list.
const CURSOR: &str = "sessions";

/// An email and a password.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Credentials)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    /// Email of the account. Case is ignored.
    #[schema(example = "ada@example.com", format = "email", max_length = 254)]
    email: String,
    #[schema(value_type = String, example = "tangerine-violin-moss", format = "password", min_length = 1, max_length = 256)]
    password: SecretString,
}

/// The refresh token of a session.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshRequest {
    /// The latest refresh token of the session. It can be used once.
    #[schema(value_type = String, pattern = "^qrt_ref_[A-Za-z0-9_-]{72}$", example = "qrt_ref_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA1b2c3d4e")]
    refresh_token: SecretString,
}

/// Tokens of a session.
#[derive(Serialize, ToSchema)]
struct Tokens {
    /// JWT (RFC 9068) for `Authorization: Bearer`.
    #[schema(
        example = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJ1c3JfMDFqZDZ4OHJ2M2ZxNHQybThuNWs3YzllMXoifQ.c2lnbmF0dXJl"
    )]
    access_token: String,
    token_type: TokenType,
    /// Lifetime of the access token in seconds. It does not outlive the session.
    #[schema(example = 900, minimum = 0)]
    expires_in: u64,
    /// Exchanged once for the next tokens. Keep it secret.
    #[schema(
        pattern = "^qrt_ref_[A-Za-z0-9_-]{72}$",
        example = "qrt_ref_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA1b2c3d4e"
    )]
    refresh_token: String,
    session_id: SessionId,
}

/// Type of the access token (RFC 6750).
#[derive(Serialize, ToSchema)]
enum TokenType {
    Bearer,
}

/// A login that has not ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Session {
    id: SessionId,
    /// Whether the request belongs to this session.
    current: bool,
    /// Client IP at the latest login or refresh.
    #[schema(example = "203.0.113.7")]
    client_address: String,
    /// `User-Agent` of the client, truncated to 256 bytes; null if it sent none.
    #[schema(
        example = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0",
        max_length = 256
    )]
    user_agent: Option<String>,
    created_at: DateTime<Utc>,
    last_used_at: DateTime<Utc>,
    /// When the session ends unless it is refreshed.
    expires_at: DateTime<Utc>,
}

/// Open a session
///
/// Logs in with email and password. An unknown email and a wrong password get the same response,
/// after the same work. Repeated failures cause delays, given in `Retry-After`. A user has at most
/// 50 sessions by default; opening another one ends the oldest.
#[utoipa::path(
    post,
    path = "/v1/core/sessions",
    operation_id = "create_session",
    tag = "sessions",
    request_body = LoginRequest,
    responses(
        (status = 201, description = "The tokens of the new session", body = Tokens),
    ),
    extensions(("x-problem-codes" = json!([INVALID_CREDENTIALS.code, TOO_MANY_ATTEMPTS.code, UNAVAILABLE.code]))),
)]
pub(super) async fn create_session(
    State(ctx): State<Context>,
    ClientIp(client_ip): ClientIp,
    headers: HeaderMap,
    request: Unchecked<LoginRequest>,
) -> Result<Response, Problem> {
    let credentials = request.check(|login| login.check(&ctx.config))?;
    let tokens = sessions::log_in(&ctx, client(client_ip, &headers), credentials).await?;
    Ok(tokens_response(StatusCode::CREATED, tokens))
}

/// Refresh a session
///
/// Exchanges the refresh token for a new one and a new access token. For 10 seconds after its first
/// use, by default, a token returns the same successor again. Later use counts as reuse of a stolen
/// token and ends the session.
#[utoipa::path(
    post,
    path = "/v1/core/sessions/refresh",
    operation_id = "refresh_session",
    tag = "sessions",
    request_body = RefreshRequest,
    responses(
        (status = 200, description = "New tokens", body = Tokens),
    ),
    extensions(("x-problem-codes" = json!([INVALID_REFRESH_TOKEN.code]))),
)]
pub(super) async fn refresh_session(
    State(ctx): State<Context>,
    ClientIp(client_ip): ClientIp,
    headers: HeaderMap,
    Json(request): Json<RefreshRequest>,
) -> Result<Response, Problem> {
    let client = client(client_ip, &headers);
    let tokens = sessions::refresh(&ctx, client, &request.refresh_token).await?;
    Ok(tokens_response(StatusCode::OK, tokens))
}

/// List sessions
///
/// The caller's sessions that have not ended, newest first, in pages of up to 100.
#[utoipa::path(
    get,
    path = "/v1/core/sessions",
    operation_id = "list_sessions",
    tag = "sessions",
    security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page of sessions", body = Page<Session>))
)]
pub(super) async fn list_sessions(
    State(ctx): State<Context>,
    current: CurrentSession,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Session>>, Problem> {
    let (limit, before) = (query.limit(), query.after(CURSOR)?);
    let rows = sessions::list(&ctx, current.user_id, before, i64::from(limit) + 1).await?;
    let page = Page::from_rows(rows, limit, CURSOR, |row| row.id);
    Ok(Json(page.map(|row| Session::new(row, current.id))))
}

/// End a session
///
/// The id `current` logs out. This service rejects the tokens of an ended session at once, the gateway
/// within five seconds.
#[utoipa::path(
    delete,
    path = "/v1/core/sessions/{id}",
    operation_id = "delete_session",
    tag = "sessions",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The session, or `current`", example = "ses_01jd6x8rv3fq4t2m8n5k7c9e1z", pattern = "^(current|ses_[0-7][0-9a-hjkmnp-tv-z]{25})$")),
    responses((status = 204, description = "The session has ended")),
    extensions(("x-problem-codes" = json!([NOT_FOUND.code]))),
)]
pub(super) async fn delete_session(
    State(ctx): State<Context>,
    current: CurrentSession,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let session = match id.as_str() {
        "current" => current.id,
        id => id.parse().map_err(|error: InvalidId| {
            Problem::invalid_parameter("id", "invalid_value", format!("{error}, or `current`"))
        })?,
    };
    sessions::revoke(&ctx, current, session).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn client(ip: IpAddr, headers: &HeaderMap) -> Client {
    // Some have bytes beyond ASCII.
    let user_agent = headers.get(header::USER_AGENT);
    let user_agent = user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()));
    Client::new(ip, user_agent.as_deref())
}

fn tokens_response(status: StatusCode, tokens: SessionTokens) -> Response {
    let body = Tokens {
        access_token: tokens.access_token.token,
        token_type: TokenType::Bearer,
        expires_in: tokens.access_token.expires_in_seconds,
        refresh_token: tokens.refresh_token.expose_secret().to_owned(),
        session_id: tokens.session_id,
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

impl LoginRequest {
    fn check(self, config: &Config) -> Result<Credentials, Vec<Violation<&'static str>>> {
        let mut checks = Checks::new();
        let email = checks.take("/email", Email::parse(&self.email));
        let password = checks.take(
            "/password",
            Password::parse(&self.password, &config.passwords),
        );
        checks.finish(|| {
            Some(Credentials {
                email: email?,
                password: password?,
            })
        })
    }
}

impl Session {
    fn new(row: SessionRow, current: SessionId) -> Self {
        Self {
            id: row.id,
            current: row.id == current,
            client_address: row.client_address,
            user_agent: row.user_agent,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at.min(row.idle_expires_at),
        }
    }
}
