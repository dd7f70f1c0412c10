//! Sessions: open, refresh, list, end.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, header};
use quartet_common::{
    page::{Page, PageQuery},
    problem::{Checks, Problem},
};
use quartet_http::{
    extract::{Json, Path, Query},
    layers::ClientAddress,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::SignedIn,
    config::Config,
    domain::{
        email::Email,
        password,
        sessions::{self, Opened, Origin},
    },
    state::AppState,
    store::{
        self,
        sessions::{SessionId, SessionRow},
    },
};

/// Names the list that a cursor belongs to.
const CURSOR: &str = "sessions";

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create_session, list_sessions))
        .routes(routes!(refresh_session))
        .routes(routes!(delete_session))
}

/// An address and its password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// The account's address, in any case.
    #[schema(example = "ada@example.com", format = "email", max_length = 254)]
    email: String,
    #[schema(value_type = String, example = "tangerine-violin-moss", format = "password", min_length = 1, max_length = 256)]
    password: SecretString,
}

/// What keeps a session alive.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RefreshRequest {
    /// The latest refresh token of the session. It is spent by this.
    #[schema(value_type = String, pattern = "^qrt_ref_[A-Za-z0-9_-]{51}$", example = "qrt_ref_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA1b2c3d4e")]
    refresh_token: SecretString,
}

/// Tokens of a session. Keep the refresh token secret and use each one once.
#[derive(Serialize, ToSchema)]
struct Tokens {
    /// JWT (RFC 9068) for `Authorization: Bearer`.
    #[schema(
        example = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJ1c3JfMDFqZDZ4OHJ2M2ZxNHQybThuNWs3YzllMXoifQ.c2lnbmF0dXJl"
    )]
    access_token: String,
    token_type: TokenType,
    /// How long the access token is valid, in seconds. It does not outlive the session.
    #[schema(example = 900, minimum = 0)]
    expires_in: u64,
    /// Worth a new access token, once; keep it secret.
    #[schema(
        pattern = "^qrt_ref_[A-Za-z0-9_-]{51}$",
        example = "qrt_ref_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA1b2c3d4e"
    )]
    refresh_token: String,
    session_id: SessionId,
}

/// How the access token is sent (RFC 6750).
#[derive(Serialize, ToSchema)]
enum TokenType {
    Bearer,
}

/// A login that has not ended.
#[derive(Debug, Serialize, ToSchema)]
struct Session {
    id: SessionId,
    /// Whether the request came with a token of this session.
    current: bool,
    /// As seen at the latest login or refresh.
    #[schema(example = "203.0.113.7")]
    client_address: String,
    /// What the client calls itself, at most 256 bytes of it; null where it did not say.
    #[schema(
        example = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0",
        max_length = 256
    )]
    user_agent: Option<String>,
    created_at: DateTime<Utc>,
    last_used_at: DateTime<Utc>,
    /// When the session ends, if it is not refreshed before.
    expires_at: DateTime<Utc>,
}

/// Open a session
///
/// Logs in with address and password. A wrong address and a wrong password get the same answer
/// after the same work. After several failures there are pauses, told by `Retry-After`. A user has
/// at most 50 sessions: with one more, the oldest ends.
#[utoipa::path(
    post,
    path = "/v1/core/sessions",
    operation_id = "create_session",
    tag = "sessions",
    request_body = Credentials,
    responses(
        (status = 201, description = "The session is open", body = Tokens),
    ),
    extensions(("x-problem-codes" = json!(["invalid_credentials", "too_many_attempts", "unavailable"]))),
)]
async fn create_session(
    State(state): State<AppState>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Json(request): Json<Credentials>,
) -> Result<Response, Problem> {
    let credentials = request.check(&state.config)?;
    let origin = origin(address, &headers);
    let opened = sessions::log_in(state.desk(), origin, credentials).await?;
    Ok(tokens(StatusCode::CREATED, opened))
}

/// Refresh a session
///
/// Trades the refresh token for a new one and a new access token. A spent token gives the same
/// successor again for 10 seconds; used later, it ends the session, because somebody else may
/// have it.
#[utoipa::path(
    post,
    path = "/v1/core/sessions/refresh",
    operation_id = "refresh_session",
    tag = "sessions",
    request_body = RefreshRequest,
    responses(
        (status = 200, description = "New tokens", body = Tokens),
    ),
    extensions(("x-problem-codes" = json!(["invalid_refresh_token"]))),
)]
async fn refresh_session(
    State(state): State<AppState>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Json(request): Json<RefreshRequest>,
) -> Result<Response, Problem> {
    let origin = origin(address, &headers);
    let opened = sessions::refresh(state.desk(), origin, &request.refresh_token).await?;
    Ok(tokens(StatusCode::OK, opened))
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
async fn list_sessions(
    State(state): State<AppState>,
    caller: SignedIn,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Session>>, Problem> {
    let (limit, before) = (query.limit(), query.after(CURSOR)?);
    let now = state.desk().now();
    let mut db = state.pool.acquire().await.map_err(quartet_db::problem)?;
    let rows = store::sessions::list(&mut db, caller.user, before, now, i64::from(limit) + 1)
        .await
        .map_err(quartet_db::problem)?;
    let page = Page::from_rows(rows, limit, CURSOR, |row| row.id);
    Ok(Json(page.map(|row| Session::new(row, caller.session))))
}

/// End a session
///
/// `current` in place of an id logs out. The session's refresh tokens are worth nothing at once,
/// and so is its access token here; other services accept it until it ends.
#[utoipa::path(
    delete,
    path = "/v1/core/sessions/{id}",
    operation_id = "delete_session",
    tag = "sessions",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The session, or `current`", example = "ses_01jd6x8rv3fq4t2m8n5k7c9e1z", pattern = "^(current|ses_[0-7][0-9a-hjkmnp-tv-z]{25})$")),
    responses((status = 204, description = "The session has ended")),
    extensions(("x-problem-codes" = json!(["not_found"]))),
)]
async fn delete_session(
    State(state): State<AppState>,
    caller: SignedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let session = match id.as_str() {
        "current" => caller.session,
        id => id
            .parse()
            .map_err(|error: quartet_common::ids::InvalidId| {
                Problem::invalid_parameter("id", "invalid_value", format!("{error}, or `current`"))
            })?,
    };
    let own = (caller.user, caller.session);
    sessions::revoke(&state.pool, &state.clock, own, session).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn origin(address: std::net::IpAddr, headers: &HeaderMap) -> Origin {
    Origin::new(
        address,
        headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok()),
    )
}

fn tokens(status: StatusCode, opened: Opened) -> Response {
    let body = Tokens {
        access_token: opened.access_token,
        token_type: TokenType::Bearer,
        expires_in: opened.expires_in_seconds,
        refresh_token: opened.refresh_token.expose_secret().to_owned(),
        session_id: opened.session,
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

impl Credentials {
    fn check(self, config: &Config) -> Result<(Email, SecretString), Problem> {
        let mut checks = Checks::new();
        let email = checks.take("/email", Email::parse(&self.email));
        checks.take(
            "/password",
            password::check_size(&self.password, &config.passwords),
        );
        checks.finish()?;
        email
            .map(|email| (email, self.password))
            .ok_or_else(Problem::forbidden)
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
