//! SQL, checked at compile time, in plain functions; and the object store.

pub(crate) mod assets;
pub(crate) mod ids;
pub(crate) mod objects;
pub(crate) mod sweeps;
pub(crate) mod uploads;
