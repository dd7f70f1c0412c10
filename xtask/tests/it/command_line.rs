use std::process::{Command, Output};

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .output()
        .unwrap()
}

fn help(arguments: &[&str]) -> String {
    let output = xtask(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_lists_every_command() {
    for arguments in [&["--help"][..], &["help"], &["-h"]] {
        let text = help(arguments);
        for command in [
            "up", "test", "e2e", "gen", "check", "bench", "live", "image", "api-diff", "affected",
            "contract", "release", "sbom", "db",
        ] {
            let line = format!("\n  {command} ");
            assert!(text.contains(&line), "{command}: {text}");
        }
    }
}

#[test]
fn help_of_a_command_explains_its_options() {
    for (arguments, expected) in [
        (
            &["up", "--help"][..],
            &["--fresh", "--release", "DATABASE_URL"][..],
        ),
        (
            &["help", "test"],
            &["--clients", "--image-tag <TAG>", "--seconds", "[ARGUMENTS]"],
        ),
        (&["check", "--help"], &["workflows", "words", "generated"]),
        (
            &["image", "--help"],
            &["[BINARIES]", "quartet-core", "dist, release, dev"],
        ),
        (&["contract", "--help"], &["--previous <REF>", "baseline"]),
    ] {
        let text = help(arguments);
        for word in expected {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn unknown_words_are_usage_errors() {
    for (arguments, named) in [
        (&["upp"][..], "'upp'"),
        (&["up", "--fersh"], "'--fersh'"),
        (&["gen", "all"], "'all'"),
        (&["check", "--fix"], "'--fix'"),
        (&["live", "npm"], "'npm'"),
        (&["live", "--no-build"], "<COMMAND>"),
        (
            &["live", "--set", "core=3", "--", "npm"],
            "SERVICE.KEY=VALUE",
        ),
        (
            &["live", "--set", "cor.a=3", "--", "npm"],
            "none of gateway, core",
        ),
        (&["image", "quartet-cor"], "'quartet-cor'"),
        (&["image", "--profile", "fast"], "'fast'"),
        (&["image", "--tag"], "'--tag <TAG>'"),
        (&["contract"], "<SERVICE>"),
        (&["contract", "core", "--step", "all"], "'all'"),
        (&["contract", "core", "links"], "'links'"),
        (&["contract", "core", "--previous"], "'--previous <REF>'"),
        (&["test", "--conformance", "--seed", "x"], "'x'"),
        (&["test", "--seed", "7"], "--conformance"),
        (&["test", "--image-tag", "1"], "--compose"),
        (&["test", "--clients", "--compose"], "'--clients'"),
        (&["sbom", "nothing", "--output", "x"], "'nothing'"),
    ] {
        let output = xtask(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(
            text.starts_with("error: ") && text.contains(named),
            "{text}"
        );
    }
}

#[test]
fn no_command_is_a_usage_error() {
    assert_eq!(xtask(&[]).status.code(), Some(2));
}
