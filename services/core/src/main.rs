//! The binary `quartet-core`.

use std::process::ExitCode;

fn main() -> ExitCode {
    quartet_service::main::<quartet_core::Core>()
}
