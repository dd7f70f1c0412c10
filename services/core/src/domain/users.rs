//! Becoming a user, changing, and going away.

use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, Utc};
use quartet_common::problem::Checks;
use secrecy::SecretString;
use sqlx::PgPool;

use crate::{
    config::Passwords,
    domain::{
        desk::Desk,
        display_name::DisplayName,
        email::Email,
        hasher::{Turn, Verdict},
        password::{self, NewPassword},
        throttle::Attempt,
    },
    error::Error,
    store::{
        sessions::{self, SessionId},
        users::{self, UserId, UserRow},
    },
};

/// How often a change looks again when the account changes under it.
const UPDATE_TRIES: usize = 5;

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

/// Who asks for a change, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) address: IpAddr,
}

/// Hashes first, then writes one row: whoever goes away before the commit leaves nothing behind.
/// That an address is taken is left to the database, so that a race makes one user.
///
/// Whoever asks for taken addresses is slowed down: each counts as a failure of the client's
/// address.
pub(crate) async fn sign_up(
    desk: Desk<'_>,
    new: NewUser,
    address: IpAddr,
) -> Result<UserRow, Error> {
    let attempt = Attempt::from_address(address);
    attempt.check(desk).await?;
    let mut turn = desk.hasher.turn(None).await?;
    attempt.check(desk).await?;
    let password_hash = turn.hash(new.password.into_secret()).await?;
    let now = desk.now();
    let user = UserRow {
        id: UserId::new(desk.clock),
        email: new.email.as_str().to_owned(),
        password_hash,
        display_name: new.display_name.map(|name| name.as_str().to_owned()),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let inserted = insert(desk.pool, &user).await;
    if matches!(inserted, Err(Error::EmailTaken)) {
        attempt.failed(desk).await?;
    }
    inserted.map(|()| user)
}

pub(crate) async fn find(pool: &PgPool, id: UserId) -> Result<UserRow, Error> {
    let mut db = pool.acquire().await?;
    users::by_id(&mut db, id).await?.ok_or(Error::SessionEnded)
}

/// Changes what is asked for. The address and the password need the current password; a new
/// password ends every other session. `check` sees the version that is about to be changed.
/// What changes nothing makes no new version.
pub(crate) async fn update(
    desk: Desk<'_>,
    asker: Asker,
    change: UserChange,
    check: impl Fn(&UserRow) -> Result<(), Error>,
) -> Result<UserRow, Error> {
    for _ in 0..UPDATE_TRIES {
        let before = find(desk.pool, asker.user).await?;
        check(&before)?;
        let confirmed = if change.is_sensitive_for(&before) {
            Some(confirm(desk, asker.address, &change, &before).await?)
        } else {
            None
        };
        let written = write(desk, asker, &change, &check, confirmed.as_ref()).await;
        if matches!(written, Err(Error::EmailTaken)) {
            Attempt::from_address(asker.address).failed(desk).await?;
        }
        if let Some(user) = written? {
            return Ok(user);
        }
    }
    Err(Error::Changed)
}

/// Ends the account: every session ends at once, the row goes after the retention time. The
/// address is free again at once; whoever comes back is a new user.
pub(crate) async fn delete(
    desk: Desk<'_>,
    id: UserId,
    logged_in_at: DateTime<Utc>,
    check: impl Fn(&UserRow) -> Result<(), Error>,
) -> Result<(), Error> {
    let now = desk.now();
    let fresh = Duration::from_secs(desk.config.sessions.fresh_login_seconds);
    if logged_in_at + fresh < now {
        return Err(Error::StaleLogin);
    }
    let mut tx = desk.pool.begin().await?;
    let user = users::lock(&mut tx, id).await?.ok_or(Error::SessionEnded)?;
    check(&user)?;
    users::delete(&mut tx, id, now).await?;
    sessions::revoke_all(&mut tx, id, "user_deleted", now).await?;
    tx.commit().await?;
    Ok(())
}

async fn insert(pool: &PgPool, user: &UserRow) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    users::insert(&mut tx, user).await?;
    tx.commit().await?;
    Ok(())
}

/// The proof that the current password is known, and what it was given for.
struct Confirmed<'a> {
    stored_hash: String,
    new_hash: Option<String>,
    /// Held until the change is written: attempts on one account follow each other.
    _turn: Turn<'a>,
}

async fn confirm<'a>(
    desk: Desk<'a>,
    address: IpAddr,
    change: &UserChange,
    user: &UserRow,
) -> Result<Confirmed<'a>, Error> {
    let given = change.current_password.as_ref();
    let given = password::normalised(given.ok_or(Error::PasswordNeeded)?);
    let attempt = Attempt::on_account(desk.master_key, &user.email, address);
    attempt.check(desk).await?;
    let mut turn = desk.hasher.turn(attempt.lane()).await?;
    attempt.check(desk).await?;
    let stored_hash = user.password_hash.clone();
    if turn.verify(given, Some(stored_hash.clone())).await? == Verdict::Wrong {
        attempt.failed(desk).await?;
        return Err(Error::WrongPassword);
    }
    let new_hash = match &change.password {
        Some(given) => {
            let after = change.applied_to(user);
            let password = new_password_of(given, &after, &desk.config.passwords)?;
            Some(turn.hash(password.into_secret()).await?)
        }
        None => None,
    };
    Ok(Confirmed {
        stored_hash,
        new_hash,
        _turn: turn,
    })
}

/// `None` when the account has changed so that the proof does not hold for it.
async fn write(
    desk: Desk<'_>,
    asker: Asker,
    change: &UserChange,
    check: impl Fn(&UserRow) -> Result<(), Error>,
    confirmed: Option<&Confirmed<'_>>,
) -> Result<Option<UserRow>, Error> {
    let mut tx = desk.pool.begin().await?;
    let locked = users::lock(&mut tx, asker.user).await?;
    let before = locked.ok_or(Error::SessionEnded)?;
    check(&before)?;
    let proven = confirmed.is_some_and(|proof| proof.stored_hash == before.password_hash);
    if change.is_sensitive_for(&before) && !proven {
        return Ok(None);
    }
    let mut after = change.applied_to(&before);
    let new_hash = confirmed.and_then(|proof| proof.new_hash.clone());
    let new_password = new_hash.is_some();
    if let Some(hash) = new_hash {
        after.password_hash = hash;
    } else if (&after.email, &after.display_name) == (&before.email, &before.display_name) {
        return Ok(Some(before));
    }
    after.version += 1;
    after.updated_at = desk.now();
    users::update(&mut tx, &after).await?;
    if new_password {
        let (now, own) = (after.updated_at, asker.session);
        sessions::revoke_others(&mut tx, asker.user, own, "password_changed", now).await?;
    }
    tx.commit().await?;
    Ok(Some(after))
}

impl UserChange {
    fn is_sensitive_for(&self, user: &UserRow) -> bool {
        let other = |email: &Email| !email.is_same_as(&user.email);
        self.password.is_some() || self.email.as_ref().is_some_and(other)
    }

    /// Address and name; the password needs hashing.
    fn applied_to(&self, user: &UserRow) -> UserRow {
        let mut after = user.clone();
        if let Some(email) = &self.email {
            email.as_str().clone_into(&mut after.email);
        }
        if let Some(name) = &self.display_name {
            after.display_name = name.as_ref().map(|name| name.as_str().to_owned());
        }
        after
    }
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
