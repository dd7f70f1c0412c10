//! The arrows inside the shared crates.

use quartet_testing::arrows;

/// Crates with more than one room, each with its table.
const TABLES: &[(&str, &[[&str; 3]])] = &[
    (
        "auth",
        &[
            ["lib", "*", ""],
            ["extract", "actor jwt", "sqlx"],
            ["actor", "actor::permission jwt", "axum sqlx"],
            ["actor::permission", "", "axum sqlx"],
            ["jwt", "", "axum sqlx"],
            ["opaque", "", "axum sqlx"],
            ["signature", "", "axum sqlx"],
            ["master_key", "", "axum sqlx"],
        ],
    ),
    (
        "common",
        &[
            ["lib", "*", ""],
            ["checks", "problem", ""],
            ["config", "net wording", ""],
            ["openapi", "cli", ""],
            ["cli", "causes", ""],
            ["page", "problem", ""],
            ["request_id", "clock", ""],
            ["clock", "", ""],
            ["ids", "", ""],
            ["net", "", ""],
            ["principal", "", ""],
            ["text", "", ""],
            ["wording", "", ""],
            ["problem", "causes", "sqlx axum"],
            ["causes", "", ""],
        ],
    ),
    (
        "db",
        &[
            ["lib", "*", ""],
            ["ids", "__private", ""],
            [
                "reads",
                "connections databases error statement transaction",
                "",
            ],
            ["rounds", "connections", ""],
            ["databases", "migrations pool", ""],
            ["migrations", "connections pool", ""],
            ["pool", "connections unanswered", ""],
            ["statement", "connections transaction unanswered", ""],
            ["connections", "session transaction unanswered", ""],
            ["transaction", "session unanswered", ""],
            ["session", "unanswered", ""],
            ["unanswered", "", ""],
            ["error", "", ""],
            ["__private", "", ""],
        ],
    ),
    (
        "events",
        &[
            ["lib", "*", ""],
            ["erasure", "event inbox", "axum"],
            [
                "outbox",
                "backlog dead_letters event inbox nats settings",
                "axum",
            ],
            ["inbox", "backlog dead_letters event nats", ""],
            ["settings", "nats", "axum sqlx"],
            ["nats", "", "axum sqlx"],
            ["backlog", "", "axum sqlx"],
            ["dead_letters", "", "axum"],
            ["event", "", "axum sqlx"],
        ],
    ),
    (
        "http",
        &[
            ["lib", "*", ""],
            ["tls", "serve", ""],
            ["serve", "front health layers", ""],
            ["front", "layers", ""],
            ["health", "extract", ""],
            ["extract", "etags layers members", ""],
            ["members", "", ""],
            ["etags", "", ""],
            ["layers", "drain", ""],
            ["drain", "", ""],
        ],
    ),
    (
        "jobs",
        &[
            ["lib", "*", ""],
            ["runner", "job metrics progress", ""],
            ["job", "progress", ""],
            ["progress", "metrics", ""],
            ["metrics", "", ""],
        ],
    ),
    (
        "openapi",
        &[
            ["lib", "*", ""],
            ["problems", "headers origin", ""],
            ["headers", "", ""],
            ["shape", "", ""],
            ["examples", "", ""],
            ["origin", "", ""],
        ],
    ),
    (
        "service",
        &[
            ["lib", "*", ""],
            ["command", "base dead_letters replica secrets service", ""],
            ["dead_letters", "service", ""],
            ["secrets", "service", ""],
            ["replica", "base service", ""],
            ["assembly", "base documents service", ""],
            ["documents", "service", ""],
            ["service", "base", ""],
            ["base", "idempotency", ""],
            ["idempotency", "detached", ""],
            ["detached", "", ""],
        ],
    ),
    (
        "testing",
        &[
            ["lib", "*", ""],
            ["arrows", "", ""],
            ["proxy", "", ""],
            ["responses", "", "sqlx"],
            ["server", "", ""],
            ["watch", "contract", ""],
            ["complete", "contract", ""],
            ["contract", "closed", ""],
            ["closed", "", ""],
            ["pooler", "database", ""],
            ["dead_letters", "database", "sqlx"],
            ["user_deleted", "database nats", ""],
            ["clockwork", "", ""],
            ["nats", "", ""],
            ["redis", "", ""],
            ["database", "", ""],
            ["issuer", "", ""],
            ["child", "", ""],
            ["bounds", "", ""],
            ["metrics", "", ""],
        ],
    ),
    (
        "worker",
        &[
            ["lib", "*", ""],
            ["worker", "driver handler metrics store task", "axum"],
            ["handler", "metrics store task", "axum"],
            ["driver", "", "axum"],
            ["store", "metrics task", "axum"],
            ["dead_letters", "", "axum"],
            ["task", "", "axum sqlx"],
            ["metrics", "", "axum"],
            ["schema", "", "axum"],
        ],
    ),
    (
        "telemetry",
        &[
            ["lib", "*", ""],
            ["init", "level log otlp span", "axum sqlx"],
            ["level", "log", "axum sqlx"],
            ["traffic", "metrics", "axum sqlx"],
            ["metrics", "log", "axum sqlx"],
            [
                "log",
                "panic_message request run trace_context",
                "axum sqlx",
            ],
            ["request", "trace_context", "axum sqlx"],
            ["run", "", "axum sqlx"],
            ["span", "trace_context", "axum sqlx"],
            ["otlp", "", "axum sqlx"],
            ["panic_message", "", "axum sqlx"],
            ["trace_context", "", "axum sqlx"],
        ],
    ),
];

#[test]
fn imports_point_downward() {
    for (library, table) in TABLES {
        let manifest_dir = format!("{}/../{library}", env!("CARGO_MANIFEST_DIR"));
        arrows::check(&manifest_dir, table);
    }
}

#[test]
fn statements_are_named() {
    for (library, room) in [
        ("service", "idempotency"),
        ("events", "outbox"),
        ("events", "inbox"),
        ("events", "erasure"),
        ("events", "dead_letters"),
        ("worker", "store"),
        ("worker", "dead_letters"),
        ("worker", "schema"),
    ] {
        let manifest_dir = format!("{}/../{library}", env!("CARGO_MANIFEST_DIR"));
        arrows::check_statements(&manifest_dir, room);
    }
}
