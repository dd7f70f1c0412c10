//! Mixed load through the gateway for a long time: none of the services may grow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use quartet_devstack::{Service, workspace};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::SERVICES;
use crate::backend::{Backend, User};
use crate::bench::{Bench, Cores};
use crate::load::{Connection, Request, Shared, runtime};
use crate::report::{Section, Table};
use crate::rounds::median;
use crate::usage::Usage;

const PLOT: &str = "soak.svg";
const TEMPLATE: &str = include_str!("soak.svg");
/// Of the axes in it.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 400.0;
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
/// Responses by status; `None` counts requests without one.
type Tally = BTreeMap<Option<u16>, u64>;

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    let stack = &backend.stack;
    let _store = bench.start(Cores::All, &stack.store()?)?;
    let mut running = Vec::new();
    for name in SERVICES {
        let spec = match name {
            "gateway" => stack.gateway()?,
            service => stack.service(service)?,
        };
        running.push(bench.start(Cores::All, &spec)?);
    }
    let length = Duration::from_secs(u64::from(bench.plan.minutes) * 60);
    let begin = Instant::now();
    let users = User::sign_up_all(stack.ports.core, "soak", CLIENTS)?;
    let client = Shared::new(stack.ports.gateway, length);
    let load = std::thread::spawn(move || runtime()?.block_on(drive(&client, users)));
    let samples = watch(bench, &running, begin, length)?;
    let tally = load.join().map_err(|_| anyhow!("the load panicked"))??;
    std::fs::write(workspace::root().join("benches").join(PLOT), plot(&samples))
        .context("write the plot")?;
    Ok(section(bench, &samples, tally))
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
            *resident = Usage::of_group(service.pid())?.resident_mb;
            ensure!(*resident > 0.0, "{} has ended", service.name());
        }
        samples.push((begin.elapsed().as_secs_f64() / 60.0, resident));
        bench.pause((length / SAMPLES).max(Duration::from_millis(250)))?;
    }
    Ok(samples)
}

/// The users, and as many visitors; returns the responses of all.
async fn drive(client: &Arc<Shared>, users: Vec<User>) -> anyhow::Result<Tally> {
    let mut tasks = JoinSet::new();
    for user in users {
        tasks.spawn(repeat(Arc::clone(client), Some(user)));
        tasks.spawn(repeat(Arc::clone(client), None));
    }
    let mut all = Tally::new();
    while let Some(ended) = tasks.join_next().await {
        for (status, number) in ended?? {
            *all.entry(status).or_default() += number;
        }
    }
    Ok(all)
}

/// A user who logs in, reads the account, uploads, creates and reads links, and makes mistakes; or
/// else a visitor of short links, known and unknown.
async fn repeat(client: Arc<Shared>, user: Option<User>) -> anyhow::Result<Tally> {
    let (port, mut tally, mut token) = (client.port, Tally::new(), String::new());
    let mut connection = Connection::open(port).await?;
    for number in (0_u64..).take_while(|_| !client.is_over()) {
        if let Some(user) = &user
            && number.is_multiple_of(LOGIN_EVERY)
        {
            let login = send(port, &mut connection, &mut tally, &user.login()).await;
            let issued = login["access_token"].as_str();
            issued.unwrap_or_default().clone_into(&mut token);
        }
        if number.is_multiple_of(RECONNECT_EVERY) {
            connection = Connection::open(port).await?;
        }
        let requests = match &user {
            Some(_) => requests(&token, number),
            None => std::array::from_fn(|step| visit(number, step)),
        };
        for request in requests {
            send(port, &mut connection, &mut tally, &request).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(tally)
}

/// The response as JSON, null if it is none.
async fn send(
    port: u16,
    connection: &mut Connection,
    tally: &mut Tally,
    request: &Request,
) -> Value {
    let response = connection.send(request).await.ok();
    let status = response.as_ref().map(|response| response.status);
    *tally.entry(status).or_default() += 1;
    let Some(response) = response else {
        if let Ok(fresh) = Connection::open(port).await {
            *connection = fresh;
        }
        return Value::Null;
    };
    response.json().unwrap_or_default()
}

fn slug(number: u64) -> String {
    format!("soak-{:05}", number % 2000)
}

fn visit(number: u64, step: usize) -> Request {
    let slug = slug(number + step as u64 * 37);
    Request::get(&format!("/s/{slug}"), None)
}

fn requests(token: &str, number: u64) -> [Request; 8] {
    let token = Some(token);
    let graphql = |query: &str, variables: Value| {
        let body = json!({ "query": query, "variables": variables });
        Request::post("/v1/links/graphql", token, &body)
    };
    let link = json!({ "url": "https://example.com/a/page", "slug": slug(number) });
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

fn section(bench: &Bench, samples: &[Sample], mut tally: Tally) -> Section {
    let of = |from: usize, to: usize, service: usize| {
        let range = samples.len() * from / 5..samples.len() * to / 5;
        median(samples[range].iter().map(|(_, mb)| mb[service]).collect())
    };
    let head = "service | first fifth | middle fifth | last fifth | peak | grows";
    let mut table = Table::new(head);
    for (index, name) in SERVICES.iter().enumerate() {
        let (first, middle, last) = (of(0, 1, index), of(2, 3, index), of(4, 5, index));
        let peak = samples.iter().map(|(_, mb)| mb[index]).fold(0.0, f64::max);
        let grows = last - middle > (middle * TOLERATED_SHARE).max(TOLERATED_MB);
        let grows = if grows { "yes" } else { "no" }.to_owned();
        let name = format!("quartet-{name}");
        table
            .row(&name, 1, &[first, middle, last, peak])
            .push(grows);
    }
    let broken = tally.remove(&None).unwrap_or_default();
    let total: u64 = tally.values().sum();
    let statuses = tally
        .iter()
        .filter_map(|(status, number)| Some((status.as_ref()?, number)));
    let by_status: Vec<String> = statuses
        .map(|(status, number)| format!("{number} of {status}"))
        .collect();
    Section {
        text: format!(include_str!("soak.md"), bench.plan.minutes, CLIENTS, PLOT),
        table,
        notes: vec![
            format!("{total} responses: {}.", by_status.join(", ")),
            format!("{broken} requests got no response."),
        ],
    }
}

/// One line per service, as SVG: the axes are in the template.
fn plot(samples: &[Sample]) -> String {
    let minutes = samples.last().map_or(1.0, |(minute, _)| minute.max(0.1));
    let sizes = samples.iter().flat_map(|(_, mb)| mb);
    let highest = sizes.fold(10.0, |a: f64, b| a.max(*b)) * 1.1;
    let mut svg = TEMPLATE.to_owned();
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        let (mb, minute) = (highest * share, minutes * share);
        svg = svg.replace(&format!("@MB{tick}@"), &format!("{mb:.0} MB"));
        svg = svg.replace(&format!("@MIN{tick}@"), &format!("{minute:.0} min"));
    }
    for (index, name) in SERVICES.iter().enumerate() {
        let y = |mb: &[f64; 4]| HEIGHT * (1.0 - mb[index] / highest);
        let point = |(minute, mb): &Sample| format!("{:.1},{:.1}", WIDTH * minute / minutes, y(mb));
        let points: Vec<String> = samples.iter().map(point).collect();
        let label = samples.last().map_or(HEIGHT, |(_, mb)| y(mb)) + 4.0;
        svg = svg.replace(&format!("@{name}.POINTS@"), &points.join(" "));
        svg = svg.replace(&format!("@{name}.Y@"), &format!("{label:.1}"));
    }
    svg
}
