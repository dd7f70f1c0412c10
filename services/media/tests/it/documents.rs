//! The committed document, and what it says.

use quartet_media::Media;
use quartet_service::Service;
use quartet_testing::{assert_complete, contract::Contract};

const COMMITTED: &str = include_str!("../../openapi.json");

#[test]
fn the_document_is_whole() {
    assert_complete(&Contract::new(COMMITTED));
}

#[test]
fn the_committed_document_is_the_one_of_the_code() {
    assert!(Media::openapi() == COMMITTED, "run `cargo xtask gen`");
}
