//! How release binaries are linked, for the build scripts of the services.
//!
//! Options of the linker that cost nothing:
//!
//! - Identical functions, of which generic code has many, are kept once, and relocations are packed
//!   (one bit instead of 24 bytes each): the binaries are smaller by a tenth.
//! - Functions that run while a service starts and is idle are laid side by side (`start.ld`). They are a
//!   fifth of the program. Linux maps 64 KiB around each address that is read first, so that an idle
//!   service would have three quarters of it in memory otherwise. Names that are missing, or that have
//!   come since, cost a little of that and nothing else.
//!
//! They need what not every machine has: LLD, which rustc uses by default on `x86_64-unknown-linux-gnu`,
//! and glibc 2.36, whose loader reads packed relocations. Elsewhere the binaries are linked as always.

use std::env;
use std::process::Command;

/// The first glibc that reads packed relocations.
const GLIBC: (u32, u32) = (2, 36);
/// Parts of flags that choose a linker: `-C linker=`, `-C linker-flavor=`, `-C link-self-contained=-linker`,
/// `-Z linker-features=`; and for the C compiler.
const CHOICES: [&str; 3] = ["linker", "fuse-ld", "ld-path"];
/// A script for the linker, written by `start.py`.
const START: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/start.ld");

/// Prints the options for the binaries of the package whose build script calls this.
pub fn shrink_release_binaries() {
    println!("cargo::rerun-if-changed=build.rs");
    if is("PROFILE", "release") && links_with_lld() {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
        println!("cargo::rerun-if-changed={START}");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{START}");
        if glibc().is_some_and(|version| version >= GLIBC) {
            println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        }
    }
}

fn links_with_lld() -> bool {
    // cargo has it from its configuration, or from the other variable.
    let linker = env::var("RUSTC_LINKER").unwrap_or_default();
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER");
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    is("TARGET", "x86_64-unknown-linux-gnu")
        && is("HOST", "x86_64-unknown-linux-gnu")
        && is_default(&linker, &flags)
}

/// Whether rustc chooses the linker: neither is one configured, nor does a flag name one, turn off the one
/// that comes with rustc, or pass another to the C compiler.
fn is_default(linker: &str, flags: &str) -> bool {
    linker.is_empty() && !CHOICES.iter().any(|choice| flags.contains(choice))
}

fn is(variable: &str, value: &str) -> bool {
    env::var(variable).is_ok_and(|it| it == value)
}

/// Of this machine, where the binary is linked and usually runs.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    parse(&String::from_utf8(output.ok()?.stdout).ok()?)
}

fn parse(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{START, is_default, parse};

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse("glibc 2.36\n"), Some((2, 36)));
        assert_eq!(parse("glibc 2.9.1\n"), Some((2, 9)));
        assert!(parse("glibc 2.9") < parse("glibc 2.36"));
        assert_eq!(parse("musl"), None);
    }

    #[test]
    fn another_linker_gets_no_options_that_only_lld_has() {
        for (linker, flags, expected) in [
            ("", "", true),
            ("", "-C\x1ftarget-cpu=native", true),
            (
                "",
                "-C\x1ftarget-feature=+crt-static\x1f-Copt-level=s",
                true,
            ),
            ("clang", "", false),
            (
                "/usr/bin/x86_64-linux-gnu-gcc",
                "-Ctarget-cpu=native",
                false,
            ),
            ("", "-C\x1flinker=clang", false),
            ("", "-Ctarget-cpu=native\x1f-Clinker=/opt/mold", false),
            ("", "-C\x1flinker-flavor=gnu-cc", false),
            (
                "",
                "-Clink-self-contained=-linker\x1f-Zunstable-options",
                false,
            ),
            ("", "-Zlinker-features=-lld", false),
            ("", "-C\x1flink-arg=-fuse-ld=mold", false),
            ("", "-Clink-args=-O1 --ld-path=/usr/bin/mold", false),
        ] {
            assert_eq!(is_default(linker, flags), expected, "{linker} {flags}");
        }
    }

    /// The hash behind a name changes with every version of a crate.
    #[test]
    fn functions_are_listed_without_their_hashes() {
        let script = std::fs::read_to_string(START).unwrap();
        let listed: Vec<_> = script
            .lines()
            .filter(|line| line.starts_with('*'))
            .collect();
        assert!(listed.len() > 1000, "{}", listed.len());
        for line in listed {
            let name = line
                .strip_prefix("*(.text.")
                .and_then(|rest| rest.strip_suffix(')'));
            let name = name.unwrap_or_else(|| panic!("{line}"));
            assert!(!name.starts_with("_ZN") || name.ends_with("17h*"), "{line}");
        }
    }
}
