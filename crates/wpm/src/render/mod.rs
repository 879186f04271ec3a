//! What output looks like: tables, cards, pm2's shapes, text made harmless.
//!
//! Makes strings; prints nothing.

pub(crate) mod dayjs;
pub(crate) mod escape;
pub(crate) mod inspect;
pub(crate) mod jobs;
pub(crate) mod list;
pub(crate) mod own;
pub(crate) mod pm2;
pub(crate) mod rows;
pub(crate) mod style;
