//! Short links, by the GraphQL API.

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

/// The operations on short links, from [`Quartet::links`].
#[derive(Clone, Debug)]
pub struct Links(Quartet);

impl Quartet {
    /// Short links.
    pub fn links(&self) -> Links {
        Links(self.clone())
    }
}

impl Links {
    /// Creates a link. Not retried once it was sent: it could be created twice.
    pub async fn create(&self, input: NewLink) -> Result<Link, Error> {
        let operation = CreateLink::build(WithInput { input });
        let data = execute::run(&self.0, &operation, Repeat::UnlessSent).await?;
        Ok(data.create_link)
    }

    /// A link by its id; `None` if it does not exist or belongs to another user.
    pub async fn get(&self, id: &LinkId) -> Result<Option<Link>, Error> {
        let operation = LinkById::build(ById { id: id.clone() });
        Ok(execute::run(&self.0, &operation, Repeat::Always)
            .await?
            .link)
    }

    /// A link by its slug; `None` if it does not exist or belongs to another user.
    pub async fn by_slug(&self, slug: &str) -> Result<Option<Link>, Error> {
        let slug = slug.to_owned();
        let operation = LinkBySlug::build(BySlug { slug });
        Ok(execute::run(&self.0, &operation, Repeat::Always)
            .await?
            .link_by_slug)
    }

    /// All matching links, newest first, page by page.
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
        let found = execute::run(&self.0, &operation, Repeat::Always)
            .await?
            .links;
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
        let data = execute::run(&self.0, &operation, Repeat::Always).await?;
        Ok(data.update_link)
    }

    /// Deletes a link with its clicks.
    pub async fn delete(&self, id: &LinkId) -> Result<(), Error> {
        let operation = DeleteLink::build(ById { id: id.clone() });
        let (result, lost) = execute::run_reporting_loss(&self.0, &operation, Repeat::Always).await;
        match result {
            // An attempt whose response was lost has deleted it.
            Err(Error::Problem(problem)) if lost && is_missing(&problem) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Clicks by hour of the last 24 hours, or by day of the last 30 days, oldest first.
    pub async fn series(&self, id: &LinkId, by: Interval) -> Result<Vec<ClickPoint>, Error> {
        let id = id.clone();
        let operation = SeriesOf::build(SeriesVariables { id, by });
        let link = execute::run(&self.0, &operation, Repeat::Always)
            .await?
            .link;
        let Series { clicks } =
            link.ok_or_else(|| Error::Answer("the link does not exist".into()))?;
        Ok(clicks.series)
    }

    /// Every click from now on, until the link is deleted. Reconnects when the connection
    /// breaks; clicks in between are missing, but `totals` of the next click includes them.
    pub fn watch(&self, id: &LinkId) -> Watch {
        Watch::new(self.0.clone(), id.clone())
    }
}

fn is_missing(problem: &Problem) -> bool {
    problem.code == ProblemCode::NotFound
}
