//! Reads the objects of one kind, and every change of them, for as long as it is asked to.
//!
//! The objects are listed in pages and then watched from the version of the list. The library begins again
//! with a list when that version is gone (410), continues from the last version when a stream ends, and waits
//! longer after each failure.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Api, Client, Config,
    api::DynamicObject,
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    cluster::{Cluster, WatchEvent},
    objects::{Kind, ObjectName},
    sources::Source,
};

/// Of one page of a list.
const PAGE: u32 = 100;
/// The API server ends a watch after this time, and the next one begins where it ended.
const WATCH_SECONDS: u32 = 50;
/// An API server that is silent for longer is away.
const SILENCE: Duration = Duration::from_mins(1);
const CONNECT: Duration = Duration::from_secs(5);
/// Before another version of a kind is tried; twice as long each time.
const NEXT_VERSION: Duration = Duration::from_secs(1);
const MAX_NEXT_VERSION: Duration = Duration::from_secs(30);
const FORBIDDEN: u16 = 403;
const NOT_FOUND: u16 = 404;

/// The way to the API server.
#[derive(Clone)]
pub(crate) struct Connection(pub(super) Client);

impl Connection {
    /// `kubeconfig`: a file; `None`: the service account of the pod.
    ///
    /// # Errors
    /// When the file, or the service account, cannot be used.
    pub(crate) async fn open(kubeconfig: Option<&Path>) -> anyhow::Result<Self> {
        let mut config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
            }
            None => Config::incluster()?,
        };
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(SILENCE);
        config.write_timeout = Some(SILENCE);
        config.reset_reader_on_write = true;
        // Watches and statuses are tried again in their own time.
        config.default_retry = false;
        Ok(Self(Client::try_from(config)?))
    }

    pub(super) fn api(&self, kind: Kind, version: usize, namespace: &str) -> Api<DynamicObject> {
        let (group, versions, plural) = kind.resource();
        let version = versions[version % versions.len()];
        let kind = GroupVersionKind::gvk(group, version, kind.name());
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        if namespace.is_empty() {
            Api::all_with(self.0.clone(), &resource)
        } else {
            Api::namespaced_with(self.0.clone(), namespace, &resource)
        }
    }
}

/// Reads the objects of a source until it is dropped.
pub(crate) async fn follow(connection: Connection, source: Source, cluster: Arc<Cluster>) {
    let (_, versions, _) = source.kind.resource();
    let (mut version, mut pause) = (0, NEXT_VERSION);
    loop {
        let mut settings = watcher::Config::default()
            .timeout(WATCH_SECONDS)
            .page_size(PAGE);
        if source.kind == Kind::Secret {
            settings = settings.fields("type=kubernetes.io/tls");
        }
        let api = connection.api(source.kind, version, &source.namespace);
        let mut events = watcher(api, settings).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if matches!(event, Event::InitDone) {
                        pause = NEXT_VERSION;
                    }
                    receive(&cluster, &source, event);
                }
                Err(error) => {
                    let answer = answer(&error);
                    cluster.failed(&source, text(&error), answer.is_some());
                    if answer == Some(NOT_FOUND) && versions.len() > 1 {
                        break;
                    }
                }
            }
        }
        version += 1;
        sleep(pause).await;
        pause = (pause * 2).min(MAX_NEXT_VERSION);
    }
}

fn receive(cluster: &Cluster, source: &Source, event: Event<DynamicObject>) {
    match event {
        Event::Init => cluster.receive(source, WatchEvent::ListBegins),
        Event::InitDone => cluster.receive(source, WatchEvent::ListEnds),
        Event::Apply(object) | Event::InitApply(object) => {
            cluster.receive(source, WatchEvent::Object(to_json(object)));
        }
        Event::Delete(object) => {
            let namespace = object.metadata.namespace.unwrap_or_default();
            let name = object.metadata.name.unwrap_or_default();
            let gone = WatchEvent::Gone(ObjectName::new(&namespace, &name));
            cluster.receive(source, gone);
        }
    }
}

/// Without who has managed which field, which can be most of it.
fn to_json(mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    serde_json::to_value(object).unwrap_or_default()
}

/// The kind is not there, or may not be read. All else, such as 429 and 503, may be over in a moment.
fn refusal(code: u16) -> Option<u16> {
    [FORBIDDEN, NOT_FOUND].contains(&code).then_some(code)
}

/// The status with which the API server has refused.
fn answer(error: &watcher::Error) -> Option<u16> {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(status) => return refusal(status.code),
        watcher::Error::NoResourceVersion => return None,
    };
    match error {
        kube::Error::Api(status) => refusal(status.code),
        _ => None,
    }
}

/// In one line, with its causes.
fn text(error: &watcher::Error) -> String {
    let text = quartet_common::causes(error);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
