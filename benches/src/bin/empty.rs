//! A proxy of pingora's and nothing else: what the gateway could cost at least on that framework. It
//! runs as a process of its own, so that it can be pinned to a core and measured like the others.
//!
//! `quartet-bench-empty FILE`; the file has the port to listen on, and that of the upstream.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use async_trait::async_trait;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

/// That of the gateway: what is compared with it must not differ in it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Empty {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Empty {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

/// The server is configured as that of the gateway.
fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).context("a file is needed")?;
    let text = std::fs::read_to_string(file).context("read the ports")?;
    let ports = text.trim().split_once(' ');
    let (port, upstream) = ports.context("two ports are needed")?;
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream.parse()?));
    let mut service = http_proxy_service(&server.configuration, Empty { upstream });
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    server.run_forever()
}
