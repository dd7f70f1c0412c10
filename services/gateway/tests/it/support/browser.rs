//! Chromium, without a window.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

use super::{client, eventually};

/// When this variable is set, the test is skipped where Chromium is not installed.
const WITHOUT: &str = "QUARTET_TEST_WITHOUT_CHROMIUM";

/// Ended when it is dropped.
pub(crate) struct Browser {
    child: Child,
    profile: TempDir,
}

impl Browser {
    /// `None` where Chromium is not installed and that is expected.
    pub(crate) fn open(url: &str) -> Option<Self> {
        let program = std::env::var("QUARTET_CHROMIUM");
        let program = program.unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
        if !Path::new(&program).is_file() {
            assert!(
                std::env::var_os(WITHOUT).is_some(),
                "Chromium is not installed (Debian: apt-get install chromium); \
                 with {WITHOUT}=1, its test is skipped"
            );
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-proxy-server",
                "--remote-debugging-port=0",
                "--host-resolver-rules=MAP *.example.org 127.0.0.1",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { child, profile })
    }

    /// The value of an expression in the page, as soon as it is neither null nor false.
    pub(crate) async fn until(&self, expression: &str) -> Value {
        eventually(expression, || self.evaluate(expression)).await
    }

    async fn evaluate(&self, expression: &str) -> Option<Value> {
        let address = self.debugger().await?;
        let (mut page, _) = tokio_tungstenite::connect_async(&address).await.ok()?;
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let call = json!({ "id": 1, "method": "Runtime.evaluate", "params": parameters });
        page.send(Message::from(call.to_string())).await.ok()?;
        let message = page.next().await?.ok()?;
        let answer: Value = serde_json::from_str(message.to_text().ok()?).ok()?;
        let value = answer["result"]["result"]["value"].clone();
        (![Value::Null, Value::Bool(false)].contains(&value)).then_some(value)
    }

    /// The WebSocket of the page.
    async fn debugger(&self) -> Option<String> {
        let file = self.profile.path().join("DevToolsActivePort");
        let text = std::fs::read_to_string(file).ok()?;
        let url = format!("http://127.0.0.1:{}/json/list", text.lines().next()?);
        let pages: Value = client().get(url).send().await.ok()?.json().await.ok()?;
        let mut pages = pages.as_array()?.iter();
        let page = pages.find(|page| page["type"] == "page")?;
        page["webSocketDebuggerUrl"].as_str().map(str::to_owned)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
