//! Installs Postgres when it is not on the machine, without user interaction.

use std::path::Path;
use std::process::{Command, Stdio};

use super::download;
use super::programs::{self, OLDEST_MAJOR, Programs, on_path};
use crate::error::{Error, Result};
use crate::progress::Say;
use crate::user::User;

const BREW_FORMULA: &str = "postgresql@17";

/// Debian's package starts a server when it is installed, unless a file forbids
/// it. The file is removed afterwards, to leave the machine's defaults alone.
const APT_SCRIPT: &str = r"
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends postgresql-common
conf=/etc/postgresql-common/createcluster.d/quartet.conf
mkdir -p ${conf%/*}
trap 'rm -f $conf; rmdir ${conf%/*} 2>/dev/null || true' EXIT
echo 'create_main_cluster = false' > $conf
apt-get install -y --no-install-recommends postgresql
";

/// Installs by the package manager where that needs no password; otherwise downloads.
pub(crate) fn install(say: Say, user: Option<&User>) -> Result<Programs> {
    let mut tried = Vec::new();
    let attempts: [(&str, Attempt); 3] = [
        ("apt-get", by_apt),
        ("brew", by_brew),
        ("download", download::download),
    ];
    for (name, attempt) in attempts {
        match attempt(say) {
            Ok(()) => match programs::find_all(user).into_iter().next() {
                Some(found) => return Ok(found),
                None => tried.push(format!(
                    "  {name}: succeeded, but installed no usable server"
                )),
            },
            Err(reason) => tried.push(format!("  {name}: {reason}")),
        }
    }
    Err(Error::NoPostgres {
        tried: tried.join("\n"),
    })
}

type Attempt = fn(Say) -> std::result::Result<(), String>;

fn by_apt(say: Say) -> std::result::Result<(), String> {
    require_program("apt-get")?;
    let shell = root_shell().ok_or("needs root or sudo without a password")?;
    if apt_candidate().is_none() {
        say("Postgres: not found; updating the package lists (apt-get update)");
        run(&shell, "apt-get update")?;
    }
    match apt_candidate() {
        Some(major) if major >= OLDEST_MAJOR => {}
        Some(major) => return Err(format!("offers version {major}, too old")),
        None => return Err("offers no package postgresql".to_owned()),
    }
    say("Postgres: not found; installing the package postgresql (apt-get install)");
    run(&shell, APT_SCRIPT).or_else(|_| {
        // The package lists may be older than the mirror.
        run(&shell, "apt-get update")?;
        run(&shell, APT_SCRIPT)
    })
}

fn by_brew(say: Say) -> std::result::Result<(), String> {
    require_program("brew")?;
    say(&format!("Postgres: not found; brew install {BREW_FORMULA}"));
    run(
        &["/bin/sh".to_owned(), "-c".to_owned()],
        &format!("HOMEBREW_NO_AUTO_UPDATE=1 brew install {BREW_FORMULA}"),
    )
}

fn require_program(name: &str) -> std::result::Result<(), String> {
    let found = on_path()
        .iter()
        .any(|directory| directory.join(name).is_file());
    found.then_some(()).ok_or_else(|| "not found".to_owned())
}

/// The command that runs a script as root, if that is possible without a password.
fn root_shell() -> Option<Vec<String>> {
    let shell = ["/bin/sh", "-c"].map(str::to_owned);
    if rustix::process::geteuid().is_root() {
        return Some(shell.to_vec());
    }
    let without_password = Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    without_password.then(|| [&["sudo".to_owned(), "-n".to_owned()], &shell[..]].concat())
}

/// The major version that apt would install.
fn apt_candidate() -> Option<u32> {
    let output = Command::new("apt-cache")
        .args(["policy", "postgresql"])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    candidate_in(&String::from_utf8_lossy(&output.stdout))
}

fn candidate_in(policy: &str) -> Option<u32> {
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))?
        .trim();
    version.split(['+', '.', '-']).next()?.parse().ok()
}

fn run(shell: &[String], script: &str) -> std::result::Result<(), String> {
    let (program, arguments) = shell.split_first().ok_or("no shell")?;
    let output = Command::new(program)
        .args(arguments)
        .arg(script)
        .current_dir(Path::new("/"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(5)..].join("\n    ");
    Err(format!("failed ({})\n    {last}", output.status))
}

#[cfg(test)]
mod tests {
    use super::candidate_in;

    #[test]
    fn reads_what_apt_offers() {
        let policy = "postgresql:\n  Installed: (none)\n  Candidate: 15+248\n  Version table:\n";
        assert_eq!(candidate_in(policy), Some(15));
        assert_eq!(candidate_in("postgresql:\n  Candidate: 16.9-1\n"), Some(16));
        assert_eq!(candidate_in("postgresql:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_in(""), None);
    }
}
