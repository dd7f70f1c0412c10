use std::time::Duration;

use quartet_devstack::stack::Stack;

/// The URL and three things to try. The account is that of the tour in the README, which may be next.
pub(crate) fn print(stack: &Stack, took: Duration) {
    let url = stack.public_url();
    let logs = stack.root.join("logs");
    println!(
        r#"
Quartet is ready after {:.1} s: {url}

1. Sign up and log in:
   curl -s -w '\n' {url}/v1/core/users -H 'content-type: application/json' \
     -d '{{"email": "ada@example.org", "password": "tangerine-violin-moss"}}'
   TOKEN=$(curl -s {url}/v1/core/sessions -H 'content-type: application/json' \
     -d '{{"email": "ada@example.org", "password": "tangerine-violin-moss"}}' \
     | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')

2. Shorten a link and follow it:
   curl -s -w '\n' {url}/v1/links/graphql -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \
     -d '{{"query": "mutation {{ createLink(input: {{url: \"https://www.rust-lang.org\", slug: \"rust\"}}) {{ shortUrl }} }}"}}'
   curl -si {url}/s/rust

3. Read the documentation of every operation: {url}/docs

Logs: {}
Ctrl-C stops everything."#,
        took.as_secs_f32(),
        logs.display()
    );
}
