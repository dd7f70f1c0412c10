//! The HTTP side: connections, health, CORS, then S3.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::access::Access;
use crate::cors;
use crate::disk::Store;
use crate::options::Options;
use crate::s3::Api;

/// Time for requests in flight to finish after the shutdown began.
const GRACE: Duration = Duration::from_secs(5);
/// Time for a client to send a request head, and for a connection to stay idle. Clients
/// reuse connections for up to 90 seconds: closing one earlier may race with a request.
const HEADER_TIMEOUT: Duration = Duration::from_mins(2);

/// Serves S3 on `listener` until `shutdown` resolves; requests in flight have five seconds
/// to finish.
///
/// # Errors
/// When the data directory cannot be used (another server holds it, or it cannot be
/// written), or a bucket name is not valid.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let data = options.data.display().to_string();
    let app = Arc::new(App::open(options)?);
    tracing::info!(%address, data, "listening");
    let connections = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(Arc::clone(&app).connection(stream, &connections));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    let finished = tokio::time::timeout(GRACE, connections.shutdown()).await;
    if finished.is_err() {
        tracing::warn!("requests were still in flight after the grace period");
    }
    tasks.shutdown().await;
    Ok(())
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

    /// Serves a connection until it is closed, or all are at a shutdown.
    fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        all: &GracefulShutdown,
    ) -> impl Future<Output = hyper::Result<()>> + use<> {
        // Uploads are many small writes: latency matters more than packets.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let app = Arc::clone(&self);
            async move { Ok::<_, Infallible>(app.respond(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        all.watch(connection)
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Body> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if reads && request.uri().path() == "/health" {
            return Response::new(Body::from("ok\n".to_owned()));
        }
        if request.method() == Method::OPTIONS {
            return match cors::preflight(&self.cors_origins, request.headers()) {
                Some(headers) => {
                    let mut response = status(StatusCode::OK);
                    *response.headers_mut() = headers;
                    response
                }
                None => status(StatusCode::FORBIDDEN),
            };
        }
        if is_form(&request) {
            // Uploads by form do not exist in R2 either, and s3s would hold the file in
            // memory before it checks the signature.
            return status(StatusCode::NOT_IMPLEMENTED);
        }
        let cors = cors::response_headers(&self.cors_origins, request.headers());
        let response = self.service.call(request.map(Body::from)).await;
        let mut response = response.unwrap_or_else(|error| {
            tracing::error!(?error, "the response could not be built");
            status(StatusCode::INTERNAL_SERVER_ERROR)
        });
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
}

fn is_form(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok());
    *request.method() == Method::POST
        && kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"))
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
