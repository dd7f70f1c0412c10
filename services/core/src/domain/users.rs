//! Becoming a user, changing, and going away.

use std::time::Duration;

use chrono::{DateTime, Utc};
use quartet_common::{clock::Clock, problem::Checks};
use secrecy::SecretString;
use sqlx::PgPool;

use crate::{
    config::{Config, Passwords},
    domain::{
        display_name::DisplayName,
        email::Email,
        hasher::{Hasher, Verdict},
        password::{self, NewPassword},
        throttle::Attempt,
    },
    error::Error,
    store::{
        sessions::{self, SessionId},
        users::{self, UserId, UserRow},
    },
};

/// Somebody who wants to become a user, already checked.
#[derive(Debug)]
pub(crate) struct NewUser {
    pub(crate) email: Email,
    pub(crate) display_name: Option<DisplayName>,
    pub(crate) password: NewPassword,
}

/// What a user wants to change. `None`: nothing; `display_name` may be cleared.
#[derive(Debug, Default)]
pub(crate) struct UserChange {
    pub(crate) email: Option<Email>,
    pub(crate) display_name: Option<Option<DisplayName>>,
    pub(crate) password: Option<SecretString>,
    pub(crate) current_password: Option<SecretString>,
}

/// What the operations work with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) pool: &'a PgPool,
    pub(crate) hasher: &'a Hasher,
    pub(crate) clock: &'a Clock,
    pub(crate) config: &'a Config,
}

/// Hashes first, then writes one row: whoever goes away meanwhile leaves nothing behind. That an
/// address is taken is left to the database, so that a race makes one user.
pub(crate) async fn sign_up(desk: Desk<'_>, new: NewUser) -> Result<UserRow, Error> {
    let password_hash = desk.hasher.hash(new.password.into_secret()).await?;
    let now = desk.clock.now();
    let user = UserRow {
        id: UserId::new(desk.clock),
        email: new.email.as_str().to_owned(),
        password_hash,
        display_name: new.display_name.map(|name| name.as_str().to_owned()),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let mut db = desk.pool.acquire().await?;
    users::insert(&mut db, &user).await?;
    Ok(user)
}

pub(crate) async fn find(pool: &PgPool, id: UserId) -> Result<UserRow, Error> {
    let mut db = pool.acquire().await?;
    users::by_id(&mut db, id).await?.ok_or(Error::SessionEnded)
}

/// Changes what is asked for. The address and the password need the current password; a new
/// password ends every other session. `check` sees the version that is about to be changed.
pub(crate) async fn update(
    desk: Desk<'_>,
    attempt_of: impl Fn(&str) -> Attempt,
    (id, session): (UserId, SessionId),
    change: UserChange,
    check: impl Fn(&UserRow) -> Result<(), Error>,
) -> Result<UserRow, Error> {
    let before = find(desk.pool, id).await?;
    check(&before)?;
    let sensitive = change.password.is_some()
        || change
            .email
            .as_ref()
            .is_some_and(|email| !email.is_same_as(&before.email));
    if sensitive {
        let given = change
            .current_password
            .clone()
            .ok_or(Error::PasswordNeeded)?;
        confirm(desk, &attempt_of(&before.email), given, &before).await?;
    }
    let mut after = before.clone();
    if let Some(email) = &change.email {
        after.email = email.as_str().to_owned();
    }
    if let Some(name) = &change.display_name {
        after.display_name = name.as_ref().map(|name| name.as_str().to_owned());
    }
    let new_password = change.password.is_some();
    if let Some(given) = change.password {
        let password = new_password_of(&given, &after, &desk.config.passwords)?;
        after.password_hash = desk.hasher.hash(password.into_secret()).await?;
    }
    after.version += 1;
    after.updated_at = desk.clock.now();
    let mut tx = desk.pool.begin().await?;
    if !users::update(&mut tx, &after, before.version).await? {
        return Err(Error::Changed);
    }
    if new_password {
        sessions::revoke_others(&mut tx, id, session, "password_changed", after.updated_at).await?;
    }
    tx.commit().await?;
    Ok(after)
}

/// Ends the account: every session ends at once, the row goes after the retention time. The
/// address is free again at once; whoever comes back is a new user.
pub(crate) async fn delete(
    desk: Desk<'_>,
    id: UserId,
    logged_in_at: DateTime<Utc>,
) -> Result<(), Error> {
    let now = desk.clock.now();
    let fresh = Duration::from_secs(desk.config.sessions.fresh_login_seconds);
    if logged_in_at + fresh < now {
        return Err(Error::StaleLogin);
    }
    let mut tx = desk.pool.begin().await?;
    users::delete(&mut tx, id, now).await?;
    sessions::revoke_all(&mut tx, id, "user_deleted", now).await?;
    tx.commit().await?;
    Ok(())
}

async fn confirm(
    desk: Desk<'_>,
    attempt: &Attempt,
    given: SecretString,
    user: &UserRow,
) -> Result<(), Error> {
    let (settings, now) = (&desk.config.throttle, desk.clock.now());
    attempt.check(desk.pool, settings, now).await?;
    let given = password::normalised(&given);
    if desk
        .hasher
        .verify(given, Some(user.password_hash.clone()))
        .await?
        == Verdict::Wrong
    {
        attempt.failed(desk.pool, settings, now).await?;
        return Err(Error::WrongPassword);
    }
    Ok(())
}

fn new_password_of(
    given: &SecretString,
    user: &UserRow,
    limits: &Passwords,
) -> Result<NewPassword, Error> {
    let local = user.email.split('@').next().unwrap_or_default();
    let context = [local, user.display_name.as_deref().unwrap_or_default()];
    let mut checks = Checks::new();
    let password = checks.take("/password", NewPassword::parse(given, limits, &context));
    checks.finish()?;
    password.ok_or(Error::PasswordNeeded)
}
