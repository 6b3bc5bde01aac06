//! How a server is to be run.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The secret that stands in this source, for tests.
const KNOWN_SECRET: &str = "s3ota-secret";

/// How a [`DevServer`](crate::DevServer) is to be run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Where buckets and the certificate authority are kept. It is made if it does not exist.
    /// `None`: a temporary directory, removed when the server stops.
    pub dir: Option<PathBuf>,
    /// The address to listen on. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// The one access key id there is.
    pub access_key: String,
    /// Its secret. The default is known to everyone: a server that listens beyond this machine does not start with it.
    pub secret_key: String,
    /// The region the server says it is in, also in host names like `bucket.s3.us-east-1.localhost`.
    pub region: String,
    /// What may be read without credentials.
    pub access: Access,
    /// More DNS names or IP addresses by which devices reach this machine. They go into the certificate;
    /// a DNS name also serves buckets as `bucket.<name>`.
    pub host_names: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            dir: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9443)),
            access_key: "s3ota".to_owned(),
            secret_key: KNOWN_SECRET.to_owned(),
            region: "us-east-1".to_owned(),
            access: Access::PublicRead,
            host_names: Vec::new(),
        }
    }
}

impl Options {
    /// Whether others could write to the server with a secret that everyone knows.
    pub(crate) fn is_open_to_others(&self) -> bool {
        !self.listen.ip().is_loopback() && self.secret_key == KNOWN_SECRET
    }
}

/// What may be read without credentials. Writes always need them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Access {
    /// Every object may be read by anyone who knows its name, unless a bucket policy denies it. For development.
    #[default]
    PublicRead,
    /// Only what a bucket policy opens, as on S3.
    Policy,
}
