//! Follows the objects of a cluster, puts them in force, and writes their status.

use std::{sync::Arc, time::Duration};

use quartet_jobs::Run;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    config::model,
    kubernetes::{Connection, StatusWriter, follow},
    state::State,
};

/// How often changed settings are looked for, and statuses that could not be written are written again.
const CHECK: Duration = Duration::from_secs(1);
/// After a connection could not be opened, as without a service account.
const REOPEN: Duration = Duration::from_secs(2);

/// The watches of the settings in force. They end when this is dropped.
struct Following {
    settings: model::Kubernetes,
    connection: Connection,
    writer: StatusWriter,
    _watches: JoinSet<()>,
}

pub(super) async fn follow_cluster(state: Arc<State>, run: Run) -> anyhow::Result<()> {
    let mut following: Option<Following> = None;
    let mut is_reported = false;
    loop {
        run.succeeded();
        let settings = state.snapshot().config.model.kubernetes.clone();
        if !settings.enabled {
            if following.take().is_some() {
                state.cluster.begin(&settings);
            }
            sleep(CHECK).await;
            continue;
        }
        if following
            .as_ref()
            .is_none_or(|known| !is_same(&known.settings, &settings))
        {
            following = begin(&state, &settings, &mut is_reported).await;
        }
        let Some(following) = &mut following else {
            sleep(REOPEN).await;
            continue;
        };
        if timeout(CHECK, state.cluster.changed()).await.is_ok() {
            // Further changes are put in force together with this one.
            sleep(Duration::from_millis(settings.pause_ms)).await;
            apply(&state);
        }
        if !following
            .writer
            .write(&state.cluster, &following.connection)
            .await
        {
            sleep(CHECK).await;
        }
    }
}

/// Whether the same objects are watched in the same way.
fn is_same(one: &model::Kubernetes, other: &model::Kubernetes) -> bool {
    one.namespaces == other.namespaces
        && one.kubeconfig == other.kubeconfig
        && one.max_objects == other.max_objects
        && one.max_object_bytes == other.max_object_bytes
}

/// `is_reported`: that there is no connection was logged.
async fn begin(
    state: &Arc<State>,
    settings: &model::Kubernetes,
    is_reported: &mut bool,
) -> Option<Following> {
    let connection = match Connection::open(settings.kubeconfig.as_deref()).await {
        Ok(connection) => connection,
        Err(error) => {
            if !std::mem::replace(is_reported, true) {
                tracing::warn!(target: "quartet", error = format!("{error:#}"),
                    "the way to the API server of the cluster is not known");
            }
            return None;
        }
    };
    *is_reported = false;
    let mut watches = JoinSet::new();
    for source in state.cluster.begin(settings) {
        let cluster = Arc::clone(&state.cluster);
        watches.spawn(follow(connection.clone(), source, cluster));
    }
    Some(Following {
        settings: settings.clone(),
        connection,
        writer: StatusWriter::default(),
        _watches: watches,
    })
}

/// Puts changed objects in force; of endpoints alone, without another snapshot.
fn apply(state: &State) {
    if !state.cluster.take_changes() {
        let snapshot = state.snapshot();
        state.cluster.publish(&snapshot.upstreams);
        snapshot.export(&state.metrics);
        return;
    }
    let result = state.apply_objects().map_err(|error| error.to_string());
    if let Err(error) = &result {
        tracing::error!(target: "quartet", error,
            "objects of the cluster cannot be put in force; the previous ones stay so");
    }
    state.cluster.applied(result);
}
