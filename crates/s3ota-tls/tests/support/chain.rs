//! Certificate chains, made by rcgen as a test plans them, and the servers that show them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PKCS_RSA_SHA384,
    PKCS_RSA_SHA512, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use s3ota_tls::{CertTime, Roots, TlsError};

use super::openssl::SServer;
use super::{NOW, fetch};

pub const HOST: &str = "bucket.s3.test";

/// A key, and how it signs.
#[derive(Clone, Copy)]
pub enum KeyKind {
    P256,
    P384,
    Ed25519,
    Rsa2048,
    Rsa2048Sha384,
    Rsa2048Sha512,
    Rsa3072,
    Rsa4096,
}

impl KeyKind {
    /// A new key; of RSA, which takes long to make, always the same.
    fn key(self) -> KeyPair {
        let (file, algorithm) = match self {
            Self::P256 => return KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
            Self::P384 => return KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
            Self::Ed25519 => return KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            Self::Rsa2048 => ("rsa-2048.key", &PKCS_RSA_SHA256),
            Self::Rsa2048Sha384 => ("rsa-2048.key", &PKCS_RSA_SHA384),
            Self::Rsa2048Sha512 => ("rsa-2048.key", &PKCS_RSA_SHA512),
            Self::Rsa3072 => ("rsa-3072.key", &PKCS_RSA_SHA256),
            Self::Rsa4096 => ("rsa-4096.key", &PKCS_RSA_SHA256),
        };
        let der = PrivatePkcs8KeyDer::from(data(file));
        KeyPair::from_pkcs8_der_and_sign_algo(&der, algorithm).unwrap()
    }
}

/// A file of `tests/data`.
fn data(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::read(folder.join(format!("{name}.der"))).unwrap()
}

/// A chain before it is signed.
pub struct Plan {
    pub root: CertificateParams,
    /// The authority that issues the server's certificate. Between it and the root there may be more.
    pub issuer: CertificateParams,
    pub own: CertificateParams,
    pub root_key: KeyKind,
    pub issuer_key: KeyKind,
    pub own_key: KeyKind,
    /// pathLenConstraint of the authority that is next to the root.
    path_length: Option<u8>,
}

impl Plan {
    pub fn names(&mut self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.own.subject_alt_names = CertificateParams::new(names).unwrap().subject_alt_names;
    }

    pub fn common_name(&mut self, name: &str) {
        self.own.distinguished_name.push(DnType::CommonName, name);
    }

    /// Sets the first and the last day, as days from that of the tests on.
    pub fn own_valid(&mut self, from: i64, to: i64) {
        set_dates(&mut self.own, from, to);
    }

    pub fn issuer_valid(&mut self, from: i64, to: i64) {
        set_dates(&mut self.issuer, from, to);
    }

    pub fn root_valid(&mut self, from: i64, to: i64) {
        set_dates(&mut self.root, from, to);
    }

    pub fn own_is_authority(&mut self) {
        self.own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.own.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }

    pub fn issuer_is_none(&mut self) {
        self.issuer.is_ca = IsCa::ExplicitNoCa;
    }

    pub fn path_length(&mut self, length: u8) {
        self.path_length = Some(length);
    }

    pub fn permit(&mut self, name: &str) {
        self.issuer.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(name.into())],
            excluded_subtrees: vec![],
        });
    }

    pub fn exclude(&mut self, name: &str) {
        self.issuer.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![],
            excluded_subtrees: vec![GeneralSubtree::DnsName(name.into())],
        });
    }

    pub fn extension(&mut self, is_critical: bool) {
        self.own.custom_extensions.push(extension(is_critical));
    }

    pub fn issuer_extension(&mut self, is_critical: bool) {
        self.issuer.custom_extensions.push(extension(is_critical));
    }
}

fn extension(is_critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999], vec![5, 0]);
    extension.set_criticality(is_critical);
    extension
}

fn set_dates(params: &mut CertificateParams, from: i64, to: i64) {
    let now = date_time_ymd(2030, 6, 1);
    let days = |days: i64| Duration::from_secs(days.unsigned_abs() * 86_400);
    params.not_before = if from < 0 {
        now - days(from)
    } else {
        now + days(from)
    };
    params.not_after = if to < 0 {
        now - days(to)
    } else {
        now + days(to)
    };
}

struct Authority {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

impl Authority {
    fn root(params: CertificateParams, kind: KeyKind) -> Self {
        let key = kind.key();
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

/// A chain as a server shows it, and what the client knows.
pub struct Chain {
    made: Option<Made>,
    /// The server's own certificate first.
    sent: Vec<Vec<u8>>,
    key: Vec<u8>,
    trusted: Vec<Vec<u8>>,
    host: &'static str,
    time: CertTime,
}

/// How to issue more.
struct Made {
    root: Authority,
    /// Which issued the server's certificate, if it was not the root.
    issuer: Option<Authority>,
    own: CertificateParams,
    own_key: KeyPair,
    older_root: Option<Authority>,
}

impl Chain {
    /// A root, so many authorities under it, and a server, with these changes.
    pub fn of(authorities: usize, change: impl FnOnce(&mut Plan)) -> Self {
        let mut own = CertificateParams::new([HOST.to_string()]).unwrap();
        own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        own.distinguished_name.push(DnType::CommonName, "server");
        let mut plan = Plan {
            root: authority("Root"),
            issuer: authority("Issuer"),
            own,
            root_key: KeyKind::P256,
            issuer_key: KeyKind::P256,
            own_key: KeyKind::P256,
            path_length: None,
        };
        change(&mut plan);

        let root = Authority::root(plan.root, plan.root_key);
        let mut sent = Vec::new();
        let mut above: Option<Authority> = None;
        for number in 1..=authorities {
            let is_last = number == authorities;
            let mut params = match is_last {
                true => plan.issuer.clone(),
                false => authority(&format!("Authority {number}")),
            };
            if let Some(length) = plan.path_length.filter(|_| number == 1) {
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
            }
            let key = if is_last {
                plan.issuer_key
            } else {
                plan.root_key
            }
            .key();
            let issuer = above.as_ref().unwrap_or(&root).issuer();
            let der = params.signed_by(&key, &issuer).unwrap().der().to_vec();
            sent.insert(0, der.clone());
            above = Some(Authority { params, key, der });
        }
        let own_key = plan.own_key.key();
        let issuer = above.as_ref().unwrap_or(&root).issuer();
        let own = plan.own.signed_by(&own_key, &issuer).unwrap();
        sent.insert(0, own.der().to_vec());
        Self {
            sent,
            key: own_key.serialize_der(),
            trusted: vec![root.der.clone()],
            host: HOST,
            time: CertTime::Known(NOW),
            made: Some(Made {
                root,
                issuer: above,
                own: plan.own,
                own_key,
                older_root: None,
            }),
        }
    }

    fn made(&self) -> &Made {
        self.made.as_ref().expect("a chain made here")
    }

    pub fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    /// The device has no clock, and knows that it is not before this.
    pub fn at_least(mut self, earliest: u64) -> Self {
        self.time = CertTime::AtLeast(earliest);
        self
    }

    // What the server sends.

    pub fn with_root(mut self) -> Self {
        self.sent.push(self.made().root.der.clone());
        self
    }

    /// The root is sent as certified by an older one, as S3 does.
    pub fn with_cross_signed_root(self) -> Self {
        self.with_root_certified_by(KeyKind::P256)
    }

    /// The same, by an older root with such a key.
    pub fn with_root_certified_by(mut self, kind: KeyKind) -> Self {
        let older = Authority::root(authority("Older Root"), kind);
        let root = &self.made().root;
        let cross_signed = root.params.signed_by(&root.key, &older.issuer()).unwrap();
        self.sent.push(cross_signed.der().to_vec());
        self.made.as_mut().unwrap().older_root = Some(older);
        self
    }

    /// The server's authority is certified by another root, too. Both are trusted, and both certificates are sent.
    pub fn with_issuer_certified_by(mut self, kind: KeyKind) -> Self {
        let older = Authority::root(authority("Older Root"), kind);
        let issuer = self.made().issuer.as_ref().expect("an authority");
        let certified = issuer
            .params
            .signed_by(&issuer.key, &older.issuer())
            .unwrap();
        self.sent.push(certified.der().to_vec());
        self.trusted.push(older.der);
        self
    }

    pub fn with_stranger(mut self) -> Self {
        self.sent.push(stranger("Stranger"));
        self
    }

    pub fn without(mut self, at: usize) -> Self {
        self.sent.remove(at);
        self
    }

    pub fn swap(mut self, one: usize, other: usize) -> Self {
        self.sent.swap(one, other);
        self
    }

    pub fn send_again(mut self, at: usize) -> Self {
        self.sent.push(self.sent[at].clone());
        self
    }

    /// Changes a bit of a certificate's signature, in the middle: the DER stays as it is.
    pub fn flip(mut self, at: usize) -> Self {
        let der = &mut self.sent[at];
        let middle = der.len() - 16;
        der[middle] ^= 1;
        self
    }

    pub fn append(mut self, at: usize) -> Self {
        self.sent[at].push(0);
        self
    }

    pub fn self_signed(mut self) -> Self {
        let made = self.made();
        self.sent = vec![made.own.self_signed(&made.own_key).unwrap().der().to_vec()];
        self
    }

    /// The holder of a proper certificate issues another one with it.
    pub fn issued_by_a_server(mut self) -> Self {
        let made = self.made();
        let key = KeyKind::P256.key();
        let issuer = Issuer::from_params(&made.own, &made.own_key);
        let mut forged = CertificateParams::new([HOST.to_string()]).unwrap();
        forged.distinguished_name.push(DnType::CommonName, "forged");
        let forged = forged.signed_by(&key, &issuer).unwrap();
        self.sent.insert(0, forged.der().to_vec());
        self.key = key.serialize_der();
        self
    }

    /// Four forged authorities with the name of the root: 65 paths, each ending in a signature by the true root. That is
    /// more than this client verifies, and fewer than the 100 after which rustls-webpki itself gives up.
    pub fn tangled(mut self) -> Self {
        let forged: Vec<Authority> = (0..4)
            .map(|_| Authority::root(authority("Root"), KeyKind::P256))
            .collect();
        let made = self.made();
        let own = made
            .own
            .signed_by(&made.own_key, &forged[0].issuer())
            .unwrap();
        self.sent = vec![own.der().to_vec()];
        self.sent
            .extend(forged.into_iter().map(|authority| authority.der));
        self
    }

    // What the client trusts.

    pub fn trusting_root(self) -> Self {
        self
    }

    pub fn trusting_older_root(mut self) -> Self {
        let older = self.made().older_root.as_ref().expect("an older root");
        self.trusted = vec![older.der.clone()];
        self
    }

    /// The server's own certificate.
    pub fn trusting_it(mut self) -> Self {
        self.trusted = vec![self.sent[0].clone()];
        self
    }

    pub fn trusting_nobody(mut self) -> Self {
        self.trusted.clear();
        self
    }

    pub fn trusting_stranger(mut self) -> Self {
        self.trusted = vec![stranger("Stranger")];
        self
    }

    pub fn trusting_namesake(mut self) -> Self {
        self.trusted = vec![stranger("Root")];
        self
    }

    pub fn trusting_namesake_too(mut self) -> Self {
        self.trusted.insert(0, stranger("Root"));
        self
    }

    /// What a server answers.
    pub fn fetch(&self, port: u16) -> Result<Vec<u8>, TlsError> {
        let mut roots = Roots::empty();
        for root in &self.trusted {
            roots.add_der(root).unwrap();
        }
        fetch(port, self.host, &roots, self.time)
    }

    fn judge(&self, port: u16) -> Result<(), TlsError> {
        let answer = self.fetch(port)?;
        assert!(answer.starts_with(b"HTTP/1.0 200 "), "not the answer");
        Ok(())
    }
}

fn stranger(name: &str) -> Vec<u8> {
    Authority::root(authority(name), KeyKind::P256).der
}

/// A chain from `tests/data`: what is trusted, what is sent, whose key.
pub fn fixture(root: &str, sent: &[&str], key: &str) -> Chain {
    Chain {
        made: None,
        sent: sent.iter().map(|name| data(name)).collect(),
        key: data(&format!("{key}.key")),
        trusted: vec![data(root)],
        host: HOST,
        time: CertTime::Known(NOW),
    }
}

/// How a server behaves towards its one client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// Answers and closes with close_notify.
    Close,
    /// Answers and ends the TCP connection.
    HangUp,
    /// As `Close`, but speaks TLS 1.2 only.
    Tls12,
}

/// A server by rustls.
pub struct Rustls {
    pub port: u16,
    /// The name the client asked for.
    pub server_name: JoinHandle<Option<String>>,
}

impl Rustls {
    pub fn spawn(chain: &Chain, answer: &[u8], manners: Manners) -> Self {
        let sent = chain.sent.iter().cloned().map(CertificateDer::from);
        let key = PrivatePkcs8KeyDer::from(chain.key.clone()).into();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        // Unlike `with_single_cert` this does not look at the certificate.
        let certified = CertifiedKey::new(sent.collect(), key);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let version = match manners {
            Manners::Tls12 => &rustls::version::TLS12,
            _ => &rustls::version::TLS13,
        };
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = answer.to_vec();
        let server_name = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            // A client that refuses hangs up: what remains is its own affair.
            if stream.read(&mut [0; 1000]).is_ok() {
                let _ = stream.write_all(&answer);
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
        Self { port, server_name }
    }
}

/// How a connection to rustls' server ends.
pub fn rustls(chain: &Chain) -> Result<(), TlsError> {
    let answer = b"HTTP/1.0 200 ok\r\n\r\nhello";
    let server = Rustls::spawn(chain, answer, Manners::Close);
    chain.judge(server.port)
}

/// How a connection to OpenSSL's server ends.
pub fn openssl(chain: &Chain) -> Result<(), TlsError> {
    let server = SServer::spawn(&chain.sent, &chain.key, &["-www"]);
    chain.judge(server.port)
}
