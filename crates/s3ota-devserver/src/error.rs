//! Why a server cannot start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Why a [`DevServer`](crate::DevServer) cannot start.
#[derive(Debug)]
#[non_exhaustive]
pub enum DevServerError {
    /// The address cannot be listened on.
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// It would listen beyond this machine with the default secret, which is public.
    KnownSecret {
        /// The requested address.
        address: SocketAddr,
    },
    /// Another server uses the same directory.
    DirectoryInUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A file or directory cannot be read or written.
    File {
        /// Which one.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// One of the server's files is damaged.
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate authority's private key is missing, but its certificate is there.
    AuthorityKeyMissing {
        /// Where the key should be.
        path: PathBuf,
    },
    /// The certificate authority's certificate does not match its key.
    AuthorityMismatch {
        /// The certificate.
        path: PathBuf,
    },
    /// A name in [`Options::host_names`](crate::Options::host_names) is neither a DNS name nor an IP address.
    HostName {
        /// The name.
        name: String,
    },
    /// The server's certificate cannot be created.
    Certificate {
        /// The error of rcgen or rustls.
        reason: String,
    },
}

/// Turns an error of the file system into one about `path`.
pub(crate) fn file_error(path: &Path) -> impl Fn(io::Error) -> DevServerError {
    move |source| DevServerError::File {
        path: path.to_owned(),
        source,
    }
}

impl fmt::Display for DevServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "{address} is already in use: stop the other server or choose another port (0 means any)"
                )
            }
            Self::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::KnownSecret { address } => write!(
                f,
                "{address} can be reached from other machines, and the secret key is the default, which is public: \
                 choose your own, or listen on 127.0.0.1"
            ),
            Self::DirectoryInUse { dir } => {
                write!(
                    f,
                    "another development server uses {}: stop it or choose another directory",
                    dir.display()
                )
            }
            Self::File { path, source } => write!(f, "cannot use {}: {source}", path.display()),
            Self::Damaged { path, reason } => {
                write!(
                    f,
                    "{} is damaged ({reason}): restore it, or delete it to continue without it",
                    path.display()
                )
            }
            Self::AuthorityKeyMissing { path } => write!(
                f,
                "{} is missing: restore it, or delete the certificate next to it to get a new authority, \
                 which every device must then trust",
                path.display()
            ),
            Self::AuthorityMismatch { path } => write!(
                f,
                "{} does not match the private key next to it: restore it, or delete it to get a new one \
                 for that key",
                path.display()
            ),
            Self::HostName { name } => {
                write!(f, "{name:?} is neither a DNS name nor an IP address")
            }
            Self::Certificate { reason } => {
                write!(f, "the server's certificate cannot be created: {reason}")
            }
        }
    }
}

impl std::error::Error for DevServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}
