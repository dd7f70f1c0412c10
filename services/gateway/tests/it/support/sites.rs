//! Sites on disk, and requests for their files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::{HeaderMap, Method, StatusCode};
use tempfile::TempDir;

use super::{Gateway, client};

pub(crate) const HTML: (&str, &str) = ("accept", "text/html,*/*;q=0.8");

/// Files beneath a directory of their own.
pub(crate) struct Files(pub(crate) TempDir);

impl Files {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let all = Self(tempfile::tempdir().unwrap());
        all.write_all("site", files);
        all
    }

    pub(crate) fn write_all(&self, directory: &str, files: &[(&str, &str)]) {
        for (name, contents) in files {
            self.write(&format!("{directory}/{name}"), contents.as_bytes());
        }
    }

    pub(crate) fn write(&self, name: &str, contents: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn site(&self, name: &str, more: &str) -> String {
        let directory = self.path("site");
        let directory = directory.to_str().unwrap();
        format!("[sites.{name}]\ndirectory = \"{directory}\"\n{more}\n")
    }
}

pub(crate) fn site_route(name: &str, path: &str, more: &str) -> String {
    format!("[routes.{name}]\npaths = [\"{path}\"]\nsite = \"{name}\"\nauth = \"public\"\n{more}\n")
}

pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(crate) async fn ask(
    gateway: &Gateway,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Got {
    let mut request = client().request(method, gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    Got {
        status: response.status(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap().into(),
    }
}

pub(crate) async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Got {
    ask(gateway, Method::GET, path, headers).await
}

/// Set apart by their times, as a deploy leaves them.
pub(crate) fn set_modified(path: &Path, seconds: u64) {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(at).unwrap();
}

pub(crate) const APP: [(&str, &str); 7] = [
    ("index.html", "<p>app</p>"),
    ("assets/app.3f2a9c1b.js", "app()"),
    ("app.css", "p {}"),
    ("docs/index.html", "<p>docs</p>"),
    ("about.html", "<p>about</p>"),
    (".env", "SECRET=1"),
    (".well-known/security.txt", "Contact: x"),
];
