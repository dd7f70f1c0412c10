//! Signing up, changing an account, deleting it.

use std::net::IpAddr;

use quartet_events::{NewEvent, USER_DELETED};
use quartet_service::idempotency::Reply;
use serde_json::json;

use crate::{
    domain::{
        Context,
        crypto::hasher::{Permit, Verification},
        sessions::CurrentSession,
        throttle::Attempt,
        values::{
            display_name::DisplayName,
            email::Email,
            password::{NewPassword, Password},
        },
    },
    error::Error,
    store::{
        api_keys,
        emails::{self, EmailId},
        passwords::{self, PasswordRow},
        sessions,
        users::{self, UserId, UserRow},
    },
};

/// How often a change is retried when the account changes while it runs.
const MAX_UPDATE_ATTEMPTS: usize = 5;

/// A checked request to sign up.
#[derive(Debug)]
pub(crate) struct NewUser {
    pub(crate) email: Email,
    pub(crate) display_name: Option<DisplayName>,
    pub(crate) password: NewPassword,
}

/// A checked request to change an account. `None` changes nothing; `display_name` can be cleared.
#[derive(Debug, Default)]
pub(crate) struct UserChange {
    pub(crate) email: Option<Email>,
    pub(crate) display_name: Option<Option<DisplayName>>,
    pub(crate) password: Option<NewPassword>,
    pub(crate) current_password: Option<Password>,
}

/// Creates an account. The password is hashed before the single write, so a client that disconnects
/// early leaves nothing behind. Whether the email is taken is left to the database, so that a race
/// creates one user. Each taken email counts as a failure of the client, which slows enumeration.
pub(crate) async fn sign_up(
    ctx: &Context,
    new: NewUser,
    client_ip: IpAddr,
    reply: &Reply<UserRow>,
) -> Result<UserRow, Error> {
    let attempt = Attempt::from_client(client_ip);
    attempt.check(ctx).await?;
    let mut permit = attempt.permit(ctx).await?;
    attempt.check(ctx).await?;
    let now = ctx.clock.now();
    let user = UserRow {
        id: UserId::new(&ctx.clock),
        email: new.email.as_str().to_owned(),
        display_name: new.display_name.map(|name| name.as_str().to_owned()),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let hash = hash(&mut permit, new.password, &user).await?;
    let inserted = insert(ctx, &user, hash, reply).await;
    if matches!(inserted, Err(Error::EmailTaken)) {
        attempt.record_failure(ctx).await?;
    }
    inserted?;
    ctx.metrics.sign_ups.inc();
    Ok(user)
}

async fn get(ctx: &Context, id: UserId) -> Result<UserRow, Error> {
    let mut db = quartet_db::read(&ctx.db).await?;
    users::by_id(&mut db, id).await?.ok_or(Error::SessionEnded)
}

/// Applies a change. A new email or password requires the current password; a new password ends
/// every other session. `precondition` sees the version that is about to change. A change without
/// effect creates no new version.
pub(crate) async fn update(
    ctx: &Context,
    current: CurrentSession,
    client_ip: IpAddr,
    change: UserChange,
    precondition: impl Fn(&UserRow) -> Result<(), Error>,
) -> Result<UserRow, Error> {
    for _ in 0..MAX_UPDATE_ATTEMPTS {
        let before = get(ctx, current.user_id).await?;
        precondition(&before)?;
        let confirmation = if change.is_sensitive_for(&before) {
            Some(confirm(ctx, client_ip, &change, &before).await?)
        } else {
            None
        };
        let written = write(ctx, current, &change, &precondition, confirmation.as_ref()).await;
        if matches!(written, Err(Error::EmailTaken)) {
            Attempt::from_client(client_ip).record_failure(ctx).await?;
        }
        if let Some(user) = written? {
            return Ok(user);
        }
    }
    Err(Error::Changed)
}

/// Deletes the account: every session ends and the email is free at once, the row is purged after
/// the retention time. Requires the current password, because a stolen access token must not be
/// enough, and a recent login, which proves whatever else logging in asks for. Other services learn
/// of it by an event.
pub(crate) async fn delete(
    ctx: &Context,
    current: CurrentSession,
    client_ip: IpAddr,
    password: Password,
    precondition: impl Fn(&UserRow) -> Result<(), Error>,
) -> Result<(), Error> {
    current.require_fresh(ctx)?;
    let confirming = UserChange {
        current_password: Some(password),
        ..UserChange::default()
    };
    for _ in 0..MAX_UPDATE_ATTEMPTS {
        let before = get(ctx, current.user_id).await?;
        precondition(&before)?;
        let confirmation = confirm(ctx, client_ip, &confirming, &before).await?;
        let mut tx = quartet_db::begin(&ctx.db).await?;
        let user = users::lock(&mut tx, current.user_id).await?;
        precondition(&user.ok_or(Error::SessionEnded)?)?;
        // It may have been changed meanwhile, by the owner of a stolen account.
        let stored = passwords::of_user(&mut tx, current.user_id).await?;
        if stored.as_ref() != Some(&confirmation.stored_hash) {
            continue;
        }
        let now = ctx.clock.now();
        users::delete(&mut tx, current.user_id, now).await?;
        sessions::revoke_all(&mut tx, current.user_id, "user_deleted", now).await?;
        api_keys::revoke_all(&mut tx, current.user_id, now).await?;
        let event = deleted(current.user_id);
        let published = ctx.events.publish(&mut tx, event).await?;
        tx.commit().await?;
        published.wake();
        return Ok(());
    }
    Err(Error::Changed)
}

/// What other services erase the user's rows by.
fn deleted(id: UserId) -> NewEvent {
    NewEvent {
        kind: USER_DELETED,
        subject: id.to_string(),
        data: json!({ "user_id": id }),
    }
}

async fn insert(
    ctx: &Context,
    user: &UserRow,
    hash: String,
    reply: &Reply<UserRow>,
) -> Result<(), Error> {
    let (user_id, now) = (user.id, user.created_at);
    let mut tx = quartet_db::begin(&ctx.db).await?;
    users::insert(&mut tx, user).await?;
    let email_id = EmailId::new(&ctx.clock);
    emails::insert_primary(&mut tx, email_id, user_id, &user.email, now).await?;
    passwords::insert(&mut tx, &PasswordRow { user_id, hash }, now).await?;
    reply.keep(&mut tx, user).await?;
    tx.commit().await?;
    Ok(())
}

/// Hashes a new password for `user`, whose email and name it must not be based on.
async fn hash(permit: &mut Permit, password: NewPassword, user: &UserRow) -> Result<String, Error> {
    let (email, name) = (user.email.clone(), user.display_name.clone());
    let rating = permit.run(move || {
        let local_part = email.split('@').next().unwrap_or_default();
        password.into_strong_secret(&[local_part, name.as_deref().unwrap_or_default()])
    });
    let secret = rating.await?.map_err(Error::WeakPassword)?;
    permit.hash(secret).await
}

/// Proof that the caller knows the current password.
struct PasswordConfirmation {
    /// The hash that was verified.
    stored_hash: String,
    new_hash: Option<String>,
    /// Held until the change is written, so that attempts on one account run one after the other.
    _permit: Permit,
}

async fn confirm(
    ctx: &Context,
    client_ip: IpAddr,
    change: &UserChange,
    user: &UserRow,
) -> Result<PasswordConfirmation, Error> {
    let given = change.current_password.clone();
    let given = given.ok_or(Error::PasswordNeeded)?.into_secret();
    let attempt = Attempt::on_account(&ctx.master_key, &user.email, client_ip);
    attempt.check(ctx).await?;
    let permit = attempt.permit(ctx).await?;
    attempt.check(ctx).await?;
    let stored = {
        let mut db = quartet_db::read(&ctx.db).await?;
        passwords::of_user(&mut db, user.id).await?
    };
    let (mut permit, verification) = attempt.verify(ctx, permit, given, stored.clone()).await?;
    let Some(stored_hash) = stored.filter(|_| verification != Verification::Invalid) else {
        return Err(Error::WrongPassword);
    };
    let new_hash = match change.password.clone() {
        Some(password) => Some(hash(&mut permit, password, &change.applied_to(user)).await?),
        None => None,
    };
    Ok(PasswordConfirmation {
        stored_hash,
        new_hash,
        _permit: permit,
    })
}

/// `None` when the account has changed so that the confirmation does not cover it.
async fn write(
    ctx: &Context,
    current: CurrentSession,
    change: &UserChange,
    precondition: impl Fn(&UserRow) -> Result<(), Error>,
    confirmation: Option<&PasswordConfirmation>,
) -> Result<Option<UserRow>, Error> {
    let mut tx = quartet_db::begin(&ctx.db).await?;
    let locked = users::lock(&mut tx, current.user_id).await?;
    let before = locked.ok_or(Error::SessionEnded)?;
    precondition(&before)?;
    if change.is_sensitive_for(&before) {
        let hash = passwords::of_user(&mut tx, before.id).await?;
        if confirmation.is_none_or(|proof| Some(&proof.stored_hash) != hash.as_ref()) {
            return Ok(None);
        }
    }
    let mut after = change.applied_to(&before);
    let new_hash = confirmation.and_then(|proof| proof.new_hash.clone());
    let is_unchanged = (&after.email, &after.display_name) == (&before.email, &before.display_name);
    if is_unchanged && new_hash.is_none() {
        return Ok(Some(before));
    }
    after.version += 1;
    after.updated_at = ctx.clock.now();
    let (user_id, now) = (after.id, after.updated_at);
    users::update(&mut tx, &after).await?;
    if after.email != before.email {
        emails::replace_primary(&mut tx, user_id, &after.email).await?;
    }
    if let Some(hash) = new_hash {
        passwords::replace(&mut tx, &PasswordRow { user_id, hash }, now).await?;
        sessions::revoke_others(&mut tx, user_id, current.id, "password_changed", now).await?;
    }
    tx.commit().await?;
    Ok(Some(after))
}

impl UserChange {
    fn is_sensitive_for(&self, user: &UserRow) -> bool {
        let differs = |email: &Email| !email.is_same_as(&user.email);
        self.password.is_some() || self.email.as_ref().is_some_and(differs)
    }

    /// The user with the new email and name. The password has to be hashed first.
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
