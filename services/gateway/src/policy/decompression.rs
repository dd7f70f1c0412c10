//! What becomes of request bodies that are compressed: they pass, are refused, or are decoded.

use http::{HeaderName, HeaderValue, header};

use super::{
    context::PolicyContext,
    decoder::{Coding, Decoder},
    flow::{Edit, Flow},
};
use crate::{error, request::RequestFacts, routing::RequestDecompression};

static ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, br, zstd");
static NONE: HeaderValue = HeaderValue::from_static("identity");

#[derive(Debug)]
pub(super) struct Decompression {
    decodes: bool,
    max_bytes: u64,
}

impl Decompression {
    pub(super) fn new(rule: RequestDecompression, max_bytes: u64) -> Self {
        Self {
            decodes: rule == RequestDecompression::Decode,
            max_bytes,
        }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) -> Flow {
        let mut codings = facts.headers.all(header::CONTENT_ENCODING);
        let (first, second) = (codings.next(), codings.next());
        let Some(value) = first.map(<[u8]>::trim_ascii) else {
            return Flow::Continue;
        };
        if second.is_none() && (value.is_empty() || value.eq_ignore_ascii_case(b"identity")) {
            return Flow::Continue;
        }
        let coding = Coding::of(value).filter(|_| self.decodes && second.is_none());
        let Some(coding) = coding else {
            let accepted = if self.decodes { &ACCEPTED } else { &NONE };
            return Flow::Reply(error::unsupported_coding(accepted.clone()).into());
        };
        context.decoder = Some(Box::new(Decoder::new(coding, self.max_bytes)));
        for name in [
            header::CONTENT_ENCODING,
            HeaderName::from_static("content-md5"),
        ] {
            context.edits.push(Edit::Remove(name));
        }
        Flow::Continue
    }
}
