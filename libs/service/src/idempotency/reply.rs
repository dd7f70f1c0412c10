//! Keeps a response in the transaction of the work that it reports.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use axum::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use quartet_db::Lease;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use super::slot::{Slot, StoredResponse};

/// A whole response.
#[derive(Clone, Debug)]
pub struct WholeResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// When the content is no longer valid, if that is before the end of a day: it is then no
    /// longer replayed.
    pub valid_until: Option<DateTime<Utc>>,
}

impl WholeResponse {
    /// A JSON response.
    ///
    /// # Panics
    /// When the value is not plain data.
    pub fn json(
        status: StatusCode,
        headers: impl IntoIterator<Item = (HeaderName, String)>,
        value: &impl Serialize,
    ) -> Self {
        let valid = |(name, value): (_, String)| Some((name, HeaderValue::try_from(value).ok()?));
        let mut headers: HeaderMap = headers.into_iter().filter_map(valid).collect();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        Self {
            status,
            headers,
            body: serde_json::to_vec(value)
                .expect("a response is plain data")
                .into(),
            valid_until: None,
        }
    }
}

impl IntoResponse for WholeResponse {
    fn into_response(self) -> Response {
        (self.status, self.headers, Body::from(self.body)).into_response()
    }
}

/// The idempotency key of the request, if it has one.
#[derive(Clone)]
pub struct IdempotencyKey(Option<Arc<Slot>>);

impl IdempotencyKey {
    /// `render` makes the response of what the work returns.
    pub fn reply<T>(
        self,
        render: impl Fn(&T) -> WholeResponse + Send + Sync + 'static,
    ) -> Reply<T> {
        Reply {
            slot: self.0,
            render: Box::new(render),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Arc<Slot>>().cloned()))
    }
}

/// How a success is answered, and where the answer is kept.
pub struct Reply<T> {
    slot: Option<Arc<Slot>>,
    render: Box<dyn Fn(&T) -> WholeResponse + Send + Sync>,
}

impl<T> Reply<T> {
    /// A connection for work of one statement, which needs no transaction unless the response is kept
    /// with it.
    ///
    /// # Errors
    /// When no connection is free in time, or the database does not respond.
    pub async fn begin(&self, db: &PgPool) -> Result<Lease, sqlx::Error> {
        match &self.slot {
            Some(_) => Ok(quartet_db::begin(db).await?.into()),
            None => quartet_db::write(db).await,
        }
    }

    /// Keeps the response to `done` if `tx` commits. Without an idempotency key it does nothing.
    ///
    /// # Errors
    /// When the database fails, or another request has claimed the key: then `tx` must not commit.
    pub async fn keep(&self, tx: &mut PgConnection, done: &T) -> Result<(), sqlx::Error> {
        let Some(slot) = &self.slot else {
            return Ok(());
        };
        let answer = (self.render)(done);
        let kept = StoredResponse {
            status: answer.status,
            headers: &answer.headers,
            body: &answer.body,
            expires_at: answer.valid_until,
        };
        slot.keep(tx, kept).await?;
        slot.kept.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The response itself.
    pub fn answer(&self, done: &T) -> WholeResponse {
        (self.render)(done)
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
