//! What every Quartet binary shares: time, settings, identifiers, problems, the command line.
//!
//! No business noun lives here, and nothing that needs a database, a web server or a collector:
//! those have crates of their own beside this one.

mod causes;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod ids;
pub mod net;
pub mod openapi;
pub mod page;
pub mod principal;
pub mod problem;
pub mod request_id;
pub mod text;
pub mod wording;

pub use causes::causes;
