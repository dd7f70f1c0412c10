//! The committed document, and what it says.

use quartet_common::{
    cli::Service,
    testing::{assert_complete, contract::Contract},
};
use quartet_media::Media;

const COMMITTED: &str = include_str!("../../openapi.json");

#[test]
fn the_document_is_whole() {
    assert_complete(&Contract::new(COMMITTED));
}

#[test]
fn the_committed_document_is_the_one_of_the_code() {
    assert!(Media::openapi() == COMMITTED, "run `cargo xtask gen`");
}
