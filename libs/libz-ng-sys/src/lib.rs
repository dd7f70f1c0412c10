//! The zlib interface that flate2 expects from `libz-ng-sys`, served by stock zlib.
//!
//! The manifest says why.
#![no_std]

pub use libz_sys::*;
