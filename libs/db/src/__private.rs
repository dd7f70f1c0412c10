//! For the macro `typed_id!`, which expands in other crates.

pub use {quartet_common, serde, sqlx, utoipa, uuid};
