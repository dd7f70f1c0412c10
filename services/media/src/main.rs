//! `quartet-media`: presigned uploads and assets.

use std::process::ExitCode;

fn main() -> ExitCode {
    quartet_service::main::<quartet_media::Media>()
}
