//! Errors as text.

use std::error::Error;

/// An error and its causes in one line. Many errors contain their cause in their message, which is
/// not repeated.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::causes;

    #[test]
    fn causes_are_not_repeated() {
        let deep = anyhow::anyhow!("no such file").context("secret: no such file");
        assert_eq!(causes(deep.as_ref()), "secret: no such file");
        let other = anyhow::anyhow!("refused").context("the log cannot be created");
        assert_eq!(causes(other.as_ref()), "the log cannot be created: refused");
    }
}
