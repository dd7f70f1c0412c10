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
        self.run(&url, sql)
    }

    fn as_owner(&self, service: &str, sql: &str) -> Result<String, String> {
        let url = roles::owner_url(&self.url, service, &self.passwords).unwrap();
        self.run(&url, sql)
    }

    fn as_admin(&self, sql: &str) -> Result<String, String> {
        self.run(&self.url, sql)
    }

    fn run(&self, url: &PostgresUrl, sql: &str) -> Result<String, String> {
        self.postgres
            .query(url, sql)
            .map(|rows| rows.trim().to_owned())
            .map_err(|error| error.to_string())
    }
}

#[test]
fn each_role_is_refused_in_the_other_schemas() {
    let database = Database::new();
    for service in SERVICES {
        let sql = format!("CREATE TABLE {service}.things (id int)");
        database.as_owner(service, &sql).unwrap();
        database
            .as_role(service, "INSERT INTO things VALUES (1)")
            .unwrap();
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
                format!("SET ROLE quartet_{service}_owner"),
                format!("ALTER ROLE quartet_{other} PASSWORD 'x'"),
                format!("GRANT USAGE ON SCHEMA {other} TO quartet_{service}"),
            ] {
                assert_refused(&database, service, &sql);
            }
        }
    }
}

#[test]
fn an_owner_is_refused_in_the_other_schemas() {
    let database = Database::new();
    database
        .as_owner("core", "CREATE TABLE core.things (id int)")
        .unwrap();
    for sql in [
        "SELECT * FROM core.things",
        "CREATE TABLE core.mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "SET ROLE quartet_core",
    ] {
        let refused = database.as_owner("links", sql).unwrap_err();
        assert!(refused.contains("permission denied"), "{sql}: {refused}");
    }
}

/// What the owner creates is usable at once, and only by the role of the same service.
#[test]
fn new_objects_have_their_grants() {
    let database = Database::new();
    let create = "CREATE TABLE things (id bigint GENERATED ALWAYS AS IDENTITY, n int);
        CREATE SEQUENCE numbers;
        CREATE TYPE color AS ENUM ('red');
        CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';";
    database.as_owner("core", create).unwrap();
    for sql in [
        "INSERT INTO things (n) VALUES (1)",
        "UPDATE things SET n = 2",
        "SELECT n, nextval('numbers'), 'red'::color, twice(n) FROM things",
        "DELETE FROM things",
    ] {
        database.as_role("core", sql).unwrap();
    }
    for sql in [
        "TRUNCATE things",
        "DROP TABLE things",
        "ALTER TABLE things ADD COLUMN m int",
        "CREATE TABLE mine (id int)",
        "CREATE TRIGGER t BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION twice()",
    ] {
        let refused = database.as_role("core", sql).expect_err(sql);
        let expected = ["permission denied", "must be owner", "no privileges"];
        assert!(
            expected.iter().any(|text| refused.contains(text)),
            "{sql}: {refused}"
        );
    }
    let public = "SELECT count(*) FROM pg_proc AS p, aclexplode(p.proacl) AS a
        WHERE p.proname = 'twice' AND a.grantee = 0";
    assert_eq!(database.as_admin(public).unwrap(), "0");
}

/// A migration revokes what a table that only grows must not allow; neither another run of
/// `db/roles.sql` nor the role gives it back.
#[test]
fn a_table_that_only_grows_stays_so() {
    let database = Database::new();
    let create = "CREATE TABLE audit (id int); REVOKE UPDATE, DELETE ON audit FROM quartet_core";
    database.as_owner("core", create).unwrap();
    roles::apply(&database.postgres, &database.url, &database.passwords).unwrap();
    database
        .as_role("core", "INSERT INTO audit VALUES (1)")
        .unwrap();
    for sql in [
        "UPDATE audit SET id = 2",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "GRANT ALL ON audit TO quartet_core; DELETE FROM audit",
    ] {
        assert_refused(&database, "core", sql);
    }
    assert_eq!(
        database.as_role("core", "SELECT id FROM audit").unwrap(),
        "1"
    );
}

/// Rights that a neighbor has by PUBLIC: to connect, to use the schema public, and to create
/// temporary tables.
const NEIGHBOR_WORKS: &str = "CREATE TEMPORARY TABLE t (id int); SELECT id FROM public.goods";

#[test]
fn a_neighbors_database_keeps_its_rights() {
    let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
    let shop = postgres.create_database("shop").unwrap();
    for sql in [
        "CREATE ROLE shop LOGIN PASSWORD 'shop'; CREATE TABLE goods (id int);
         GRANT SELECT ON goods TO shop",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO shop",
    ] {
        postgres.query(&shop, sql).unwrap();
    }
    let rights = "SELECT datname, datacl FROM pg_database WHERE datname <> 'quartet' ORDER BY 1;
        SELECT nspname, nspacl FROM pg_namespace ORDER BY 1; SELECT * FROM pg_default_acl";
    let before = postgres.query(&shop, rights).unwrap();
    let ours = postgres.create_database("quartet").unwrap();
    roles::apply(&postgres, &ours, &Passwords::random().unwrap()).unwrap();
    assert_eq!(postgres.query(&shop, rights).unwrap(), before);
    let neighbor = shop.with_user("shop", "shop");
    postgres.query(&neighbor, NEIGHBOR_WORKS).unwrap();
    let refused = postgres
        .query(&neighbor.with_database("quartet"), "SELECT 1")
        .unwrap_err();
    assert!(
        refused.to_string().contains("permission denied"),
        "{refused}"
    );
}

#[test]
fn a_neighbor_in_the_same_database_keeps_its_rights() {
    let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
    let ours = postgres.create_database("quartet").unwrap();
    let sql = "CREATE ROLE shop LOGIN PASSWORD 'shop'; CREATE TABLE goods (id int);
        GRANT SELECT ON goods TO shop";
    postgres.query(&ours, sql).unwrap();
    let passwords = Passwords::random().unwrap();
    roles::apply(&postgres, &ours, &passwords).unwrap();
    roles::apply(&postgres, &ours, &passwords).unwrap();
    let neighbor = ours.with_user("shop", "shop");
    postgres.query(&neighbor, NEIGHBOR_WORKS).unwrap();
    let refused = postgres
        .query(&neighbor, "SELECT 1 FROM core._sqlx_migrations")
        .unwrap_err();
    assert!(
        refused.to_string().contains("permission denied"),
        "{refused}"
    );
}

#[test]
fn a_schema_of_another_owner_is_not_taken_over() {
    let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
    let ours = postgres.create_database("quartet").unwrap();
    postgres.query(&ours, "CREATE SCHEMA media").unwrap();
    let refused = roles::apply(&postgres, &ours, &Passwords::random().unwrap()).unwrap_err();
    assert!(refused.to_string().contains("another owner"), "{refused}");
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
        .as_owner("core", "CREATE TABLE kept (id int)")
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

    let owner = roles::owner_url(&url, "core", &passwords).unwrap();
    postgres
        .query(&owner, "CREATE TABLE core.things (id int)")
        .unwrap();
    let core = roles::url(&url, "core", &passwords).unwrap();
    postgres
        .query(&core, "INSERT INTO core.things VALUES (1)")
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
        ("QUARTET_CORE_PASSWORD".to_owned(), "x"),
        ("QUARTET_MEDIA_PASSWORD".to_owned(), ""),
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
