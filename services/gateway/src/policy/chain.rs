//! The policies of one route, chosen once from the configuration.
//!
//! Steps run in this order, and the first that replies ends the chain:
//!
//! 1. `https_redirect`: is the client to use TLS
//!    `cors`: the preflight of a page of another origin, and what pages may read
//! 2. `lifecycle`: has the route ended
//! 3. `network_access`: the client IP
//! 4. `maintenance`, and `fault` in tests
//! 5. `claim_headers`: what the client sends under the names of claims is removed
//!    `client_certificate`: has the client proved itself to this host
//! 6. `upgrade`: may the request become a WebSocket
//! 7. `body_limit`: is the announced body too large, and `decompression`: may it be compressed
//!    `grpc_web`: is it to be translated for its upstream
//! 8. `login`: the session of a person, and `auth`: the access token. A refusal is deferred until the limits have counted, against the
//!    client IP: otherwise guessing tokens would be free.
//! 9. `rate_limit`: all limits of the route together. Then the deferred refusal is sent, so that no
//!    later step has to know of it. A browser without a session is sent to its login now.
//!    `forward_auth`: an external service decides
//! 10. `security_headers` of the response
//! 11. `edits`: the route's changes to headers of request and response
//! 12. `split` or `lookup`: the upstream, of a route with several
//! 13. `mirror`: does another upstream get a copy
//! 14. `validation`: is the request as the OpenAPI document of the upstream says. What comes now serves the
//!     request, so the session of its person counts as used
//! 15. `redirect`, `respond`, `site` or `verify`, of a route that has no upstream
//! 16. `invalidation`: what an unsafe request makes invalid, and `cache`: a stored response. It is
//!     the upstream's, so that what the steps before add to a response is of this request.
//!
//! A step that a route does not need does not exist for it. Most steps decide at once; only one that
//! has to wait allocates a future.

use std::sync::Arc;

use quartet_common::clock::Clock;

use super::{
    auth::{AccessParts, AccessToken},
    body_limit::BodyLimit,
    cache::ResponseCache,
    claim_headers::ClaimNames,
    client_certificate::ClientCertificates,
    context::{Flow, PolicyContext, ResponseHead, Verdict},
    cors::CorsPolicy,
    decompression::Decompression,
    edits::HeaderEdits,
    fault::FaultInjection,
    fetch::CacheMetrics,
    forward_auth::ExternalAuth,
    grpc_calls,
    https_redirect::HttpsRedirect,
    invalidator::Invalidator,
    lifecycle::Announcement,
    login::{self, LoginCookies, LoginGuard},
    lookup::Lookup,
    maintenance::MaintenanceMode,
    mirror::Mirroring,
    network_access::NetworkAccess,
    rate_limit::{NamedLimit, RateLimits, SharedCounter},
    redirect::Redirect,
    redirect_parts::PartsRedirect,
    respond::Respond,
    site::SiteFiles,
    split::Split,
    upgrade::Upgrade,
    validation::{Validation, ValidationParts},
    verify,
};
use crate::{
    cache::Cache,
    config::tls::ClientAuthorities,
    metrics::GatewayMetrics,
    request::RequestFacts,
    routing::{Auth, RequestDecompression, Route, RouteAction, SecurityHeaders},
    session::Login,
    site::Site,
    upstream::{AddressLookup, Mirror, Upstream},
};

/// What chains refer to; all of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainParts<'p> {
    pub(crate) access: AccessParts<'p>,
    pub(crate) claim_names: Option<&'p ClaimNames>,
    pub(crate) logins: &'p [Arc<Login>],
    pub(crate) authorities: &'p ClientAuthorities,
    pub(crate) limits: &'p [Arc<NamedLimit>],
    /// Counts them with the other replicas.
    pub(crate) shared: Option<&'p Arc<SharedCounter>>,
    pub(crate) upstreams: &'p [Arc<Upstream>],
    pub(crate) lookups: &'p [Arc<AddressLookup>],
    pub(crate) caches: &'p [Arc<Cache>],
    pub(crate) sites: &'p [Arc<Site>],
    pub(crate) validation: ValidationParts<'p>,
    pub(crate) clock: &'p Clock,
    pub(crate) metrics: &'p GatewayMetrics,
}

/// The policies of one route.
#[derive(Debug)]
pub(crate) struct Chain {
    steps: Box<[Step]>,
}

/// An enum rather than a trait object: the calls are direct, and the steps lie side by side.
#[derive(Debug)]
pub(super) enum Step {
    HttpsRedirect(HttpsRedirect),
    Announcement(Announcement),
    Cors(CorsPolicy),
    NetworkAccess(NetworkAccess),
    Maintenance(MaintenanceMode),
    Fault(FaultInjection),
    ClaimNames(ClaimNames),
    ClientCertificates(ClientCertificates),
    Upgrade(Upgrade),
    BodyLimit(BodyLimit),
    Decompression(Decompression),
    GrpcWeb,
    Login(LoginGuard),
    AccessToken(AccessToken),
    RateLimits(RateLimits),
    /// Sends what `Login` and `AccessToken` have deferred.
    Refusal,
    /// Sends browsers without a session to their login.
    Challenge,
    LoginCookies(LoginCookies),
    /// Lets the idle time of the session begin again.
    SessionUse,
    ExternalAuth(ExternalAuth),
    SecurityHeaders(Arc<SecurityHeaders>),
    HeaderEdits(HeaderEdits),
    Split(Split),
    Lookup(Lookup),
    Mirroring(Mirroring),
    Validation(Validation),
    Redirect(Redirect),
    RedirectParts(PartsRedirect),
    Respond(Respond),
    SiteFiles(SiteFiles),
    /// Answers who the caller is.
    Verify,
    Cache(ResponseCache),
    Invalidation(Invalidator),
}

impl Chain {
    pub(crate) fn new(route: &Route, mirror: Option<Arc<Mirror>>, parts: ChainParts<'_>) -> Self {
        let ChainParts {
            access,
            limits,
            shared,
            ..
        } = parts;
        let mut steps = guards(route, parts.clock);
        let claim_names = parts.claim_names.cloned();
        steps.extend(claim_names.map(Step::ClaimNames));
        if !parts.authorities.is_empty() {
            let policy = ClientCertificates::new(parts.authorities.clone());
            steps.push(Step::ClientCertificates(policy));
        }
        steps.extend([
            Step::Upgrade(Upgrade::new(route)),
            Step::BodyLimit(BodyLimit::new(route.body_limit_bytes)),
        ]);
        if route.request_decompression != RequestDecompression::Pass {
            let policy = Decompression::new(route.request_decompression, route.body_limit_bytes);
            steps.push(Step::Decompression(policy));
        }
        steps.extend(route.grpc_web.then_some(Step::GrpcWeb));
        let guard = login_guard(route, parts.logins);
        let needs_login = guard.is_some();
        steps.extend(guard.map(Step::Login));
        if route.auth != Auth::Public {
            let policy = AccessToken::new(route, access);
            steps.push(Step::AccessToken(policy));
        }
        if !route.limits.is_empty() {
            steps.push(Step::RateLimits(RateLimits::new(route, limits, shared)));
        }
        if needs_login || route.auth != Auth::Public {
            steps.push(Step::Refusal);
        }
        steps.extend(needs_login.then_some(Step::Challenge));
        let login_cookies = LoginCookies::of(parts.logins);
        steps.extend(login_cookies.clone().map(Step::LoginCookies));
        let forward_auth = route.forward_auth.as_ref();
        steps.extend(
            forward_auth.map(|it| Step::ExternalAuth(ExternalAuth::new(it, login_cookies))),
        );
        if let Some(headers) = &route.guards.security_headers {
            steps.push(Step::SecurityHeaders(Arc::clone(headers)));
        }
        if !(route.request_headers.is_empty() && route.response_headers.is_empty()) {
            steps.push(Step::HeaderEdits(HeaderEdits::new(route)));
        }
        steps.extend(destination(route, mirror, &parts));
        let validation = Validation::new(route, parts.validation);
        steps.extend(validation.map(Step::Validation));
        steps.extend(needs_login.then_some(Step::SessionUse));
        if let Some(location) = &route.redirect {
            steps.push(Step::Redirect(Redirect::new(
                location.clone(),
                route.redirect_status,
            )));
        }
        let parts_redirect = route.redirect_parts.clone();
        steps.extend(parts_redirect.map(|it| Step::RedirectParts(PartsRedirect::new(it))));
        if let Some(response) = &route.respond {
            steps.push(Step::Respond(Respond::new(response.clone())));
        }
        let site = route.site.and_then(|index| parts.sites.get(index));
        steps.extend(site.map(|site| Step::SiteFiles(SiteFiles::new(Arc::clone(site), route))));
        steps.extend((route.action == RouteAction::Verify).then_some(Step::Verify));
        steps.extend(cache_steps(route, &parts));
        Self {
            steps: steps.into(),
        }
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Only what the route changes of the request's headers, which decides nothing.
    pub(crate) fn edit(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) {
        for step in &self.steps {
            if let Step::HeaderEdits(policy) = step {
                policy.on_request(facts, context);
            }
        }
    }

    pub(crate) async fn on_request(
        &self,
        facts: &RequestFacts<'_>,
        context: &mut PolicyContext,
    ) -> Flow {
        for step in &self.steps {
            let flow = match step.on_request(facts, context) {
                Verdict::Now(flow) => flow,
                Verdict::Later(flow) => flow.await,
            };
            if !matches!(flow, Flow::Continue) {
                return flow;
            }
        }
        Flow::Continue
    }

    /// A part of the request body has arrived.
    pub(crate) fn on_body(&self, length: usize, context: &mut PolicyContext) -> Flow {
        if length > 0 {
            context.cache_cancel();
        }
        context.body_bytes = context.body_bytes.saturating_add(length as u64);
        for step in &self.steps {
            if let Step::BodyLimit(policy) = step
                && let Flow::Reply(answer) = policy.on_body(context.body_bytes)
            {
                return Flow::Reply(answer);
            }
        }
        Flow::Continue
    }

    pub(crate) fn on_response(&self, context: &PolicyContext, response: &mut dyn ResponseHead) {
        for step in &self.steps {
            match step {
                Step::Announcement(policy) => policy.on_response(response),
                Step::Cors(policy) => policy.on_response(context, response),
                Step::RateLimits(policy) => policy.on_response(context, response),
                Step::ExternalAuth(_) => ExternalAuth::on_response(context, response),
                Step::SecurityHeaders(headers) => headers.on_response(context, response),
                Step::HeaderEdits(policy) => policy.on_response(response),
                Step::Split(policy) => policy.on_response(context, response),
                Step::Cache(_) => context.cache_response(response),
                Step::HttpsRedirect(_)
                | Step::ClientCertificates(_)
                | Step::NetworkAccess(_)
                | Step::Maintenance(_)
                | Step::Fault(_)
                | Step::ClaimNames(_)
                | Step::Upgrade(_)
                | Step::BodyLimit(_)
                | Step::Decompression(_)
                | Step::GrpcWeb
                | Step::Login(_)
                | Step::AccessToken(_)
                | Step::Refusal
                | Step::Challenge
                | Step::LoginCookies(_)
                | Step::SessionUse
                | Step::Lookup(_)
                | Step::Mirroring(_)
                | Step::Validation(_)
                | Step::Redirect(_)
                | Step::RedirectParts(_)
                | Step::Respond(_)
                | Step::SiteFiles(_)
                | Step::Verify
                | Step::Invalidation(_) => {}
            }
        }
    }
}

impl Step {
    fn on_request<'f>(
        &'f self,
        facts: &'f RequestFacts<'_>,
        context: &'f mut PolicyContext,
    ) -> Verdict<'f> {
        match self {
            Self::HttpsRedirect(policy) => Verdict::Now(policy.on_request(facts)),
            Self::ClientCertificates(policy) => Verdict::Now(policy.on_request(facts, context)),
            Self::Announcement(policy) => Verdict::Now(policy.on_request()),
            Self::Cors(policy) => Verdict::Now(policy.on_request(facts, context)),
            Self::NetworkAccess(policy) => Verdict::Now(policy.on_request(facts)),
            Self::Maintenance(policy) => Verdict::Now(policy.on_request(facts)),
            Self::Fault(policy) => policy.on_request(),
            Self::SecurityHeaders(_) => Verdict::Now(Flow::Continue),
            Self::ClaimNames(policy) => {
                policy.on_request(facts, context);
                Verdict::Now(Flow::Continue)
            }
            Self::Upgrade(policy) => Verdict::Now(policy.on_request(facts)),
            Self::BodyLimit(policy) => Verdict::Now(policy.on_request(facts)),
            Self::Decompression(policy) => Verdict::Now(policy.on_request(facts, context)),
            Self::GrpcWeb => {
                grpc_calls::on_request(facts, context);
                Verdict::Now(Flow::Continue)
            }
            Self::Login(policy) => policy.on_request(facts, context),
            Self::AccessToken(policy) => policy.on_request(facts, context),
            Self::RateLimits(policy) => policy.on_request(facts, context),
            Self::Refusal => Verdict::Now(context.refusal()),
            Self::Challenge => login::challenge(facts, context),
            Self::LoginCookies(policy) => {
                policy.on_request(facts, context);
                Verdict::Now(Flow::Continue)
            }
            Self::SessionUse => {
                login::note_use(context);
                Verdict::Now(Flow::Continue)
            }
            Self::ExternalAuth(policy) => policy.on_request(facts, context),
            Self::HeaderEdits(policy) => {
                policy.on_request(facts, context);
                Verdict::Now(Flow::Continue)
            }
            Self::Split(policy) => Verdict::Now(policy.on_request(facts, context)),
            Self::Lookup(policy) => policy.on_request(facts, context),
            Self::Mirroring(policy) => {
                policy.on_request(facts, context);
                Verdict::Now(Flow::Continue)
            }
            Self::Validation(policy) => Verdict::Now(policy.on_request(facts, context)),
            Self::Redirect(policy) => Verdict::Now(policy.on_request(facts)),
            Self::RedirectParts(policy) => Verdict::Now(policy.on_request(facts)),
            Self::Respond(policy) => Verdict::Now(policy.on_request()),
            Self::SiteFiles(policy) => policy.on_request(facts),
            Self::Verify => Verdict::Now(verify::answer(context)),
            Self::Cache(policy) => policy.on_request(facts, context),
            Self::Invalidation(policy) => {
                policy.on_request(facts, context);
                Verdict::Now(Flow::Continue)
            }
        }
    }
}

/// The pages of a login are there for those who are not logged in.
fn login_guard(route: &Route, logins: &[Arc<Login>]) -> Option<LoginGuard> {
    let is_page = matches!(route.action, RouteAction::Serve(_));
    (!is_page).then(|| LoginGuard::new(route, logins)).flatten()
}

/// The steps before it is known who sent a request.
fn guards(route: &Route, clock: &Clock) -> Vec<Step> {
    let guards = &route.guards;
    let cors = guards.cors.as_ref();
    let cors = cors.map(|rules| Step::Cors(CorsPolicy::new(rules, route)));
    let announcement = route.lifecycle.as_ref();
    let announcement = announcement.map(|it| Step::Announcement(Announcement::new(it, clock)));
    let networks = guards.networks.clone();
    let networks = networks.map(|networks| Step::NetworkAccess(NetworkAccess::new(networks)));
    let maintenance = guards.maintenance.clone();
    let maintenance = maintenance.map(|mode| Step::Maintenance(MaintenanceMode::new(mode)));
    let fault = guards.fault;
    let fault = fault.map(|fault| Step::Fault(FaultInjection::new(fault)));
    let https = guards.https_port;
    let https = https.map(|port| Step::HttpsRedirect(HttpsRedirect::new(port)));
    [https, cors, announcement, networks, maintenance, fault]
        .into_iter()
        .flatten()
        .collect()
}

/// The steps that choose where a request goes.
fn destination(route: &Route, mirror: Option<Arc<Mirror>>, parts: &ChainParts<'_>) -> Vec<Step> {
    let split = route.split.as_ref();
    let split = split.map(|split| Step::Split(Split::new(split, parts.upstreams)));
    let lookup = route.lookup.as_ref().and_then(|(index, segment)| {
        let lookup = Arc::clone(parts.lookups.get(*index)?);
        Some(Step::Lookup(Lookup::new(lookup, segment)))
    });
    let mirroring = route.mirror.as_ref().zip(mirror);
    let mirroring = mirroring.map(|(rule, mirror)| Step::Mirroring(Mirroring::new(rule, mirror)));
    [split, lookup, mirroring].into_iter().flatten().collect()
}

/// Those of a route to an upstream, if there are caches.
fn cache_steps(route: &Route, parts: &ChainParts<'_>) -> impl Iterator<Item = Step> {
    let is_proxy = matches!(route.action, RouteAction::Proxy(_) | RouteAction::Choose);
    let invalidates = is_proxy && !parts.caches.is_empty();
    let invalidator = invalidates.then(|| Step::Invalidation(Invalidator::new(parts.caches)));
    let cache = route.cache.and_then(|index| parts.caches.get(index));
    let cache = cache.map(|cache| {
        let metrics = CacheMetrics::new(parts.metrics, &cache.settings.name);
        let clock = parts.clock.clone();
        let cache = Arc::clone(cache);
        Step::Cache(ResponseCache::new(cache, route, clock, metrics))
    });
    invalidator.into_iter().chain(cache)
}
