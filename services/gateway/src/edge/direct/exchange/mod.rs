//! One request to a replica and its response, in both directions at once.
//!
//! ```text
//!  client --body--> sending   --> upstream      until the length of the request is reached
//!  client <-------- answering <-- received <--  until the response has ended
//! ```
//!
//! - Both directions progress in every poll. A response that comes while the body is still being
//!   sent reaches the client at once, and what is left of the body stays unread.
//! - One part is under way per direction: nothing is read before the part before it was written,
//!   so a slow reader slows down the writer, and memory is bounded by three buffers. Those of the
//!   response exist only while a part of it passes.
//! - Once the request is read, the client is watched. So it is when the upstream takes no more of
//!   it: what still comes of the body is then discarded, up to its length. Its stream keeps what
//!   comes for the next request. A client that sends no more may still wait for its response; one
//!   that waits for events, which may never come, may not.
//! - Every wait has a deadline, and all deadlines share one timer. They are counted from three
//!   instants, so that a side is never charged for the time in which the other one was waited for:
//!
//! | event | `upstream_since` | `body_since` | `answer_since` |
//! |---|---|---|---|
//! | the attempt begins | now | now | now |
//! | the upstream takes a part of the request | now | | |
//! | it has taken all that was read of the request | | `upstream_since` | |
//! | it sends a part of the response | now | | |
//! | that part is passed on to the client | | | `upstream_since` |
//! | the client takes some of it | | | now |
//! | it has taken all of it | `answer_since` | | |

mod deadlines;
mod response;

use std::{
    future::poll_fn,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    alarm::Alarm,
    body::{BodyReader, BodyWriter},
    buffer::Buffer,
    failed::ExchangeError,
    response_head::{HeadEnd, ResponseHead},
};

/// Bytes of a body that are discarded at once.
const DISCARDED: usize = 1024;

/// Bounds of the waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// Between two parts of the request body.
    pub(super) body: Duration,
    /// Silence of the upstream.
    pub(super) response: Option<Duration>,
    /// In which the client takes nothing of a response.
    pub(super) write: Duration,
    /// Of the whole request.
    pub(super) end: Option<Instant>,
}

/// The connection of a client. Its stream ends where the request does, and then reports the end of
/// the connection only.
#[derive(Debug)]
pub(super) struct Client<'c, C> {
    pub(super) stream: &'c mut C,
    pub(super) alarm: &'c mut Alarm,
}

/// A request as far as it is known.
#[derive(Debug)]
pub(super) struct PartialRequest {
    /// The head for the upstream, and what was received of the body.
    pub(super) start: Buffer,
    /// Bytes of the body that were not received yet.
    pub(super) left: u64,
    pub(super) is_head: bool,
    /// The response may switch to another protocol.
    pub(super) is_handshake: bool,
}

/// Receives the heads of responses, in order.
pub(super) trait OnHead {
    /// Whether another attempt takes the place of a final response, of which the client has seen nothing.
    fn withholds(&mut self, _head: &ResponseHead<'_, '_>) -> bool {
        false
    }

    /// Writes the head for the client. `keep`: the connection may stay open. `at`: when it arrived.
    /// `Break`: the client gets another response, and the body of this one is not read.
    fn head(
        &mut self,
        head: &ResponseHead<'_, '_>,
        keep: bool,
        at: Instant,
        out: &mut Buffer,
    ) -> ControlFlow<()>;

    /// A part of the body of the final response.
    fn data(&mut self, _data: &[u8]) {}

    /// The body is complete.
    fn end(&mut self) {}
}

/// The state of one attempt.
#[derive(Debug)]
pub(super) struct Exchange<'c, C, U> {
    client: Client<'c, C>,
    upstream: U,
    timeouts: Timeouts,
    sending: RequestProgress,
    received: Buffer,
    answering: Buffer,
    response: ResponseProgress,
    is_head: bool,
    is_handshake: bool,
    interim: usize,
    /// The upstream will send nothing more.
    upstream_ended: bool,
    /// The client will send nothing more.
    client_ended: bool,
    /// The response is a stream of events.
    has_events: bool,
    /// Until when the head of the response has to be there.
    try_until: Option<Instant>,
    /// When the upstream last took or sent something.
    upstream_since: Instant,
    /// When the client last sent a part of the body, and took one of the response.
    body_since: Instant,
    answer_since: Instant,
    /// Whether the final head was received, and a part of it was written.
    head_received: bool,
    started: bool,
    /// Bytes of the response body.
    pub(super) body_bytes: u64,
}

/// The request on its way to the upstream.
#[derive(Debug)]
struct RequestProgress {
    buffer: Buffer,
    /// The length of what was known when the attempt began.
    start: usize,
    /// More than that was sent.
    beyond_start: bool,
    /// Body bytes that were not read from the client yet.
    left: u64,
    /// The upstream takes no more.
    stopped: bool,
}

impl RequestProgress {
    fn is_done(&self) -> bool {
        self.stopped || (self.left == 0 && self.buffer.is_empty())
    }
}

/// How far the response has come.
#[derive(Debug)]
enum ResponseProgress {
    Head(HeadEnd),
    Body {
        reader: BodyReader,
        writer: BodyWriter,
        persistent: bool,
    },
    Ended {
        persistent: bool,
    },
    /// What follows is another protocol.
    Switched,
}

/// What one poll brought.
enum PollEvent {
    /// More of the response, or the end of the connection.
    Received,
    /// The client has all that was for it.
    Answered,
}

impl<'c, C, U> Exchange<'c, C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(
        client: Client<'c, C>,
        upstream: U,
        request: PartialRequest,
        timeouts: Timeouts,
        now: Instant,
    ) -> Self {
        Self {
            client,
            upstream,
            timeouts,
            sending: RequestProgress {
                start: request.start.unused().len(),
                buffer: request.start,
                beyond_start: false,
                left: request.left,
                stopped: false,
            },
            received: Buffer::lend(),
            answering: Buffer::lend(),
            response: ResponseProgress::Head(HeadEnd::default()),
            is_head: request.is_head,
            is_handshake: request.is_handshake,
            interim: 0,
            upstream_ended: false,
            client_ended: false,
            has_events: false,
            try_until: None,
            upstream_since: now,
            body_since: now,
            answer_since: now,
            head_received: false,
            started: false,
            body_bytes: 0,
        }
    }

    /// Runs until the client has the whole response.
    pub(super) async fn run(&mut self, on_head: &mut impl OnHead) -> Result<(), ExchangeError> {
        loop {
            match poll_fn(|context| self.poll(context)).await? {
                PollEvent::Received => self.process(on_head)?,
                PollEvent::Answered if self.has_ended() => return Ok(()),
                PollEvent::Answered => {}
            }
        }
    }

    /// When the client last took a part of the response.
    pub(super) fn answered_at(&self) -> Instant {
        self.answer_since
    }

    /// Nothing of a response was received, so another attempt would not be noticed.
    pub(super) fn is_unanswered(&self) -> bool {
        !self.head_received && self.interim == 0
    }

    /// For how long the head of the response has been waited for, with nothing left to be sent.
    pub(super) fn silence_before_head(&self) -> Option<Duration> {
        let waits = self.sending.is_done() && !self.head_received;
        waits.then(|| self.upstream_since.elapsed())
    }

    /// The client can be sent another response in place of this one.
    pub(super) fn can_reply(&self) -> bool {
        !self.started && !self.answering.is_partly_used()
    }

    /// Until when the head of the response has to be there. `None`: as long as the upstream may be silent.
    pub(super) fn bound_try(&mut self, deadline: Option<Instant>) {
        self.try_until = deadline;
    }

    /// The whole request was read from the client.
    pub(super) fn request_read(&self) -> bool {
        self.sending.left == 0
    }

    /// The request for another attempt; `None` if a part of it is gone.
    pub(super) fn into_request(self) -> Option<PartialRequest> {
        let RequestProgress {
            mut buffer,
            start,
            left,
            ..
        } = self.sending;
        buffer.rewind(start);
        let again = PartialRequest {
            start: buffer,
            left,
            is_head: self.is_head,
            is_handshake: self.is_handshake,
        };
        (!self.sending.beyond_start).then_some(again)
    }

    /// The connection, if the next request may be sent on it: nothing of this one is left in it.
    pub(super) fn into_reusable(self) -> Option<U> {
        let sent =
            !self.sending.stopped && self.sending.left == 0 && self.sending.buffer.is_empty();
        let clean = self.received.is_empty() && !self.upstream_ended;
        let persistent = matches!(self.response, ResponseProgress::Ended { persistent: true });
        (sent && clean && persistent).then_some(self.upstream)
    }

    /// The response was 101.
    pub(super) fn has_switched(&self) -> bool {
        matches!(self.response, ResponseProgress::Switched)
    }

    /// The upstream, and what it has sent after its response.
    pub(super) fn into_tunnel(self) -> (U, Buffer) {
        (self.upstream, self.received)
    }

    fn has_ended(&self) -> bool {
        matches!(
            self.response,
            ResponseProgress::Ended { .. } | ResponseProgress::Switched
        )
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<PollEvent, ExchangeError>> {
        self.send(context)?;
        if self.answering.has_unsent() || self.has_ended() {
            let (since, started) = (&mut self.answer_since, &mut self.started);
            let progressed = || {
                *since = Instant::now();
                *started = self.head_received;
            };
            let stream = &mut *self.client.stream;
            match self.answering.poll_write(stream, context, progressed) {
                Poll::Ready(Ok(())) => {
                    self.answering.rest();
                    // Its silence is counted from when it is listened to again.
                    self.upstream_since = self.answer_since;
                    return Poll::Ready(Ok(PollEvent::Answered));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ExchangeError::ClientGone)),
                Poll::Pending => {}
            }
        } else if let Poll::Ready(read) =
            self.received
                .poll_read(&mut self.upstream, u64::MAX, context)
        {
            self.upstream_since = Instant::now();
            self.upstream_ended =
                read.map_err(|error| ExchangeError::UpstreamClosed(Some(error)))? == 0;
            return Poll::Ready(Ok(PollEvent::Received));
        }
        self.received.rest();
        self.watch(context)?;
        self.client
            .alarm
            .set(self.earliest().map(|(deadline, _)| deadline));
        ready!(self.client.alarm.poll(context));
        Poll::Ready(Err(self.expired()))
    }

    /// Sends as much of the request as both sides take.
    fn send(&mut self, context: &mut Context<'_>) -> Result<(), ExchangeError> {
        while !self.sending.is_done() {
            let sending = &mut self.sending;
            if sending.buffer.is_empty() {
                let read = sending
                    .buffer
                    .poll_read(self.client.stream, sending.left, context);
                match read {
                    Poll::Ready(Ok(count @ 1..)) => {
                        sending.left -= count as u64;
                        sending.beyond_start = true;
                    }
                    Poll::Ready(Ok(0) | Err(_)) => return Err(ExchangeError::ClientGone),
                    Poll::Pending => return Ok(()),
                }
            }
            let since = &mut self.upstream_since;
            let progressed = || *since = Instant::now();
            match sending
                .buffer
                .poll_write(&mut self.upstream, context, progressed)
            {
                Poll::Ready(Ok(())) => self.body_since = self.upstream_since,
                // It may have answered before it closed, so the response is still read.
                Poll::Ready(Err(_)) => sending.stopped = true,
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits for the end of the client when nothing else is read from it.
    fn watch(&mut self, context: &mut Context<'_>) -> Result<(), ExchangeError> {
        if !self.sending.is_done() || self.client_ended || self.discard(context)?.is_pending() {
            return Ok(());
        }
        let mut byte = [0];
        let mut room = ReadBuf::new(&mut byte);
        match Pin::new(&mut *self.client.stream).poll_read(context, &mut room) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) if room.filled().is_empty() => self.client_ended = true,
            Poll::Ready(_) => return Err(ExchangeError::ClientGone),
        }
        self.check_end()
    }

    /// Reads the rest of a body that the upstream takes no more of. Unread, it would hide the end of
    /// the client, and no deadline need be in force.
    fn discard(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, ExchangeError> {
        if self.sending.left == 0 {
            return Ok(Poll::Ready(()));
        }
        let mut scratch = [0; DISCARDED];
        while self.sending.left > 0 {
            let most = usize::try_from(self.sending.left).unwrap_or(DISCARDED);
            let mut room = ReadBuf::new(&mut scratch[..most.min(DISCARDED)]);
            let read = Pin::new(&mut *self.client.stream).poll_read(context, &mut room);
            match read {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                    self.sending.left -= room.filled().len() as u64;
                    self.sending.beyond_start = true;
                }
                Poll::Ready(_) => return Err(ExchangeError::ClientGone),
            }
        }
        Ok(Poll::Ready(()))
    }
}

#[cfg(test)]
mod tests;
