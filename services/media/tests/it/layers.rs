//! The arrows of the architecture: api -> domain -> store, and never back.

use quartet_testing::arrows;

#[test]
fn imports_point_downward() {
    arrows::check(
        env!("CARGO_MANIFEST_DIR"),
        &[
            // room      may use                                      must not name
            ["lib", "*", ""],
            ["jobs", "domain error state store", "axum"],
            [
                "api",
                "auth config domain error problems state store",
                "sqlx PgConnection aws_sdk_s3",
            ],
            ["auth", "state", "sqlx"],
            ["state", "config domain", ""],
            [
                "domain",
                "config error metrics store",
                "axum http query query_as query_scalar aws_sdk_s3",
            ],
            ["error", "problems store", ""],
            [
                "store",
                "config",
                "axum http AssertSqlSafe raw_sql QueryBuilder",
            ],
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
