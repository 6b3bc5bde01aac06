//! What this host keeps between two commands.

pub mod dir;
pub mod rollback;
