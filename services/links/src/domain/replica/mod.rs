//! What a replica keeps for as long as it lives.

mod backlog;
pub(crate) mod click_log;
mod edits;
pub(crate) mod feeds;
pub(crate) mod redirect_cache;
pub(crate) mod salts;
pub(crate) mod user_agents;
