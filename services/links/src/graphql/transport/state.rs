//! What the transports need.

use std::{sync::Arc, time::Duration};

use quartet_auth::Caller;
use quartet_common::problem::Problem;

use crate::{
    graphql::{
        budget::{User, Users},
        schema::{self, Schema},
        usages::Types,
    },
    state::AppState,
};

/// The state of the service, the schema and the table of users. Cheap to clone.
#[derive(Clone)]
pub(crate) struct GraphQlState {
    pub(super) app: AppState,
    pub(super) schema: Schema,
    pub(super) types: Arc<Types>,
    users: Users,
}

impl GraphQlState {
    pub(crate) fn new(app: &AppState) -> Self {
        let config = &app.ctx.config;
        let patience = Duration::from_secs(config.database.acquire_timeout_seconds);
        Self {
            app: app.clone(),
            schema: schema::build(&app.ctx),
            types: Arc::new(Types::read(&schema::sdl()).expect("the schema is one")),
            users: Users::new(&config.graphql, patience),
        }
    }

    /// # Errors
    /// 401 for a subject that cannot be a setting of Postgres; `RATE_LIMITED` while too many users
    /// are active.
    pub(super) fn user(&self, caller: &Caller) -> Result<Arc<User>, Problem> {
        if caller.subject().chars().any(char::is_control) {
            let detail = "the token's subject has control characters";
            return Err(Problem::unauthenticated(detail));
        }
        self.users.get(caller.subject())
    }
}
