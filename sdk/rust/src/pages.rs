//! Paginated lists as one stream.

use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};

use crate::error::Error;

/// One page, and the cursor of the next one.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// All items of all pages. A page is fetched when its first item is polled.
pub(crate) fn all<T, F, Fut>(fetch: F) -> BoxStream<'static, Result<T, Error>>
where
    T: Send + 'static,
    F: FnMut(Option<String>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Page<T>, Error>> + Send + 'static,
{
    let pages = stream::try_unfold((fetch, Some(None)), |(mut fetch, cursor)| async {
        let Some(cursor) = cursor else {
            return Ok::<_, Error>(None);
        };
        let page = fetch(cursor).await?;
        let items = stream::iter(page.items.into_iter().map(Ok));
        Ok(Some((items, (fetch, page.next.map(Some)))))
    });
    pages.try_flatten().boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::TryStreamExt as _;

    use super::{Page, all};
    use crate::error::Error;

    #[tokio::test]
    async fn all_pages_are_fetched_in_order() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let items: Vec<u32> = all(move |cursor: Option<String>| {
            seen.lock().unwrap().push(cursor.clone());
            let (items, next) = match cursor.as_deref() {
                None => (vec![1, 2], Some("b")),
                Some("b") => (vec![], Some("c")),
                _ => (vec![3], None),
            };
            let next = next.map(str::to_owned);
            async { Ok::<_, Error>(Page { items, next }) }
        })
        .try_collect()
        .await
        .unwrap();
        assert_eq!(items, [1, 2, 3]);
        assert_eq!(
            *asked.lock().unwrap(),
            [None, Some("b".into()), Some("c".into())]
        );
    }
}
