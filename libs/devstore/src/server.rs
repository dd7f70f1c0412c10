//! The HTTP side: connections, health, CORS, then S3.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::dto::CORSRule;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;

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
    let app = Arc::new(App::open(options)?);
    tracing::info!(address = %listener.local_addr()?, data = %app.options.data.display(), "listening");
    let connections = GracefulShutdown::new();
    let mut tasks = tokio::task::JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Uploads are many small writes: latency matters more than packets.
                    let _ = stream.set_nodelay(true);
                    let app = Arc::clone(&app);
                    let service = service_fn(move |request| {
                        let app = Arc::clone(&app);
                        async move { Ok::<_, Infallible>(app.respond(request).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEADER_TIMEOUT)
                        .serve_connection(TokioIo::new(stream), service);
                    tasks.spawn(connections.watch(connection));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were still in flight after the grace period");
    }
    tasks.shutdown().await;
    Ok(())
}

struct App {
    options: Arc<Options>,
    store: Arc<Store>,
    service: S3Service,
    default_rules: Vec<CORSRule>,
}

impl App {
    fn open(options: Options) -> io::Result<Self> {
        let store = Arc::new(Store::open(&options.data, options.quirks)?);
        for name in options.buckets.iter().chain(&options.public_buckets) {
            store.ensure_bucket(name)?;
        }
        let options = Arc::new(options);
        let mut builder = S3ServiceBuilder::new(Api::new(Arc::clone(&store)));
        builder.set_auth(SimpleAuth::from_single(
            options.access_key.clone(),
            options.secret_key.clone(),
        ));
        builder.set_access(Access {
            options: Arc::clone(&options),
        });
        let default_rules = if options.cors_origins.is_empty() {
            Vec::new()
        } else {
            vec![cors::permissive(&options.cors_origins)]
        };
        Ok(Self {
            options,
            store,
            service: builder.build(),
            default_rules,
        })
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Body> {
        let began = Instant::now();
        let method = request.method().clone();
        // The path only: a query may contain a signature.
        let path = request.uri().path().to_owned();
        let response = self.route(request).await;
        tracing::debug!(
            %method,
            path,
            status = response.status().as_u16(),
            duration_ms = began.elapsed().as_secs_f64() * 1000.0,
            "request"
        );
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if reads && request.uri().path() == "/health" {
            return Response::new(Body::from("ok\n".to_owned()));
        }
        if request.method() == Method::OPTIONS {
            return self.preflight(&request);
        }
        if is_form(&request) {
            // Uploads by form do not exist in R2 either, and s3s would hold the file in
            // memory before it checks the signature.
            return status(StatusCode::NOT_IMPLEMENTED);
        }
        let cors = request.headers().contains_key(ORIGIN).then(|| {
            let rules = self.rules(request.uri().path());
            cors::response_headers(&rules, request.headers(), request.method().as_str())
        });
        let mut response = match self.service.call(request.map(Body::from)).await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(?error, "the response could not be built");
                status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        };
        let headers = response.headers_mut();
        headers.extend(cors.unwrap_or_default());
        // As a CDN in front of a real bucket has to do: uploads never run as pages.
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("script-src 'none'; sandbox"),
        );
        if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().simple().to_string()) {
            headers.insert("x-amz-request-id", id);
        }
        response
    }

    fn preflight(&self, request: &Request<Incoming>) -> Response<Body> {
        let rules = self.rules(request.uri().path());
        match cors::preflight(&rules, request.headers()) {
            Some(headers) => {
                let mut response = status(StatusCode::OK);
                *response.headers_mut() = headers;
                response
            }
            None => status(StatusCode::FORBIDDEN),
        }
    }

    fn rules(&self, path: &str) -> Vec<CORSRule> {
        let bucket = path
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default();
        let own = self
            .store
            .bucket(bucket)
            .ok()
            .and_then(|bucket| bucket.cors());
        own.unwrap_or_else(|| self.default_rules.clone())
    }
}

fn is_form(request: &Request<Incoming>) -> bool {
    let kind = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    *request.method() == Method::POST
        && kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"))
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
