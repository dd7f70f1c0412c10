//! The committed document, and what it says.

use quartet_testing::{assert_complete, contract::Contract};

#[test]
fn the_document_is_complete() {
    assert_complete(&Contract::new(include_str!("../../openapi.json")));
}
