//! Headers that make browsers careful, where the upstream did not set them itself.

use http::header;

use super::context::{PolicyContext, ResponseHead};
use crate::routing::SecurityHeaders;

impl SecurityHeaders {
    /// 1xx responses are not final, and 101 starts another protocol.
    pub(crate) fn on_response(&self, context: &PolicyContext, response: &mut dyn ResponseHead) {
        if response.status().is_informational() {
            return;
        }
        for (name, value) in &self.always {
            response.set_missing(name, value);
        }
        if let Some(value) = self.over_tls.as_ref().filter(|_| context.is_secure) {
            response.set_missing(&header::STRICT_TRANSPORT_SECURITY, value);
        }
    }
}
