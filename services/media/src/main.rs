//! The binary `quartet-media`.

use std::process::ExitCode;

fn main() -> ExitCode {
    quartet_service::main::<quartet_media::Service>()
}
