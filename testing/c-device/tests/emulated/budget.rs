//! Memory and stack of an update over TLS, as RISC-V code, from a server with S3's kind of certificates: RSA keys of 2048 bits, an
//! authority between the server and the root. The release is signed. Held to a budget.

use std::sync::Arc;

use c_device::{Device, Owner, Program, Said, firmware, offer};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use scripted_server::server::Identity;
use scripted_server::{Request, Server};

/// Bytes of a state: everything that the library keeps, the operation under way with it.
const STATE: u64 = 31 * 1024;

/// Bytes of stack, from the call of the library on. The port's functions in this program are counted with it.
const STACK: u64 = 9 * 1024 + 512;

/// Bytes of stack of calls that an application may make in a task of its own: init, confirm, roll_back.
const STACK_OF_CALLS: u64 = 8 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn an_update_keeps_to_its_budget() {
    let image = firmware("1.1.0");
    let owner = Owner::default();
    let signed = owner.signs(&offer("1.1.0", &image, &[]));
    let server = Server::start_with(like_s3(), move |request: &Request, port| {
        signed.answer(request, port)
    })
    .await;
    let mut lamp = Device::new(&Program::on_riscv(), "1.0.0")
        .with_file("root", &server.ca)
        .with_file("key", &owner.spki())
        .set(&format!("url={}", server.url("/stable.json")));
    let said = lamp.run(&[
        "size", "paint", "guard", "stack", "paint", "init", "stack", "paint", "update", "stack",
    ]);
    assert_eq!(said.of("update"), "installed", "{said:#?}");
    let state = said.number("size", "size");
    let [guard, init, update] = stacks(&said);
    println!("state {state}, stack of the guard {guard}, of init {init}, of an update {update}");
    assert!(state <= STATE, "{state} bytes of state");
    assert!(update <= STACK, "{update} bytes of stack");
    assert!(
        guard < update && update > 4096,
        "{guard}, {update}: the measure is wrong"
    );

    let said = lamp.run(&[
        "guard",
        "init",
        "paint",
        "confirm",
        "stack",
        "paint",
        "roll_back",
        "stack",
    ]);
    let [confirm, roll_back] = stacks(&said);
    println!("stack of confirm {confirm}, of roll_back {roll_back}");
    assert_eq!(said.of("roll_back"), "ok", "{said:#?}");
    assert!(init.max(confirm).max(roll_back) <= STACK_OF_CALLS);
}

/// What the stack was at each look.
fn stacks<const N: usize>(said: &Said) -> [u64; N] {
    let stacks = said
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix("stack ")?.parse().ok());
    stacks.collect::<Vec<_>>().try_into().unwrap()
}

/// A new RSA key, and the same in DER.
fn key() -> (KeyPair, Vec<u8>) {
    let key = RsaPrivateKey::new(&mut rand_core::OsRng, 2048).unwrap();
    let der = key.to_pkcs8_der().unwrap().as_bytes().to_vec();
    let pair = PrivatePkcs8KeyDer::from(der.clone());
    (
        KeyPair::from_pkcs8_der_and_sign_algo(&pair, &PKCS_RSA_SHA256).unwrap(),
        der,
    )
}

fn authority(name: &str) -> CertificateParams {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, name);
    authority
}

fn like_s3() -> Identity {
    let ((root_key, _), (between_key, _), (key, key_der)) = (key(), key(), key());
    let root = authority("root");
    let ca = root.self_signed(&root_key).unwrap().der().to_vec();
    let root = Issuer::new(root, root_key);
    let between = authority("between");
    let between_der = between
        .signed_by(&between_key, &root)
        .unwrap()
        .der()
        .clone();
    let between = Issuer::new(between, between_key);
    let leaf = CertificateParams::new([String::from("localhost")]).unwrap();
    let leaf = leaf.signed_by(&key, &between).unwrap().der().clone();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf, between_der],
            PrivateKeyDer::Pkcs8(key_der.into()),
        )
        .unwrap();
    Identity {
        ca,
        config: Arc::new(config),
    }
}
