//! The server's identity: keys and certificates, the same in every run.

use std::sync::LazyLock;

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, SerialNumber,
    SignatureAlgorithm, date_time_ymd,
};

/// The name that the client expects.
pub const HOST: &str = "bucket.s3.test";

/// The server's keys and certificates.
pub struct Identity {
    /// What the client trusts: the root below, and one of Amazon's with an RSA key.
    pub roots: [Vec<u8>; 2],
    /// The server's certificate, signed by the root.
    pub certificate: Vec<u8>,
    /// The same without its signature.
    pub to_be_signed: Vec<u8>,
    /// Another one, signed by the intermediate.
    pub issued_certificate: Vec<u8>,
    /// Signed by the root.
    pub intermediate: Vec<u8>,
    /// One that claims Amazon's root as its issuer, which has not signed it.
    pub rsa_certificate: Vec<u8>,
    /// The server's public key, as in its certificates.
    pub public_key: Vec<u8>,
}

/// The one server.
pub static IDENTITY: LazyLock<Identity> = LazyLock::new(Identity::new);

/// Whose key.
#[derive(Debug, Clone, Copy)]
pub enum Owner {
    /// The trusted authority.
    Root = 1,
    /// The authority under it.
    Intermediate,
    /// The server, in its certificates.
    Server,
    /// The server, in a handshake.
    Handshake,
}

/// The private key of `owner`, which is public.
pub fn key(owner: Owner) -> SigningKey {
    SigningKey::from_slice(&[owner as u8; 32]).expect("a scalar")
}

/// The point that the server sends in its key share.
pub fn public_point() -> Vec<u8> {
    let point = VerifyingKey::from(&key(Owner::Handshake)).to_encoded_point(false);
    point.as_bytes().to_vec()
}

/// A certificate that the root signs.
pub fn issue(to_be_signed: &[u8]) -> Vec<u8> {
    let signature: Signature = key(Owner::Root).sign(to_be_signed);
    let signature = signature.to_der();
    // ecdsa-with-SHA256
    let algorithm = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let bits = [
        &[3, signature.as_bytes().len() as u8 + 1, 0],
        signature.as_bytes(),
    ]
    .concat();
    let content = [to_be_signed, &algorithm, &bits].concat();
    let [high, low] = (content.len() as u16).to_be_bytes();
    [&[0x30, 0x82, high, low], &content[..]].concat()
}

impl Identity {
    fn new() -> Self {
        let root = authority("Fuzz Root");
        let root_key = Key::new(Owner::Root);
        let root_certificate = root.self_signed(&root_key).expect("a certificate");
        let root_issuer = Issuer::new(root, root_key);

        let intermediate = authority("Fuzz Intermediate");
        let intermediate_key = Key::new(Owner::Intermediate);
        let intermediate_certificate = intermediate
            .signed_by(&intermediate_key, &root_issuer)
            .expect("a certificate");

        let mut amazon = authority("Amazon Root CA 1");
        amazon.distinguished_name = rcgen::DistinguishedName::new();
        for (part, text) in [
            (DnType::CountryName, "US"),
            (DnType::OrganizationName, "Amazon"),
            (DnType::CommonName, "Amazon Root CA 1"),
        ] {
            let text = DnValue::PrintableString(text.try_into().expect("plain letters"));
            amazon.distinguished_name.push(part, text);
        }

        let server = server();
        let server_key = Key::new(Owner::Server);
        let der = |issued: Result<rcgen::Certificate, rcgen::Error>| {
            issued.expect("a certificate").der().to_vec()
        };
        let certificate = der(server.signed_by(&server_key, &root_issuer));
        Self {
            to_be_signed: to_be_signed(&certificate).to_vec(),
            certificate,
            issued_certificate: der(
                server.signed_by(&server_key, &Issuer::new(intermediate, intermediate_key))
            ),
            rsa_certificate: der(server.signed_by(&server_key, &Issuer::new(amazon, NoKey))),
            intermediate: intermediate_certificate.der().to_vec(),
            roots: [
                root_certificate.der().to_vec(),
                include_bytes!("../../../crates/s3ota-tls/roots/amazon-root-ca-1.der").to_vec(),
            ],
            public_key: server_key.subject_public_key_info(),
        }
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.serial_number = Some(SerialNumber::from(1u64));
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn server() -> CertificateParams {
    let mut params =
        CertificateParams::new(vec![HOST.to_string(), "127.0.0.1".to_string()]).expect("names");
    params.serial_number = Some(SerialNumber::from(2u64));
    params.not_before = date_time_ymd(2030, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// The first element of a certificate.
fn to_be_signed(certificate: &[u8]) -> &[u8] {
    let [0x30, 0x82, _, _, content @ ..] = certificate else {
        panic!("not a certificate");
    };
    let [0x30, 0x82, high, low, ..] = content else {
        panic!("not a TBSCertificate");
    };
    &content[..4 + usize::from(u16::from_be_bytes([*high, *low]))]
}

/// A key for rcgen, whose signatures are the same in every run (RFC 6979).
struct Key {
    private: SigningKey,
    public: Vec<u8>,
}

impl Key {
    fn new(owner: Owner) -> Self {
        let private = key(owner);
        let public = VerifyingKey::from(&private).to_encoded_point(false);
        Self {
            public: public.as_bytes().to_vec(),
            private,
        }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.private.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// Stands for an RSA key that only its owner has.
struct NoKey;

impl PublicKeyData for NoKey {
    fn der_bytes(&self) -> &[u8] {
        &[]
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl rcgen::SigningKey for NoKey {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(vec![0x5a; 256])
    }
}
