//! Promises of the TLS side.

use std::sync::Arc;

use embedded_tls::{Aes128GcmSha256, TlsConfig, TlsConnection, TlsContext, UnsecureProvider};
use rand_core::OsRng;
use s3ota_devserver::{Access, Options};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::client::{Connection, options, start, tls_config};

#[tokio::test]
async fn the_devices_tls_client_can_talk_to_it() {
    let server = start(Access::PublicRead).await;
    let stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let (mut read_buffer, mut write_buffer) = ([0; 16_640], [0; 2_048]);
    let config = TlsConfig::new().with_server_name("localhost");
    let stream = embedded_io_adapters::tokio_1::FromTokio::new(stream);
    let mut tls = TlsConnection::new(stream, &mut read_buffer, &mut write_buffer);
    // What is tried here is the handshake; certificates are verified by the other tests' clients.
    tls.open(TlsContext::new(
        &config,
        UnsecureProvider::new::<Aes128GcmSha256>(OsRng),
    ))
    .await
    .unwrap();
    for _ in 0..2 {
        tls.write(b"GET /nowhere/x HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        tls.flush().await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"</Error>") {
            let mut chunk = [0; 512];
            let read = tls.read(&mut chunk).await.unwrap();
            assert_ne!(read, 0, "the connection is kept");
            answer.extend_from_slice(&chunk[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 404 Not Found\r\n"));
    }
    server.stop().await;
}

#[tokio::test]
async fn every_name_of_the_certificate_verifies_and_no_other() {
    let names = vec!["192.168.7.7".to_owned(), "host.example".to_owned()];
    let options = Options {
        host_names: names,
        ..options(Access::PublicRead)
    };
    let server = s3ota_devserver::DevServer::start(options).await.unwrap();
    let connector = TlsConnector::from(Arc::new(tls_config(server.ca_der(), &[])));
    let connect = async |name: &str| {
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        connector
            .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
            .await
    };
    for name in [
        "localhost",
        "127.0.0.1",
        "::1",
        "10.0.2.2",
        "bucket.s3.localhost",
        "bucket.s3.us-east-1.localhost",
        "192.168.7.7",
        "host.example",
        "bucket.host.example",
    ] {
        connect(name)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in ["elsewhere.example", "10.0.2.3", "two.labels.host.example"] {
        assert!(connect(name).await.is_err(), "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn old_and_new_clients_are_served_http_1_1() {
    let server = start(Access::PublicRead).await;
    for alpn in [
        &[][..],
        &[&b"http/1.1"[..]],
        &[&b"h2"[..], &b"http/1.1"[..]],
    ] {
        let connector = TlsConnector::from(Arc::new(tls_config(server.ca_der(), alpn)));
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let tls = connector
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .unwrap();
        assert_eq!(
            tls.get_ref().1.protocol_version(),
            Some(ProtocolVersion::TLSv1_3)
        );
        assert_ne!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    }
    server.stop().await;
}

#[tokio::test]
async fn stopping_ends_idle_connections_at_once() {
    let server = start(Access::PublicRead).await;
    let mut connection = Connection::open(&server, "localhost").await;
    connection.get("/nowhere/x", &[]).await;
    let started = std::time::Instant::now();
    server.stop().await;
    assert!(
        started.elapsed() < std::time::Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}
