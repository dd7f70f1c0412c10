//! The arrows of the architecture: api -> domain -> store, and never back.

use quartet_testing::arrows;

#[test]
fn imports_point_downward() {
    arrows::check(
        env!("CARGO_MANIFEST_DIR"),
        &[
            // room      may use                                      must not name
            ["lib", "*", ""],
            ["command", "config domain", "axum sqlx"],
            ["jobs", "domain error state store", "axum"],
            [
                "api",
                "config domain error problems state store",
                "sqlx PgConnection",
            ],
            ["auth", "domain error state store", "sqlx"],
            ["state", "config domain", ""],
            [
                "domain",
                "config error metrics store",
                "axum http query query_as query_scalar",
            ],
            ["error", "problems", ""],
            ["store", "", "axum http AssertSqlSafe raw_sql QueryBuilder"],
            ["config", "", "axum sqlx"],
            ["metrics", "", "axum sqlx"],
            ["problems", "", "axum sqlx"],
        ],
    );
}

#[test]
fn statements_are_named() {
    arrows::check_statements(env!("CARGO_MANIFEST_DIR"), "store");
}
