//! The arrows of the architecture: api -> domain -> store, and never back.

use quartet_testing::arrows;

#[test]
fn imports_point_downward() {
    arrows::check(
        env!("CARGO_MANIFEST_DIR"),
        &[
            ["lib", "*", ""],
            [
                "api",
                "auth config domain error problems state store",
                "sqlx",
            ],
            ["auth", "state domain error", "sqlx"],
            ["state", "config domain metrics", ""],
            ["jobs", "domain error store", "axum sqlx::query"],
            [
                "domain",
                "config error metrics store",
                "axum http sqlx::query",
            ],
            ["store", "", "axum http"],
            ["error", "problems", ""],
            ["metrics", "", "axum"],
            ["problems", "", ""],
            ["config", "", "axum sqlx"],
        ],
    );
}

#[test]
fn statements_are_named() {
    arrows::check_statements(env!("CARGO_MANIFEST_DIR"), "store");
}
