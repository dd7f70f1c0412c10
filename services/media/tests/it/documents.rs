//! The committed document.

use quartet_media::Service;
use quartet_service::Service as _;
use quartet_testing::{assert_complete, contract::Contract};

const COMMITTED: &str = include_str!("../../openapi.json");

#[test]
fn the_document_is_complete() {
    assert_complete(&Contract::new(COMMITTED));
}

#[test]
fn the_committed_document_matches_the_code() {
    assert!(Service::openapi() == COMMITTED, "run `cargo xtask gen`");
}
