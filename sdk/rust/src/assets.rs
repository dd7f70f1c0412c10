//! Assets: listing, download, deletion.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::client::Quartet;
use crate::error::Error;
use crate::generated::api::types::{Asset, AssetId, AssetStatus, Download, Visibility};
use crate::pages::{self, Page};

/// Which assets to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct AssetFilter {
    pub status: Option<AssetStatus>,
    pub visibility: Option<Visibility>,
    /// Assets per request, 1 to 100.
    pub page_size: Option<i32>,
}

impl Quartet {
    /// All matching assets, newest first, page by page.
    pub fn assets(&self, filter: AssetFilter) -> BoxStream<'static, Result<Asset, Error>> {
        let client = self.clone();
        pages::all(move |cursor| {
            let api = client.api();
            async move {
                let AssetFilter {
                    status,
                    visibility,
                    page_size,
                } = filter;
                let page = api
                    .list_assets(cursor.as_deref(), page_size, status, visibility)
                    .await?
                    .into_inner();
                Ok(Page {
                    items: page.data,
                    next: page.next_cursor,
                })
            }
        })
    }

    pub async fn asset(&self, id: &AssetId) -> Result<Asset, Error> {
        Ok(self.api().get_asset(id, None).await?.into_inner())
    }

    /// Deletes an asset and its file permanently.
    pub async fn delete_asset(&self, id: &AssetId) -> Result<(), Error> {
        self.api().delete_asset(id).await?;
        Ok(())
    }

    /// A URL from which to download an asset. It authorizes anyone to read the file until it
    /// expires.
    pub async fn download_url(&self, id: &AssetId) -> Result<Download, Error> {
        Ok(self.api().download_asset(id).await?.into_inner())
    }

    /// The content of an asset.
    ///
    /// # Errors
    /// The stream ends with an error if the connection breaks before the end of the file.
    pub async fn download(
        &self,
        id: &AssetId,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let download = self.download_url(id).await?;
        // Without the access token, which the store must not see.
        let response = self.streams.get(download.url.expose()).send().await?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(Error::Store { status });
        }
        Ok(response.bytes_stream().map_err(Error::from).boxed())
    }
}
