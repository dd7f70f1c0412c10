//! The meter of one operation.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use quartet_common::problem::Problem;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    bucket::{units, units_of_bytes},
    users::User,
};
use crate::{config::GraphQl as Settings, problems::graphql as problems};

/// Charges an operation and counts the bytes of its response. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Arc<State>);

#[derive(Debug)]
struct State {
    user: Arc<User>,
    max_cost: usize,
    max_response_bytes: usize,
    /// Values of arguments and variables, counted by the guard.
    inputs: OnceLock<usize>,
    bytes: AtomicUsize,
    is_too_large: AtomicBool,
    refused: OnceLock<Problem>,
}

impl Meter {
    /// Charges the document, before it is parsed.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub(crate) fn start(
        user: Arc<User>,
        document: &str,
        settings: &Settings,
    ) -> Result<Self, Problem> {
        user.charge(units_of_bytes(document.len()))?;
        Ok(Self(Arc::new(State {
            user,
            max_cost: settings.max_cost,
            max_response_bytes: settings.max_response_bytes,
            inputs: OnceLock::new(),
            bytes: AtomicUsize::new(0),
            is_too_large: AtomicBool::new(false),
            refused: OnceLock::new(),
        })))
    }

    pub(crate) fn user(&self) -> &Arc<User> {
        &self.0.user
    }

    /// Sets the number of values of arguments and variables, before any is copied.
    ///
    /// # Errors
    /// `TOO_EXPENSIVE`.
    pub(crate) fn set_inputs(&self, inputs: u64) -> Result<(), Problem> {
        let inputs = usize::try_from(inputs).unwrap_or(usize::MAX);
        self.0.inputs.get_or_init(|| inputs);
        self.within(inputs)
    }

    /// Charges the operation, before it runs.
    ///
    /// # Errors
    /// `TOO_EXPENSIVE`, `RATE_LIMITED`.
    pub(crate) fn charge(&self, fields: usize) -> Result<(), Problem> {
        let state = &*self.0;
        let cost = fields.saturating_add(state.inputs.get().copied().unwrap_or_default());
        let charged = self
            .within(cost)
            .and_then(|()| state.user.charge(units(cost)));
        charged.inspect_err(|problem| drop(state.refused.set(problem.clone())))
    }

    fn within(&self, cost: usize) -> Result<(), Problem> {
        let limit = self.0.max_cost;
        if cost <= limit {
            return Ok(());
        }
        let detail = format!("the operation costs {cost} units; the limit is {limit}");
        Err(Problem::new(&problems::TOO_EXPENSIVE).detail(detail))
    }

    /// Why the operation was not executed, if it was refused.
    pub(crate) fn refused(&self) -> Option<&Problem> {
        self.0.refused.get()
    }

    /// # Errors
    /// When the user holds as many connections as the limit allows, for too long.
    pub(crate) async fn connection(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.0.user.connection().await
    }

    /// Begins to count a response.
    pub(crate) fn begin_response(&self) {
        self.0.bytes.store(0, Ordering::Relaxed);
        self.0.is_too_large.store(false, Ordering::Relaxed);
    }

    /// Counts bytes of the response.
    ///
    /// # Errors
    /// `RESPONSE_TOO_LARGE`.
    pub(crate) fn count(&self, bytes: usize) -> Result<(), Problem> {
        let state = &*self.0;
        let before = state.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= state.max_response_bytes {
            return Ok(());
        }
        state.is_too_large.store(true, Ordering::Relaxed);
        Err(self.too_large())
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.0.is_too_large.load(Ordering::Relaxed)
    }

    pub(crate) fn too_large(&self) -> Problem {
        let limit = self.0.max_response_bytes;
        Problem::new(&problems::RESPONSE_TOO_LARGE)
            .detail(format!("the response has more than {limit} bytes"))
    }
}
