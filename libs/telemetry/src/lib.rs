//! What a process reports about itself: the log on stdout, metrics, and spans where an OTLP
//! endpoint is configured. docs/logging.md is the reference for operators.

mod init;
mod level;
mod log;
pub mod metrics;
mod otlp;
mod panic_message;
mod request;
mod run;
mod span;
mod trace_context;
mod traffic;

pub use init::{TelemetryGuard, init, report_passed_over};
pub use level::{LogLevel, check_filter};
pub use log::{AccessLine, LIMIT_BYTES};
pub use panic_message::panic_message;
pub use request::{
    Caller, Operation, REQUEST, RequestContext, StatementTimer, count_statement, current_request,
    set_caller, set_operation,
};
pub use run::{RUN, Run};
pub use span::{ServerTrace, span, spans_enabled};
pub use trace_context::{TRACEPARENT, TraceContext};
pub use traffic::RouteTraffic;
