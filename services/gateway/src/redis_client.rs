//! Clients for a Redis or Valkey: a stand-alone server, Sentinel or Cluster.

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind,
    TlsCertificates, TlsMode, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{RedisConfig, StorePlace, StoreServer};

/// To a server, or to the nodes of a cluster. Clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Opens connections.
pub(crate) struct Connector {
    client: AnyClient,
    config: AsyncConnectionConfig,
}

enum AnyClient {
    Single(Box<Client>),
    Sentinel(Box<SentinelClient>),
    Cluster(Box<ClusterClient>),
}

impl Connector {
    /// # Errors
    /// When no client can be built.
    pub(crate) fn new(store: &RedisConfig) -> RedisResult<Self> {
        let client = match &store.place {
            StorePlace::Single(server) => AnyClient::Single(Box::new(single(store, server)?)),
            StorePlace::Sentinel {
                sentinels,
                master_name,
            } => AnyClient::Sentinel(Box::new(sentinel(store, sentinels, master_name)?)),
            StorePlace::Cluster(nodes) => AnyClient::Cluster(Box::new(cluster(store, nodes)?)),
        };
        // Calls have a timeout of their own, which includes the wait for their turn.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(store.connect_timeout))
            .set_response_timeout(None);
        Ok(Self { client, config })
    }

    pub(crate) fn kind(&self) -> &'static str {
        match &self.client {
            AnyClient::Single(_) => "single",
            AnyClient::Sentinel(_) => "sentinel",
            AnyClient::Cluster(_) => "cluster",
        }
    }

    /// A connection, and where it leads to.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses the login.
    pub(crate) async fn connect(&mut self) -> RedisResult<(Connection, String)> {
        match &mut self.client {
            AnyClient::Single(client) => open(client, &self.config).await,
            AnyClient::Sentinel(sentinel) => {
                let client = sentinel.async_get_client().await?;
                let client = client.get_connection_info().clone();
                // As the client that Sentinel makes has no settings for its socket.
                let client = Client::open(client.set_tcp_settings(socket()))?;
                open(&client, &self.config).await
            }
            AnyClient::Cluster(client) => {
                let connection = client.get_async_connection().await?;
                Ok((Connection::Cluster(connection), "cluster".to_owned()))
            }
        }
    }

    /// The address of the primary that the sentinels name; `None` without sentinels.
    ///
    /// # Errors
    /// When no sentinel names one that considers itself primary.
    pub(crate) async fn primary(&mut self) -> RedisResult<Option<String>> {
        let AnyClient::Sentinel(sentinel) = &mut self.client else {
            return Ok(None);
        };
        let client = sentinel.async_get_client().await?;
        Ok(Some(client.get_connection_info().addr().to_string()))
    }
}

impl Connection {
    /// # Errors
    /// When the server does not answer, or refuses.
    pub(crate) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

async fn open(
    client: &Client,
    config: &AsyncConnectionConfig,
) -> RedisResult<(Connection, String)> {
    let connection = client
        .get_multiplexed_async_connection_with_config(config)
        .await?;
    let address = client.get_connection_info().addr().to_string();
    Ok((Connection::Single(connection), address))
}

/// Whether a connection is of no use any more: it is closed, or leads to a server that does not write.
/// An old primary that lives on answers READONLY, and never closes.
pub(crate) fn is_lost(error: &RedisError) -> bool {
    let does_not_write = matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed
            | ErrorKind::Server(
                ServerErrorKind::ReadOnly
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::BusyLoading
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::NoPerm
            )
    );
    let has_no_login = matches!(error.code(), Some("NOAUTH" | "WRONGPASS"));
    error.is_io_error() || error.is_unrecoverable_error() || does_not_write || has_no_login
}

fn single(store: &RedisConfig, server: &StoreServer) -> RedisResult<Client> {
    let info = login(store).into_info(server)?;
    match (server.tls, certificates(store)) {
        (true, Some(certificates)) => Client::build_with_tls(info, certificates),
        _ => Client::open(info),
    }
}

fn sentinel(
    store: &RedisConfig,
    sentinels: &[StoreServer],
    master_name: &str,
) -> RedisResult<SentinelClient> {
    let addresses = sentinels.iter().map(address);
    let mut builder =
        SentinelClientBuilder::new(addresses, master_name, SentinelServerType::Master)?
            .set_client_to_redis_db(store.database.into())
            .set_client_to_redis_tcp_settings(socket())
            .set_client_to_sentinel_tcp_settings(socket());
    if sentinels.iter().any(|sentinel| sentinel.tls) {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        if let Some(certificates) = certificates(store) {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
    }
    if let Some(username) = &store.username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = &store.password {
        builder = builder.set_client_to_redis_password(password.expose_secret());
    }
    if let Some(username) = &store.sentinel_username {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = &store.sentinel_password {
        builder = builder.set_client_to_sentinel_password(password.expose_secret());
    }
    builder.build()
}

fn cluster(store: &RedisConfig, nodes: &[StoreServer]) -> RedisResult<ClusterClient> {
    let nodes: RedisResult<Vec<ConnectionInfo>> = nodes
        .iter()
        .map(|node| login(store).into_info(node))
        .collect();
    // Without retries: the library would also repeat what may have been counted.
    let mut builder = ClusterClient::builder(nodes?)
        .retries(0)
        .connection_timeout(store.connect_timeout)
        .response_timeout(store.timeout)
        .tcp_settings(socket());
    if let Some(certificates) = certificates(store) {
        builder = builder.certs(certificates);
    }
    builder.build()
}

struct Login<'l> {
    username: Option<&'l str>,
    password: Option<&'l SecretString>,
    database: u32,
}

fn login(store: &RedisConfig) -> Login<'_> {
    Login {
        username: store.username.as_deref(),
        password: store.password.as_ref(),
        database: store.database,
    }
}

impl Login<'_> {
    fn into_info(self, server: &StoreServer) -> RedisResult<ConnectionInfo> {
        let mut settings = RedisConnectionInfo::default().set_db(self.database.into());
        if let Some(username) = self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = self.password {
            settings = settings.set_password(password.expose_secret());
        }
        let info = address(server).into_connection_info()?;
        Ok(info.set_redis_settings(settings).set_tcp_settings(socket()))
    }
}

fn address(server: &StoreServer) -> ConnectionAddr {
    let (host, port) = (server.host.clone(), server.port);
    if server.tls {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

/// Without a delay: a call is one small packet, and its answer another.
fn socket() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn certificates(store: &RedisConfig) -> Option<TlsCertificates> {
    let authorities = store.authorities.as_ref()?;
    Some(TlsCertificates {
        client_tls: None,
        root_cert: Some(authorities.clone().into_bytes()),
    })
}
