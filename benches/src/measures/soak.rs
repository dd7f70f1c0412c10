//! Mixed load through the gateway for a long time: none of the services may grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use quartet_devstack::stack::Setting;
use quartet_devstack::{Cancel, Service, workspace};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::SERVICES;
use crate::backend::{Backend, User};
use crate::bench::{Bench, Cores};
use crate::load::{Connection, Request, count, runtime};
use crate::report::{Section, Table};
use crate::rounds::median;
use crate::usage::Usage;

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
/// Responses by status; `None` counts requests without one.
type Tally = BTreeMap<Option<u16>, u64>;

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
            "gateway" => stack.gateway()?,
            service => stack.service(service)?,
        };
        running.push(bench.start(Cores::All, &spec)?);
    }
    let length = Duration::from_secs(u64::from(bench.plan.minutes) * 60);
    let begin = Instant::now();
    let mut users = Vec::new();
    for number in 0..CLIENTS {
        users.push(User::sign_up(stack.ports.core, &format!("soak{number}"))?);
    }
    let client = Client {
        port: stack.ports.gateway,
        deadline: begin + length,
        cancel: bench.cancel.clone(),
    };
    let load = std::thread::spawn(move || runtime()?.block_on(drive(&Arc::new(client), users)));
    let samples = watch(bench, &running, begin, length)?;
    let tally = load.join().map_err(|_| anyhow!("the load panicked"))??;
    std::fs::write(workspace::root().join(PLOT), plot(&samples)).context("write the plot")?;
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
            let bytes = Usage::of_group(service.pid())?.resident_bytes;
            ensure!(bytes > 0, "{} has ended", service.name());
            *resident = count(bytes) / 1e6;
        }
        samples.push((begin.elapsed().as_secs_f64() / 60.0, resident));
        bench.pause((length / SAMPLES).max(Duration::from_millis(250)))?;
    }
    Ok(samples)
}

/// The users, and as many visitors; returns the responses of all.
async fn drive(client: &Arc<Client>, users: Vec<User>) -> anyhow::Result<Tally> {
    let mut tasks = JoinSet::new();
    for user in users {
        tasks.spawn(Arc::clone(client).repeat(Some(user)));
        tasks.spawn(Arc::clone(client).repeat(None));
    }
    let mut all = Tally::new();
    while let Some(ended) = tasks.join_next().await {
        for (status, number) in ended?? {
            *all.entry(status).or_default() += number;
        }
    }
    Ok(all)
}

/// What all clients have in common.
struct Client {
    port: u16,
    deadline: Instant,
    cancel: Cancel,
}

impl Client {
    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline || self.cancel.is_set()
    }

    /// A user who logs in, reads the account, uploads, creates and reads links, and makes mistakes; or
    /// else a visitor of short links, known and unknown.
    async fn repeat(self: Arc<Self>, user: Option<User>) -> anyhow::Result<Tally> {
        let (mut tally, mut token) = (Tally::new(), String::new());
        let mut connection = Connection::open(self.port).await?;
        for number in (0_u64..).take_while(|_| !self.is_over()) {
            if let Some(user) = &user
                && number.is_multiple_of(LOGIN_EVERY)
            {
                let login = self.send(&mut connection, &mut tally, &user.login()).await;
                let issued = login["access_token"].as_str();
                issued.unwrap_or_default().clone_into(&mut token);
            }
            if number.is_multiple_of(RECONNECT_EVERY) {
                connection = Connection::open(self.port).await?;
            }
            let requests = match &user {
                Some(_) => requests(&token, number),
                None => std::array::from_fn(|step| visit(number, step)),
            };
            for request in requests {
                self.send(&mut connection, &mut tally, &request).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(tally)
    }

    /// The response as JSON, null if it is none.
    async fn send(
        &self,
        connection: &mut Connection,
        tally: &mut Tally,
        request: &Request,
    ) -> Value {
        let response = connection.send(request).await.ok();
        let status = response.as_ref().map(|response| response.status);
        *tally.entry(status).or_default() += 1;
        let Some(response) = response else {
            if let Ok(fresh) = Connection::open(self.port).await {
                *connection = fresh;
            }
            return Value::Null;
        };
        response.json().unwrap_or_default()
    }
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
    let mut table = Table::new(&[
        "service",
        "first fifth",
        "middle fifth",
        "last fifth",
        "peak",
        "grows",
    ]);
    for (index, name) in SERVICES.iter().enumerate() {
        let (first, middle, last) = (of(0, 1, index), of(2, 3, index), of(4, 5, index));
        let peak = samples.iter().map(|(_, mb)| mb[index]).fold(0.0, f64::max);
        let grows = last - middle > (middle * TOLERATED_SHARE).max(TOLERATED_MB);
        table.row([
            format!("quartet-{name}"),
            format!("{first:.1}"),
            format!("{middle:.1}"),
            format!("{last:.1}"),
            format!("{peak:.1}"),
            if grows { "yes" } else { "no" }.to_owned(),
        ]);
    }
    let broken = tally.remove(&None).unwrap_or_default();
    let total: u64 = tally.values().sum();
    let by_status = tally.iter().filter_map(|(status, number)| {
        let status = status.as_ref()?;
        Some(format!("{number} of {status}"))
    });
    let by_status: Vec<String> = by_status.collect();
    Section {
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
            format!("{broken} requests got no response."),
        ],
    }
}

/// One line per service, as SVG.
fn plot(samples: &[Sample]) -> String {
    const WIDTH: f64 = 900.0;
    const HEIGHT: f64 = 400.0;
    let minutes = samples.last().map_or(1.0, |(minute, _)| minute.max(0.1));
    let sizes = samples.iter().flat_map(|(_, mb)| mb);
    let highest = sizes.fold(10.0, |a: f64, b| a.max(*b)) * 1.1;
    let height = |mb: f64| HEIGHT * (1.0 - mb / highest);
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
    for (index, (name, color)) in SERVICES.iter().zip(COLORS).enumerate() {
        let point = |(minute, mb): &Sample| {
            format!("{:.1},{:.1}", WIDTH * minute / minutes, height(mb[index]))
        };
        let points: Vec<String> = samples.iter().map(point).collect();
        let last = samples.last().map_or(0.0, |(_, mb)| mb[index]);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>\
             <text x=\"{}\" y=\"{:.1}\" fill=\"{color}\">quartet-{name}</text>",
            points.join(" "),
            WIDTH + 8.0,
            height(last) + 4.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}
