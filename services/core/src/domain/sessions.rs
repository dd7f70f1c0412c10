//! Being let in, staying in, and being put out.

use std::{net::IpAddr, time::Duration};

use chrono::{DateTime, Utc};
use quartet_common::clock::Clock;
use secrecy::SecretString;
use sqlx::{PgConnection, PgPool};

use crate::{
    config,
    domain::{
        email::Email,
        hasher::{Hasher, Verdict},
        password,
        secrets::MasterKey,
        throttle::Attempt,
        tokens::RefreshToken,
        users::Desk,
    },
    error::Error,
    metrics::CoreMetrics,
    store::{
        refresh_tokens::{self, RefreshTokenRow},
        sessions::{self, SessionId, SessionRow},
        users::{self, UserId, UserRow},
    },
};

const MAX_USER_AGENT_BYTES: usize = 256;
const SALT_BYTES: usize = 16;

/// Where a login or a refresh comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) address: IpAddr,
    pub(crate) user_agent: Option<String>,
}

/// A session and the token that keeps it going.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
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
    master_key: &MasterKey,
    metrics: &CoreMetrics,
    origin: Origin,
    (email, password): (Email, SecretString),
) -> Result<Opened, Error> {
    let attempt = Attempt::new(master_key, email.as_str(), origin.address);
    let settings = &desk.config.throttle;
    attempt.check(desk.pool, settings, desk.clock.now()).await?;
    let user = {
        let mut db = desk.pool.acquire().await?;
        users::by_email(&mut db, email.as_str()).await?
    };
    let password = password::normalised(&password);
    let stored = user.as_ref().map(|user| user.password_hash.clone());
    let verdict = desk.hasher.verify(password.clone(), stored).await?;
    let Some(user) = user.filter(|_| verdict != Verdict::Wrong) else {
        attempt
            .failed(desk.pool, settings, desk.clock.now())
            .await?;
        metrics.failed_logins.inc();
        return Err(Error::InvalidCredentials);
    };
    attempt.succeeded(desk.pool).await?;
    if verdict == Verdict::RightButOld {
        rehash(desk.pool, desk.hasher, &user, password).await?;
    }
    let opened = open(desk, user.id, origin).await?;
    metrics.logins.inc();
    Ok(opened)
}

/// Trades a refresh token for its successor.
///
/// A token is good once. Within the grace time after its first use it gives the same successor
/// again, as long as that one is unused: two tabs that refresh at once both stay in. Any other
/// use of a spent token means that somebody else has it, and ends the session.
pub(crate) async fn refresh(
    desk: Desk<'_>,
    master_key: &MasterKey,
    metrics: &CoreMetrics,
    origin: Origin,
    token: &SecretString,
) -> Result<Opened, Error> {
    let token = RefreshToken::parse(token).ok_or(Error::InvalidRefreshToken)?;
    let now = desk.clock.now();
    let settings = &desk.config.sessions;
    let mut tx = desk.pool.begin().await?;
    // The session's row is locked: refreshes of one session come one after the other.
    let found = refresh_tokens::lock(&mut tx, &token.hash(), now).await?;
    let found = found.ok_or(Error::InvalidRefreshToken)?;
    let grace = Duration::from_secs(settings.refresh_grace_seconds);
    let successor = match &found.spent {
        None => {
            let salt: [u8; SALT_BYTES] = rand::random();
            let successor = token.successor(master_key, &salt);
            refresh_tokens::spend(&mut tx, &token.hash(), &salt, &successor.hash(), now).await?;
            insert_token(&mut tx, found.session_id, &successor, now).await?;
            let idle_until = now + Duration::from_secs(settings.idle_ttl_seconds);
            sessions::touch(
                &mut tx,
                found.session_id,
                &row_origin(&origin),
                now,
                idle_until,
            )
            .await?;
            successor
        }
        Some(spent) if now <= spent.used_at + grace && !spent.successor_used => {
            token.successor(master_key, &spent.successor_salt)
        }
        Some(_) => {
            sessions::revoke(
                &mut tx,
                found.user_id,
                found.session_id,
                "token_reused",
                now,
            )
            .await?;
            tx.commit().await?;
            metrics.reused_refresh_tokens.inc();
            tracing::warn!(session_id = %found.session_id, "a spent refresh token was used again");
            return Err(Error::InvalidRefreshToken);
        }
    };
    tx.commit().await?;
    Ok(Opened {
        user: found.user_id,
        session: found.session_id,
        refresh_token: successor.to_wire(),
    })
}

/// Ends a session of this user.
pub(crate) async fn revoke(
    pool: &PgPool,
    clock: &Clock,
    user: UserId,
    session: SessionId,
) -> Result<(), Error> {
    let mut db = pool.acquire().await?;
    let revoked = sessions::revoke(&mut db, user, session, "revoked", clock.now()).await?;
    if revoked {
        Ok(())
    } else {
        Err(Error::SessionNotFound)
    }
}

async fn open(desk: Desk<'_>, user: UserId, origin: Origin) -> Result<Opened, Error> {
    let now = desk.clock.now();
    let session = new_session(desk.clock, &desk.config.sessions, user, origin, now);
    let token = RefreshToken::random();
    let mut tx = desk.pool.begin().await?;
    sessions::insert(&mut tx, &session).await?;
    insert_token(&mut tx, session.id, &token, now).await?;
    tx.commit().await?;
    Ok(Opened {
        user,
        session: session.id,
        refresh_token: token.to_wire(),
    })
}

fn new_session(
    clock: &Clock,
    settings: &config::Sessions,
    user_id: UserId,
    origin: Origin,
    now: DateTime<Utc>,
) -> SessionRow {
    SessionRow {
        id: SessionId::new(clock),
        user_id,
        client_address: origin.address.to_string(),
        user_agent: origin.user_agent,
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

fn row_origin(origin: &Origin) -> (String, Option<String>) {
    (origin.address.to_string(), origin.user_agent.clone())
}

/// The parameters have changed since the password was set.
async fn rehash(
    pool: &PgPool,
    hasher: &Hasher,
    user: &UserRow,
    password: SecretString,
) -> Result<(), Error> {
    let hash = hasher.hash(password).await?;
    let mut db = pool.acquire().await?;
    users::replace_hash(&mut db, user.id, &user.password_hash, &hash).await?;
    Ok(())
}
