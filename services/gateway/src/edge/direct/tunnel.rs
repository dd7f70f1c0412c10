//! A WebSocket after its handshake: bytes in both directions until one side ends.
//!
//! Most of the time one is idle, and there are thousands of them. So an idle one keeps no buffer, and
//! of the request that opened it only what its line in the log needs. Each direction reads nothing
//! before what it has read is written, so a slow reader slows down the writer.
//!
//! A direction that fails has ended; the other one continues for a while. An upstream that closes while
//! the client is still sending, after a frame that says why, resets its connection: the frame has
//! arrived and is passed on, and the client's rest is read so that no reset overtakes it there.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Method;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::Instant,
};

use super::{
    alarm::Alarm,
    buffer::Buffer,
    closing::linger,
    exchange::{Client, Timeouts},
};
use crate::{
    edge::{
        client_stream::ClientStream,
        ctx::Ctx,
        logging,
        pings::{PING, Pings},
        reply,
    },
    policy::AccessEnd,
    state::State,
};

/// Bounds of the waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct TunnelTimeouts {
    /// Silence of both sides.
    pub(super) silence: Option<Duration>,
    /// In which a side takes nothing of what is sent to it.
    pub(super) write: Duration,
    /// For what is under way when one side has ended.
    pub(super) end: Duration,
}

/// The upstream of an attempt that switched to another protocol.
pub(super) struct SwitchedUpstream {
    upstream: TcpStream,
    /// What it has sent already.
    first: Buffer,
    status: Option<u16>,
    bounds: TunnelTimeouts,
    /// Between two of the gateway's pings. `None`: it sends none.
    ping: Option<Duration>,
}

/// What is left of the request.
pub(in crate::edge) struct OpenedTunnel {
    ctx: Ctx,
    method: Method,
    path: Box<str>,
    switched: SwitchedUpstream,
}

/// The rest of the life of a connection.
pub(in crate::edge) struct Tunnel {
    stream: ClientStream,
    alarm: Alarm,
    state: Arc<State>,
    opened: Box<OpenedTunnel>,
}

impl SwitchedUpstream {
    pub(super) fn new(
        upstream: TcpStream,
        first: Buffer,
        status: Option<u16>,
        timeouts: Timeouts,
        ping: Option<Duration>,
    ) -> Self {
        Self {
            upstream,
            first,
            status,
            ping,
            bounds: TunnelTimeouts {
                silence: timeouts.response,
                write: timeouts.write,
                end: reply::LINGER,
            },
        }
    }
}

impl OpenedTunnel {
    pub(super) fn new(
        mut ctx: Ctx,
        method: Method,
        path: Box<str>,
        switched: SwitchedUpstream,
    ) -> Self {
        ctx.policy.edits = Vec::new();
        ctx.attempts.tried = Vec::new();
        Self {
            ctx,
            method,
            path,
            switched,
        }
    }
}

impl Tunnel {
    pub(super) fn new(
        mut stream: ClientStream,
        alarm: Alarm,
        state: Arc<State>,
        opened: Box<OpenedTunnel>,
    ) -> Self {
        stream.read_on();
        Self {
            stream,
            alarm,
            state,
            opened,
        }
    }

    /// Runs until the connection ends, and logs the request that opened it.
    pub(in crate::edge) async fn run(&mut self) {
        let client = Client {
            stream: &mut self.stream,
            alarm: &mut self.alarm,
        };
        let OpenedTunnel {
            ctx,
            method,
            path,
            switched,
        } = &mut *self.opened;
        let first = std::mem::replace(&mut switched.first, Buffer::lend());
        let access = ctx.policy.access.as_ref();
        let access = access.map(|access| access.end(&self.state.clock));
        let upstream = &mut switched.upstream;
        let guards = TunnelGuards {
            bounds: switched.bounds,
            access,
            pings: switched.ping.map(Pings::new),
        };
        let bytes = run(client, upstream, first, guards).await;
        let done = logging::CompletedRequest {
            method,
            path,
            status: switched.status,
            bytes,
            error: None,
        };
        logging::record(done, ctx, &self.state);
        Box::pin(linger(&mut self.stream)).await;
    }
}

/// What a tunnel is held by.
pub(super) struct TunnelGuards {
    pub(super) bounds: TunnelTimeouts,
    pub(super) access: Option<AccessEnd>,
    pub(super) pings: Option<Pings>,
}

/// Runs until both sides have ended or failed, a bound is reached, or the token that opened it permits it
/// no longer. Returns the bytes for the client. `first` is what the upstream has sent already.
pub(super) async fn run<C, U>(
    client: Client<'_, C>,
    mut upstream: U,
    first: Buffer,
    guards: TunnelGuards,
) -> u64
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let Client { stream, alarm } = client;
    let TunnelGuards {
        bounds,
        mut access,
        pings,
    } = guards;
    let mut up = Direction::new(Buffer::lend(), None);
    let mut down = Direction::new(first, pings);
    poll_fn(|context| {
        if let Some(access) = &mut access
            && Pin::new(access).poll(context).is_ready()
        {
            return Poll::Ready(());
        }
        let sent = up.poll(stream, &mut upstream, context);
        let received = down.poll(&mut upstream, stream, context);
        if sent.is_ready() && received.is_ready() {
            return Poll::Ready(());
        }
        alarm.set(deadline(&up, &down, bounds));
        alarm.poll(context)
    })
    .await;
    down.bytes
}

fn deadline(up: &Direction, down: &Direction, bounds: TunnelTimeouts) -> Option<Instant> {
    let last = up.heard.max(down.heard);
    let silence = if up.done || down.done {
        Some(bounds.end)
    } else {
        bounds.silence
    };
    let silent = silence.map(|silence| last + silence);
    let writes = [up, down]
        .into_iter()
        .filter(|direction| direction.buffer.has_unsent())
        .map(|direction| direction.since + bounds.write);
    writes.chain(silent).min()
}

/// From one side to the other.
#[derive(Debug)]
struct Direction {
    buffer: Buffer,
    /// The source has ended or failed.
    ended: bool,
    /// The destination knows, or has failed.
    done: bool,
    /// When something was last read or written, or the direction ended.
    since: Instant,
    /// The same without pings of the gateway.
    heard: Instant,
    bytes: u64,
    pings: Option<Pings>,
    /// The buffer has a ping alone.
    is_ping: bool,
}

impl Direction {
    fn new(buffer: Buffer, mut pings: Option<Pings>) -> Self {
        let now = Instant::now();
        if let Some(pings) = &mut pings {
            pings.passed(buffer.unused());
        }
        Self {
            bytes: buffer.unused().len() as u64,
            buffer,
            ended: false,
            done: false,
            since: now,
            heard: now,
            pings,
            is_ping: false,
        }
    }

    /// Ready when nothing more can pass.
    fn poll<R, W>(&mut self, from: &mut R, to: &mut W, context: &mut Context<'_>) -> Poll<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.done {
            if self.buffer.has_unsent() {
                let (since, heard, is_ping) = (&mut self.since, &mut self.heard, self.is_ping);
                let progressed = || {
                    *since = Instant::now();
                    if !is_ping {
                        *heard = *since;
                    }
                };
                if ready!(self.buffer.poll_write(to, context, progressed)).is_err() {
                    self.buffer.discard();
                    self.finish();
                }
            } else if self.ended {
                // Of one that has failed, nothing is expected.
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(context));
                self.finish();
            } else {
                let read = self.buffer.poll_read(from, u64::MAX, context);
                let Poll::Ready(read) = read else {
                    self.buffer.rest();
                    ready!(self.poll_ping(context));
                    continue;
                };
                let count = read.unwrap_or(0);
                self.received(count);
            }
        }
        Poll::Ready(())
    }

    fn received(&mut self, count: usize) {
        self.since = Instant::now();
        self.heard = self.since;
        self.bytes += count as u64;
        self.ended = count == 0;
        self.is_ping = false;
        if let Some(pings) = &mut self.pings {
            pings.passed(self.buffer.unused());
        }
    }

    /// Ready when a ping is in the buffer.
    fn poll_ping(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else {
            return Poll::Pending;
        };
        ready!(pings.poll(context));
        self.buffer.push(&PING);
        self.since = Instant::now();
        self.is_ping = true;
        Poll::Ready(())
    }

    fn finish(&mut self) {
        self.done = true;
        self.since = Instant::now();
        self.heard = self.since;
        self.buffer.rest();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::{super::alarm::Alarm, *};

    const LONG: Duration = Duration::from_secs(20);

    /// The other ends of client and upstream, and the tunnel between them.
    fn tunnel(
        bounds: TunnelTimeouts,
    ) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<u64>) {
        let ((client, mut here), (upstream, there)) = (duplex(64), duplex(64));
        let running = tokio::spawn(async move {
            let mut first = Buffer::lend();
            first.push(b"first");
            let mut alarm = Alarm::new();
            let client = Client {
                stream: &mut here,
                alarm: &mut alarm,
            };
            let guards = TunnelGuards {
                bounds,
                access: None,
                pings: None,
            };
            run(client, there, first, guards).await
        });
        (client, upstream, running)
    }

    fn bounds(silence: Option<Duration>, write: Duration, end: Duration) -> TunnelTimeouts {
        TunnelTimeouts {
            silence,
            write,
            end,
        }
    }

    #[tokio::test]
    async fn bytes_pass_until_both_sides_end() {
        let (mut client, upstream, running) = tunnel(bounds(None, LONG, LONG));
        let mut received = [0; 5];
        client.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"first");
        let sent = vec![b'x'; 100_000];
        let (writer, mut echoed) = (sent.clone(), vec![0; sent.len()]);
        let (mut reading, mut writing) = tokio::io::split(client);
        let (mut from, mut to) = tokio::io::split(upstream);
        let echo = tokio::spawn(async move {
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let write = tokio::spawn(async move {
            writing.write_all(&writer).await.unwrap();
            writing.shutdown().await.unwrap();
        });
        reading.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, sent);
        assert_eq!(reading.read(&mut echoed).await.unwrap(), 0);
        write.await.unwrap();
        echo.await.unwrap();
        assert_eq!(running.await.unwrap(), 100_005);
    }

    #[tokio::test]
    async fn every_wait_ends() {
        let short = Duration::from_millis(20);
        // Neither side sends anything.
        let (_client, _upstream, running) = tunnel(bounds(Some(short), LONG, LONG));
        running.await.unwrap();
        // The client takes nothing.
        let (_client, mut upstream, running) = tunnel(bounds(None, short, LONG));
        let sender = tokio::spawn(async move {
            let _ = upstream.write_all(&vec![0; 100_000]).await;
        });
        running.await.unwrap();
        sender.await.unwrap();
        // One side has ended, the other one does not.
        let (mut client, _upstream, running) = tunnel(bounds(None, LONG, short));
        client.shutdown().await.unwrap();
        running.await.unwrap();
    }
}
