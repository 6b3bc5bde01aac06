//! OpenSSL's `s_server`, which is many people's idea of a TLS server: which certificate chains are taken, and what goes over a
//! connection.

mod support;

/// One line a promise: the name, the chain, how the connection ends.
macro_rules! chains {
    ($($(#[$attribute:meta])* $name:ident: $chain:expr => $verdict:expr;)*) => {
        $(
            #[test]
            #[ignore = "needs openssl: apt-get install openssl"]
            $(#[$attribute])*
            fn $name() {
                assert_eq!(crate::support::chain::openssl(&$chain), $verdict);
            }
        )*
    };
}

#[path = "chains/cases.rs"]
mod cases;

use embassy_futures::block_on;
use embedded_io_async::{BufRead, Read, Write};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use s3ota_tls::rand_core::OsRng;
use s3ota_tls::{
    Alert, Buffers, CertTime, HandshakeError as H, RecordError, Roots, TlsError, connect,
};
use support::chain::fixture;
use support::openssl::SServer;
use support::{NOW, Socket};

// What rustls does not serve.
chains! {
    #[cfg(feature = "rsa")]
    a_server_with_rsa_1024: fixture("rsa-root", &["rsa-1024-server"], "rsa-1024") => cases::refused(s3ota_tls::CertificateError::NotProven);
    a_server_with_p521: fixture("rsa-root", &["p521-server"], "p521") => Err(TlsError::Handshake(H::Alert(Alert(40))));
    a_server_with_an_rsa_pss_key: fixture("rsa-root", &["rsa-pss-server"], "rsa-pss") => Err(TlsError::Handshake(H::Alert(Alert(40))));
}

/// A server and the root behind its certificate for `localhost`.
fn spawn() -> (SServer, Vec<u8>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_der = ca.self_signed(&ca_key).unwrap().der().to_vec();
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(["localhost".to_string()]).unwrap();
    own.distinguished_name
        .push(rcgen::DnType::CommonName, "server");
    let own = own.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let server = SServer::spawn(&[own.der().to_vec()], key.serialized_der(), &[]);
    (server, ca_der)
}

/// Opens a connection, types each line at the server's end, and reads what must arrive at ours.
fn with_s_server(lines: &[(&str, Result<&str, TlsError>)]) {
    let (mut server, ca_der) = spawn();
    let mut roots = Roots::empty();
    roots.add_der(&ca_der).unwrap();
    let mut buffers = Box::new(Buffers::new());
    block_on(async {
        let socket = Socket::connect(server.port);
        let time = CertTime::Known(NOW);
        let mut stream = connect(socket, "localhost", &roots, time, &mut OsRng, &mut buffers)
            .await
            .unwrap();
        // OpenSSL sends its tickets first: they pass unseen.
        stream.write_all(b"hello\n").await.unwrap();
        stream.flush().await.unwrap();
        for (line, wanted) in lines {
            server.type_line(line);
            match wanted {
                Ok(text) => {
                    let mut read = vec![0; text.len()];
                    stream.read_exact(&mut read).await.unwrap();
                    assert_eq!(read, text.as_bytes());
                }
                Err(error) => assert_eq!(stream.fill_buf().await, Err(*error)),
            }
        }
        if lines.iter().all(|(_, wanted)| wanted.is_ok()) {
            stream.close().await.unwrap();
        }
    });
}

#[test]
#[ignore = "needs openssl: apt-get install openssl"]
fn openssl_is_understood() {
    with_s_server(&[("one", Ok("one\n")), ("two", Ok("two\n"))]);
}

#[test]
#[ignore = "needs openssl: apt-get install openssl"]
fn a_key_update_by_openssl_ends_the_connection_and_does_not_panic() {
    // At the start of a line `k` makes s_server send KeyUpdate.
    let refused = Err(TlsError::Record(RecordError::UnexpectedMessage));
    with_s_server(&[("one", Ok("one\n")), ("k", refused)]);
}
