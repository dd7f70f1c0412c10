//! Mixed load through the gateway for a long time: none of the services may grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quartet_devstack::stack::Setting;
use quartet_devstack::{Service, workspace};
use serde_json::{Value, json};

use crate::backend::{Backend, User};
use crate::bench::{Bench, Cores};
use crate::load::{Connection, Request, count, runtime};
use crate::plan::Measure;
use crate::report::{Section, Table};
use crate::rounds::median;
use crate::usage::Usage;

/// The gateway is last: it looks for the others.
const SERVICES: [&str; 4] = ["core", "media", "links", "gateway"];
const COLORS: [&str; 4] = ["#c0392b", "#2980b9", "#27ae60", "#8e44ad"];
const PLOT: &str = "benches/soak.svg";
const SAMPLES: u32 = 240;
/// Clients of each kind, and their pause between two rounds.
const CLIENTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(15);
/// A password is hashed only this often: hashing would leave no processor for anything else.
const LOGIN_EVERY: u64 = 300;
const RECONNECT_EVERY: u64 = 200;
/// Growth from the middle fifth to the last one that counts as none.
const TOLERATED_MB: f64 = 1.0;
const TOLERATED_SHARE: f64 = 0.05;

/// Resident megabytes of each service after some minutes.
type Sample = (f64, [f64; 4]);

#[derive(Default)]
struct Tally {
    /// Responses by status.
    statuses: Mutex<BTreeMap<u16, u64>>,
    broken: AtomicU64,
}

/// What one client does, over and over.
struct Client {
    port: u16,
    user: User,
    tally: Arc<Tally>,
    deadline: Instant,
    bench_cancel: quartet_devstack::Cancel,
}

pub(super) fn run(bench: &Bench, backend: &mut Backend) -> anyhow::Result<Section> {
    for limit in ["core", "media", "links", "redirects"] {
        let key = format!("limits.{limit}.requests");
        let setting = Setting::new("gateway", &key, "1000000");
        backend.stack.settings.push(setting);
    }
    let stack = &backend.stack;
    let _store = bench.start(Cores::All, &stack.store()?)?;
    let mut running = Vec::new();
    for name in SERVICES {
        let spec = match name {
            "gateway" => stack.gateway(),
            service => stack.service(service)?,
        };
        running.push(bench.start(Cores::All, &spec)?);
    }
    let length = Duration::from_secs(u64::from(bench.plan.minutes) * 60);
    let begin = Instant::now();
    let tally = Arc::new(Tally::default());
    let clients = (0..CLIENTS).map(|number| {
        let user = User::sign_up(stack.ports.core, &format!("soak{number}"))?;
        Ok(Client {
            port: stack.ports.gateway,
            user,
            tally: Arc::clone(&tally),
            deadline: begin + length,
            bench_cancel: bench.cancel.clone(),
        })
    });
    let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
    let load = std::thread::spawn(move || runtime()?.block_on(drive(clients)));
    let samples = watch(bench, &running, begin, length)?;
    load.join()
        .map_err(|_| anyhow::anyhow!("the load panicked"))??;
    std::fs::write(workspace::root().join(PLOT), plot(&samples)).context("write the plot")?;
    Ok(section(bench, &samples, &tally))
}

/// Samples memory until the time is over. A service that ends is an error.
fn watch(
    bench: &Bench,
    running: &[Service],
    begin: Instant,
    length: Duration,
) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    while begin.elapsed() < length {
        let mut resident = [0.0; 4];
        for (service, resident) in running.iter().zip(&mut resident) {
            let bytes = Usage::of_group(service.pid())?.resident_bytes;
            anyhow::ensure!(bytes > 0, "{} has ended", service.name());
            *resident = count(bytes) / 1e6;
        }
        samples.push((begin.elapsed().as_secs_f64() / 60.0, resident));
        bench.pause((length / SAMPLES).max(Duration::from_millis(250)))?;
    }
    Ok(samples)
}

async fn drive(clients: Vec<Client>) -> anyhow::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for client in clients {
        let client = Arc::new(client);
        tasks.spawn(Arc::clone(&client).journey());
        tasks.spawn(client.visits());
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

impl Client {
    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline || self.bench_cancel.is_set()
    }

    /// A user: logs in, reads the account, uploads, creates and reads links, makes mistakes.
    async fn journey(self: Arc<Self>) -> anyhow::Result<()> {
        let mut connection = Connection::open(self.port).await?;
        let mut token = String::new();
        let mut number = 0_u64;
        while !self.is_over() {
            if number.is_multiple_of(LOGIN_EVERY) {
                let login = self.send(&mut connection, &self.user.login()).await;
                login["access_token"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut token);
            }
            if number.is_multiple_of(RECONNECT_EVERY) {
                connection = Connection::open(self.port).await?;
            }
            for request in requests(&token, number) {
                self.send(&mut connection, &request).await;
            }
            number += 1;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Visitors of short links, known and unknown.
    async fn visits(self: Arc<Self>) -> anyhow::Result<()> {
        let mut connection = Connection::open(self.port).await?;
        let mut number = 0_u64;
        while !self.is_over() {
            if number.is_multiple_of(RECONNECT_EVERY) {
                connection = Connection::open(self.port).await?;
            }
            for step in 0..8 {
                let slug = slug((number + step * 37) % 2000);
                let visit = Request::get(&format!("/s/{slug}"), None);
                self.send(&mut connection, &visit).await;
            }
            number += 1;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The response as JSON, null if it is none.
    async fn send(&self, connection: &mut Connection, request: &Request) -> Value {
        let Ok(response) = connection.send(request).await else {
            self.tally.broken.fetch_add(1, Ordering::Relaxed);
            if let Ok(fresh) = Connection::open(self.port).await {
                *connection = fresh;
            }
            return Value::Null;
        };
        let mut statuses = self
            .tally
            .statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *statuses.entry(response.status).or_default() += 1;
        response.json().unwrap_or_default()
    }
}

fn slug(number: u64) -> String {
    format!("soak-{number:05}")
}

fn requests(token: &str, number: u64) -> [Request; 8] {
    let token = Some(token);
    let graphql = |query: &str, variables: Value| {
        let body = json!({ "query": query, "variables": variables });
        Request::post("/v1/links/graphql", token, &body)
    };
    let link = json!({ "url": "https://example.com/a/page", "slug": slug(number % 2000) });
    let upload = json!({
        "file_name": format!("{number}.png"), "content_type": "image/png", "size_bytes": 123_456,
        "visibility": "private",
    });
    [
        Request::get("/v1/core/users/me", token),
        Request::post("/v1/media/presign", token, &upload),
        Request::get("/v1/media/assets?limit=20", token),
        graphql(
            "mutation($input: CreateLinkInput!) { createLink(input: $input) { slug } }",
            json!({ "input": link }),
        ),
        graphql("{ links(first: 20) { nodes { id slug url } } }", json!({})),
        // Mistakes: a token that is none, a path that does not exist, a body that does not fit.
        Request::get("/v1/core/users/me", Some("not-a-token")),
        Request::get(&format!("/v1/core/nothing/{number}"), token),
        Request::post("/v1/media/presign", token, &json!({ "file_name": 7 })),
    ]
}

fn section(bench: &Bench, samples: &[Sample], tally: &Tally) -> Section {
    let of = |from: usize, to: usize, service: usize| {
        let range = samples.len() * from / 5..samples.len() * to / 5;
        median(samples[range].iter().map(|(_, mb)| mb[service]).collect())
    };
    let columns = [
        "service",
        "first fifth",
        "middle fifth",
        "last fifth",
        "peak",
        "grows",
    ];
    let mut table = Table::new(&columns);
    for (index, name) in SERVICES.iter().enumerate() {
        let (first, middle, last) = (of(0, 1, index), of(2, 3, index), of(4, 5, index));
        let peak = samples.iter().map(|(_, mb)| mb[index]).fold(0.0, f64::max);
        let grows = last - middle > (middle * TOLERATED_SHARE).max(TOLERATED_MB);
        table.row(vec![
            format!("quartet-{name}"),
            format!("{first:.1}"),
            format!("{middle:.1}"),
            format!("{last:.1}"),
            format!("{peak:.1}"),
            if grows { "yes" } else { "no" }.to_owned(),
        ]);
    }
    let statuses = tally
        .statuses
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let total: u64 = statuses.values().sum();
    let by_status: Vec<String> = statuses
        .iter()
        .map(|(status, number)| format!("{number} of {status}"))
        .collect();
    Section {
        measure: Measure::Soak,
        title: "Soak",
        how: format!(
            "{} minutes of mixed load through the gateway by {CLIENTS} users and as many visitors: logins, own user, \
             presigned uploads, lists, GraphQL, redirects, and mistakes. Resident megabytes, medians; \
             [{PLOT}]({}) shows them over time.",
            bench.plan.minutes,
            PLOT.trim_start_matches("benches/"),
        ),
        table,
        notes: vec![
            format!("{total} responses: {}.", by_status.join(", ")),
            format!(
                "{} requests got no response.",
                tally.broken.load(Ordering::Relaxed)
            ),
        ],
    }
}

/// One line per service, as SVG.
fn plot(samples: &[Sample]) -> String {
    const WIDTH: f64 = 900.0;
    const HEIGHT: f64 = 400.0;
    let minutes = samples.last().map_or(1.0, |(minute, _)| minute.max(0.1));
    let highest = samples
        .iter()
        .flat_map(|(_, mb)| mb)
        .fold(10.0, |a: f64, b| a.max(*b))
        * 1.1;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-60 -20 {} {}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect x=\"-60\" y=\"-20\" width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        WIDTH + 220.0,
        HEIGHT + 70.0
    );
    // Writing to a string cannot fail.
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        let (x, y) = (WIDTH * share, HEIGHT * (1.0 - share));
        let _ = writeln!(
            svg,
            "<path d=\"M0 {y}H{WIDTH}\" stroke=\"#ddd\"/><text x=\"-8\" y=\"{}\" text-anchor=\"end\">{:.0} MB</text>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{:.0} min</text>",
            y + 4.0,
            highest * share,
            HEIGHT + 20.0,
            minutes * share
        );
    }
    for (index, name) in SERVICES.iter().enumerate() {
        let points: Vec<String> = samples
            .iter()
            .map(|(minute, mb)| {
                let (x, y) = (
                    WIDTH * minute / minutes,
                    HEIGHT * (1.0 - mb[index] / highest),
                );
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let y = samples
            .last()
            .map_or(0.0, |(_, mb)| HEIGHT * (1.0 - mb[index] / highest));
        let color = COLORS[index];
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>\
             <text x=\"{}\" y=\"{:.1}\" fill=\"{color}\">quartet-{name}</text>",
            points.join(" "),
            WIDTH + 8.0,
            y + 4.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}
