//! What goes over a connection to rustls' server. Which servers are trusted: `chains.rs`.

mod support;

use s3ota_tls::{HandshakeError as H, TlsError};
use support::chain::{Chain, HOST, Manners, Rustls};

fn chain() -> Chain {
    Chain::of(1, |_| {})
}

/// 200,000 bytes that do not repeat with the record size.
fn body() -> Vec<u8> {
    (0..200_000u32).map(|n| (n % 251) as u8).collect()
}

#[test]
fn full_records_arrive_whole() {
    let body = body();
    assert!(body.len() > 10 * 16_384, "more than ten full records");
    let chain = chain();
    let server = Rustls::spawn(&chain, &body, Manners::Close);
    assert_eq!(chain.fetch(server.port), Ok(body));
}

#[test]
fn an_end_without_close_notify_is_truncation() {
    let chain = chain();
    let server = Rustls::spawn(&chain, &body(), Manners::HangUp);
    assert_eq!(chain.fetch(server.port), Err(TlsError::Truncated));
}

#[test]
fn a_server_of_tls_1_2_is_refused_by_its_own_alert() {
    let chain = chain();
    let server = Rustls::spawn(&chain, b"", Manners::Tls12);
    let error = chain.fetch(server.port).unwrap_err();
    assert!(error.to_string().contains("protocol_version"), "{error}");
    assert_eq!(error.code(), "tls.handshake");
}

#[cfg(not(feature = "rsa"))]
#[test]
fn an_rsa_server_refuses_a_client_built_without_rsa() {
    use support::chain::KeyKind::Rsa2048;

    let chain = Chain::of(1, |plan| plan.own_key = Rsa2048);
    let server = Rustls::spawn(&chain, b"", Manners::Close);
    // rustls says so inside the encryption.
    let refused = Err(TlsError::Handshake(H::EncryptedAlert));
    assert_eq!(chain.fetch(server.port), refused);
}

#[test]
fn an_address_is_never_sent_as_server_name() {
    let chain = Chain::of(1, |plan| plan.names(&["127.0.0.1", HOST])).host("127.0.0.1");
    let server = Rustls::spawn(&chain, b"hello", Manners::Close);
    assert_eq!(chain.fetch(server.port), Ok(b"hello".to_vec()));
    assert_eq!(server.server_name.join().unwrap(), None);
}

#[test]
fn a_dns_name_is_sent_as_server_name_without_its_final_dot() {
    let chain = chain().host("bucket.s3.test.");
    let server = Rustls::spawn(&chain, b"hello", Manners::Close);
    assert_eq!(chain.fetch(server.port), Ok(b"hello".to_vec()));
    assert_eq!(server.server_name.join().unwrap().as_deref(), Some(HOST));
}

#[test]
fn what_is_no_host_is_refused_before_anything_is_sent() {
    let chain = chain().host("not a host");
    let server = Rustls::spawn(&chain, b"", Manners::Close);
    let refused = Err(TlsError::Handshake(H::HostName));
    assert_eq!(chain.fetch(server.port), refused);
}
