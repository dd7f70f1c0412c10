use std::thread::sleep;
use std::time::Duration;

use quartet_devstack::roles::{self, Passwords, SERVICES};
use quartet_devstack::{Postgres, signals};

use crate::up::{POSTGRES_PORT, data_root, kept_postgres, lock};

const POLL: Duration = Duration::from_millis(100);

/// Runs only the development Postgres, until Ctrl-C.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = data_root();
    let lock = lock::take(&root)?;
    let mut postgres = Postgres::find_or_start(&kept_postgres(&root, POSTGRES_PORT, &lock))?;
    let database = postgres.ensure_database("quartet")?;
    let secrets = root.join("secrets");
    roles::apply(&postgres, &database, &Passwords::load_or_create(&secrets)?)?;
    println!("Postgres is ready. To connect as the administrator, a service or its owner:");
    let secrets = secrets.display();
    let roles = SERVICES.map(|service| {
        [("", ""), ("_owner", "-owner")].map(|(user, file)| {
            (
                format!("quartet_{service}{user}"),
                format!("-{service}{file}"),
            )
        })
    });
    let administrator = [("postgres".to_owned(), String::new())];
    for (user, file) in administrator.into_iter().chain(roles.into_iter().flatten()) {
        // The password is read from its file, so that none is shown.
        let login = format!("{user}:$(cat {secrets}/postgres{file})");
        println!("  psql \"postgres://{login}@127.0.0.1:{POSTGRES_PORT}/quartet\"");
    }
    println!("Ctrl-C stops it.");
    while !signals::received() {
        postgres.check()?;
        sleep(POLL);
    }
    postgres.stop()?;
    println!("Stopped");
    Ok(())
}
