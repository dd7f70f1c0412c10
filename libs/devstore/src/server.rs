//! The HTTP side: health, CORS, then S3.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::from_fn;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use quartet_common::config::Server;
use quartet_http::health::Readiness;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::cors;
use crate::disk::Store;
use crate::options::Options;
use crate::s3::Api;

/// Serves S3 on `listener` until `shutdown` is canceled; requests in flight have five seconds
/// to finish.
///
/// # Errors
/// When the data directory cannot be used (another server holds it, or it cannot be
/// written), a bucket name is not valid, or requests were cut off at the end.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let data = options.data.display().to_string();
    let app = Arc::new(App::open(options)?);
    tracing::info!(%address, data, "listening");
    let router = Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .fallback(respond)
        // A refused upload is answered before its body has been read.
        .layer(from_fn(quartet_http::drain::drain))
        .with_state(app);
    let settings = Server {
        listen: address,
        body_limit_bytes: usize::MAX,
        request_timeout_seconds: 60,
        body_timeout_seconds: 60,
        // Clients reuse connections for up to 90 seconds: closing one earlier may race with a
        // request.
        header_timeout_seconds: 120,
        drain_seconds: 0,
        shutdown_grace_seconds: 5,
        max_connections: 10_000,
        trusted_proxies: Vec::new(),
        tls_certificate: None,
        tls_key: None,
        tls_client_ca: None,
    };
    quartet_http::serve::serve(listener, router, &settings, &Readiness::new(), shutdown).await
}

struct App {
    service: S3Service,
    cors_origins: Vec<String>,
}

impl App {
    fn open(options: Options) -> io::Result<Self> {
        let store = Arc::new(Store::open(&options.data, options.quirks)?);
        for name in options.buckets.iter().chain(&options.public_buckets) {
            store.ensure_bucket(name)?;
        }
        let mut builder = S3ServiceBuilder::new(Api { store });
        builder.set_auth(SimpleAuth::from_single(
            options.access_key,
            options.secret_key,
        ));
        builder.set_access(Access {
            public_buckets: options.public_buckets,
        });
        Ok(Self {
            service: builder.build(),
            cors_origins: options.cors_origins,
        })
    }
}

async fn respond(State(app): State<Arc<App>>, request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return match cors::preflight(&app.cors_origins, request.headers()) {
            Some(headers) => headers.into_response(),
            None => StatusCode::FORBIDDEN.into_response(),
        };
    }
    if is_form(&request) {
        // Uploads by form do not exist in R2 either, and s3s would hold the file in
        // memory before it checks the signature.
        return StatusCode::NOT_IMPLEMENTED.into_response();
    }
    let cors = cors::response_headers(&app.cors_origins, request.headers());
    let request = request.map(s3s::Body::http_body_unsync);
    let mut response = match app.service.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::error!(?error, "the response could not be built");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.extend(cors);
    // As a CDN in front of a real bucket has to do: uploads never run as pages.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("script-src 'none'; sandbox"),
    );
    response
}

fn is_form(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok());
    *request.method() == Method::POST
        && kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"))
}
