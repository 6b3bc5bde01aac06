//! How to run a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The default secret key, which is public.
const KNOWN_SECRET: &str = "s3ota-secret";

/// How to run a [`DevServer`](crate::DevServer).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Where to keep buckets and the certificate authority. It is created if it does not exist.
    /// `None`: a temporary directory that is removed when the server stops.
    pub dir: Option<PathBuf>,
    /// The address to listen on. Port 0 means any free one.
    pub listen: SocketAddr,
    /// The only access key id.
    pub access_key: String,
    /// Its secret key. The default is public: a server that listens beyond this machine does not start with it.
    pub secret_key: String,
    /// The region the server says it is in, also in host names like `bucket.s3.us-east-1.localhost`.
    pub region: String,
    /// What can be read without credentials.
    pub access: Access,
    /// More DNS names or IP addresses of this machine. They go into the certificate; a DNS name also serves buckets as
    /// `bucket.<name>`.
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
    /// Whether others can write to the server with the public secret.
    pub(crate) fn is_open_to_others(&self) -> bool {
        !self.listen.ip().is_loopback() && self.secret_key == KNOWN_SECRET
    }
}

/// What can be read without credentials. Writes always need them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Access {
    /// Every object, unless a bucket policy denies it. For development.
    #[default]
    PublicRead,
    /// Only what a bucket policy allows, as on S3.
    Policy,
}
