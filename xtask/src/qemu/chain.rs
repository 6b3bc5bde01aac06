//! Chains of RSA certificates, and a server that shows one in front of the bucket's own, whose certificate is ECDSA's.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use rustls::StreamOwned;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::SERVER;
use crate::{Result, paths};

/// The chains to measure with. Their root has a key of 4096 bits.
pub const CHAINS: [Chain; 2] = [
    Chain {
        name: "like S3's: RSA-2048, one authority between the server and the root",
        authorities: 1,
        bits: 2048,
    },
    Chain {
        name: "the longest: RSA-4096, five authorities between the server and the root",
        authorities: 5,
        bits: 4096,
    },
];

/// A chain of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// What it is.
    pub name: &'static str,
    /// How many authorities there are between the server and the root.
    pub authorities: u32,
    /// The size of their keys and the server's.
    bits: u32,
}

/// How long the two sides may keep each other waiting.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait for one side before the other gets its turn.
const TURN: Duration = Duration::from_millis(2);

/// Writes the certificate of the root into `dir`, for the firmware, and returns its path.
pub fn root(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("rsa-root.pem");
    let (params, key) = root_authority()?;
    let root = params.self_signed(&key).map_err(wrong)?;
    paths::write_if_changed(&path, root.pem().as_bytes())?;
    Ok(path)
}

fn root_authority() -> Result<(CertificateParams, KeyPair)> {
    Ok((authority("RSA root"), key(4096)?.0))
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// One of the test keys of s3ota-tls: new ones would take long to make.
fn key(bits: u32) -> Result<(KeyPair, PrivateKeyDer<'static>)> {
    let path = paths::root().join(format!("crates/s3ota-tls/tests/data/rsa-{bits}.key.der"));
    let bytes = fs::read(&path).map_err(|error| paths::about(&path, &error))?;
    let der = PrivatePkcs8KeyDer::from(bytes);
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256).map_err(wrong)?;
    Ok((pair, PrivateKeyDer::Pkcs8(der)))
}

fn wrong(error: impl std::fmt::Display) -> String {
    format!("the RSA certificates: {error}")
}

impl Chain {
    /// What a server shows, its own certificate first, and its key.
    fn made(self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let mut above = root_authority()?;
        let mut shown = Vec::new();
        for number in 1..=self.authorities {
            let params = authority(&format!("RSA authority {number}"));
            let (key, _) = key(self.bits)?;
            let issuer = Issuer::from_params(&above.0, &above.1);
            shown.insert(
                0,
                params
                    .signed_by(&key, &issuer)
                    .map_err(wrong)?
                    .der()
                    .clone(),
            );
            above = (params, key);
        }
        let own = CertificateParams::new([SERVER.to_owned()]).map_err(wrong)?;
        let (own_key, der) = key(self.bits)?;
        let issuer = Issuer::from_params(&above.0, &above.1);
        shown.insert(
            0,
            own.signed_by(&own_key, &issuer)
                .map_err(wrong)?
                .der()
                .clone(),
        );
        Ok((shown, der))
    }

    /// Starts a server with these certificates. It passes everything on to the bucket's, whose authority is in `authority`, as
    /// long as the program runs. Its address.
    pub fn serve(self, bucket: SocketAddr, authority: &Path) -> Result<SocketAddr> {
        let provider = Arc::new(default_provider());
        let (shown, key) = self.made()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(shown, key))
            .map_err(wrong)?;
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(authority).map_err(wrong)?;
        roots.add(root).map_err(wrong)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (server, client) = (Arc::new(server), Arc::new(client));

        let about = |error| format!("a port on this machine: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(about)?;
        let address = listener.local_addr().map_err(about)?;
        thread::spawn(move || {
            for device in listener.incoming().map_while(std::result::Result::ok) {
                let (server, client) = (Arc::clone(&server), Arc::clone(&client));
                // A device that loses power ends its connection so, and has nothing to learn from it.
                thread::spawn(move || pass(device, server, bucket, client));
            }
        });
        Ok(address)
    }
}

/// Takes a device's connection, and passes on what comes from either side.
fn pass(
    mut device: TcpStream,
    server: Arc<ServerConfig>,
    bucket: SocketAddr,
    client: Arc<ClientConfig>,
) -> std::io::Result<()> {
    let mut shown = ServerConnection::new(server).map_err(std::io::Error::other)?;
    device.set_read_timeout(Some(PATIENCE))?;
    device.set_write_timeout(Some(PATIENCE))?;
    shown.complete_io(&mut device)?;
    let mut upstream = TcpStream::connect(bucket)?;
    upstream.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    let mut asked = ClientConnection::new(client, name).map_err(std::io::Error::other)?;
    asked.complete_io(&mut upstream)?;

    device.set_read_timeout(Some(TURN))?;
    upstream.set_read_timeout(Some(TURN))?;
    let mut device = StreamOwned::new(shown, device);
    let mut upstream = StreamOwned::new(asked, upstream);
    let mut buffer = [0; 16 * 1024];
    loop {
        for forth in [true, false] {
            let read = match forth {
                true => device.read(&mut buffer),
                false => upstream.read(&mut buffer),
            };
            let bytes = match read {
                Ok(0) => {
                    device.conn.send_close_notify();
                    return device.flush();
                }
                Ok(count) => buffer.get(..count).unwrap_or_default(),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            match forth {
                true => upstream.write_all(bytes).and_then(|()| upstream.flush())?,
                false => device.write_all(bytes).and_then(|()| device.flush())?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::Stream;

    use super::*;

    #[test]
    fn a_client_reaches_the_bucket_through_each_chain() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path()).unwrap();
        let provider = Arc::new(default_provider());
        let bucket = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let authority = dir.path().join("ca.pem");
        fs::write(&authority, bucket.cert.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(bucket.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![bucket.cert.der().clone()], key.into());
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(std::result::Result::ok) {
                let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = Stream::new(&mut connection, &mut stream);
                let mut question = [0; 4];
                stream.read_exact(&mut question).unwrap();
                stream.write_all(&question.repeat(20_000)).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        });

        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(root).unwrap())
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Arc::new(client);
        for chain in CHAINS {
            let at = chain.serve(address, &authority).unwrap();
            let name = ServerName::try_from(SERVER).unwrap();
            let connection = ClientConnection::new(Arc::clone(&client), name).unwrap();
            let mut stream = StreamOwned::new(connection, TcpStream::connect(at).unwrap());
            stream.write_all(b"what").unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(answer == b"what".repeat(20_000), "{}", chain.name);
            let shown = stream.conn.peer_certificates().unwrap();
            assert_eq!(shown.len(), 1 + chain.authorities as usize);
        }
    }
}
