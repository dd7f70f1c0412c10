//! `/sessions`: who is logged in, and ending that.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State as Extract},
};
use http::StatusCode;
use quartet_common::problem::{FieldError, Problem};
use quartet_http::extract::{self, Query};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    session::{EndedSessions, Login, LoginFailure, Session, SessionFilter},
    state::State,
};

const MAX_LIMIT: usize = 100;
const INVALID_CURSOR: &str = "invalid_cursor";
const CURSOR_RULE: &str = "must be `next` of an answer for this login";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    login: String,
    /// Subject, email or name.
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    after: Option<String>,
    #[serde(default = "max_limit")]
    limit: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginQuery {
    login: String,
}

/// Body of `POST /sessions/revoke`: all sessions of a user, or of all users.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeRequest {
    login: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    all: bool,
    /// `next` of the answer before.
    #[serde(default)]
    after: Option<String>,
}

fn max_limit() -> usize {
    MAX_LIMIT
}

/// A page of the sessions of a login. With `user`, those of the page that are of this user: a page may be
/// empty although another one follows.
///
/// # Errors
/// 400 without such a login, 503 when the store does not answer.
pub(super) async fn list_sessions(
    Extract(state): Extract<Arc<State>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Problem> {
    let login = find(&state, &query.login)?;
    if query.after.as_ref().is_some_and(|it| !login.is_cursor(it)) {
        return Err(Problem::invalid_parameter(
            "after",
            INVALID_CURSOR,
            CURSOR_RULE,
        ));
    }
    let limit = query.limit.clamp(1, MAX_LIMIT);
    let listed = login.list(query.after.as_deref(), limit).await;
    let page = listed.map_err(|away| LoginFailure::from(away).into_problem())?;
    let filter = SessionFilter {
        user: query.user.as_deref(),
    };
    let sessions = page
        .sessions
        .iter()
        .filter(|session| filter.matches(session));
    let sessions: Vec<_> = sessions.map(|session| describe(session)).collect();
    Ok(Json(json!({ "sessions": sessions, "next": page.next })))
}

/// Ends one session, by the id of the list.
///
/// # Errors
/// 400 without such a login, 404 without such a session, 503 when the store does not answer.
pub(super) async fn end_session(
    Extract(state): Extract<Arc<State>>,
    Path(session): Path<String>,
    Query(query): Query<LoginQuery>,
) -> Result<StatusCode, Problem> {
    let login = find(&state, &query.login)?;
    let ended = login.end_shown(&session).await;
    let ended = ended.map_err(|away| LoginFailure::from(away).into_problem())?;
    if ended {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("session"))
    }
}

/// Ends as many sessions as one request may; with `complete` false, the next one continues at `next`.
///
/// # Errors
/// 422 without exactly one of `user` and `all`, 503 when the store does not answer.
pub(super) async fn revoke(
    Extract(state): Extract<Arc<State>>,
    extract::Json(request): extract::Json<RevokeRequest>,
) -> Result<Json<Value>, Problem> {
    let login = find(&state, &request.login)?;
    let user = request.user.as_deref().filter(|user| !user.is_empty());
    if user.is_some() == request.all {
        let rule = "must have exactly one of `user` and `all`";
        return Err(Problem::invalid(vec![FieldError::body(
            "",
            "ambiguous_revocation",
            rule,
        )]));
    }
    let after = request.after.as_deref();
    if after.is_some_and(|after| !login.is_cursor(after)) {
        let error = FieldError::body("/after", INVALID_CURSOR, CURSOR_RULE);
        return Err(Problem::invalid(vec![error]));
    }
    let ended = login.end_matching(SessionFilter { user }, after).await;
    let EndedSessions { count, next } =
        ended.map_err(|away| LoginFailure::from(away).into_problem())?;
    Ok(Json(
        json!({ "ended": count, "complete": next.is_none(), "next": next }),
    ))
}

fn find(state: &State, name: &str) -> Result<Arc<Login>, Problem> {
    let snapshot = state.snapshot();
    let login = snapshot
        .logins
        .iter()
        .find(|login| *login.config.name == *name);
    let unknown = || Problem::invalid_parameter("login", "unknown_login", "there is no such login");
    login.cloned().ok_or_else(unknown)
}

/// No secret: with the id, no one can use the session.
fn describe(session: &Session) -> Value {
    let identity = &session.record.identity;
    json!({
        "id": session.key.shown(),
        "user": identity.subject,
        "email": identity.email,
        "username": identity.username,
        "groups": identity.groups,
        "created_at": session.record.created_at,
        "ends_at": session.record.ends_at,
        "last_used_at": session.seen_at(),
    })
}
