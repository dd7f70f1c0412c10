//! The direction from the upstream to the client: heads, then one body, framed again.

use std::mem::MaybeUninit;

use super::{Exchange, OnHead, ResponseProgress};
use crate::edge::{
    direct::{
        body::{BodyReader, BodyWriter},
        chunks::BodyPart,
        failed::ExchangeError,
        response_head::{self, HeadEnd, MAX_FIELDS},
    },
    response_framing::{Framing, MAX_INTERIM},
};

impl<C, U> Exchange<'_, C, U> {
    /// Passes on what was received.
    pub(super) fn process(&mut self, on_head: &mut impl OnHead) -> Result<(), ExchangeError> {
        loop {
            match &mut self.response {
                ResponseProgress::Head(end) => {
                    let found = end
                        .find(self.received.unused())
                        .map_err(ExchangeError::Refused)?;
                    match found {
                        Some(length) => self.head(length, on_head)?,
                        None if self.upstream_ended => {
                            return Err(ExchangeError::UpstreamClosed(None));
                        }
                        None => return Ok(()),
                    }
                }
                ResponseProgress::Body { .. } => return self.body(on_head),
                ResponseProgress::Ended { .. } | ResponseProgress::Switched => return Ok(()),
            }
        }
    }

    fn head(&mut self, length: usize, on_head: &mut impl OnHead) -> Result<(), ExchangeError> {
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let head = response_head::parse(&self.received.unused()[..length], self.is_head, &mut room)
            .map_err(ExchangeError::Refused)?;
        let unseen = self.interim == 0 && !self.sending.beyond_start;
        if unseen && !head.is_interim() && on_head.withholds(&head) {
            return Err(ExchangeError::Withheld);
        }
        if head.is_interim() {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(ExchangeError::Refused("too many interim responses"));
            }
            self.response = ResponseProgress::Head(HeadEnd::default());
        } else if head.switches() {
            if !self.is_handshake {
                let why = "the upstream switched protocols without being asked";
                return Err(ExchangeError::Refused(why));
            }
            self.head_received = true;
            self.response = ResponseProgress::Switched;
        } else {
            self.head_received = true;
            self.has_events = head.is_event_stream();
            self.response = ResponseProgress::Body {
                reader: BodyReader::new(head.framing),
                writer: BodyWriter::new(head.framing),
                persistent: head.persistent,
            };
        }
        let keep = self.sending.left == 0 && !self.client_ended;
        self.answer_since = self.upstream_since;
        let next = on_head.head(&head, keep, self.upstream_since, &mut self.answering);
        let persistent = head.persistent && head.framing == Framing::Empty;
        self.received.consume(length);
        if next.is_break() {
            self.head_received = false;
            self.response = ResponseProgress::Ended { persistent };
        }
        self.check_end()
    }

    fn body(&mut self, on_head: &mut impl OnHead) -> Result<(), ExchangeError> {
        let ResponseProgress::Body {
            reader,
            writer,
            persistent,
        } = &mut self.response
        else {
            return Ok(());
        };
        self.answer_since = self.upstream_since;
        if let BodyReader::Length(left) = reader
            && self.answering.is_empty()
            && (1..=*left).contains(&(self.received.unused().len() as u64))
        {
            // Passed on without a copy.
            *left -= self.received.unused().len() as u64;
            self.body_bytes += self.received.unused().len() as u64;
            on_head.data(self.received.unused());
            std::mem::swap(&mut self.received, &mut self.answering);
            if *left == 0 {
                on_head.end();
                self.response = ResponseProgress::Ended {
                    persistent: *persistent,
                };
            }
            return Ok(());
        }
        let before = self.received.unused().len();
        let mut rest = self.received.unused();
        let ended = loop {
            let part = reader.next(&mut rest);
            match part
                .map_err(|_| ExchangeError::Refused("the chunks of the response are invalid"))?
            {
                BodyPart::Data(data) => {
                    self.body_bytes += data.len() as u64;
                    on_head.data(data);
                    writer.data(data, &mut self.answering);
                }
                BodyPart::End => break true,
                BodyPart::More if self.upstream_ended && reader.ends_with_connection() => {
                    break true;
                }
                BodyPart::More if self.upstream_ended => {
                    return Err(ExchangeError::UpstreamClosed(None));
                }
                BodyPart::More => break false,
            }
        };
        let used = before - rest.len();
        if ended {
            on_head.end();
            writer.end(&mut self.answering);
            self.response = ResponseProgress::Ended {
                persistent: *persistent,
            };
        }
        self.received.consume(used);
        Ok(())
    }

    pub(super) fn check_end(&self) -> Result<(), ExchangeError> {
        // Nothing but the end of the client would end the request.
        let endless = self.has_events || self.timeouts.response.is_none();
        if self.client_ended && endless {
            return Err(ExchangeError::ClientGone);
        }
        Ok(())
    }
}
