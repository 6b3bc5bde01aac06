//! Which servers are trusted, and that the bytes arrive: against rustls, with chains made by rcgen.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Eku, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use s3ota_tls::{CertTime, CertificateError as C, HandshakeError as H, Roots, TlsError};
use support::{NOW, fetch};

const HOST: &str = "bucket.s3.test";
const DAY: u64 = 86_400;

// --- Chains that must be taken ---

#[test]
fn a_p256_chain_is_taken() {
    let chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    assert_eq!(chain.fetch(), Ok(body()));
}

#[cfg(feature = "rsa")]
#[test]
fn an_rsa_chain_is_taken() {
    let chain = Chain::new(&PKCS_RSA_SHA256);
    assert_eq!(chain.fetch(), Ok(body()));
}

#[cfg(not(feature = "rsa"))]
#[test]
fn an_rsa_server_refuses_a_client_built_without_rsa() {
    let chain = Chain::new(&PKCS_RSA_SHA256);
    // rustls says so inside the encryption.
    assert_eq!(chain.fetch(), Err(TlsError::Handshake(H::EncryptedAlert)));
}

#[cfg(feature = "p384")]
#[test]
fn a_p384_chain_is_taken() {
    let chain = Chain::new(&PKCS_ECDSA_P384_SHA384);
    assert_eq!(chain.fetch(), Ok(body()));
}

#[cfg(not(feature = "p384"))]
#[test]
fn a_p384_chain_is_refused_by_a_client_built_without_p384() {
    let chain = Chain::new(&PKCS_ECDSA_P384_SHA384);
    assert_eq!(chain.fetch(), refused(C::UnsupportedAlgorithm));
}

#[test]
fn an_ed25519_chain_is_refused() {
    let chain = Chain::new(&PKCS_ED25519);
    assert_eq!(chain.fetch(), refused(C::UnsupportedAlgorithm));
}

#[test]
fn the_root_may_come_with_the_chain() {
    let mut chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    chain.sent.push(chain.root.der.clone());
    assert_eq!(chain.fetch(), Ok(body()));
}

#[test]
fn a_chain_that_continues_to_an_older_root_ends_at_the_one_we_trust() {
    // As S3 does: the root is sent as certified by an older root, which this client does not know.
    let mut chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    let older = Authority::root("Older Root", &PKCS_ECDSA_P256_SHA256);
    let cross_signed = chain
        .root
        .params
        .signed_by(&chain.root.key, &older.issuer())
        .unwrap();
    chain.sent.push(cross_signed.der().to_vec());
    assert_eq!(chain.fetch(), Ok(body()));
}

#[test]
fn a_wildcard_stands_for_one_label() {
    let chain = Chain::with(|own| own.names(&["*.s3.test"]));
    assert_eq!(chain.fetch(), Ok(body()));
    assert_eq!(chain.fetch_as("a.b.s3.test"), refused(C::WrongName));
    assert_eq!(chain.fetch_as("s3.test"), refused(C::WrongName));
}

#[test]
fn the_name_may_be_the_ninth() {
    let mut names: Vec<String> = (1..9).map(|n| format!("n{n}.s3.test")).collect();
    names.push(HOST.to_string());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let chain = Chain::with(|own| own.names(&names));
    assert_eq!(chain.fetch(), Ok(body()));
}

#[test]
fn an_ip_address_is_matched_and_never_sent_as_server_name() {
    let chain = Chain::with(|own| own.names(&["127.0.0.1", HOST]));
    let server = chain.serve(Manners::Close);
    let answer = fetch(
        server.port,
        "127.0.0.1",
        &chain.roots(),
        CertTime::Known(NOW),
    );
    assert_eq!(answer, Ok(body()));
    assert_eq!(server.server_name.join().unwrap(), None);

    assert_eq!(chain.fetch_as("127.0.0.2"), refused(C::WrongName));
}

#[test]
fn a_dns_name_is_sent_as_server_name() {
    let chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    let server = chain.serve(Manners::Close);
    let host = format!("{HOST}.");
    assert!(fetch(server.port, &host, &chain.roots(), CertTime::Known(NOW)).is_ok());
    assert_eq!(server.server_name.join().unwrap().as_deref(), Some(HOST));
}

// --- Chains that must be refused ---

#[test]
fn an_unknown_authority_is_refused() {
    let chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    for roots in [Roots::amazon(), Roots::empty()] {
        let server = chain.serve(Manners::Close);
        assert_eq!(
            fetch(server.port, HOST, &roots, CertTime::Known(NOW)),
            refused(C::UnknownIssuer)
        );
    }
}

#[test]
fn another_authority_of_the_same_name_is_refused() {
    let mut chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    chain.root = Authority::root("Root", &PKCS_ECDSA_P256_SHA256);
    assert_eq!(chain.fetch(), refused(C::BadSignature));
}

#[test]
fn a_missing_intermediate_is_refused() {
    let mut chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    chain.sent.truncate(1);
    assert_eq!(chain.fetch(), refused(C::UnknownIssuer));
}

#[test]
fn a_self_signed_certificate_is_refused() {
    let mut chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    let own = CertificateParams::new([HOST.to_string()]).unwrap();
    chain.sent = vec![own.self_signed(&chain.key).unwrap().der().to_vec()];
    assert_eq!(chain.fetch(), refused(C::UnknownIssuer));
}

#[test]
fn an_authority_is_no_server() {
    let chain = Chain::with(|own| {
        own.0.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        own.0.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    assert_eq!(chain.fetch(), refused(C::IsAnAuthority));
}

#[test]
fn a_server_is_no_authority() {
    // The holder of a proper certificate for another host issues one for this host.
    let other = Chain::with(|own| own.names(&["other.test"]));
    let key = KeyPair::generate().unwrap();
    let forged = CertificateParams::new([HOST.to_string()])
        .unwrap()
        .signed_by(&key, &Issuer::from_params(&other.own, &other.key))
        .unwrap();
    let mut sent = vec![forged.der().to_vec()];
    sent.extend(other.sent.clone());
    let chain = Chain { key, sent, ..other };
    assert_eq!(chain.fetch(), refused(C::NotAnAuthority));
}

#[test]
fn a_chain_made_to_be_tangled_is_given_up() {
    // Five forged authorities with the name of the root: 326 paths, each ending in a signature by the true root.
    let mut chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    let forged: Vec<Authority> = (0..5)
        .map(|_| Authority::root("Root", &PKCS_ECDSA_P256_SHA256))
        .collect();
    let own = chain
        .own
        .signed_by(&chain.key, &forged[0].issuer())
        .unwrap();
    chain.sent = vec![own.der().to_vec()];
    chain
        .sent
        .extend(forged.into_iter().map(|authority| authority.der));
    assert_eq!(chain.fetch(), refused(C::TooLarge));
}

#[test]
fn a_certificate_for_clients_is_refused() {
    let chain = Chain::with(|own| own.0.extended_key_usages = vec![Eku::ClientAuth]);
    assert_eq!(chain.fetch(), refused(C::NotForServers));
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let chain = Chain::with(|own| own.names(&["other.s3.test"]));
    assert_eq!(chain.fetch(), refused(C::WrongName));
}

#[test]
fn the_common_name_never_counts() {
    let chain = Chain::with(|own| {
        own.names(&["other.s3.test"]);
        own.0.distinguished_name.push(DnType::CommonName, HOST);
    });
    assert_eq!(chain.fetch(), refused(C::WrongName));
    let chain = Chain::with(|own| {
        own.names(&[]);
        own.0.distinguished_name.push(DnType::CommonName, HOST);
    });
    assert_eq!(chain.fetch(), refused(C::WrongName));
}

#[test]
fn an_authority_keeps_to_its_name_constraints() {
    let intermediate = |params: &mut CertificateParams| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.test".into())],
            excluded_subtrees: vec![],
        });
    };
    let chain = Chain::build(&PKCS_ECDSA_P256_SHA256, intermediate, |_| {});
    assert_eq!(chain.fetch(), refused(C::NotAllowed));
}

#[test]
fn what_is_no_host_is_refused_before_anything_is_sent() {
    let chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    assert_eq!(
        chain.fetch_as("not a host"),
        Err(TlsError::Handshake(H::HostName))
    );
}

// --- Dates ---

#[test]
fn an_expired_certificate_is_refused() {
    let chain = Chain::with(|own| own.valid((2029, 1, 1), (2030, 5, 31)));
    let not_after = NOW - DAY;
    assert_eq!(chain.fetch(), refused(C::Expired { not_after }));
    // The firmware is younger than that: no clock is needed to know.
    assert_eq!(
        chain.fetch_at(CertTime::AtLeast(NOW)),
        refused(C::Expired { not_after })
    );
    assert_eq!(chain.fetch_at(CertTime::AtLeast(not_after)), Ok(body()));
}

#[test]
fn a_certificate_from_the_future_is_refused_where_the_clock_is_known() {
    let chain = Chain::with(|own| own.valid((2030, 6, 2), (2031, 1, 1)));
    let not_before = NOW + DAY;
    assert_eq!(chain.fetch(), refused(C::NotYetValid { not_before }));
    assert_eq!(chain.fetch_at(CertTime::Known(not_before)), Ok(body()));
}

#[test]
fn a_certificate_issued_after_the_firmware_was_built_is_taken_where_it_is_not() {
    let chain = Chain::with(|own| own.valid((2030, 6, 2), (2031, 1, 1)));
    assert_eq!(chain.fetch_at(CertTime::AtLeast(NOW)), Ok(body()));
    assert_eq!(chain.fetch_at(CertTime::AtLeast(0)), Ok(body()));
}

#[test]
fn a_whole_chain_issued_after_the_firmware_was_built_is_taken() {
    let chain = Chain::build(
        &PKCS_ECDSA_P256_SHA256,
        |intermediate| intermediate.not_before = date_time_ymd(2031, 1, 1),
        |own| own.valid((2032, 1, 1), (2033, 1, 1)),
    );
    assert_eq!(chain.fetch_at(CertTime::AtLeast(NOW)), Ok(body()));
}

#[test]
fn a_chain_that_is_never_valid_as_a_whole_is_refused_without_a_clock_too() {
    // The authority expires a day before the server's certificate begins.
    let chain = Chain::build(
        &PKCS_ECDSA_P256_SHA256,
        |intermediate| intermediate.not_after = date_time_ymd(2030, 6, 2),
        |own| own.valid((2030, 6, 3), (2031, 1, 1)),
    );
    assert_eq!(
        chain.fetch_at(CertTime::AtLeast(NOW)),
        refused(C::Expired {
            not_after: NOW + DAY
        })
    );
}

// --- Data ---

#[test]
fn full_records_arrive_whole() {
    let chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    let body = body();
    assert!(body.len() > 10 * 16_384, "more than ten full records");
    assert_eq!(chain.fetch(), Ok(body));
}

#[test]
fn an_end_without_close_notify_is_truncation() {
    let chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    let server = chain.serve(Manners::HangUp);
    assert_eq!(
        fetch(server.port, HOST, &chain.roots(), CertTime::Known(NOW)),
        Err(TlsError::Truncated)
    );
}

#[test]
fn a_server_of_tls_1_2_is_refused_by_its_own_alert() {
    let chain = Chain::new(&PKCS_ECDSA_P256_SHA256);
    let server = chain.serve(Manners::Tls12);
    let error = fetch(server.port, HOST, &chain.roots(), CertTime::Known(NOW)).unwrap_err();
    assert!(error.to_string().contains("protocol_version"), "{error}");
    assert_eq!(error.code(), "tls.handshake");
}

// --- Making chains ---

fn refused(error: C) -> Result<Vec<u8>, TlsError> {
    Err(TlsError::Certificate(error))
}

/// A root, an intermediate and a server's certificate for [`HOST`], as a test wants them.
struct Chain {
    root: Authority,
    /// The server's own certificate, to be (ab)used as an issuer.
    own: CertificateParams,
    key: KeyPair,
    /// What the server sends, its own certificate first.
    sent: Vec<Vec<u8>>,
}

struct Authority {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

/// The server's certificate before it is signed.
struct Own(CertificateParams);

impl Own {
    fn names(&mut self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).unwrap();
        self.0.subject_alt_names = params.subject_alt_names;
    }

    fn valid(&mut self, from: (i32, u8, u8), to: (i32, u8, u8)) {
        self.0.not_before = date_time_ymd(from.0, from.1, from.2);
        self.0.not_after = date_time_ymd(to.0, to.1, to.2);
    }
}

impl Chain {
    fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        Self::build(algorithm, |_| {}, |_| {})
    }

    fn with(adjust: impl FnOnce(&mut Own)) -> Self {
        Self::build(&PKCS_ECDSA_P256_SHA256, |_| {}, adjust)
    }

    fn build(
        algorithm: &'static SignatureAlgorithm,
        adjust_intermediate: impl FnOnce(&mut CertificateParams),
        adjust_own: impl FnOnce(&mut Own),
    ) -> Self {
        let root = Authority::root("Root", algorithm);
        let mut params = authority("M01");
        adjust_intermediate(&mut params);
        let intermediate_key = key(algorithm);
        let intermediate = params.signed_by(&intermediate_key, &root.issuer()).unwrap();

        let mut own = Own(CertificateParams::new([HOST.to_string()]).unwrap());
        own.0.extended_key_usages = vec![Eku::ServerAuth];
        own.0.distinguished_name.push(DnType::CommonName, "server");
        adjust_own(&mut own);
        let key = key(algorithm);
        let issuer = Issuer::from_params(&params, &intermediate_key);
        let certificate = own.0.signed_by(&key, &issuer).unwrap();
        Self {
            root,
            own: own.0,
            key,
            sent: vec![certificate.der().to_vec(), intermediate.der().to_vec()],
        }
    }

    fn roots(&self) -> Roots<'_> {
        let mut roots = Roots::empty();
        roots.add_der(&self.root.der).unwrap();
        roots
    }

    fn fetch(&self) -> Result<Vec<u8>, TlsError> {
        self.fetch_at(CertTime::Known(NOW))
    }

    fn fetch_at(&self, time: CertTime) -> Result<Vec<u8>, TlsError> {
        let server = self.serve(Manners::Close);
        fetch(server.port, HOST, &self.roots(), time)
    }

    fn fetch_as(&self, host: &str) -> Result<Vec<u8>, TlsError> {
        let server = self.serve(Manners::Close);
        fetch(server.port, host, &self.roots(), CertTime::Known(NOW))
    }
}

impl Authority {
    fn root(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let params = authority(name);
        let key = key(algorithm);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { params, key, der }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    if algorithm == &PKCS_RSA_SHA256 {
        return rsa_key();
    }
    KeyPair::generate_for(algorithm).unwrap()
}

/// *ring* makes no RSA keys. One is enough for a whole chain.
fn rsa_key() -> KeyPair {
    use rsa::pkcs8::EncodePrivateKey;

    static PKCS8: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let key = rsa::RsaPrivateKey::new(&mut s3ota_tls::rand_core::OsRng, 2048).unwrap();
        key.to_pkcs8_der().unwrap().as_bytes().to_vec()
    });
    let der = PrivatePkcs8KeyDer::from(PKCS8.as_slice());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256).unwrap()
}

// --- The server ---

/// How the server behaves towards its one client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// Sends [`body`] and closes with close_notify.
    Close,
    /// Sends [`body`] and ends the TCP connection.
    HangUp,
    /// As `Close`, but speaks TLS 1.2 only.
    Tls12,
}

struct Server {
    port: u16,
    /// The name the client asked for.
    server_name: JoinHandle<Option<String>>,
}

/// What the server answers: 200,000 bytes that do not repeat with the record size.
fn body() -> Vec<u8> {
    (0..200_000u32).map(|n| (n % 251) as u8).collect()
}

impl Chain {
    fn serve(&self, manners: Manners) -> Server {
        let versions = match manners {
            Manners::Tls12 => vec![&rustls::version::TLS12],
            _ => vec![&rustls::version::TLS13],
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = self.sent.iter().cloned().map(CertificateDer::from);
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key.into())
            .unwrap();

        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server_name = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            // A client that refuses hangs up: what remains is its own affair.
            if stream.read(&mut [0; 1000]).is_ok() {
                let _ = stream.write_all(&body());
                if manners == Manners::Close {
                    stream.conn.send_close_notify();
                }
            }
            while tls.wants_write() && tls.write_tls(&mut socket).is_ok() {}
            let name = tls.server_name().map(str::to_string);
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut socket, &mut std::io::sink());
            name
        });
        Server { port, server_name }
    }
}
