//! Being let in, staying in, and being put out.

use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, Utc};
use quartet_common::clock::Clock;
use secrecy::SecretString;
use sqlx::{PgConnection, PgPool};

use crate::{
    config,
    domain::{
        desk::{self, Desk},
        email::Email,
        hasher::{Turn, Verdict},
        password,
        throttle::Attempt,
        tokens::RefreshToken,
    },
    error::Error,
    store::{
        refresh_tokens::{self, FoundToken, RefreshTokenRow},
        sessions::{self, SessionId, SessionRow},
        users::{self, UserId, UserRow},
    },
};

const MAX_USER_AGENT_BYTES: usize = 256;
const SALT_BYTES: usize = 16;
/// How often a login looks again when the stored hash changes under it.
const LOGIN_TRIES: usize = 3;

/// Where a login or a refresh comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) address: IpAddr,
    pub(crate) user_agent: Option<String>,
}

/// A session and the tokens that it was given.
pub(crate) struct Opened {
    pub(crate) session: SessionId,
    pub(crate) access_token: String,
    pub(crate) expires_in_seconds: u64,
    pub(crate) refresh_token: SecretString,
}

impl Origin {
    pub(crate) fn new(address: IpAddr, user_agent: Option<&str>) -> Self {
        let user_agent = user_agent.map(|text| {
            let mut end = text.len().min(MAX_USER_AGENT_BYTES);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text[..end].to_owned()
        });
        Self {
            address,
            user_agent,
        }
    }
}

/// Lets in who knows the password. An unknown address costs the same work as a wrong password and
/// gets the same answer.
pub(crate) async fn log_in(
    desk: Desk<'_>,
    origin: Origin,
    (email, password): (Email, SecretString),
) -> Result<Opened, Error> {
    let attempt = desk.attempt(&email, origin.address);
    attempt.check(desk).await?;
    let password = password::normalised(&password);
    // Held to the end: the next attempt on this account is told by what became of this one.
    let mut turn = desk.hasher.turn(attempt.lane()).await?;
    attempt.check(desk).await?;
    for _ in 0..LOGIN_TRIES {
        let user = {
            let mut db = desk.pool.acquire().await?;
            users::by_email(&mut db, email.as_str()).await?
        };
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let verdict = turn.verify(password.clone(), stored).await?;
        let Some(user) = user.filter(|_| verdict != Verdict::Wrong) else {
            attempt.failed(desk).await?;
            desk.metrics.failed_logins.inc();
            return Err(Error::InvalidCredentials);
        };
        // Nothing when the hash has changed: by a new password, or hashed anew by another login.
        if let Some(opened) = open(desk, &user, &attempt, &origin).await? {
            if verdict == Verdict::RightButOld {
                rehash(desk.pool, &mut turn, &user, password).await;
            }
            desk.metrics.logins.inc();
            return Ok(opened);
        }
    }
    Err(Error::InvalidCredentials)
}

/// Trades a refresh token for its successor.
///
/// A token is good once. Within the grace time after its first use it gives the same successor
/// again, as long as that one is unused: two tabs that refresh at once both stay in. Any other
/// use of a spent token means that somebody else has it, and ends the session.
pub(crate) async fn refresh(
    desk: Desk<'_>,
    origin: Origin,
    token: &SecretString,
) -> Result<Opened, Error> {
    let token = RefreshToken::parse(token).ok_or(Error::MalformedRefreshToken)?;
    let now = desk.now();
    let mut tx = desk.pool.begin().await?;
    // The session's row is locked: refreshes of one session come one after the other.
    let found = refresh_tokens::lock(&mut tx, &token.hash(), now).await?;
    let found = found.ok_or(Error::InvalidRefreshToken)?;
    let (user, session) = (found.user_id, found.session_id);
    let Some(successor) = successor_of(desk, &mut tx, &token, &found, &origin, now).await? else {
        sessions::revoke(&mut tx, user, session, "token_reused", now).await?;
        tx.commit().await?;
        desk.metrics.reused_refresh_tokens.inc();
        tracing::warn!(session_id = %session, "a spent refresh token was used again");
        return Err(Error::InvalidRefreshToken);
    };
    // Before the commit: when signing fails, nothing is spent.
    let (access_token, expires_in_seconds) =
        desk.keys
            .access_token(user, session, found.session_expires_at)?;
    tx.commit().await?;
    Ok(Opened {
        session,
        access_token,
        expires_in_seconds,
        refresh_token: successor.to_wire(),
    })
}

/// `None` when the token may not be used any more.
async fn successor_of(
    desk: Desk<'_>,
    db: &mut PgConnection,
    token: &RefreshToken,
    found: &FoundToken,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<Option<RefreshToken>, Error> {
    let settings = &desk.config.sessions;
    let grace = Duration::from_secs(settings.refresh_grace_seconds);
    let Some(spent) = &found.spent else {
        let salt: [u8; SALT_BYTES] = rand::random();
        let successor = token.successor(desk.master_key, &salt);
        refresh_tokens::spend(db, &token.hash(), &salt, &successor.hash(), now).await?;
        insert_token(db, found.session_id, &successor, now).await?;
        let idle_until = now + Duration::from_secs(settings.idle_ttl_seconds);
        let from = (origin.address.to_string(), origin.user_agent.clone());
        sessions::touch(db, found.session_id, &from, now, idle_until).await?;
        return Ok(Some(successor));
    };
    if now > spent.used_at + grace || spent.successor_used {
        return Ok(None);
    }
    let successor = token.successor(desk.master_key, &spent.successor_salt);
    // Another master key makes another successor, which nobody has stored.
    if successor.hash() == spent.successor_hash {
        Ok(Some(successor))
    } else {
        Err(Error::InvalidRefreshToken)
    }
}

/// Ends a session of this user. A session that ends itself was the user's own.
pub(crate) async fn revoke(
    pool: &PgPool,
    clock: &Clock,
    (user, own): (UserId, SessionId),
    session: SessionId,
) -> Result<(), Error> {
    let reason = if session == own {
        "logged_out"
    } else {
        "revoked"
    };
    let mut db = pool.acquire().await?;
    if sessions::revoke(&mut db, user, session, reason, desk::now(clock)).await? {
        Ok(())
    } else {
        Err(Error::SessionNotFound)
    }
}

/// `None` when the user is gone or has another hash than the one that was verified: then the
/// password may have been changed meanwhile, and whoever knows the old one must not get in.
async fn open(
    desk: Desk<'_>,
    verified: &UserRow,
    attempt: &Attempt,
    origin: &Origin,
) -> Result<Option<Opened>, Error> {
    let now = desk.now();
    let session = new_session(desk.clock, &desk.config.sessions, verified.id, origin, now);
    let token = RefreshToken::random();
    let mut tx = desk.pool.begin().await?;
    let user = users::lock(&mut tx, verified.id).await?;
    if user.is_none_or(|user| user.password_hash != verified.password_hash) {
        return Ok(None);
    }
    sessions::insert(&mut tx, &session).await?;
    insert_token(&mut tx, session.id, &token, now).await?;
    let most = i64::from(desk.config.sessions.max_per_user);
    sessions::revoke_oldest(&mut tx, verified.id, most, now).await?;
    attempt.succeeded(&mut tx).await?;
    let (access_token, expires_in_seconds) =
        desk.keys
            .access_token(verified.id, session.id, session.expires_at)?;
    tx.commit().await?;
    Ok(Some(Opened {
        session: session.id,
        access_token,
        expires_in_seconds,
        refresh_token: token.to_wire(),
    }))
}

fn new_session(
    clock: &Clock,
    settings: &config::Sessions,
    user_id: UserId,
    origin: &Origin,
    now: DateTime<Utc>,
) -> SessionRow {
    SessionRow {
        id: SessionId::new(clock),
        user_id,
        client_address: origin.address.to_string(),
        user_agent: origin.user_agent.clone(),
        created_at: now,
        last_used_at: now,
        idle_expires_at: now + Duration::from_secs(settings.idle_ttl_seconds),
        expires_at: now + Duration::from_secs(settings.absolute_ttl_seconds),
    }
}

async fn insert_token(
    db: &mut PgConnection,
    session_id: SessionId,
    token: &RefreshToken,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let row = RefreshTokenRow {
        token_hash: token.hash(),
        session_id,
        created_at: now,
    };
    Ok(refresh_tokens::insert(db, &row).await?)
}

/// The parameters have changed since the password was set. The user is let in whether this works
/// or not; the next login tries again.
async fn rehash(pool: &PgPool, turn: &mut Turn<'_>, user: &UserRow, password: SecretString) {
    let work = async {
        let hash = turn.hash(password).await?;
        let mut db = pool.acquire().await?;
        users::replace_hash(&mut db, user.id, &user.password_hash, &hash).await?;
        Ok::<(), Error>(())
    };
    if let Err(error) = work.await {
        tracing::warn!(%error, user_id = %user.id, "a password could not be hashed anew");
    }
}
