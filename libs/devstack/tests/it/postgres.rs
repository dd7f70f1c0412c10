use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use quartet_devstack::{Options, Postgres, PostgresUrl, port};

use crate::support::{directory, eventually, runs};

fn count(postgres: &Postgres, url: &PostgresUrl) -> String {
    let rows = postgres.query(url, "SELECT count(*) FROM kept").unwrap();
    rows.trim().to_owned()
}

fn fill(postgres: &Postgres) {
    let sql = "CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2), (3)";
    postgres.query(postgres.admin_url(), sql).unwrap();
}

#[test]
fn a_second_start_keeps_the_data() {
    let directory = directory();
    let options = Options::kept(directory.path(), port::free().unwrap());
    let mut postgres = Postgres::find_or_start(&options).unwrap();
    fill(&postgres);
    let process = postgres.pid().unwrap();
    postgres.stop().unwrap();
    assert!(!runs(process));
    drop(postgres);

    let postgres = Postgres::find_or_start(&options).unwrap();
    assert_eq!(count(&postgres, postgres.admin_url()), "3");
}

#[test]
fn recovers_after_a_crash() {
    let directory = directory();
    let options = Options::kept(directory.path(), port::free().unwrap());
    let mut postgres = Postgres::find_or_start(&options).unwrap();
    fill(&postgres);
    postgres.kill().unwrap();
    postgres.start().unwrap();
    assert_eq!(count(&postgres, postgres.admin_url()), "3");
}

#[test]
fn a_stale_pid_file_is_removed() {
    let directory = directory();
    let options = Options::kept(directory.path(), port::free().unwrap());
    let mut postgres = Postgres::find_or_start(&options).unwrap();
    fill(&postgres);
    let pid_file = data_of(&options).join("postmaster.pid");
    let text = fs::read_to_string(&pid_file).unwrap();
    postgres.stop().unwrap();

    // The recorded id now belongs to a process that is not Postgres: this one.
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();
    postgres.start().unwrap();
    assert_eq!(count(&postgres, postgres.admin_url()), "3");
}

#[test]
fn a_leftover_server_is_stopped_first() {
    let directory = directory();
    let options = Options::kept(directory.path(), port::free().unwrap());
    let first = Postgres::find_or_start(&options).unwrap();
    fill(&first);
    let left_behind = first.pid().unwrap();

    let second = Postgres::find_or_start(&options).unwrap();
    assert_ne!(second.pid().unwrap(), left_behind);
    assert_eq!(count(&second, second.admin_url()), "3");
    drop(first);
}

/// Started by root, the server runs as another user, which cannot enter every directory.
#[test]
fn data_is_where_the_servers_user_can_reach_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = directory();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let options = Options::kept(directory.path().join("inner"), port::free().unwrap());
    let postgres = Postgres::find_or_start(&options).unwrap();
    fill(&postgres);
    drop(postgres);
    let postgres = Postgres::find_or_start(&options).unwrap();
    assert_eq!(count(&postgres, postgres.admin_url()), "3");
    drop(postgres);
    assert!(data_of(&options).starts_with("/var/tmp"));
    options.wipe().unwrap();
    let left: Vec<PathBuf> = options.data_directories();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_error_names_a_taken_port() {
    let directory = directory();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Postgres::find_or_start(&Options::kept(directory.path(), port)).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(&format!("port {port} is taken")),
        "{message}"
    );
    assert!(message.contains("Postgres needs it"), "{message}");
}

#[test]
fn data_of_another_version_is_refused() {
    let directory = directory();
    let options = Options::kept(directory.path(), port::free().unwrap());
    drop(Postgres::find_or_start(&options).unwrap());
    fs::write(data_of(&options).join("PG_VERSION"), "99\n").unwrap();
    let message = Postgres::find_or_start(&options).unwrap_err().to_string();
    assert!(message.contains("written by Postgres 99"), "{message}");
    assert!(message.contains("--fresh"), "{message}");
}

#[test]
fn a_throw_away_server_leaves_no_files() {
    let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
    let process = postgres.pid().unwrap();
    let directory = postgres.log().unwrap().parent().unwrap().to_path_buf();
    let setting = postgres.query(postgres.admin_url(), "SHOW fsync").unwrap();
    assert_eq!(setting.trim(), "off");
    drop(postgres);
    assert!(!runs(process));
    eventually("its directory is removed", || !directory.exists());
}

#[test]
fn a_standby_follows_its_primary() {
    let primary = Postgres::find_or_start(&Options::throw_away()).unwrap();
    fill(&primary);
    let standby = primary.standby().unwrap();
    eventually("the rows have arrived", || {
        count(&standby, standby.admin_url()) == "3"
    });
    let refused = standby.query(standby.admin_url(), "DROP TABLE kept");
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("read-only transaction"), "{refused}");
}

#[test]
fn a_named_server_is_used_and_not_stopped() {
    let own = Postgres::find_or_start(&Options::throw_away()).unwrap();
    let options = Options {
        named: Some(own.admin_url().clone()),
        ..Options::throw_away()
    };
    let named = Postgres::find_or_start(&options).unwrap();
    let url = named.ensure_database("some \"name\"").unwrap();
    named.ensure_database("some \"name\"").unwrap();
    assert!(!named.is_ours());
    drop(named);
    assert_eq!(own.query(own.admin_url(), "SELECT 1").unwrap().trim(), "1");
    assert_eq!(url.database(), "some \"name\"");
}

#[test]
fn debug_output_hides_the_password() {
    let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
    let revealed = postgres.admin_url().reveal();
    let password = revealed.split([':', '@']).nth(2).unwrap();
    assert_eq!(password.len(), 64);
    assert!(!format!("{:?}", postgres.admin_url()).contains(password));
}

/// The data directory of the server.
fn data_of(options: &Options) -> PathBuf {
    options
        .data_directories()
        .into_iter()
        .next()
        .unwrap()
        .join("data")
}
