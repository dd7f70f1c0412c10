use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use quartet_devstack::roles::{self, Passwords};
use quartet_devstack::{Options, Postgres};

use crate::signals::Signals;
use crate::up::{Lock, POSTGRES_PORT, data_root};

const POLL: Duration = Duration::from_millis(100);

/// Runs only the development Postgres, until Ctrl-C.
pub(crate) fn run(signals: &Signals) -> anyhow::Result<ExitCode> {
    let root = data_root();
    let lock = Lock::take(&root, signals)?;
    let options = Options::kept(&root, POSTGRES_PORT)
        .saying(|line| println!("{line}"))
        .cancelled_by(signals.cancel())
        .holding(lock.file());
    let mut postgres = Postgres::find_or_start(&options)?;
    let database = postgres.ensure_database("quartet")?;
    let secrets = root.join("secrets");
    roles::apply(&postgres, &database, &Passwords::load_or_create(&secrets)?)?;
    print_commands(&secrets.display().to_string());
    while !signals.received() {
        if let Some(error) = postgres.failure()? {
            return Err(error.into());
        }
        sleep(POLL);
    }
    postgres.stop()?;
    println!("Stopped");
    Ok(ExitCode::SUCCESS)
}

/// Commands that read the passwords from their files, so that none is shown.
fn print_commands(secrets: &str) {
    println!("Postgres is ready. To connect as the administrator, a service or its owner:");
    let services = roles::SERVICES.into_iter().flat_map(|service| {
        ["", "_owner"].map(|role| {
            let file = format!("postgres-{service}{}", role.replace('_', "-"));
            (format!("quartet_{service}{role}"), file)
        })
    });
    let administrator = ("postgres".to_owned(), "postgres".to_owned());
    for (user, file) in [administrator].into_iter().chain(services) {
        println!(
            "  psql \"postgres://{user}:$(cat {secrets}/{file})@127.0.0.1:{POSTGRES_PORT}/quartet\""
        );
    }
    println!("Ctrl-C stops it.");
}
