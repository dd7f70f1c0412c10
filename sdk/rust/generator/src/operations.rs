//! Types and operations, by progenitor.

use anyhow::Context as _;
use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle, TagStyle, TypeImpl};
use quote::quote;
use serde_json::Value;

use crate::{docs, document};

pub(crate) fn module(mut document: Value) -> anyhow::Result<String> {
    document::simplify(&mut document)?;
    let document: openapiv3::OpenAPI =
        serde_json::from_value(document).context("the document is no OpenAPI 3.0")?;
    let tokens = Generator::new(&settings()?).generate_tokens(&document)?;
    let file = syn::parse2(docs::by_lines(tokens)).context("progenitor wrote no Rust")?;
    Ok(prettyplease::unparse(&file))
}

fn settings() -> anyhow::Result<GenerationSettings> {
    let secret = serde_json::from_value(document::secret())?;
    let mut settings = GenerationSettings::new();
    settings
        .with_interface(InterfaceStyle::Positional)
        .with_tag(TagStyle::Merged)
        // Tokens, repetition and cut connections are the hand-written part's.
        .with_hooks(HooksMode::Expected)
        .with_inner_type(quote! { crate::transport::Transport })
        // Absent and null differ in it, which a single `Option` cannot tell.
        .with_replacement("UserPatch", "crate::patch::UserPatch", no_traits())
        // Reads what a newer server says, too.
        .with_replacement("Problem", "crate::problem::ProblemBody", no_traits())
        .with_replacement("FieldError", "crate::problem::FieldError", no_traits())
        .with_conversion(secret, "crate::secret::Secret", no_traits());
    Ok(settings)
}

fn no_traits() -> impl Iterator<Item = TypeImpl> {
    std::iter::empty()
}
