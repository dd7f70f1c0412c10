//! Every tracing event as a line.

use std::fmt;

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{line::LogLine, queue};
use crate::{
    request::current_request,
    run::{Run, current_run},
};

/// Writes `timestamp level msg`, the fields of the event, then `service`, the ids of the request,
/// the name of the job or task, and `target` unless the level is `info`.
pub(crate) struct JsonLines;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(queue) = queue::queue() else { return };
        // Those of the library, if the event comes from the `log` crate.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut line = LogLine::start((*metadata.level()).into());
        if event.metadata().fields().field(MESSAGE).is_some() {
            event.record(&mut Message(&mut line));
        } else {
            // As the statements of sqlx: `msg` is never absent.
            line.text("msg", metadata.target());
        }
        event.record(&mut Fields(&mut line));
        line.text("service", queue.service);
        if let Some(request) = current_request() {
            let names = event.metadata().fields();
            if names.field("request_id").is_none() {
                line.text("request_id", &request.request_id);
            }
            if names.field("trace_id").is_none() {
                line.trace(request.trace);
            }
        }
        if let Some((name, value)) = current_run().map(Run::field)
            && event.metadata().fields().field(name).is_none()
        {
            line.text(name, value);
        }
        if *metadata.level() != Level::INFO {
            line.text("target", metadata.target());
        }
        queue.send(line);
    }
}

const MESSAGE: &str = "message";

/// Writes the message alone: it precedes the other fields, wherever the event has it.
struct Message<'a>(&'a mut LogLine);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            self.0.format("msg", format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.0.text("msg", value);
        }
    }
}

/// Writes everything but the message.
struct Fields<'a>(&'a mut LogLine);

/// Where a record of the `log` crate comes from, which `normalized_metadata` has read.
const FROM_LOG: &str = "log.";

fn is_written(field: &Field) -> bool {
    field.name() != MESSAGE && !field.name().starts_with(FROM_LOG)
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if is_written(field) {
            self.0.format(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if is_written(field) {
            self.0.text(field.name(), value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.integer(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if is_written(field) {
            self.0.integer(field.name(), value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.float(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.boolean(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.format(field.name(), format_args!("{value}"));
    }
}
