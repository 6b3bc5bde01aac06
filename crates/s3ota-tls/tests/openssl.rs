//! OpenSSL's `s_server`, which is many people's idea of a TLS server, after the handshake. Its certificates: `chains.rs`.

mod support;

use embassy_futures::block_on;
use embedded_io_async::{BufRead, Read, Write};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use s3ota_tls::rand_core::OsRng;
use s3ota_tls::{Buffers, CertTime, RecordError, Roots, TlsError, connect};
use support::openssl::SServer;
use support::{NOW, Socket};

/// A server and the root behind its certificate for `localhost`.
fn spawn() -> Option<(SServer, Vec<u8>)> {
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
    let server = SServer::spawn(&[own.der().to_vec()], key.serialized_der(), &[])?;
    Some((server, ca_der))
}

/// Opens a connection, types each line at the server's end, and reads what must arrive at ours.
fn with_s_server(lines: &[(&str, Result<&str, TlsError>)]) {
    let Some((mut server, ca_der)) = spawn() else {
        return;
    };
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
fn openssl_is_understood() {
    with_s_server(&[("one", Ok("one\n")), ("two", Ok("two\n"))]);
}

#[test]
fn a_key_update_by_openssl_ends_the_connection_and_does_not_panic() {
    // At the start of a line `k` makes s_server send KeyUpdate.
    let refused = Err(TlsError::Record(RecordError::UnexpectedMessage));
    with_s_server(&[("one", Ok("one\n")), ("k", refused)]);
}
