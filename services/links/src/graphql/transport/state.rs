//! What the transports need.

use std::{sync::Arc, time::Duration};

use quartet_auth::Actor;
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
    /// `RATE_LIMITED` while too many users are active.
    pub(super) fn user(&self, actor: &Actor) -> Result<Arc<User>, Problem> {
        self.users.get(actor.subject().as_str())
    }
}
