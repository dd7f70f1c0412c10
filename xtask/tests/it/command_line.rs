use std::process::{Command, Output};

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn help_lists_every_command() {
    for arguments in [&["--help"][..], &["help"], &["up", "--help"]] {
        let output = xtask(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success());
        for command in [
            "up", "test", "e2e", "gen", "check", "bench", "image", "affected", "contract",
            "release", "sbom", "db",
        ] {
            assert!(
                text.contains(&format!("\n  {command} ")),
                "{command}: {text}"
            );
        }
    }
}

#[test]
fn what_is_unknown_is_named() {
    for (arguments, named) in [
        (&["upp"][..], "`upp`"),
        (&["up", "--fersh"], "`--fersh`"),
        (&["gen", "all"], "`all`"),
        (&["check", "--fix"], "`--fix`"),
    ] {
        let output = xtask(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text.starts_with("error: ") && text.contains(named),
            "{text}"
        );
    }
}

#[test]
fn no_command_is_an_error_of_usage() {
    assert_eq!(xtask(&[]).status.code(), Some(2));
}
