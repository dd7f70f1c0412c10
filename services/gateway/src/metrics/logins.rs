//! Logins of people.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use super::{
    GatewayMetrics,
    labels::{LoginLabel, LoginLabels},
};

impl GatewayMetrics {
    pub(crate) fn logins(&self, login: &Arc<str>, outcome: &'static str) -> Counter {
        let login = Arc::clone(login);
        self.logins
            .get_or_create_owned(&LoginLabels { login, outcome })
    }

    pub(crate) fn set_sessions(&self, login: &Arc<str>, sessions: usize) {
        let login = Arc::clone(login);
        let gauge = self
            .login_sessions
            .get_or_create_owned(&LoginLabel { login });
        gauge.set(super::gauge_value(sessions));
    }

    pub(crate) fn forget_sessions(&self, login: &Arc<str>) {
        let login = Arc::clone(login);
        self.login_sessions.remove(&LoginLabel { login });
    }

    pub(super) fn register_logins(&self) {
        let to = &self.http;
        to.register(
            "gateway_logins",
            "Logins of people by outcome",
            self.logins.clone(),
        );
        to.register(
            "gateway_login_sessions",
            "Sessions in the memory of this process",
            self.login_sessions.clone(),
        );
    }
}
