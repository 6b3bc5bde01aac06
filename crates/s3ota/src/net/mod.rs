//! The network: sockets with time limits, TLS sessions on them, and HTTP/1.1 in those.

pub(crate) mod http;
pub(crate) mod link;
pub(crate) mod session;
