//! What the log and the handlers know about the request that a task serves.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
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
    caller: OnceLock<Caller>,
    operation: OnceLock<Operation>,
    statements: AtomicU32,
    /// Spent in them, in microseconds.
    database_micros: AtomicU64,
}

/// Who sent a request, by its verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The subject.
    pub id: String,
    /// What the token stands for, such as `session`.
    pub token_kind: &'static str,
    /// The program that sent it.
    pub client_id: Option<String>,
}

/// The GraphQL operation of a request. The client chose its name, which is therefore cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `query`, `mutation` or `subscription`.
    pub kind: &'static str,
    name: Option<String>,
}

impl Operation {
    /// Characters of a name that are logged.
    pub const MAX_NAME: usize = 64;

    pub fn new(kind: &'static str, name: Option<&str>) -> Self {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let cut = |name: &str| {
            name.chars()
                .take_while(is_plain)
                .take(Self::MAX_NAME)
                .collect()
        };
        let name = name.map(cut);
        Self { kind, name }
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl RequestContext {
    pub fn new(request_id: String, trace: TraceContext) -> Self {
        Self {
            request_id,
            trace,
            caller: OnceLock::new(),
            operation: OnceLock::new(),
            statements: AtomicU32::new(0),
            database_micros: AtomicU64::new(0),
        }
    }

    /// Who sent the verified token, once there is one.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.get()
    }

    /// What the client asked for, where one route has many operations.
    pub fn operation(&self) -> Option<&Operation> {
        self.operation.get()
    }

    /// SQL statements sent for this request so far.
    pub fn statements(&self) -> u32 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Time spent in them, the sum where several ran at once.
    pub fn database_time(&self) -> Duration {
        Duration::from_micros(self.database_micros.load(Ordering::Relaxed))
    }
}

/// The context of the request that the current task serves. `None` outside requests, and in
/// tasks that a handler spawned.
pub fn current_request() -> Option<Arc<RequestContext>> {
    REQUEST.try_with(Arc::clone).ok()
}

/// Sets who acts, for the response line. The first call counts.
pub fn set_caller(caller: Caller) {
    let _ = REQUEST.try_with(|request| request.caller.set(caller));
}

/// Sets the operation, for the response line. The first call counts.
pub fn set_operation(operation: Operation) {
    let _ = REQUEST.try_with(|request| request.operation.set(operation));
}

/// Counts one SQL statement in `db_statements` of the response line, and its time, until the timer is
/// dropped, in `db_ms`. Not a future around the statement, which would hold it twice.
#[must_use]
pub fn count_statement() -> Option<StatementTimer> {
    let request = current_request()?;
    request.statements.fetch_add(1, Ordering::Relaxed);
    Some(StatementTimer(request, Instant::now()))
}

/// See [`count_statement`].
#[derive(Debug)]
pub struct StatementTimer(Arc<RequestContext>, Instant);

impl Drop for StatementTimer {
    fn drop(&mut self) {
        let micros = u64::try_from(self.1.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.database_micros.fetch_add(micros, Ordering::Relaxed);
    }
}
