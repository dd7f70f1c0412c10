//! The arrows of the architecture; `edge` alone knows pingora.

#[test]
fn imports_point_downward() {
    quartet_testing::arrows::check(
        env!("CARGO_MANIFEST_DIR"),
        &[
            ["lib", "*", "pingora"],
            [
                "edge",
                "admin background state pages snapshot policy upstream routing request listener config reply error fuzz",
                "",
            ],
            [
                "admin",
                "state config upstream routing reply error",
                "pingora",
            ],
            [
                "background",
                "state config upstream metrics",
                "pingora axum",
            ],
            [
                "state",
                "pages snapshot policy upstream config metrics listener refusals pulse",
                "pingora axum",
            ],
            [
                "pages",
                "snapshot upstream config routing reply error",
                "pingora axum",
            ],
            [
                "snapshot",
                "policy upstream config routing metrics",
                "pingora axum",
            ],
            [
                "policy",
                "config routing request metrics reply error",
                "pingora axum",
            ],
            ["upstream", "config", "pingora axum"],
            ["config", "routing request", "pingora axum"],
            ["routing", "request", "pingora axum"],
            ["request", "", "pingora axum"],
            ["metrics", "", "pingora axum"],
            ["listener", "", "pingora axum"],
            ["refusals", "", "pingora axum"],
            ["pulse", "", "pingora axum"],
            ["reply", "", "pingora axum"],
            ["error", "", "pingora axum"],
            ["fuzz", "", "pingora axum"],
        ],
    );
}
