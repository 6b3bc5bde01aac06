//! What a firmware must be built with to accept a server's certificates.
//!
//! The command has every root and every algorithm that a firmware can have, so it gets through where a firmware with the
//! default features does not. This module looks at the same certificates once more, and finds the fewest features that are
//! enough for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use embedded_io_async::{Read, Write};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor,
    UnixTime, alg_id,
};
use s3ota::tls::{BuiltWith, Roots};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::clock;

/// What P-384 adds to a firmware, by `cargo xtask sizes --features p384`.
pub const P384_COST: &str = "95 KB of flash on an ESP32-C3";

/// The certificates that a server sends, its own first.
pub struct Chain {
    sent: Vec<CertificateDer<'static>>,
}

/// What a firmware needs beyond the default features to accept a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The certificates whose P-384 keys make the feature `p384` necessary; none if it is not.
    pub p384: Vec<String>,
    /// The root that a feature adds.
    pub root: Option<NeededRoot>,
}

/// A root that a firmware needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededRoot {
    /// Its name.
    pub name: String,
    /// The feature that adds it.
    pub feature: &'static str,
    /// Its SubjectPublicKeyInfo, by which it is found in an image.
    key: Vec<u8>,
}

/// Why no firmware accepts a chain, as far as it is about features and roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Who issued the last certificate of the chain: the missing root, or a missing intermediate certificate.
    pub issuer: String,
    /// The certificates of the chain with a P-384 key.
    pub p384: Vec<String>,
}

impl Chain {
    /// Lets a server send its certificates over a new connection, and ends it there. `None` if it does not send any to a client
    /// like a device's.
    pub async fn of(mut connection: impl Read + Write, host: &str) -> Option<Self> {
        let recorder = Arc::new(Recorder::default());
        let mut tls = client(host, recorder.clone())?;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let mut out = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut out).ok()?;
            }
            connection.write_all(&out).await.ok()?;
            connection.flush().await.ok()?;
            let n = connection.read(&mut buffer).await.ok()?;
            let mut received = buffer.get(..n).filter(|bytes| !bytes.is_empty())?;
            while !received.is_empty() {
                tls.read_tls(&mut received).ok()?;
                // The recorder ends the handshake with an error.
                let processed = tls.process_new_packets();
                let sent = recorder.take();
                if !sent.is_empty() {
                    return Some(Self { sent });
                }
                processed.ok()?;
            }
        }
    }

    /// The fewest features with which a firmware accepts the chain, if it trusts `more` besides the built-in roots.
    ///
    /// # Errors
    /// If it would not be accepted with any of them.
    pub fn needs(&self, more: &Roots<'_>) -> Result<Needs, Stranger> {
        let features = [("roots-isrg", Roots::isrg()), ("roots-gts", Roots::gts())];
        self.needs_of(more, &features)
    }

    /// The same with these features, which add roots.
    fn needs_of(
        &self,
        more: &Roots<'_>,
        features: &[(&'static str, Roots<'_>)],
    ) -> Result<Needs, Stranger> {
        let none = Roots::empty();
        let sets = features
            .iter()
            .map(|(feature, roots)| (Some(*feature), roots));
        let sets: Vec<_> = [(None, &none)].into_iter().chain(sets).collect();
        for p384 in [false, true] {
            let client = BuiltWith { rsa: true, p384 };
            for (feature, roots) in &sets {
                let amazon = Roots::amazon();
                let anchors: Vec<_> = amazon
                    .anchors()
                    .chain(more.anchors())
                    .chain(roots.anchors())
                    .collect();
                let needs = self.path(&anchors, client, |path| Needs {
                    p384: self.p384_keys_of(path),
                    root: feature.map(|feature| NeededRoot {
                        name: name(&path.anchor().subject),
                        feature,
                        key: path.anchor().subject_public_key_info.to_vec(),
                    }),
                });
                if let Some(needs) = needs {
                    return Ok(needs);
                }
            }
        }
        let certificates = self.sent.iter().filter_map(parse);
        let last = self.sent.last().and_then(parse);
        Err(Stranger {
            issuer: last.map_or_else(String::new, |certificate| name(certificate.issuer())),
            p384: certificates
                .filter(|certificate| is_p384(&certificate.subject_public_key_info()))
                .map(|certificate| name(certificate.subject()))
                .collect(),
        })
    }

    /// Whether a client that was built so accepts the chain, with all built-in roots and `more`.
    pub fn is_accepted_by(&self, client: BuiltWith, more: &Roots<'_>) -> bool {
        let built_in = Roots::built_in();
        let anchors: Vec<_> = built_in.anchors().chain(more.anchors()).collect();
        self.path(&anchors, client, |_| ()).is_some()
    }

    /// What `look` makes of a path to one of these roots, if this client finds any.
    fn path<T>(
        &self,
        anchors: &[TrustAnchor<'_>],
        client: BuiltWith,
        look: impl FnOnce(&VerifiedPath<'_>) -> T,
    ) -> Option<T> {
        let (own, intermediates) = self.sent.split_first()?;
        let own = parse(own)?;
        let can_verify = |key: AlgorithmIdentifier| {
            key == alg_id::ECDSA_P256
                || (client.rsa && key == alg_id::RSA_ENCRYPTION)
                || (client.p384 && key == alg_id::ECDSA_P384)
        };
        // With its own key the server signs the handshake.
        let key = own.subject_public_key_info();
        let all = [
            alg_id::ECDSA_P256,
            alg_id::RSA_ENCRYPTION,
            alg_id::ECDSA_P384,
        ];
        let mut kinds = all.into_iter().filter(|kind| is_of(&key, *kind));
        if !kinds.next().is_some_and(can_verify) {
            return None;
        }
        let algorithms: Vec<&dyn SignatureVerificationAlgorithm> = default_provider()
            .signature_verification_algorithms
            .all
            .iter()
            .copied()
            .filter(|algorithm| can_verify(algorithm.public_key_alg_id()))
            .collect();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(clock::now()));
        let server_auth = KeyUsage::server_auth();
        let path = own.verify_for_usage(
            &algorithms,
            anchors,
            intermediates,
            now,
            server_auth,
            None,
            None,
        );
        Some(look(&path.ok()?))
    }

    /// The certificates on a path with a P-384 key, the server's own first.
    fn p384_keys_of(&self, path: &VerifiedPath<'_>) -> Vec<String> {
        let own = path.end_entity();
        let anchor = path.anchor();
        let own = (name(own.subject()), is_p384(&own.subject_public_key_info()));
        let root = (
            name(&anchor.subject),
            is_p384(&anchor.subject_public_key_info),
        );
        let between = path.intermediate_certificates().map(|certificate| {
            (
                name(certificate.subject()),
                is_p384(&certificate.subject_public_key_info()),
            )
        });
        let all = [own].into_iter().chain(between).chain([root]);
        all.filter_map(|(name, is_p384)| is_p384.then_some(name))
            .collect()
    }
}

impl Needs {
    /// Whether the default features are enough.
    pub fn is_nothing(&self) -> bool {
        self.p384.is_empty() && self.root.is_none()
    }

    /// Why they are needed.
    pub fn reasons(&self) -> String {
        let names: Vec<_> = self.p384.iter().map(|name| quoted(name)).collect();
        let keys = match names.len() {
            0 => None,
            1 => Some(format!("{} has a P-384 key", names.join(""))),
            _ => Some(format!("{} have P-384 keys", names.join(" and "))),
        };
        let root = self.root.as_ref();
        let root = root.map(|root| format!("they lead to {}", quoted(&root.name)));
        let reasons: Vec<_> = keys.into_iter().chain(root).collect();
        reasons.join(", and ")
    }

    /// The features.
    pub fn features(&self) -> Vec<&'static str> {
        let p384 = (!self.p384.is_empty()).then_some("p384");
        let root = self.root.as_ref().map(|root| root.feature);
        p384.into_iter().chain(root).collect()
    }
}

/// A certificate's name in a message.
pub fn quoted(name: &str) -> String {
    match name {
        "" => "its own certificate".to_owned(),
        name => format!("the certificate \"{name}\""),
    }
}

impl NeededRoot {
    /// Whether an image has this root.
    pub fn is_in(&self, image: &[u8]) -> bool {
        let first = self.key.first();
        image
            .windows(self.key.len())
            .any(|part| part.first() == first && part == self.key)
    }
}

fn parse<'a>(der: &'a CertificateDer<'static>) -> Option<EndEntityCert<'a>> {
    EndEntityCert::try_from(der).ok()
}

/// Whether a SubjectPublicKeyInfo is a key of this kind. An anchor's comes without its header, a certificate's with it.
fn is_of(key: &[u8], kind: AlgorithmIdentifier) -> bool {
    const LONGEST_HEADERS: usize = 8;
    (0..=LONGEST_HEADERS).any(|at| key.get(at..).is_some_and(|rest| rest.starts_with(&kind)))
}

fn is_p384(key: &[u8]) -> bool {
    is_of(key, alg_id::ECDSA_P384)
}

/// The common name in a Name (RFC 5280 section 4.1.2.4), or else the organisation; empty if it has neither.
fn name(dn: &[u8]) -> String {
    const COMMON_NAME: [u8; 5] = [0x06, 3, 0x55, 4, 3];
    const ORGANISATION: [u8; 5] = [0x06, 3, 0x55, 4, 10];
    let value = |oid: [u8; 5]| {
        let at = dn.windows(oid.len()).position(|part| part == oid)?;
        // A tag, a length in one byte, the text.
        let (header, rest) = dn.get(at + oid.len()..)?.split_at_checked(2)?;
        let text = rest.get(..usize::from(*header.last()?))?;
        let text = String::from_utf8_lossy(text);
        Some(text.chars().filter(|c| !c.is_control()).collect())
    };
    value(COMMON_NAME)
        .or_else(|| value(ORGANISATION))
        .unwrap_or_default()
}

/// A TLS client that offers what a device's does, and asks `recorder` about the certificates.
fn client(host: &str, recorder: Arc<Recorder>) -> Option<ClientConnection> {
    let provider = CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::SECP256R1],
        ..default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(recorder)
        .with_no_client_auth();
    let host = host.trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).ok()?;
    ClientConnection::new(Arc::new(config), name).ok()
}

/// Keeps a server's certificates, and refuses every server: nothing is ever sent to it.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<CertificateDer<'static>>>);

impl Recorder {
    fn take(&self) -> Vec<CertificateDer<'static>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = [own].into_iter().chain(intermediates);
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *sent = all.map(|der| der.clone().into_owned()).collect();
        Err(refusal())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refusal())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refusal())
    }

    /// What a device's client offers (`s3ota-tls`), so that a server with several certificates chooses the same.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
        ]
    }
}

fn refusal() -> Error {
    Error::General("the certificates are all that was wanted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
        PKCS_ECDSA_P384_SHA384, SignatureAlgorithm,
    };

    const P256: &SignatureAlgorithm = &PKCS_ECDSA_P256_SHA256;
    const P384: &SignatureAlgorithm = &PKCS_ECDSA_P384_SHA384;

    /// Root, issuer and server with such keys: the root, and what a server sends.
    fn chain(keys: [&'static SignatureAlgorithm; 3]) -> (Vec<u8>, Chain) {
        let mut sent = Vec::new();
        let mut root = Vec::new();
        let mut above: Option<Issuer<'_, KeyPair>> = None;
        for (name, algorithm) in ["Root", "Issuer", "localhost"].into_iter().zip(keys) {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            if name != "localhost" {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            match &above {
                None => root = params.self_signed(&key).unwrap().der().to_vec(),
                Some(issuer) => sent.insert(0, params.signed_by(&key, issuer).unwrap().into()),
            }
            above = Some(Issuer::new(params, key));
        }
        (root, Chain { sent })
    }

    fn trusting(root: &[u8]) -> Roots<'_> {
        let mut roots = Roots::empty();
        roots.add_der(root).unwrap();
        roots
    }

    /// The P-384 certificates and the feature of the root that a firmware needs which trusts none of these roots by itself.
    fn needs_with_feature(keys: [&'static SignatureAlgorithm; 3]) -> (Vec<String>, &'static str) {
        let (root, chain) = chain(keys);
        let (other, _) = self::chain(keys);
        let features = [("others", trusting(&other)), ("its", trusting(&root))];
        let needs = chain.needs_of(&Roots::empty(), &features).unwrap();
        assert!(!needs.is_nothing());
        let needed = needs.root.unwrap();
        assert_eq!(needed.name, "Root");
        assert!(needed.is_in(&root));
        assert!(!needed.is_in(&other));
        (needs.p384, needed.feature)
    }

    #[test]
    fn a_chain_needs_the_feature_of_its_root_and_p384_where_a_key_is() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (keys, p384) in [
            ([P256, P256, P256], names(&[])),
            ([P384, P256, P256], names(&["Root"])),
            ([P256, P384, P256], names(&["Issuer"])),
            ([P256, P256, P384], names(&["localhost"])),
            ([P384, P384, P384], names(&["localhost", "Issuer", "Root"])),
        ] {
            assert_eq!(needs_with_feature(keys), (p384, "its"));
        }
    }

    #[test]
    fn a_root_of_one_s_own_needs_no_feature() {
        let (root, chain) = chain([P256, P256, P256]);
        let needs = chain.needs(&trusting(&root)).unwrap();
        assert!(needs.is_nothing());
        assert_eq!(needs.features(), [""; 0]);
        for rsa in [false, true] {
            let client = BuiltWith { rsa, p384: false };
            assert!(chain.is_accepted_by(client, &trusting(&root)));
        }
    }

    #[test]
    fn a_client_without_p384_accepts_no_p384() {
        let (root, chain) = chain([P384, P256, P256]);
        for p384 in [false, true] {
            let client = BuiltWith { rsa: true, p384 };
            assert_eq!(chain.is_accepted_by(client, &trusting(&root)), p384);
        }
        let needs = chain.needs(&trusting(&root)).unwrap();
        assert_eq!(needs.features(), ["p384"]);
        assert_eq!(needs.reasons(), "the certificate \"Root\" has a P-384 key");
    }

    #[test]
    fn a_chain_to_an_unknown_root_names_it() {
        let (_, chain) = chain([P384, P384, P256]);
        let stranger = chain.needs(&Roots::empty()).unwrap_err();
        assert_eq!(stranger.issuer, "Root");
        assert_eq!(stranger.p384, ["Issuer"]);
    }

    #[test]
    fn a_name_has_no_control_characters() {
        // O=Org\x1b
        assert_eq!(
            name(b"\x31\x0D\x30\x0B\x06\x03\x55\x04\x0A\x13\x04Org\x1b"),
            "Org"
        );
        assert_eq!(name(b"\x06\x03\x55\x04\x03\x13\x7f"), "");
        assert_eq!(name(b""), "");
    }
}
