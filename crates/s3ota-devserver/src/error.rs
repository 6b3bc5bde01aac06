//! Why a server could not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a [`DevServer`](crate::DevServer) could not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum DevServerError {
    /// The address cannot be listened on.
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It would listen beyond this machine with the default secret, which everyone knows.
    KnownSecret {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Another server runs on the same directory.
    DirectoryInUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A file or directory cannot be read or written.
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that this server wrote is not what it wrote.
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The private key of the certificate authority is gone, its certificate is there.
    AuthorityKeyMissing {
        /// Where the key should be.
        path: PathBuf,
    },
    /// The certificate of the authority does not belong to its key.
    AuthorityMismatch {
        /// The certificate.
        path: PathBuf,
    },
    /// A name in [`Options::host_names`](crate::Options::host_names) is neither a DNS name nor an IP address.
    HostName {
        /// The name.
        name: String,
    },
    /// No certificate could be made.
    Certificate {
        /// What the maker of certificates or the TLS library said.
        reason: String,
    },
}

impl fmt::Display for DevServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "{address} is already in use: stop the other server or choose another port (0 takes any)"
                )
            }
            Self::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::KnownSecret { address } => write!(
                f,
                "{address} is reached from other machines, and the secret key is the default that everyone knows: \
                 choose one of your own, or listen on 127.0.0.1"
            ),
            Self::DirectoryInUse { dir } => {
                write!(
                    f,
                    "another development server runs on {}: stop it or choose another directory",
                    dir.display()
                )
            }
            Self::File { path, source } => write!(f, "cannot use {}: {source}", path.display()),
            Self::Damaged { path, reason } => {
                write!(
                    f,
                    "{} is damaged ({reason}): restore it, or delete it to go on without it",
                    path.display()
                )
            }
            Self::AuthorityKeyMissing { path } => write!(
                f,
                "{} is missing: restore it, or delete the certificate next to it to get a new authority, \
                 which every device must then be given",
                path.display()
            ),
            Self::AuthorityMismatch { path } => write!(
                f,
                "{} does not belong to the private key next to it: restore it, or delete it to get a new one \
                 for that key",
                path.display()
            ),
            Self::HostName { name } => {
                write!(f, "{name:?} is neither a DNS name nor an IP address")
            }
            Self::Certificate { reason } => {
                write!(f, "no server certificate could be made: {reason}")
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
