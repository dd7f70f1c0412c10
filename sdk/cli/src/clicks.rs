//! Prints clicks as they happen.

use std::io::Write as _;

use futures_util::StreamExt as _;
use quartet_client::{BotReason, Click, Device};

use crate::context::Context;
use crate::failure::Failure;
use crate::links;
use crate::output;
use crate::terminal::clean;

/// Prints clicks until Ctrl-C, until there were `count`, or until the link is deleted.
pub(crate) async fn watch(
    context: &Context,
    link: &str,
    count: Option<u64>,
) -> Result<(), Failure> {
    let client = context.session().await?;
    let link = links::find(&client, link).await?;
    let mut clicks = client.links().watch(&link.id);
    if !context.json {
        let totals = &link.clicks;
        let so_far = format!("{} clicks, {} unique so far", totals.total, totals.unique);
        let short = clean(&link.short_url);
        // On standard error, so that a pipe receives only rows.
        let _ = writeln!(std::io::stderr(), "{short}: {so_far}; press Ctrl-C to stop");
        output::line(&row([
            "TIME", "DEVICE", "COUNTRY", "REFERRER", "VISITOR", "TOTAL", "UNIQUE",
        ]))?;
    }
    let mut left = count.unwrap_or(u64::MAX);
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    while left > 0 {
        let click = tokio::select! {
            click = clicks.next() => click,
            _ = &mut interrupt => return Ok(()),
        };
        let Some(click) = click else {
            let _ = writeln!(std::io::stderr(), "the link was deleted");
            return Ok(());
        };
        show(context, &click?)?;
        left -= 1;
    }
    Ok(())
}

fn show(context: &Context, click: &Click) -> Result<(), Failure> {
    if context.json {
        return output::json_line(click);
    }
    let time = click.at.format("%H:%M:%S").to_string();
    let text = |value: &Option<String>| clean(value.as_deref().unwrap_or("-"));
    output::line(&row([
        &time,
        device(click.device),
        &text(&click.country),
        &text(&click.referrer_host),
        visitor(click),
        &click.totals.total.to_string(),
        &click.totals.unique.to_string(),
    ]))
}

/// Columns have a fixed width: the first row is printed before later ones are known.
fn row(cells: [&str; 7]) -> String {
    let [time, device, country, referrer, visitor, total, unique] = cells;
    format!(
        "{time:<8}  {device:<7}  {country:<7}  {referrer:<24}  {visitor:<13}  {total:>7}  {unique:>7}"
    )
}

fn device(device: Device) -> &'static str {
    match device {
        Device::Desktop => "desktop",
        Device::Mobile => "mobile",
        Device::Tablet => "tablet",
        _ => "other",
    }
}

fn visitor(click: &Click) -> &'static str {
    match (click.bot, click.bot_reason) {
        (false, _) => "person",
        (true, Some(BotReason::Crawler)) => "crawler",
        (true, Some(BotReason::Head)) => "HEAD",
        (true, Some(BotReason::NoUserAgent)) => "no user agent",
        (true, Some(BotReason::Prefetch)) => "prefetch",
        (true, _) => "bot",
    }
}
