//! Lines of jobs and tasks name them. The worker is a process: this test binary, running an ignored
//! test.

use std::time::Duration;

use quartet_common::{
    clock::Clock,
    config::{OtlpProtocol, Telemetry},
};
use quartet_jobs::{Job, Runner};
use quartet_telemetry::{init, metrics::Metrics};
use quartet_testing::child::Logging;
use quartet_worker::{Task, Tasks, Worker, add};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::support::{Place, settings};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Talkative {}

impl Task for Talkative {
    const NAME: &'static str = "talkative";
    type Context = ();

    async fn run(self, (): ()) -> anyhow::Result<()> {
        tracing::info!("inside a task");
        tracing::info!(task = "another", "about a task");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_name_their_job_or_task() {
    let place = Place::new().await;
    let mut db = quartet_db::write(&place.db).await.unwrap();
    add(&mut db, &Talkative {}, None).await.unwrap();
    let url = place.database.url();
    let mut child = Logging::start("logs::worker", &[("TEST_DATABASE", &url)]);
    let lines = tokio::task::spawn_blocking(move || {
        ["inside a job", "inside a task", "about a task"].map(|message| child.find(message))
    });
    let [of_job, of_task, about] = lines.await.unwrap();
    assert_eq!(of_job["job"], "early");
    assert_eq!(of_job.get("task"), None);
    assert_eq!(of_task["task"], "talkative");
    assert_eq!(about["task"], "another", "{about}");
}

#[tokio::test]
#[ignore = "the worker of another test"]
async fn worker() {
    let telemetry = Telemetry {
        log: "info".to_owned(),
        otlp_endpoint: None,
        otlp_protocol: OtlpProtocol::HttpProtobuf,
        trace_sample_ratio: 1.0,
    };
    let _guard = init("test", "1.0.0", &telemetry).unwrap();
    let url = std::env::var("TEST_DATABASE").unwrap();
    let db = PgPool::connect(&url).await.unwrap();
    let metrics = Metrics::new("test");
    let mut runner = Runner::new(&metrics, Clock::system(), CancellationToken::new());
    let (sender, early) = tokio::sync::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let job = Job::periodic("early", Duration::from_mins(1), move |_| {
        tracing::info!("inside a job");
        let sender = sender.lock().unwrap().take();
        let _ = sender.map(|sender| sender.send(()));
        async { anyhow::Ok(()) }
    });
    runner.start(job.immediately());
    early.await.unwrap();
    let tasks = Tasks::new(()).with::<Talkative>();
    Worker::new(db, "core", tasks, settings(), &metrics).start(&mut runner);
    std::future::pending::<()>().await;
}
