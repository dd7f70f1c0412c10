//! What the log knows about the work beside requests that a task does.

tokio::task_local! {
    /// Set around each run of a job and of a durable task.
    pub static RUN: Run;
}

/// A run, by the name of what it is a run of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Of a job of this process.
    Job(&'static str),
    /// Of a durable task.
    Task(&'static str),
}

impl Run {
    /// The name and value of the field in log lines.
    pub(crate) fn field(self) -> (&'static str, &'static str) {
        match self {
            Self::Job(name) => ("job", name),
            Self::Task(name) => ("task", name),
        }
    }
}

/// `None` outside jobs and tasks, and in what they spawn.
pub(crate) fn current_run() -> Option<Run> {
    RUN.try_with(|run| *run).ok()
}
