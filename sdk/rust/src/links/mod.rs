//! Short links, by the GraphQL of links.

mod clicks;
mod execute;
mod operations;
mod socket;
mod types;

use cynic::{MutationBuilder as _, QueryBuilder as _};
use futures_util::stream::BoxStream;

pub use self::clicks::Watch;
pub use self::types::{
    BotReason, Click, ClickCounts, ClickPoint, ClickTotals, Device, Interval, Link, LinkFilter,
    LinkId, LinkPatch, LinkStatus, NewLink, TextFilter,
};

use self::operations::{
    ById, BySlug, CreateLink, DeleteLink, LinkById, LinkBySlug, LinkList, ListLinks, Series,
    SeriesOf, SeriesVariables, UpdateLink, WithInput, WithPatch,
};
use crate::client::Quartet;
use crate::error::Error;
use crate::pages::{self, Page};
use crate::problem::{Problem, ProblemCode};
use crate::retry::Repeat;

const PAGE: i32 = 100;

/// The operations on short links; [`Quartet::links`] gives it.
#[derive(Clone, Debug)]
pub struct Links(pub(crate) Quartet);

impl Links {
    /// Makes a link. Not repeated once it was sent: it could be made twice.
    pub async fn create(&self, input: NewLink) -> Result<Link, Error> {
        let operation = CreateLink::build(WithInput { input });
        let made = self.run(&operation, Repeat::UnlessSent).await?;
        Ok(made.create_link)
    }

    /// A link by its id; none when there is none or it belongs to somebody else.
    pub async fn get(&self, id: &LinkId) -> Result<Option<Link>, Error> {
        let operation = LinkById::build(ById { id: id.clone() });
        Ok(self.run(&operation, Repeat::Always).await?.link)
    }

    /// A link by what its short address ends in.
    pub async fn by_slug(&self, slug: &str) -> Result<Option<Link>, Error> {
        let slug = slug.to_owned();
        let operation = LinkBySlug::build(BySlug { slug });
        Ok(self.run(&operation, Repeat::Always).await?.link_by_slug)
    }

    /// All links that fit, newest first, page by page.
    pub fn list(&self, filter: Option<LinkFilter>) -> BoxStream<'static, Result<Link, Error>> {
        let links = self.clone();
        pages::all(move |after| links.clone().page(filter.clone(), after))
    }

    async fn page(
        self,
        filter: Option<LinkFilter>,
        after: Option<String>,
    ) -> Result<Page<Link>, Error> {
        let operation = LinkList::build(ListLinks {
            first: PAGE,
            after,
            filter,
        });
        let found = self.run(&operation, Repeat::Always).await?.links;
        let next = found
            .page_info
            .end_cursor
            .filter(|_| found.page_info.has_next_page);
        Ok(Page {
            items: found.nodes,
            next,
        })
    }

    /// Changes a link.
    pub async fn update(&self, id: &LinkId, input: LinkPatch) -> Result<Link, Error> {
        let operation = UpdateLink::build(WithPatch {
            id: id.clone(),
            input,
        });
        let made = self.run(&operation, Repeat::Always).await?;
        Ok(made.update_link)
    }

    /// Deletes a link with its counts.
    pub async fn delete(&self, id: &LinkId) -> Result<(), Error> {
        let operation = DeleteLink::build(ById { id: id.clone() });
        let (result, lost) = self.run_telling(&operation, Repeat::Always).await;
        match result {
            // An attempt whose answer was lost has deleted it.
            Err(Error::Problem(problem)) if lost && is_missing(&problem) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Counts by hour or day, oldest first, of the last 24 hours or 30 days.
    pub async fn series(&self, id: &LinkId, by: Interval) -> Result<Vec<ClickPoint>, Error> {
        let id = id.clone();
        let operation = SeriesOf::build(SeriesVariables { id, by });
        let link = self.run(&operation, Repeat::Always).await?.link;
        let Series { clicks } =
            link.ok_or_else(|| Error::Answer("there is no such link".into()))?;
        Ok(clicks.series)
    }

    /// Every click from now on, until the link is deleted. Connects again when the connection
    /// breaks; clicks meanwhile are missing, but `totals` of the next one counts them.
    pub fn watch(&self, id: &LinkId) -> Watch {
        Watch::new(self.clone(), id.clone())
    }
}

fn is_missing(problem: &Problem) -> bool {
    problem.code == ProblemCode::NotFound
}
