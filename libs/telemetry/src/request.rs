//! What the log and the handlers know about the request that a task serves.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering},
};

use crate::trace_context::TraceContext;

tokio::task_local! {
    /// Set by the HTTP layers around the handling of a request.
    pub static REQUEST: Arc<RequestContext>;
}

/// What every log line of a request carries.
#[derive(Debug)]
pub struct RequestContext {
    pub request_id: String,
    pub trace: TraceContext,
    caller_id: OnceLock<String>,
    statements: AtomicU32,
}

impl RequestContext {
    pub fn new(request_id: String, trace: TraceContext) -> Self {
        Self {
            request_id,
            trace,
            caller_id: OnceLock::new(),
            statements: AtomicU32::new(0),
        }
    }

    /// The subject of the verified token, once there is one.
    pub fn caller_id(&self) -> Option<&str> {
        self.caller_id.get().map(String::as_str)
    }

    /// SQL statements sent for this request so far.
    pub fn statements(&self) -> u32 {
        self.statements.load(Ordering::Relaxed)
    }
}

/// The context of the request that the current task serves. `None` outside requests, and in
/// tasks that a handler spawned.
pub fn current_request() -> Option<Arc<RequestContext>> {
    REQUEST.try_with(Arc::clone).ok()
}

/// Sets the `caller_id` of the response line. The first call counts.
pub fn set_caller(subject: &str) {
    let _ = REQUEST.try_with(|request| request.caller_id.set(subject.to_owned()));
}

/// Adds one to the `db_statements` of the response line.
pub fn count_statement() {
    let _ = REQUEST.try_with(|request| request.statements.fetch_add(1, Ordering::Relaxed));
}
