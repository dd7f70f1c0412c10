//! The binary `quartet-links`.

use std::process::ExitCode;

fn main() -> ExitCode {
    quartet_service::main::<quartet_links::LinksService>()
}
