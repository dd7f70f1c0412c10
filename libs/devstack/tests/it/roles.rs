use quartet_devstack::roles::{self, Passwords, SERVICES};
use quartet_devstack::{Options, Postgres, PostgresUrl};

struct Database {
    postgres: Postgres,
    url: PostgresUrl,
    passwords: Passwords,
}

impl Database {
    fn new() -> Self {
        let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
        let url = postgres.create_database("quartet").unwrap();
        let passwords = Passwords::random().unwrap();
        roles::apply(&postgres, &url, &passwords).unwrap();
        Self {
            postgres,
            url,
            passwords,
        }
    }

    fn as_role(&self, service: &str, sql: &str) -> Result<String, String> {
        let url = roles::url(&self.url, service, &self.passwords).unwrap();
        self.postgres
            .query(&url, sql)
            .map(|rows| rows.trim().to_owned())
            .map_err(|error| error.to_string())
    }
}

#[test]
fn each_role_is_refused_in_the_other_schemas() {
    let database = Database::new();
    for service in SERVICES {
        let sql = format!("CREATE TABLE {service}.things (id int); INSERT INTO things VALUES (1)");
        database.as_role(service, &sql).unwrap();
    }
    for service in SERVICES {
        assert_eq!(
            database
                .as_role(service, "SELECT count(*) FROM things")
                .unwrap(),
            "1"
        );
        for other in SERVICES.iter().filter(|&&other| other != service) {
            for sql in [
                format!("SELECT * FROM {other}.things"),
                format!("INSERT INTO {other}.things VALUES (2)"),
                format!("CREATE TABLE {other}.mine (id int)"),
                format!("DROP TABLE {other}.things"),
                format!("SET ROLE quartet_{other}"),
                format!("ALTER ROLE quartet_{other} PASSWORD 'x'"),
                format!("GRANT USAGE ON SCHEMA {other} TO quartet_{service}"),
            ] {
                assert_refused(&database, service, &sql);
            }
        }
    }
}

#[test]
fn a_role_can_create_nothing_outside_its_schema() {
    let database = Database::new();
    for service in SERVICES {
        for sql in [
            "CREATE TABLE public.mine (id int)",
            "CREATE SCHEMA mine",
            "CREATE TEMPORARY TABLE mine (id int)",
            "CREATE DATABASE mine",
            "CREATE ROLE mine",
            "SET ROLE postgres",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT rolpassword FROM pg_authid",
        ] {
            assert_refused(&database, service, sql);
        }
    }
}

#[test]
fn running_it_again_changes_only_the_passwords() {
    let mut database = Database::new();
    database
        .as_role("core", "CREATE TABLE kept (id int)")
        .unwrap();
    let before = database.passwords.clone();

    database.passwords = Passwords::random().unwrap();
    roles::apply(&database.postgres, &database.url, &database.passwords).unwrap();
    database.as_role("core", "SELECT * FROM kept").unwrap();

    database.passwords = before;
    let refused = database.as_role("core", "SELECT 1").unwrap_err();
    assert!(
        refused.contains("password authentication failed"),
        "{refused}"
    );
}

/// As in managed Postgres: the administrator may create roles and owns the
/// database, but is not a superuser.
#[test]
fn roles_can_be_applied_without_superuser() {
    let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
    let sql = "CREATE ROLE manager LOGIN CREATEROLE CREATEDB PASSWORD 'manager'";
    postgres.query(postgres.admin_url(), sql).unwrap();
    let manager = postgres.admin_url().with_user("manager", "manager");
    postgres.query(&manager, "CREATE DATABASE managed").unwrap();
    let url = manager.with_database("managed");
    let passwords = Passwords::random().unwrap();
    roles::apply(&postgres, &url, &passwords).unwrap();
    roles::apply(&postgres, &url, &passwords).unwrap();

    let core = roles::url(&url, "core", &passwords).unwrap();
    postgres
        .query(&core, "CREATE TABLE core.things (id int)")
        .unwrap();
    let links = roles::url(&url, "links", &passwords).unwrap();
    let refused = postgres
        .query(&links, "SELECT * FROM core.things")
        .unwrap_err();
    assert!(
        refused.to_string().contains("permission denied"),
        "{refused}"
    );
}

#[test]
fn a_missing_password_is_an_error_and_creates_nothing() {
    let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
    let file = quartet_devstack::workspace::root().join("db/roles.sql");
    let environment = [
        ("QUARTET_CORE_PASSWORD", "x"),
        ("QUARTET_MEDIA_PASSWORD", ""),
    ];
    let error = postgres
        .run_file(postgres.admin_url(), &file, true, &environment)
        .unwrap_err();
    assert!(
        error.to_string().contains("set QUARTET_CORE_PASSWORD"),
        "{error}"
    );
    let sql = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'quartet%'";
    assert_eq!(
        postgres.query(postgres.admin_url(), sql).unwrap().trim(),
        "0"
    );
}

fn assert_refused(database: &Database, service: &str, sql: &str) {
    let refused = database.as_role(service, sql).expect_err(sql);
    let expected = ["permission denied", "must be", "must have"];
    assert!(
        expected.iter().any(|text| refused.contains(text)),
        "{service}: {sql}: {refused}"
    );
}
