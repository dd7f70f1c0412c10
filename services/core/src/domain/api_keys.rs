//! Keys with which programs act for a user.
//!
//! ```text
//! program --key--> gateway --key, once per lifetime of a token--> this service
//!                          <--access token, with the scopes of the key--
//!                          --access token--> any service
//! ```
//!
//! Services know access tokens only. A token of a key has the id of the key as its `sid`, so what
//! revokes a key is in the feed of revoked sessions.

use std::time::Duration;

use secrecy::SecretString;

use crate::{
    domain::{
        Context,
        crypto::signing_keys::{AccessToken, KeyGrant},
        sessions::{CurrentSession, CurrentUser},
        values::{api_key::ApiKey, display_name::DisplayName},
    },
    error::Error,
    store::{
        api_keys::{self, ApiKeyId, ApiKeyRow},
        users::{self, UserId},
    },
};

/// A checked request for a key.
#[derive(Debug)]
pub(crate) struct NewApiKey {
    pub(crate) name: DisplayName,
    pub(crate) scopes: Vec<String>,
    pub(crate) ttl: Duration,
}

/// Creates a key. This is the only time at which its text is known. Requires a recent login: a stolen
/// access token must not become a key that outlives it.
pub(crate) async fn create(
    ctx: &Context,
    current: CurrentSession,
    new: NewApiKey,
) -> Result<(ApiKeyRow, SecretString), Error> {
    current.require_fresh(ctx)?;
    let (secret, now) = (ApiKey::random(), ctx.clock.now());
    let key = ApiKeyRow {
        id: ApiKeyId::new(&ctx.clock),
        user_id: current.user_id,
        name: new.name.as_str().to_owned(),
        scopes: new.scopes,
        created_at: now,
        expires_at: now + new.ttl,
        last_used_at: None,
    };
    let mut tx = quartet_db::begin(&ctx.db).await?;
    // Two requests at once would both count the keys before either inserts one; and none may be created
    // for a user who is just being deleted.
    let user = users::lock(&mut tx, current.user_id).await?;
    user.ok_or(Error::SessionEnded)?;
    let max = i64::from(ctx.config.api_keys.max_per_user);
    if api_keys::count(&mut tx, current.user_id, now).await? >= max {
        return Err(Error::TooManyApiKeys(max));
    }
    api_keys::insert(&mut tx, &key, &secret.hash()).await?;
    tx.commit().await?;
    Ok((key, secret.to_wire()))
}

/// Up to `limit` live keys of a user, newest first, from before `before`.
pub(crate) async fn list(
    ctx: &Context,
    user_id: UserId,
    before: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<ApiKeyRow>, Error> {
    let mut db = quartet_db::read(&ctx.db).await?;
    Ok(api_keys::list(&mut db, user_id, before, ctx.clock.now(), limit).await?)
}

/// Ends a key of the current user.
pub(crate) async fn revoke(
    ctx: &Context,
    current: CurrentSession,
    id: ApiKeyId,
) -> Result<(), Error> {
    let mut db = quartet_db::write(&ctx.db).await?;
    let revoked = api_keys::revoke(&mut db, current.user_id, id, ctx.clock.now()).await?;
    db.commit().await?;
    if revoked {
        Ok(())
    } else {
        Err(Error::ApiKeyNotFound)
    }
}

/// The access token that a key stands for; `None` for what is no live key.
pub(crate) async fn exchange(
    ctx: &Context,
    key: &SecretString,
) -> Result<Option<AccessToken>, Error> {
    let Some(key) = ApiKey::parse(key) else {
        return Ok(None);
    };
    let mut db = quartet_db::write(&ctx.db).await?;
    let row = api_keys::touch(&mut db, &key.hash(), ctx.clock.now()).await?;
    let Some(row) = row else { return Ok(None) };
    // Before the commit, as for refreshes: a replica that cannot sign notes no use.
    let token = ctx.keys.api_key_token(&KeyGrant {
        user_id: row.user_id,
        key_id: row.id,
        key_created_at: row.created_at,
        key_expires_at: row.expires_at,
        scopes: row.scopes,
    })?;
    db.commit().await?;
    Ok(Some(token))
}

/// The user of the live key that a verified token names.
pub(crate) async fn current_user(
    ctx: &Context,
    user_id: UserId,
    key_id: ApiKeyId,
) -> Result<CurrentUser, Error> {
    let mut db = quartet_db::read(&ctx.db).await?;
    let user = api_keys::live_user(&mut db, user_id, key_id, ctx.clock.now()).await?;
    user.map(CurrentUser).ok_or(Error::SessionEnded)
}
