//! A panic as a line, written before the process may end.

use std::{
    panic::{self, PanicHookInfo},
    thread,
    time::Duration,
};

use super::{
    TARGET,
    line::{Level, LogLine},
    queue,
};
use crate::{panic_message::panic_message, request::current_request};

/// How long a panic waits for stdout. It may be the end of the process, or one failed request.
const FLUSH_LIMIT: Duration = Duration::from_millis(250);

/// Adds to the panic hook; the one in force keeps writing to stderr.
pub(crate) fn log_panics() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        previous(panic);
        log_panic(panic);
    }));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let Some(queue) = queue::queue() else { return };
    let mut line = LogLine::start(Level::Error);
    line.text("msg", "panic");
    line.text("error", panic_message(panic.payload()));
    if let Some(location) = panic.location() {
        line.format("location", format_args!("{location}"));
    }
    line.optional_text("thread", thread::current().name());
    line.text("service", queue.service);
    if let Some(request) = current_request() {
        line.text("request_id", &request.request_id);
        line.trace(request.trace);
    }
    line.text("target", TARGET);
    queue.send(line);
    // A stalled reader of stdout must not make panics block workers.
    if !queue.is_stalled() {
        queue::flush(FLUSH_LIMIT);
    }
}
