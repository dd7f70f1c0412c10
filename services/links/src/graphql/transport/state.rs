//! What the transports need.

use crate::{
    graphql::schema::{self, Schema},
    state::AppState,
};

/// The state of the service and the schema. Cheap to clone.
#[derive(Clone)]
pub(crate) struct GraphQlState {
    pub(super) app: AppState,
    pub(super) schema: Schema,
}

impl GraphQlState {
    pub(crate) fn new(app: &AppState) -> Self {
        Self {
            app: app.clone(),
            schema: schema::build(&app.ctx),
        }
    }
}
