//! Users: sign up; read, change and delete the caller's account.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use http::{HeaderName, StatusCode, header};
use quartet_common::{
    checks::{Checks, Violation},
    problem::{Problem, Rule},
};
use quartet_http::{
    extract::{IfMatch, IfNoneMatch, Json, Unchecked},
    layers::ClientIp,
};
use quartet_service::idempotency::{IdempotencyKey, WholeResponse};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{
    config::Config,
    domain::{
        Context,
        sessions::{CurrentSession, CurrentUser},
        users::{self, NewUser, UserChange},
        values::{
            display_name::DisplayName,
            email::Email,
            password::{NewPassword, Password},
        },
    },
    error::Error,
    problems::{EMAIL_TAKEN, PASSWORD_NEEDED, STALE_LOGIN, TOO_MANY_ATTEMPTS, WRONG_PASSWORD},
    store::users::{UserId, UserRow},
};

/// Members that break rules, by their pointers.
type Violations = Vec<Violation<&'static str>>;

/// A new account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignUp {
    /// Used to log in; at most 254 bytes. Case is ignored.
    #[schema(example = "ada@example.com", format = "email", max_length = 254)]
    email: String,
    /// 15 to 256 characters of any kind. Common and easily guessed passwords are rejected.
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

/// Changes to an account (JSON merge patch, RFC 7396): absent fields stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserPatch {
    /// Requires `current_password`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, example = "ada@example.org", format = "email", max_length = 254, nullable = false, required = false)]
    email: Option<Option<String>>,
    /// Null removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "Countess of Lovelace", min_length = 1, max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff]+$")]
    display_name: Option<Option<String>>,
    /// 15 to 256 characters. Requires `current_password` and ends every other session.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, example = "copper-meadow-lantern", format = "password", min_length = 15, max_length = 256, nullable = false, required = false)]
    password: Option<Option<SecretString>>,
    /// Required with `email` and `password`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, example = "tangerine-violin-moss", format = "password", min_length = 1, max_length = 256, nullable = false, required = false)]
    current_password: Option<Option<SecretString>>,
}

/// The confirmation that an account is to be deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountDeletion {
    #[schema(value_type = String, example = "tangerine-violin-moss", format = "password", min_length = 1, max_length = 256)]
    current_password: SecretString,
}

/// A user and their account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    id: UserId,
    /// Belongs to one account, regardless of case.
    #[schema(example = "ada@example.com", format = "email", max_length = 254)]
    email: String,
    /// Null if there is none.
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 100)]
    display_name: Option<String>,
    created_at: DateTime<Utc>,
    /// The last change of email, display name or password.
    updated_at: DateTime<Utc>,
}

/// Sign up
///
/// Creates an account. An email belongs to one account, regardless of case. Repeated attempts with
/// emails that are already in use cause delays, given in `Retry-After`.
#[utoipa::path(
    post,
    path = "/v1/core/users",
    operation_id = "create_user",
    tag = "users",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = SignUp,
    responses(
        (status = 201, description = "The new account", body = User, headers(
            ("Location" = String, description = "Path of the account"),
            ("ETag" = String, description = "Changes with every change of the account"),
        )),
    ),
    extensions(("x-problem-codes" = json!([EMAIL_TAKEN.code, TOO_MANY_ATTEMPTS.code]))),
)]
pub(super) async fn create_user(
    State(ctx): State<Context>,
    ClientIp(client_ip): ClientIp,
    idempotency_key: IdempotencyKey,
    request: Unchecked<SignUp>,
) -> Result<Response, Problem> {
    let new = request.check(|new| new.check(&ctx.config))?;
    let reply = idempotency_key.reply(created);
    let user = users::sign_up(&ctx, new, client_ip, &reply).await?;
    Ok(reply.answer(&user).into_response())
}

fn created(user: &UserRow) -> WholeResponse {
    let location = (header::LOCATION, "/v1/core/users/me".to_owned());
    let headers = private(entity_tag(user)).into_iter().chain([location]);
    WholeResponse::json(StatusCode::CREATED, headers, &User::from(user.clone()))
}

/// Get your account
///
/// The response has a strong `ETag`; with `If-None-Match` an unchanged account is not sent again.
#[utoipa::path(
    get,
    path = "/v1/core/users/me",
    operation_id = "get_me",
    tag = "users",
    security(("bearer" = [])),
    params(("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The account", body = User, headers(("ETag" = String, description = "Changes with every change of the account"))),
        (status = 304, description = "The account has not changed"),
    )
)]
pub(super) async fn get_me(
    CurrentUser(user): CurrentUser,
    if_none_match: Option<IfNoneMatch>,
) -> Result<Response, Problem> {
    let tag = entity_tag(&user);
    if if_none_match.is_some_and(|tags| tags.has(&tag)) {
        return Ok((StatusCode::NOT_MODIFIED, private(tag)).into_response());
    }
    Ok(User::respond(user))
}

/// Update your account
///
/// JSON merge patch: absent fields stay as they are. A new email or password requires
/// `current_password`; a new password ends every other session. With `If-Match` the update fails if
/// the account has changed since that version.
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
        (status = 200, description = "The updated account", body = User, headers(("ETag" = String, description = "Of the updated account"))),
    ),
    extensions(("x-problem-codes" = json!([
        EMAIL_TAKEN.code, PASSWORD_NEEDED.code, TOO_MANY_ATTEMPTS.code, WRONG_PASSWORD.code,
    ]))),
)]
pub(super) async fn update_me(
    State(ctx): State<Context>,
    current: CurrentSession,
    ClientIp(client_ip): ClientIp,
    if_match: Option<IfMatch>,
    patch: Unchecked<UserPatch>,
) -> Result<Response, Problem> {
    let change = patch.check(|patch| patch.check(&ctx.config))?;
    let precondition = |user: &UserRow| check_version(if_match.as_ref(), user);
    let user = users::update(&ctx, current, client_ip, change, precondition).await?;
    Ok(User::respond(user))
}

/// Delete your account
///
/// Requires the current password, and a session that was opened at most an hour ago, by default.
/// Wrong passwords cause delays, given in `Retry-After`. All sessions end and the email is free at
/// once; the remaining data is purged after 30 days, by default. Assets and links of the user are
/// erased soon after.
#[utoipa::path(
    delete,
    path = "/v1/core/users/me",
    operation_id = "delete_me",
    tag = "users",
    security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header)),
    request_body = AccountDeletion,
    responses(
        (status = 204, description = "The account is deleted"),
    ),
    extensions(("x-problem-codes" = json!([
        STALE_LOGIN.code, TOO_MANY_ATTEMPTS.code, WRONG_PASSWORD.code,
    ]))),
)]
pub(super) async fn delete_me(
    State(ctx): State<Context>,
    current: CurrentSession,
    ClientIp(client_ip): ClientIp,
    if_match: Option<IfMatch>,
    request: Unchecked<AccountDeletion>,
) -> Result<StatusCode, Problem> {
    let password = request.check(|request| request.check(&ctx.config))?;
    let precondition = |user: &UserRow| check_version(if_match.as_ref(), user);
    users::delete(&ctx, current, client_ip, password, precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_version(if_match: Option<&IfMatch>, user: &UserRow) -> Result<(), Error> {
    if_match.map_or(Ok(()), |tags| {
        tags.check(&entity_tag(user)).map_err(Error::Precondition)
    })
}

/// Contains the user id, because the accounts of all users have the same path.
fn entity_tag(user: &UserRow) -> String {
    format!("\"{}.{}\"", user.id, user.version)
}

/// Headers that keep caches from showing one user's account to another.
fn private(tag: String) -> [(HeaderName, String); 3] {
    [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::VARY, "authorization".to_owned()),
    ]
}

/// Distinguishes null (`Some(None)`) from absent (`None`).
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// The value of a field that cannot be null.
fn not_null<T>(field: Option<Option<T>>) -> Option<Result<T, Rule>> {
    field.map(|value| value.ok_or_else(|| Rule::new("null", "must not be null")))
}

impl SignUp {
    fn check(self, config: &Config) -> Result<NewUser, Violations> {
        let mut checks = Checks::new();
        let email = checks.take("/email", Email::parse(&self.email));
        let display_name = self.display_name.as_deref().map(DisplayName::parse);
        let display_name = checks.take_optional("/display_name", display_name);
        let password = NewPassword::parse(&self.password, &config.passwords);
        let password = checks.take("/password", password);
        checks.finish(|| {
            Some(NewUser {
                email: email?,
                display_name,
                password: password?,
            })
        })
    }
}

impl UserPatch {
    fn check(self, config: &Config) -> Result<UserChange, Violations> {
        let mut checks = Checks::new();
        let limits = &config.passwords;
        let email = not_null(self.email).map(|text| Email::parse(&text?));
        let email = checks.take_optional("/email", email);
        let display_name = self.display_name.map(|name| {
            let name = name.as_deref().map(DisplayName::parse);
            checks.take_optional("/display_name", name)
        });
        let password = not_null(self.password).map(|text| NewPassword::parse(&text?, limits));
        let password = checks.take_optional("/password", password);
        let current = not_null(self.current_password).map(|text| Password::parse(&text?, limits));
        let current_password = checks.take_optional("/current_password", current);
        checks.finish(|| {
            Some(UserChange {
                email,
                display_name,
                password,
                current_password,
            })
        })
    }
}

impl AccountDeletion {
    fn check(self, config: &Config) -> Result<Password, Violations> {
        let mut checks = Checks::new();
        let password = Password::parse(&self.current_password, &config.passwords);
        let password = checks.take("/current_password", password);
        checks.finish(|| password)
    }
}

impl User {
    /// The account with its entity tag.
    fn respond(row: UserRow) -> Response {
        (private(entity_tag(&row)), Json(Self::from(row))).into_response()
    }
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            email: row.email,
            display_name: row.display_name,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
