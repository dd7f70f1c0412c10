//! Splits documentation of several lines into one attribute per line.
//!
//! As one attribute it would be printed as a block comment, whose indented lines rustdoc takes
//! for runnable examples.

use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};
use quote::quote;

pub(crate) fn by_lines(tokens: TokenStream) -> TokenStream {
    let mut output = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let TokenTree::Group(group) = token else {
            let lines = tokens.peek().and_then(doc_lines);
            match (is_hash(&token), lines) {
                (true, Some(lines)) => {
                    tokens.next();
                    output.extend(lines);
                }
                _ => output.extend([token]),
            }
            continue;
        };
        let inner = by_lines(group.stream());
        output.extend([TokenTree::Group(Group::new(group.delimiter(), inner))]);
    }
    output
}

fn is_hash(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == '#')
}

/// The attributes equivalent to `[doc = "..."]`, if the token is that.
fn doc_lines(token: &TokenTree) -> Option<TokenStream> {
    let TokenTree::Group(group) = token else {
        return None;
    };
    if group.delimiter() != Delimiter::Bracket {
        return None;
    }
    let parts: Vec<TokenTree> = group.stream().into_iter().collect();
    let [
        TokenTree::Ident(name),
        TokenTree::Punct(_),
        TokenTree::Literal(text),
    ] = parts.as_slice()
    else {
        return None;
    };
    if *name != "doc" {
        return None;
    }
    let text: syn::LitStr = syn::parse_str(&text.to_string()).ok()?;
    let text = text.value();
    let lines = text.trim().lines().map(|line| {
        let line = Literal::string(&format!(" {}", line.trim()));
        quote! { #[doc = #line] }
    });
    Some(lines.collect())
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::by_lines;

    #[test]
    fn each_line_has_its_attribute() {
        let tokens =
            by_lines(quote! { impl A { #[doc = "One\n\n  two\n"] #[must_use] fn a() {} } });
        let expected = quote! {
            impl A { #[doc = " One"] #[doc = " "] #[doc = " two"] #[must_use] fn a() {} }
        };
        assert_eq!(tokens.to_string(), expected.to_string());
    }
}
