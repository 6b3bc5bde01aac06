//! Which certificate chains are taken, whoever the server is: rustls (`chains/main.rs`) or `openssl s_server` (`judges.rs`).
//! `chains!` is theirs.
//!
//! The names at the top are the promise. A chain is a root, an authority under it and a server's certificate for
//! `bucket.s3.test`, all on P-256 and valid on the day of the tests, until the case says otherwise.

use rcgen::{ExtendedKeyUsagePurpose as Eku, KeyUsagePurpose};
use s3ota_tls::{CertificateError as C, TlsError};

use crate::support::NOW;
use crate::support::chain::{Chain, HOST, KeyKind as K, Plan, fixture};

const DAY: u64 = 86_400;

/// A request was answered.
pub const TAKEN: Result<(), TlsError> = Ok(());

pub const fn refused(error: C) -> Result<(), TlsError> {
    Err(TlsError::Certificate(error))
}

chains! {
    // Keys and signatures.
    p256: plan(|_| {}) => TAKEN;
    #[cfg(feature = "rsa")]
    rsa_2048: keys(K::Rsa2048, K::Rsa2048, K::Rsa2048) => TAKEN;
    #[cfg(feature = "rsa")]
    rsa_3072: keys(K::Rsa3072, K::Rsa3072, K::Rsa3072) => TAKEN;
    #[cfg(feature = "rsa")]
    rsa_4096: keys(K::Rsa4096, K::Rsa4096, K::Rsa4096) => TAKEN;
    #[cfg(feature = "rsa")]
    rsa_of_three_sizes: keys(K::Rsa4096, K::Rsa2048, K::Rsa3072) => TAKEN;
    #[cfg(feature = "rsa")]
    a_p256_server_under_rsa_authorities: keys(K::Rsa4096, K::Rsa2048, K::P256) => TAKEN;
    #[cfg(feature = "rsa")]
    an_rsa_server_under_p256_authorities: keys(K::P256, K::P256, K::Rsa2048) => TAKEN;
    #[cfg(feature = "rsa")]
    signed_by_rsa_with_sha384: keys(K::Rsa2048, K::Rsa2048Sha384, K::P256) => TAKEN;
    #[cfg(feature = "rsa")]
    signed_by_rsa_with_sha512: keys(K::Rsa2048, K::Rsa2048Sha512, K::P256) => TAKEN;
    #[cfg(feature = "rsa")]
    signed_by_rsa_pss_with_sha256: rsa("signed-pss-sha256") => TAKEN;
    #[cfg(feature = "rsa")]
    signed_by_rsa_pss_with_sha384: rsa("signed-pss-sha384") => TAKEN;
    #[cfg(feature = "rsa")]
    signed_by_rsa_pss_with_sha512: rsa("signed-pss-sha512") => TAKEN;
    signed_by_p256_with_sha384: fixture("p256-root", &["signed-ecdsa-sha384"], "p256") => TAKEN;
    #[cfg(feature = "p384")]
    p384: keys(K::P384, K::P384, K::P384) => TAKEN;
    #[cfg(feature = "p384")]
    a_p256_server_under_p384_authorities: keys(K::P384, K::P384, K::P256) => TAKEN;
    #[cfg(feature = "p384")]
    a_p256_authority_under_a_p384_root: keys(K::P384, K::P256, K::P256) => TAKEN;
    #[cfg(feature = "p384")]
    a_p384_server_under_p256_authorities: keys(K::P256, K::P256, K::P384) => TAKEN;
    #[cfg(all(feature = "p384", feature = "rsa"))]
    a_p384_root_certified_by_an_rsa_root: certified_by_rsa() => TAKEN;
    #[cfg(not(feature = "p384"))]
    p384_without_the_feature: keys(K::P384, K::P384, K::P384) => refused(C::NeedsP384);
    #[cfg(not(feature = "p384"))]
    p384_authorities_without_the_feature: keys(K::P384, K::P384, K::P256) => refused(C::NeedsP384);
    #[cfg(not(feature = "p384"))]
    a_p384_root_without_the_feature: keys(K::P384, K::P256, K::P256) => refused(C::NeedsP384);
    #[cfg(not(feature = "p384"))]
    a_p384_server_without_the_feature: keys(K::P256, K::P256, K::P384) => refused(C::NeedsP384);
    #[cfg(all(not(feature = "p384"), feature = "rsa"))]
    a_p384_root_certified_by_rsa_without_the_feature: certified_by_rsa() => refused(C::NeedsP384);
    #[cfg(feature = "rsa")]
    a_path_of_rsa_beside_one_of_p384: keys(K::P384, K::P256, K::P256).with_issuer_certified_by(K::Rsa2048) => TAKEN;
    #[cfg(not(feature = "rsa"))]
    rsa_authorities_without_the_feature: keys(K::Rsa2048, K::Rsa2048, K::P256) => refused(C::UnsupportedAlgorithm);
    ed25519_authorities: keys(K::Ed25519, K::Ed25519, K::P256) => refused(C::UnsupportedAlgorithm);
    signed_by_p256_with_sha512: fixture("p256-root", &["signed-ecdsa-sha512"], "p256") => refused(C::UnsupportedAlgorithm);
    signed_with_md5: rsa("signed-md5") => refused(C::UnsupportedAlgorithm);
    signed_with_sha1: rsa("signed-sha1") => refused(C::UnsupportedAlgorithm);
    signed_by_rsa_pss_with_a_short_salt: rsa("signed-pss-short-salt") => refused(C::UnsupportedAlgorithm);
    #[cfg(feature = "rsa")]
    signed_by_rsa_1024: rsa_pair("signed-rsa-1024", "rsa-1024-authority") => refused(C::BadSignature);
    a_signature_with_one_bit_changed: plan(|_| {}).flip(0) => refused(C::BadSignature);
    an_authority_s_signature_with_one_bit_changed: plan(|_| {}).flip(1) => refused(C::BadSignature);

    // Which certificates the server sends.
    issued_by_the_root_itself: Chain::of(0, |_| {}) => TAKEN;
    three_authorities: Chain::of(3, |_| {}) => TAKEN;
    five_authorities: Chain::of(5, |_| {}) => TAKEN;
    the_root_is_sent_too: plan(|_| {}).with_root() => TAKEN;
    a_chain_that_goes_on_to_an_older_root: plan(|_| {}).with_cross_signed_root().trusting_root() => TAKEN;
    only_the_older_root_is_trusted: plan(|_| {}).with_cross_signed_root().trusting_older_root() => TAKEN;
    self_signed_and_trusted_itself: plan(|_| {}).self_signed().trusting_it() => TAKEN;
    another_root_of_the_same_name_is_trusted_too: plan(|_| {}).trusting_namesake_too() => TAKEN;
    an_authority_too_many: plan(|_| {}).with_stranger() => TAKEN;
    a_stranger_between_server_and_authority: plan(|_| {}).with_stranger().swap(1, 2) => TAKEN;
    authorities_in_the_wrong_order: Chain::of(3, |_| {}).swap(1, 3) => TAKEN;
    an_authority_twice: plan(|_| {}).send_again(1) => TAKEN;
    the_server_s_own_certificate_twice: plan(|_| {}).send_again(0) => TAKEN;
    a_missing_intermediate: plan(|_| {}).without(1) => refused(C::UnknownIssuer);
    a_missing_intermediate_of_three: Chain::of(3, |_| {}).without(2) => refused(C::UnknownIssuer);
    six_authorities: Chain::of(6, |_| {}) => refused(C::TooLarge);
    no_root_is_trusted: plan(|_| {}).trusting_nobody() => refused(C::UnknownIssuer);
    another_root_is_trusted: plan(|_| {}).trusting_stranger() => refused(C::UnknownIssuer);
    another_root_of_the_same_name_is_trusted: plan(|_| {}).trusting_namesake() => refused(C::BadSignature);
    self_signed: plan(|_| {}).self_signed() => refused(C::UnknownIssuer);
    a_tangle_of_namesakes: plan(|_| {}).tangled() => refused(C::TooLarge);

    // For whom.
    a_wildcard: names(&["*.s3.test"], HOST) => TAKEN;
    the_ninth_name: names(&["1.test", "2.test", "3.test", "4.test", "5.test", "6.test", "7.test", "8.test", HOST], HOST) => TAKEN;
    the_hundredth_name: hundred_names() => TAKEN;
    a_name_of_253_bytes: names(&[LONG_NAME], LONG_NAME) => TAKEN;
    a_name_in_capitals: names(&["Bucket.S3.TEST"], HOST) => TAKEN;
    a_host_in_capitals: names(&[HOST], "BUCKET.s3.Test") => TAKEN;
    a_host_with_a_final_dot: names(&[HOST], "bucket.s3.test.") => TAKEN;
    an_address: names(&["127.0.0.1"], "127.0.0.1") => TAKEN;
    an_address_among_names: names(&[HOST, "192.0.2.7", "127.0.0.1"], "127.0.0.1") => TAKEN;
    an_address_of_version_6: names(&["::1"], "[::1]") => TAKEN;
    another_name: names(&["other.s3.test"], HOST) => refused(C::WrongName);
    a_name_that_ends_like_it: names(&["evil-bucket.s3.test"], HOST) => refused(C::WrongName);
    a_name_that_starts_like_it: names(&["bucket.s3.test.evil"], HOST) => refused(C::WrongName);
    the_domain_above: names(&["s3.test"], HOST) => refused(C::WrongName);
    a_wildcard_for_two_labels: names(&["*.s3.test"], "a.b.s3.test") => refused(C::WrongName);
    a_wildcard_for_no_label: names(&["*.s3.test"], "s3.test") => refused(C::WrongName);
    a_wildcard_for_everything: names(&["*"], HOST) => refused(C::WrongName);
    a_wildcard_in_a_label: names(&["b*.s3.test"], HOST) => refused(C::WrongName);
    a_wildcard_in_the_middle: names(&["bucket.*.test"], HOST) => refused(C::WrongName);
    a_wildcard_for_an_address: names(&["*.0.0.1"], "127.0.0.1") => refused(C::WrongName);
    a_nul_in_the_name: names(&["bucket.s3.test\0.evil.test"], HOST) => refused(C::WrongName);
    another_address: names(&["127.0.0.2"], "127.0.0.1") => refused(C::WrongName);
    an_address_where_a_name_is_wanted: names(&["127.0.0.1"], HOST) => refused(C::WrongName);
    the_common_name_only: plan(|plan| { plan.names(&[]); plan.common_name(HOST); }) => refused(C::WrongName);
    the_common_name_beside_another_name: plan(|plan| { plan.names(&["other.test"]); plan.common_name(HOST); }) => refused(C::WrongName);

    // What for.
    for_servers_and_clients: plan(|plan| plan.own.extended_key_usages.push(Eku::ClientAuth)) => TAKEN;
    for_no_purpose_in_particular: plan(|plan| plan.own.extended_key_usages.clear()) => TAKEN;
    for_clients: plan(|plan| plan.own.extended_key_usages = vec![Eku::ClientAuth]) => refused(C::NotForServers);
    for_code: plan(|plan| plan.own.extended_key_usages = vec![Eku::CodeSigning]) => refused(C::NotForServers);
    for_any_purpose: plan(|plan| plan.own.extended_key_usages = vec![Eku::Any]) => refused(C::NotForServers);
    an_authority_for_clients: plan(|plan| plan.issuer.extended_key_usages = vec![Eku::ClientAuth]) => refused(C::NotForServers);
    an_authority_as_server: plan(|plan| plan.own_is_authority()) => refused(C::IsAnAuthority);
    a_server_as_authority: plan(|_| {}).issued_by_a_server() => refused(C::NotAnAuthority);
    an_authority_that_is_none: plan(|plan| plan.issuer_is_none()) => refused(C::NotAnAuthority);
    #[cfg(feature = "rsa")]
    an_authority_of_version_1: rsa_pair("signed-version-1", "version-1-authority") => refused(C::Malformed);
    a_path_as_long_as_allowed: Chain::of(2, |plan| plan.path_length(1)) => TAKEN;
    a_path_longer_than_allowed: Chain::of(2, |plan| plan.path_length(0)) => refused(C::NotAllowed);
    a_name_that_is_permitted: plan(|plan| plan.permit("s3.test")) => TAKEN;
    a_name_that_is_not_permitted: plan(|plan| plan.permit("example.test")) => refused(C::NotAllowed);
    a_name_that_is_excluded: plan(|plan| plan.exclude("s3.test")) => refused(C::NotAllowed);
    one_name_of_two_that_is_not_permitted: plan(|plan| { plan.names(&[HOST, "evil.test"]); plan.permit("s3.test"); }) => refused(C::NotAllowed);
    an_unknown_extension: plan(|plan| plan.extension(false)) => TAKEN;
    an_unknown_critical_extension: plan(|plan| plan.extension(true)) => refused(C::NotAllowed);
    an_unknown_critical_extension_of_an_authority: plan(|plan| plan.issuer_extension(true)) => refused(C::NotAllowed);

    // When: the clock is known, ...
    on_its_last_day: plan(|plan| plan.own_valid(-90, 0)) => TAKEN;
    on_its_first_day: plan(|plan| plan.own_valid(0, 900)) => TAKEN;
    expired: plan(|plan| plan.own_valid(-90, -1)) => refused(C::Expired { not_after: NOW - DAY });
    an_expired_authority: plan(|plan| plan.issuer_valid(-90, -1)) => refused(C::Expired { not_after: NOW - DAY });
    not_yet_valid: plan(|plan| plan.own_valid(1, 900)) => refused(C::NotYetValid { not_before: NOW + DAY });
    an_authority_not_yet_valid: plan(|plan| plan.issuer_valid(1, 900)) => refused(C::NotYetValid { not_before: NOW + DAY });
    never_valid: plan(|plan| plan.own_valid(1, -1)) => refused(C::Malformed);
    // A root is trusted until it is removed: its dates are not looked at.
    an_expired_root: plan(|plan| plan.root_valid(-90, -1)) => TAKEN;
    a_root_not_yet_valid: plan(|plan| plan.root_valid(1, 900)) => TAKEN;
    // ... or all that is known is that it is not before the firmware was built.
    without_clock: plan(|_| {}).at_least(NOW) => TAKEN;
    without_clock_expired_before: plan(|plan| plan.own_valid(-90, -1)).at_least(NOW) => refused(C::Expired { not_after: NOW - DAY });
    without_clock_an_authority_expired_before: plan(|plan| plan.issuer_valid(-90, -1)).at_least(NOW) => refused(C::Expired { not_after: NOW - DAY });
    without_clock_issued_since: plan(|plan| plan.own_valid(1, 90)).at_least(NOW) => TAKEN;
    without_clock_an_authority_made_since: plan(|plan| plan.issuer_valid(400, 900)).at_least(NOW) => TAKEN;
    without_clock_all_issued_since: plan(|plan| { plan.issuer_valid(400, 900); plan.own_valid(500, 590); }).at_least(NOW) => TAKEN;
    without_clock_never_valid_as_a_whole: plan(|plan| { plan.issuer_valid(-90, 1); plan.own_valid(2, 90); }).at_least(NOW) => refused(C::Expired { not_after: NOW + DAY });
    without_clock_nothing_known: plan(|plan| plan.own_valid(1, 90)).at_least(0) => TAKEN;

    // Milder than RFC 5280, like rustls-webpki and the browsers: basicConstraints alone makes an authority.
    an_authority_without_key_cert_sign: plan(|plan| plan.issuer.key_usages = vec![KeyUsagePurpose::DigitalSignature]) => TAKEN;
}

/// 63 + 63 + 63 + 61 letters and three dots.
const LONG_NAME: &str = concat!(
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.",
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.",
    "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.",
    "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
);

pub fn plan(change: impl FnOnce(&mut Plan)) -> Chain {
    Chain::of(1, change)
}

pub fn keys(root: K, issuer: K, own: K) -> Chain {
    plan(|plan| (plan.root_key, plan.issuer_key, plan.own_key) = (root, issuer, own))
}

/// As Let's Encrypt and Google serve them to clients that do not know their newest root.
fn certified_by_rsa() -> Chain {
    keys(K::P384, K::P384, K::P256)
        .with_root_certified_by(K::Rsa4096)
        .trusting_older_root()
}

fn names(names: &[&str], host: &'static str) -> Chain {
    plan(|plan| plan.names(names)).host(host)
}

fn hundred_names() -> Chain {
    let mut all: Vec<String> = (1..100).map(|n| format!("n{n}.s3.test")).collect();
    all.push(HOST.to_string());
    plan(|plan| plan.names(&all.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// A certificate for the server's P-256 key by an RSA root.
fn rsa(own: &str) -> Chain {
    fixture("rsa-root", &[own], "p256")
}

fn rsa_pair(own: &str, issuer: &str) -> Chain {
    fixture("rsa-root", &[own, issuer], "p256")
}
