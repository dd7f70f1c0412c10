//! Users: sign up, and one's own account.

use axum::{
    extract::State,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use http::{HeaderName, StatusCode, header};
use quartet_common::problem::{Checks, FieldError, Problem};
use quartet_http::{
    extract::{IfMatch, IfNoneMatch, Json},
    layers::ClientAddress,
};
use quartet_service::idempotency::idempotent;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::SignedIn,
    config::Config,
    domain::{
        display_name::DisplayName,
        email::Email,
        password::{self, NewPassword},
        users::{self, Asker, NewUser, UserChange},
    },
    error::Error,
    state::AppState,
    store::users::{UserId, UserRow},
};

/// Without a state only the description is wanted. Only sign-up takes an Idempotency-Key: the
/// answers of the token endpoints are secrets and are kept nowhere.
pub(super) fn router(state: Option<&AppState>) -> OpenApiRouter<AppState> {
    let sign_up = OpenApiRouter::new().routes(routes!(create_user));
    let sign_up = match state {
        Some(state) => sign_up.route_layer(from_fn_with_state(state.idempotency(), idempotent)),
        None => sign_up,
    };
    sign_up.merge(OpenApiRouter::new().routes(routes!(get_me, update_me, delete_me)))
}

/// Somebody who wants an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignUp {
    /// At most 254 bytes; it becomes the name to log in with.
    #[schema(example = "ada@example.com", format = "email", max_length = 254)]
    email: String,
    /// 15 to 256 characters of any kind. Common and easily guessed ones are refused.
    #[schema(value_type = String, example = "tangerine-violin-moss", format = "password", min_length = 15, max_length = 256)]
    password: SecretString,
    /// 1 to 100 characters.
    #[serde(default)]
    #[schema(
        example = "Ada Lovelace",
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff]+$"
    )]
    display_name: Option<String>,
}

/// What to change (merge patch, RFC 7396): absent fields stay, null clears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserPatch {
    /// Needs `current_password`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, example = "ada@example.org", format = "email", max_length = 254, nullable = false, required = false)]
    email: Option<Option<String>>,
    /// Null clears it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "Countess of Lovelace", min_length = 1, max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff]+$")]
    display_name: Option<Option<String>>,
    /// 15 to 256 characters. Needs `current_password` and ends every other session.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, example = "copper-meadow-lantern", format = "password", min_length = 15, max_length = 256, nullable = false, required = false)]
    password: Option<Option<SecretString>>,
    /// Needed with `email` and `password`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, example = "tangerine-violin-moss", format = "password", min_length = 1, max_length = 256, nullable = false, required = false)]
    current_password: Option<Option<SecretString>>,
}

/// A person with an account.
#[derive(Debug, Serialize, ToSchema)]
struct User {
    id: UserId,
    /// Address as it was given; it belongs to one account, whatever its case.
    #[schema(example = "ada@example.com", format = "email", max_length = 254)]
    email: String,
    /// Null where none was given.
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 100)]
    display_name: Option<String>,
    created_at: DateTime<Utc>,
    /// When address, name or password changed last.
    updated_at: DateTime<Utc>,
}

/// Sign up
///
/// Makes an account. An address belongs to one account, whatever its case. Whoever asks for many
/// taken addresses has to pause, told by `Retry-After`.
#[utoipa::path(
    post,
    path = "/v1/core/users",
    operation_id = "create_user",
    tag = "users",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = SignUp,
    responses(
        (status = 201, description = "The account is there", body = User, headers(
            ("Location" = String, description = "Path of the account"),
            ("ETag" = String, description = "Changes when the account does"),
        )),
    ),
    extensions(("x-problem-codes" = json!(["email_taken", "too_many_attempts"]))),
)]
async fn create_user(
    State(state): State<AppState>,
    ClientAddress(address): ClientAddress,
    Json(request): Json<SignUp>,
) -> Result<Response, Problem> {
    let new = request.check(&state.config)?;
    let user = users::sign_up(state.desk(), new, address).await?;
    state.metrics.sign_ups.inc();
    let location = [(header::LOCATION, "/v1/core/users/me")];
    Ok((StatusCode::CREATED, location, User::respond(user)).into_response())
}

/// Read one's own account
///
/// With a strong `ETag`; `If-None-Match` saves the body.
#[utoipa::path(
    get,
    path = "/v1/core/users/me",
    operation_id = "get_me",
    tag = "users",
    security(("bearer" = [])),
    params(("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The account", body = User, headers(("ETag" = String, description = "Changes when the account does"))),
        (status = 304, description = "The client has this version"),
    )
)]
async fn get_me(
    State(state): State<AppState>,
    caller: SignedIn,
    known: Option<IfNoneMatch>,
) -> Result<Response, Error> {
    let user = users::find(&state.pool, caller.user).await?;
    let tag = entity_tag(&user);
    if known.is_some_and(|known| known.has(&tag)) {
        return Ok((StatusCode::NOT_MODIFIED, own(tag)).into_response());
    }
    Ok(User::respond(user))
}

/// Change one's own account
///
/// Merge patch: absent fields stay as they are. A new address or password needs
/// `current_password`; a new password ends every other session. With `If-Match` the change is
/// made only if nobody else has changed the account since.
#[utoipa::path(
    patch,
    path = "/v1/core/users/me",
    operation_id = "update_me",
    tag = "users",
    security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header)),
    request_body(content(
        (UserPatch = "application/json"),
        (UserPatch = "application/merge-patch+json"),
    )),
    responses(
        (status = 200, description = "The changed account", body = User, headers(("ETag" = String, description = "Of the new version"))),
    ),
    extensions(("x-problem-codes" = json!([
        "email_taken", "password_needed", "precondition_failed", "too_many_attempts", "wrong_password",
    ]))),
)]
async fn update_me(
    State(state): State<AppState>,
    caller: SignedIn,
    ClientAddress(address): ClientAddress,
    wanted: Option<IfMatch>,
    Json(patch): Json<UserPatch>,
) -> Result<Response, Problem> {
    let change = patch.check(&state.config)?;
    let asker = Asker {
        user: caller.user,
        session: caller.session,
        address,
    };
    let check = |user: &UserRow| check_version(wanted.as_ref(), user);
    let user = users::update(state.desk(), asker, change, check).await?;
    Ok(User::respond(user))
}

/// Delete one's own account
///
/// Needs a login that is at most an hour old. All sessions end, the address is free again, and
/// the rest is removed after 30 days. Assets and links are not removed by this.
#[utoipa::path(
    delete,
    path = "/v1/core/users/me",
    operation_id = "delete_me",
    tag = "users",
    security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "The account is gone"),
    ),
    extensions(("x-problem-codes" = json!(["stale_login"]))),
)]
async fn delete_me(
    State(state): State<AppState>,
    caller: SignedIn,
    wanted: Option<IfMatch>,
) -> Result<StatusCode, Error> {
    let check = |user: &UserRow| check_version(wanted.as_ref(), user);
    users::delete(state.desk(), caller.user, caller.since, check).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_version(wanted: Option<&IfMatch>, user: &UserRow) -> Result<(), Error> {
    wanted.map_or(Ok(()), |wanted| Ok(wanted.check(&entity_tag(user))?))
}

/// Names the user too: everybody's account has the same path.
fn entity_tag(user: &UserRow) -> String {
    format!("\"{}.{}\"", user.id, user.version)
}

/// No cache may show one user's account to another.
fn own(tag: String) -> [(HeaderName, String); 3] {
    [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::VARY, "authorization".to_owned()),
    ]
}

/// Tells null (`Some(None)`) from absent (`None`).
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// What stands in a field that cannot be cleared.
fn not_null<T>(checks: &mut Checks, pointer: &str, field: Option<Option<T>>) -> Option<T> {
    if matches!(field, Some(None)) {
        let rule = "must not be null: it cannot be cleared";
        checks.push(FieldError::body(pointer, "null", rule));
    }
    field.flatten()
}

impl SignUp {
    fn check(self, config: &Config) -> Result<NewUser, Problem> {
        let mut checks = Checks::new();
        let email = checks.take("/email", Email::parse(&self.email));
        let display_name = self
            .display_name
            .map(|name| checks.take("/display_name", DisplayName::parse(&name)));
        let local = email
            .as_ref()
            .map(|email| email.local_part().to_owned())
            .unwrap_or_default();
        let name = display_name
            .as_ref()
            .and_then(Option::as_ref)
            .map_or("", DisplayName::as_str);
        let password = checks.take(
            "/password",
            NewPassword::parse(&self.password, &config.passwords, &[&local, name]),
        );
        checks.finish()?;
        let display_name = display_name.flatten();
        match (email, password) {
            (Some(email), Some(password)) => Ok(NewUser {
                email,
                display_name,
                password,
            }),
            _ => Err(Problem::forbidden()),
        }
    }
}

impl UserPatch {
    fn check(self, config: &Config) -> Result<UserChange, Problem> {
        let mut checks = Checks::new();
        let email = not_null(&mut checks, "/email", self.email)
            .and_then(|text| checks.take("/email", Email::parse(&text)));
        let display_name = self.display_name.map(|name| {
            name.and_then(|text| checks.take("/display_name", DisplayName::parse(&text)))
        });
        let password = not_null(&mut checks, "/password", self.password);
        let current_password = not_null(&mut checks, "/current_password", self.current_password);
        for (pointer, secret) in [
            ("/password", &password),
            ("/current_password", &current_password),
        ] {
            if let Some(secret) = secret {
                checks.take(pointer, password::check_size(secret, &config.passwords));
            }
        }
        checks.finish()?;
        Ok(UserChange {
            email,
            display_name,
            password,
            current_password,
        })
    }
}

impl User {
    /// The account with its entity tag.
    fn respond(row: UserRow) -> Response {
        let headers = own(entity_tag(&row));
        let body = Self {
            id: row.id,
            email: row.email,
            display_name: row.display_name,
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        (headers, Json(body)).into_response()
    }
}
