//! The arrows of the architecture.

use quartet_testing::arrows;

#[test]
fn imports_point_downward() {
    arrows::check(
        env!("CARGO_MANIFEST_DIR"),
        &[
            ["lib", "*", ""],
            ["command", "graphql", "axum sqlx"],
            ["jobs", "*", "axum http query query_as query_scalar"],
            [
                "api",
                "graphql graphql::transport state domain domain::context domain::values error problems web",
                "sqlx",
            ],
            ["graphql", "graphql::transport graphql::schema", "sqlx"],
            [
                "graphql::transport",
                "graphql::schema graphql::guard graphql::budget graphql::usages graphql::variables graphql::explorer graphql::error auth state config problems",
                "sqlx",
            ],
            [
                "graphql::schema",
                "graphql::error graphql::budget domain domain::context domain::values config error store",
                "sqlx axum http",
            ],
            [
                "graphql::guard",
                "graphql::variables config problems",
                "sqlx axum http",
            ],
            ["graphql::variables", "", "sqlx axum http"],
            ["graphql::usages", "", "sqlx axum http"],
            [
                "graphql::budget",
                "config problems",
                "sqlx axum async_graphql",
            ],
            ["graphql::explorer", "", "sqlx"],
            ["graphql::error", "error problems", "sqlx axum"],
            ["auth", "state", "sqlx axum"],
            ["state", "domain domain::context config", ""],
            [
                "domain",
                "domain::context domain::replica domain::values config error store",
                "axum http query query_as query_scalar",
            ],
            [
                "domain::context",
                "domain::replica domain::values config metrics",
                "axum http query query_as query_scalar",
            ],
            [
                "domain::replica",
                "domain::values config error metrics store wal",
                "axum http query query_as query_scalar",
            ],
            [
                "domain::values",
                "store",
                "axum http query query_as query_scalar",
            ],
            ["store", "", "axum http AssertSqlSafe raw_sql"],
            ["web", "problems", "sqlx"],
            ["error", "problems wal", "axum"],
            ["problems", "", ""],
            ["config", "", ""],
            ["metrics", "", ""],
            ["wal", "", ""],
        ],
    );
}

#[test]
fn statements_are_named() {
    arrows::check_statements(env!("CARGO_MANIFEST_DIR"), "store");
}
