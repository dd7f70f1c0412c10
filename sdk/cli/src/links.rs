//! Creates, lists, shows, changes and deletes links.

use futures_util::{StreamExt as _, TryStreamExt as _};
use quartet_client::{Link, LinkFilter, LinkId, LinkPatch, LinkStatus, NewLink, Patch, Quartet};
use serde_json::json;

use crate::arguments::{self, Changes, Edit};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::terminal::clean;

const PREFIX: &str = "lnk_";

pub(crate) async fn create(context: &Context, options: arguments::NewLink) -> Result<(), Failure> {
    let client = context.session().await?;
    let link = NewLink {
        slug: options.slug,
        title: options.title,
        expires_at: options.expires,
        max_clicks: options.max_clicks,
        redirect_status: options.redirect_status,
        ..NewLink::to(options.to)
    };
    show(context, &client.links().create(link).await?)
}

pub(crate) async fn list(
    context: &Context,
    search: Option<String>,
    limit: usize,
) -> Result<(), Failure> {
    let client = context.session().await?;
    let filter = search.map(|text| LinkFilter::holding(&text));
    let links = client.links().list(filter).take(limit);
    let links: Vec<Link> = links.try_collect().await?;
    if context.json {
        return output::json(&links);
    }
    let rows = links.iter().map(|link| {
        vec![
            link.id.to_string(),
            link.short_url.clone(),
            link.url.clone(),
            link.title.clone().unwrap_or_default(),
            state(link.status).to_owned(),
            link.clicks.total.to_string(),
            link.clicks.people.to_string(),
        ]
    });
    let headings = [
        "ID",
        "SHORT URL",
        "TARGET URL",
        "TITLE",
        "STATUS",
        "CLICKS",
        "PEOPLE",
    ];
    output::table(&headings, rows.collect())
}

pub(crate) async fn get(context: &Context, link: &str) -> Result<(), Failure> {
    let client = context.session().await?;
    show(context, &find(&client, link).await?)
}

pub(crate) async fn edit(context: &Context, edit: Edit) -> Result<(), Failure> {
    let client = context.session().await?;
    let id = find(&client, &edit.link).await?.id;
    let link = client.links().update(&id, patch(edit.changes)).await?;
    show(context, &link)
}

pub(crate) async fn delete(context: &Context, links: Vec<String>) -> Result<(), Failure> {
    let client = context.session().await?;
    let mut deleted = Vec::new();
    for link in &links {
        let id = find(&client, link).await?.id;
        client.links().delete(&id).await?;
        if !context.json {
            output::line(&format!("deleted {}", clean(link)))?;
        }
        deleted.push(id);
    }
    if context.json {
        return output::json(&json!({ "deleted": deleted }));
    }
    Ok(())
}

/// The link with this id or slug.
pub(crate) async fn find(client: &Quartet, link: &str) -> Result<Link, Failure> {
    let links = client.links();
    let found = if link.starts_with(PREFIX) {
        links.get(&LinkId::from(link)).await?
    } else {
        links.by_slug(link).await?
    };
    found.ok_or_else(|| {
        Failure::Refused(format!(
            "there is no link `{link}`, or it belongs to another user"
        ))
    })
}

fn patch(changes: Changes) -> LinkPatch {
    LinkPatch {
        url: changes.to,
        slug: changes.slug,
        title: cleared(changes.title, changes.no_title),
        expires_at: cleared(changes.expires, changes.no_expires),
        max_clicks: cleared(changes.max_clicks, changes.no_max_clicks),
        redirect_status: changes.redirect_status,
        enabled: (changes.enable || changes.disable).then_some(changes.enable),
    }
}

fn cleared<T>(set: Option<T>, clear: bool) -> Patch<T> {
    match set {
        Some(value) => Patch::Set(value),
        None if clear => Patch::Clear,
        None => Patch::Keep,
    }
}

fn show(context: &Context, link: &Link) -> Result<(), Failure> {
    if context.json {
        return output::json(link);
    }
    let optional = |value: Option<String>| value.unwrap_or_default();
    output::record(&[
        ("id", link.id.to_string()),
        ("short url", link.short_url.clone()),
        ("target url", link.url.clone()),
        ("title", optional(link.title.clone())),
        ("status", state(link.status).to_owned()),
        ("redirect", link.redirect_status.to_string()),
        (
            "expires",
            optional(link.expires_at.map(|at| at.to_rfc3339())),
        ),
        ("uses", uses(link)),
        ("clicks", clicks(link)),
        ("created", link.created_at.to_rfc3339()),
    ])
}

fn uses(link: &Link) -> String {
    match link.max_clicks {
        Some(limit) => format!("{} of {limit}", link.uses),
        None => "unlimited".to_owned(),
    }
}

fn clicks(link: &Link) -> String {
    let counts = &link.clicks;
    format!(
        "{} ({} people, {} bots, {} unique)",
        counts.total, counts.people, counts.bots, counts.unique
    )
}

fn state(status: LinkStatus) -> &'static str {
    match status {
        LinkStatus::Active => "active",
        LinkStatus::Disabled => "disabled",
        LinkStatus::Exhausted => "exhausted",
        LinkStatus::Expired => "expired",
        LinkStatus::Unknown => "unknown",
    }
}
