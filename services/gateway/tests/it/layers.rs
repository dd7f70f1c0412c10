//! The arrows of the architecture; `edge` alone knows pingora.

#[expect(clippy::too_many_lines, reason = "it is a table")]
#[test]
fn imports_point_downward() {
    quartet_testing::arrows::check(
        env!("CARGO_MANIFEST_DIR"),
        &[
            ["lib", "*", "pingora"],
            [
                "edge",
                "admin background state pages snapshot session policy upstream routing request listener config reply error fuzz cache tls metrics",
                "",
            ],
            [
                "admin",
                "state status cache config admin_access reloads snapshot explain policy session upstream request routing reply error",
                "pingora",
            ],
            [
                "background",
                "state config policy upstream metrics revocations reloads tls kubernetes",
                "pingora axum",
            ],
            [
                "state",
                "pages snapshot policy upstream config metrics listener refusals pulse revocations reloads tls kubernetes",
                "pingora axum",
            ],
            [
                "top",
                "status upstream config listener reloads response_body tls",
                "pingora axum",
            ],
            ["status", "reloads", "pingora axum"],
            ["reloads", "", "pingora axum"],
            [
                "pages",
                "snapshot document upstream config routing request response_body reply error",
                "pingora axum",
            ],
            ["explain", "snapshot policy routing request", "pingora axum"],
            [
                "snapshot",
                "admin_access api_keys policy session document cache upstream config routing metrics error revocations tls site",
                "pingora axum",
            ],
            [
                "kubernetes",
                "upstream config routing metrics tls",
                "pingora axum",
            ],
            [
                "policy",
                "session document cache config routing request response_body upstream metrics reply error fuzz revocations redis_client tls api_keys site",
                "pingora axum",
            ],
            [
                "session",
                "config request response_body metrics reply error revocations",
                "pingora axum",
            ],
            [
                "tls",
                "config redis_client metrics request response_body reply error",
                "pingora axum",
            ],
            ["redis_client", "config", "pingora axum"],
            ["admin_access", "config", "pingora axum"],
            ["metrics", "document upstream", "pingora axum"],
            ["document", "request fuzz", "pingora axum"],
            ["revocations", "config signed", "pingora axum"],
            ["api_keys", "config signed", "pingora axum"],
            ["signed", "response_body", "pingora axum"],
            ["upstream", "config request response_body", "pingora axum"],
            ["config", "cache site routing request", "pingora axum"],
            [
                "site",
                "cache routing request reply error fuzz",
                "pingora axum",
            ],
            ["cache", "request reply fuzz", "pingora axum"],
            ["routing", "request", "pingora axum"],
            ["request", "", "pingora axum"],
            ["response_body", "", "pingora axum"],
            ["listener", "", "pingora axum"],
            ["refusals", "", "pingora axum"],
            ["pulse", "", "pingora axum"],
            ["reply", "", "pingora axum"],
            ["error", "", "pingora axum"],
            ["fuzz", "", "pingora axum"],
        ],
    );
}
