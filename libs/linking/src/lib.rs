//! How release binaries are linked, for the build scripts of the services.
//!
//! Two options of the linker make them smaller by a tenth, and the idle process with them, at no cost:
//! identical functions, of which generic code has many, are kept once, and relocations are packed
//! (one bit instead of 24 bytes each). Both need what not every machine has: LLD, which rustc uses by
//! default on `x86_64-unknown-linux-gnu`, and glibc 2.36, whose loader reads them. Elsewhere the
//! binaries are linked as always.

use std::env;
use std::process::Command;

/// The first glibc that reads packed relocations.
const GLIBC: (u32, u32) = (2, 36);

/// Prints the options for the binaries of the package whose build script calls this.
pub fn shrink_release_binaries() {
    println!("cargo::rerun-if-changed=build.rs");
    if is("PROFILE", "release") && links_with_lld() {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
        if glibc().is_some_and(|version| version >= GLIBC) {
            println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        }
    }
}

fn links_with_lld() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let chosen = flags.contains("linker") || flags.contains("fuse-ld");
    is("TARGET", "x86_64-unknown-linux-gnu") && is("HOST", "x86_64-unknown-linux-gnu") && !chosen
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
    use super::parse;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse("glibc 2.36\n"), Some((2, 36)));
        assert_eq!(parse("glibc 2.9.1\n"), Some((2, 9)));
        assert!(parse("glibc 2.9") < parse("glibc 2.36"));
        assert_eq!(parse("musl"), None);
    }
}
