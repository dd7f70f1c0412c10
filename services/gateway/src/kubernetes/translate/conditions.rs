//! Conditions of a status, as the API server keeps them.

use serde_json::{Value, json};

/// The reason, and a message for people.
pub(super) type Refusal = (&'static str, String);

/// A refusal for what the gateway cannot do.
pub(super) fn unsupported(message: impl Into<String>) -> Refusal {
    ("UnsupportedValue", message.into())
}

#[derive(Clone, Debug)]
pub(super) struct Condition {
    kind: &'static str,
    is_true: bool,
    reason: &'static str,
    message: String,
}

/// What conditions are written with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed<'o> {
    /// Of the object.
    pub(super) generation: i64,
    /// RFC 3339.
    pub(super) now: &'o str,
}

/// Longer ones are refused by the API server.
const MAX_MESSAGE_BYTES: usize = 1_024;

impl Condition {
    pub(super) fn fulfilled(kind: &'static str, reason: &'static str) -> Self {
        Self {
            kind,
            is_true: true,
            reason,
            message: String::new(),
        }
    }

    pub(super) fn failed(kind: &'static str, (reason, message): Refusal) -> Self {
        Self {
            kind,
            is_true: false,
            reason,
            message,
        }
    }

    /// True without a refusal, and else false.
    pub(super) fn of(kind: &'static str, reason: &'static str, refusal: Option<&Refusal>) -> Self {
        match refusal {
            None => Self::fulfilled(kind, reason),
            Some(refusal) => Self::failed(kind, refusal.clone()),
        }
    }

    /// True although something is wrong.
    pub(super) fn warned(kind: &'static str, (reason, message): Refusal) -> Self {
        Self {
            is_true: true,
            ..Self::failed(kind, (reason, message))
        }
    }

    fn write(&self, known: &Value, observed: Observed<'_>) -> Value {
        let status = if self.is_true { "True" } else { "False" };
        let known = known.as_array().into_iter().flatten();
        let mut known = known.filter(|known| known["type"] == self.kind);
        let since = known.next().filter(|known| known["status"] == status);
        let since = since.and_then(|known| known["lastTransitionTime"].as_str());
        let mut message = self.message.clone();
        let end = message.floor_char_boundary(MAX_MESSAGE_BYTES);
        message.truncate(end);
        json!({
            "type": self.kind,
            "status": status,
            "reason": self.reason,
            "message": message,
            "observedGeneration": observed.generation,
            "lastTransitionTime": since.unwrap_or(observed.now),
        })
    }
}

/// The conditions beside those of others. `known` is what the object has now: the time of a condition that
/// does not change stays.
pub(super) fn write(conditions: &[Condition], known: &Value, observed: Observed<'_>) -> Value {
    let own = conditions.iter().map(|it| it.write(known, observed));
    let is_own = |known: &&Value| conditions.iter().any(|own| known["type"] == own.kind);
    let others = known.as_array().into_iter().flatten();
    let others = others.filter(|known| !is_own(known)).cloned();
    own.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_changes_with_its_status_only() {
        let write = |known: &Value, refusal: Option<&Refusal>, now| {
            let conditions = [Condition::of("Accepted", "Accepted", refusal)];
            let observed = Observed { generation: 2, now };
            write(&conditions, known, observed)
        };
        let first = write(&Value::Null, None, "t1");
        assert_eq!(first[0]["lastTransitionTime"], "t1");
        assert_eq!(write(&first, None, "t2"), first);
        let refused = write(&first, Some(&unsupported("x")), "t3");
        assert_eq!(refused[0]["lastTransitionTime"], "t3");
        assert_eq!(refused[0]["status"], "False");
        let others = json!([{ "type": "Other" }, first[0]]);
        assert_eq!(write(&others, None, "t4")[1]["type"], "Other");
        let long = write(&first, Some(&unsupported("é".repeat(900))), "t5");
        assert_eq!(long[0]["message"].as_str().unwrap().len(), 1_024);
    }
}
