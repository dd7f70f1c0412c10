//! The plain redirect in front of the router: `/s/{slug}` of a cached link that redirects. Anything
//! else, such as a page, a problem or a link with a maximum, is left to the router. Both go through
//! [`redirects`].

use std::sync::Arc;

use futures_util::FutureExt as _;
use http::Method;
use quartet_http::front::{Front, FrontResponse, RequestHead};

use super::{
    redirects::{redirect_to, request_id, short_url},
    signals,
};
use crate::{domain::redirects, state::AppState};

const ROUTE: &str = "/s/{slug}";
const PREFIX: &str = "/s/";

struct Redirects(Arc<AppState>);

pub(crate) fn front(state: &AppState) -> Arc<dyn Front> {
    Arc::new(Redirects(Arc::new(state.clone())))
}

impl Front for Redirects {
    fn route(&self) -> &'static str {
        ROUTE
    }

    fn take(&self, request: &RequestHead<'_>) -> Option<FrontResponse> {
        if *request.method != Method::GET {
            return None;
        }
        // A slug that is percent-encoded, or has a slash behind it, is not found here.
        let slug = request.path.strip_prefix(PREFIX)?;
        let ctx = &self.0.ctx;
        let url = short_url(ctx, request.headers, slug);
        let plain = redirects::plain(ctx, url, ctx.clock.now())?;
        let signals = signals::read(
            request.method,
            request.headers,
            request.client,
            ctx.config.clicks.country_header.as_ref(),
        );
        let click = plain.click(ctx, &signals, request_id(request.headers));
        let state = Arc::clone(&self.0);
        Some(
            async move {
                let redirect = plain.follow(&state.ctx, &click).await?;
                Ok(redirect_to(&state.ctx, redirect))
            }
            .boxed(),
        )
    }
}
