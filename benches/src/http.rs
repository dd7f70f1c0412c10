//! A blocking HTTP client for the few requests that prepare and check a benchmark.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A request to a port of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) port: u16,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) body: Option<&'a Value>,
}

/// The answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Request<'_> {
    pub(crate) fn send(&self) -> anyhow::Result<Response> {
        self.exchange().with_context(|| {
            format!(
                "{} http://127.0.0.1:{}{}",
                self.method, self.port, self.path
            )
        })
    }

    /// Sends it and fails unless the answer has this status.
    pub(crate) fn expect(&self, status: u16) -> anyhow::Result<Response> {
        let response = self.send()?;
        ensure!(
            response.status == status,
            "{} http://127.0.0.1:{}{} answered {} and not {status}: {}",
            self.method,
            self.port,
            self.path,
            response.status,
            response.body
        );
        Ok(response)
    }

    fn exchange(&self) -> anyhow::Result<Response> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(self.text().as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        parse(&String::from_utf8_lossy(&bytes)).context("the answer is not HTTP")
    }

    fn text(&self) -> String {
        let token = self
            .token
            .map(|token| format!("authorization: Bearer {token}\r\n"));
        let body = self.body.map(ToString::to_string).unwrap_or_default();
        let content = self.body.map(|_| {
            format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            )
        });
        format!(
            "{} {} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nuser-agent: {}\r\nconnection: close\r\n{}{}\r\n{body}",
            self.method,
            self.path,
            self.port,
            crate::wrk::USER_AGENT,
            token.unwrap_or_default(),
            content.unwrap_or_default(),
        )
    }
}

fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()?
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked {
        join_chunks(body)?
    } else {
        body.to_owned()
    };
    Some(Response {
        status,
        headers,
        body,
    })
}

fn join_chunks(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_a_chunked_answer() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\n{\"a\r\n4;x\r\n\":1}\r\n0\r\n\r\n";
        let response = parse(text).unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("x-a"), Some("b"));
        assert_eq!(response.json().unwrap()["a"], 1);
    }
}
