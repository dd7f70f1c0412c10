//! Writes the OpenAPI documents of the services into a directory, as `SERVICE.json`.
//!
//! A program of its own, because neither the services nor `cargo xtask` should link the code that
//! builds documents. It compiles while the committed documents, which the services embed, are stale.

use std::{fs, path::Path};

use anyhow::Context as _;
use quartet_openapi::{EVERYWHERE, Origin, finish};
use quartet_service::Service;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os()
        .nth(1)
        .context("usage: quartet-documents DIRECTORY")?;
    let directory = Path::new(&directory);
    write::<quartet_core::Service>(directory)?;
    write::<quartet_media::Service>(directory)?;
    write::<quartet_links::Service>(directory)
}

fn write<S: Service>(directory: &Path) -> anyhow::Result<()> {
    let path = directory.join(format!("{}.json", S::NAME));
    fs::write(&path, document::<S>()).with_context(|| format!("cannot write {}", path.display()))
}

fn document<S: Service>() -> String {
    let origin = Origin {
        service: Some(S::NAME),
        version: S::VERSION,
        everywhere: EVERYWHERE,
        kinds: S::kinds(),
    };
    finish(S::describe(), &origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_documents_match_the_code() {
        fn check<S: Service>() {
            let is_current = document::<S>() == S::DOCUMENT;
            assert!(is_current, "{}: run `cargo xtask gen`", S::NAME);
        }
        check::<quartet_core::Service>();
        check::<quartet_media::Service>();
        check::<quartet_links::Service>();
    }
}
