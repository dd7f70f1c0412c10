//! Logging in, staying logged in, and logging out.
//!
//! A session lives by refresh tokens, each used once (RFC 9700, 4.14.2):
//!
//! ```text
//! unused --refresh--> used --same token within the grace period--> the same successor again
//!                       `--anything else------------------------> reuse: the session is revoked
//! ```
//!
//! All tokens of a session share a secret, its family, which only they contain. Stored are the hashes
//! of the family, of the unused token and of the latest used one: whatever else has the family is
//! older, so reuse is detected without a row per token.
//!
//! Invariants:
//! - Refreshes of one session run one after the other: its row and that of its tokens are locked
//!   before either is read. Otherwise two refreshes at once would create two valid successors.
//! - The grace period makes a lost response and two tabs harmless, but only while the successor is
//!   unused. Otherwise a thief who refreshes first could keep the session with its owner in it.
//! - The successor is derived from the token, a stored salt and the master key, so it can be
//!   returned again without being stored. A leaked table contains hashes only.
//! - A refresh proves no more than the login did: its token has the `auth_time`, `amr` and `acr` of that.
//! - The access token is signed before the commit. A replica that cannot sign does not
//!   consume a token.

use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::{PgConnection, PgPool};

use crate::{
    domain::{
        Context,
        crypto::{
            hasher::{Permit, Verification},
            signing_keys::{AccessToken, Login},
        },
        throttle::Attempt,
        values::{email::Email, password::Password, refresh_token::RefreshToken},
    },
    error::Error,
    store::{
        passwords::{self, PasswordRow},
        refresh_tokens::{self, LockedTokens, TokenUse},
        sessions::{self, Authentication, FirstToken, SessionId, SessionRow},
        users::{UserId, UserRow},
    },
};

const MAX_USER_AGENT_BYTES: usize = 256;
const SALT_BYTES: usize = 16;
/// A password, in the names of RFC 8176.
const PASSWORD_METHOD: &str = "pwd";
/// How often a login is retried when the stored hash changes while it runs.
const MAX_LOGIN_ATTEMPTS: usize = 3;

/// The session of a request, and its user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CurrentSession {
    pub(crate) id: SessionId,
    pub(crate) user_id: UserId,
    pub(crate) created_at: DateTime<Utc>,
}

/// The account of a request with a live session, read together with it.
#[derive(Clone, Debug)]
pub(crate) struct CurrentUser(pub(crate) UserRow);

/// The client behind a login or a refresh.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    pub(crate) user_agent: Option<String>,
}

/// A checked email and the password to compare.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) email: Email,
    pub(crate) password: Password,
}

/// A session and its new tokens.
pub(crate) struct SessionTokens {
    pub(crate) session_id: SessionId,
    pub(crate) access_token: AccessToken,
    pub(crate) refresh_token: SecretString,
}

impl CurrentSession {
    /// # Errors
    /// `StaleLogin` when the session was opened too long ago for what a stolen access token must not do.
    pub(crate) fn require_fresh(&self, ctx: &Context) -> Result<(), Error> {
        let fresh = Duration::from_secs(ctx.config.sessions.fresh_login_seconds);
        if self.created_at + fresh < ctx.clock.now() {
            return Err(Error::StaleLogin);
        }
        Ok(())
    }
}

impl Client {
    pub(crate) fn new(ip: IpAddr, user_agent: Option<&str>) -> Self {
        let user_agent = user_agent
            .map(|text| text[..text.floor_char_boundary(MAX_USER_AGENT_BYTES)].to_owned());
        Self {
            ip: ip.to_canonical(),
            user_agent,
        }
    }
}

/// Opens a session for the owner of the password. An unknown email costs the same work as a wrong
/// password and gets the same response.
pub(crate) async fn log_in(
    ctx: &Context,
    client: Client,
    credentials: Credentials,
) -> Result<SessionTokens, Error> {
    let Credentials { email, password } = credentials;
    let attempt = Attempt::on_account(&ctx.master_key, email.as_str(), client.ip);
    attempt.check(ctx).await?;
    let password = password.into_secret();
    // Held to the end, so that the next attempt on this account sees the outcome of this one.
    let mut permit = attempt.permit(ctx).await?;
    attempt.check(ctx).await?;
    for _ in 0..MAX_LOGIN_ATTEMPTS {
        let stored = {
            let mut db = quartet_db::read(&ctx.db).await?;
            passwords::by_email(&mut db, email.as_str()).await?
        };
        let hash = stored.as_ref().map(|stored| stored.hash.clone());
        let verification;
        (permit, verification) = attempt.verify(ctx, permit, password.clone(), hash).await?;
        let Some(stored) = stored.filter(|_| verification != Verification::Invalid) else {
            ctx.metrics.failed_logins.inc();
            return Err(Error::InvalidCredentials);
        };
        // `None` when the hash has changed: by a new password, or by a rehash in another login.
        if let Some(tokens) = open(ctx, &stored, &attempt, &client).await? {
            if verification == Verification::ValidNeedsRehash {
                rehash(&ctx.db, &mut permit, &stored, password).await;
            }
            ctx.metrics.logins.inc();
            return Ok(tokens);
        }
    }
    Err(Error::InvalidCredentials)
}

/// Exchanges a refresh token for its successor. Reuse ends the session.
pub(crate) async fn refresh(
    ctx: &Context,
    client: Client,
    token: &SecretString,
) -> Result<SessionTokens, Error> {
    let token = RefreshToken::parse(token).ok_or(Error::MalformedRefreshToken)?;
    let now = ctx.clock.now();
    let mut tx = quartet_db::begin(&ctx.db).await?;
    let locked = refresh_tokens::lock(&mut tx, &token.family_hash(), now).await?;
    let locked = locked.ok_or(Error::InvalidRefreshToken)?;
    let (user_id, session_id) = (locked.user_id, locked.session_id);
    let successor = if token.hash() == locked.unused_hash {
        Some(use_token(ctx, &mut tx, &token, session_id, &client).await?)
    } else {
        successor_in_grace_period(ctx, &token, &locked, now)?
    };
    let Some(successor) = successor else {
        sessions::revoke(&mut tx, user_id, session_id, "token_reused", now).await?;
        tx.commit().await?;
        ctx.metrics.reused_refresh_tokens.inc();
        tracing::warn!(%session_id, "refresh token reuse detected, session revoked");
        return Err(Error::InvalidRefreshToken);
    };
    let access_token = ctx.keys.access_token(&Login {
        user_id,
        session_id,
        session_expires_at: locked.session_expires_at,
        authentication: locked.authentication,
    })?;
    tx.commit().await?;
    Ok(SessionTokens {
        session_id,
        access_token,
        refresh_token: successor.to_wire(),
    })
}

/// Marks the unused token as used and stores its successor.
async fn use_token(
    ctx: &Context,
    db: &mut PgConnection,
    token: &RefreshToken,
    session_id: SessionId,
    client: &Client,
) -> Result<RefreshToken, Error> {
    let now = ctx.clock.now();
    let salt: [u8; SALT_BYTES] = rand::random();
    let successor = token.successor(&ctx.master_key, &salt);
    let used = TokenUse {
        hash: token.hash(),
        at: now,
        successor_salt: salt.to_vec(),
    };
    refresh_tokens::advance(db, session_id, &used, &successor.hash()).await?;
    let refresh = sessions::Refresh {
        client_ip: client.ip.to_string(),
        user_agent: client.user_agent.clone(),
        refreshed_at: now,
        idle_expires_at: now + Duration::from_secs(ctx.config.sessions.idle_ttl_seconds),
    };
    sessions::touch(db, session_id, &refresh).await?;
    Ok(successor)
}

/// The successor of a token that is not the unused one; `None` when this use of it is reuse.
fn successor_in_grace_period(
    ctx: &Context,
    token: &RefreshToken,
    locked: &LockedTokens,
    now: DateTime<Utc>,
) -> Result<Option<RefreshToken>, Error> {
    // Of an older token, the successor has been used as well.
    let Some(used) = locked
        .used
        .as_ref()
        .filter(|used| used.hash == token.hash())
    else {
        return Ok(None);
    };
    let grace = Duration::from_secs(ctx.config.sessions.refresh_grace_seconds);
    // In either direction: a clock that is set back must not lengthen the period.
    let since = (now - used.at).abs().to_std().unwrap_or(Duration::MAX);
    if since > grace {
        return Ok(None);
    }
    // Whichever master key was current then. A replica that has another one derives a successor that
    // was never stored.
    token
        .successors(&ctx.master_key, &used.successor_salt)
        .find(|successor| successor.hash() == locked.unused_hash)
        .map(Some)
        .ok_or(Error::InvalidRefreshToken)
}

/// The live session that a verified token names.
pub(crate) async fn current(
    ctx: &Context,
    user_id: UserId,
    session_id: SessionId,
) -> Result<CurrentSession, Error> {
    let mut db = quartet_db::read(&ctx.db).await?;
    let created_at = sessions::live_since(&mut db, user_id, session_id, ctx.clock.now()).await?;
    Ok(CurrentSession {
        id: session_id,
        user_id,
        created_at: created_at.ok_or(Error::SessionEnded)?,
    })
}

/// The user of the live session that a verified token names.
pub(crate) async fn current_user(
    ctx: &Context,
    user_id: UserId,
    session_id: SessionId,
) -> Result<CurrentUser, Error> {
    let mut db = quartet_db::read(&ctx.db).await?;
    let user = sessions::live_user(&mut db, user_id, session_id, ctx.clock.now()).await?;
    user.map(CurrentUser).ok_or(Error::SessionEnded)
}

/// Up to `limit` live sessions of a user, newest first, from before `before`.
pub(crate) async fn list(
    ctx: &Context,
    user_id: UserId,
    before: Option<SessionId>,
    limit: i64,
) -> Result<Vec<SessionRow>, Error> {
    let mut db = quartet_db::read(&ctx.db).await?;
    Ok(sessions::list(&mut db, user_id, before, ctx.clock.now(), limit).await?)
}

/// Ends a session of the current user.
pub(crate) async fn revoke(
    ctx: &Context,
    current: CurrentSession,
    id: SessionId,
) -> Result<(), Error> {
    // The throttle trusts the networks of sessions that ended by logging out.
    let reason = if id == current.id {
        "logged_out"
    } else {
        "revoked"
    };
    let mut db = quartet_db::write(&ctx.db).await?;
    let revoked = sessions::revoke(&mut db, current.user_id, id, reason, ctx.clock.now()).await?;
    db.commit().await?;
    if revoked {
        Ok(())
    } else {
        Err(Error::SessionNotFound)
    }
}

/// `None` when the user no longer exists or has another hash than the verified one: the password
/// may have been changed in the meantime, and the old one must not open a session.
async fn open(
    ctx: &Context,
    verified: &PasswordRow,
    attempt: &Attempt,
    client: &Client,
) -> Result<Option<SessionTokens>, Error> {
    let user_id = verified.user_id;
    let session = new_session(ctx, user_id, client);
    let token = RefreshToken::random();
    let mut tx = quartet_db::begin(&ctx.db).await?;
    let hash = passwords::lock(&mut tx, user_id).await?;
    if hash.is_none_or(|hash| hash != verified.hash) {
        return Ok(None);
    }
    let authentication = Authentication {
        at: session.created_at,
        methods: vec![PASSWORD_METHOD.to_owned()],
    };
    let first = FirstToken {
        family_hash: token.family_hash(),
        hash: token.hash(),
    };
    sessions::insert(&mut tx, &session, &authentication, &first).await?;
    let max = i64::from(ctx.config.sessions.max_per_user);
    sessions::revoke_oldest(&mut tx, user_id, max, session.created_at).await?;
    attempt.record_success(&mut tx).await?;
    let access_token = ctx.keys.access_token(&Login {
        user_id,
        session_id: session.id,
        session_expires_at: session.expires_at,
        authentication,
    })?;
    tx.commit().await?;
    Ok(Some(SessionTokens {
        session_id: session.id,
        access_token,
        refresh_token: token.to_wire(),
    }))
}

fn new_session(ctx: &Context, user_id: UserId, client: &Client) -> SessionRow {
    let (now, settings) = (ctx.clock.now(), &ctx.config.sessions);
    SessionRow {
        id: SessionId::new(&ctx.clock),
        user_id,
        client_address: client.ip.to_string(),
        user_agent: client.user_agent.clone(),
        created_at: now,
        last_used_at: now,
        idle_expires_at: now + Duration::from_secs(settings.idle_ttl_seconds),
        expires_at: now + Duration::from_secs(settings.absolute_ttl_seconds),
    }
}

/// Hashes the password with the current parameters. The login succeeds even if this fails; the next
/// one tries again.
async fn rehash(db: &PgPool, permit: &mut Permit, stored: &PasswordRow, password: SecretString) {
    let work = async {
        let hash = permit.hash(password).await?;
        let mut db = quartet_db::write(db).await?;
        passwords::rehash(&mut db, stored, &hash).await?;
        Ok::<(), Error>(db.commit().await?)
    };
    if let Err(error) = work.await {
        tracing::warn!(%error, user_id = %stored.user_id, "rehashing a password failed");
    }
}
