//! Whatever a server does wrong is refused, under the right name, and nothing panics.

mod rogue_server;
mod support;

use rogue_server::{GREETING, Misbehaviour as M, RogueServer};
use s3ota_tls::{
    Alert, CertTime, CertificateError as C, HandshakeError as H, RecordError as R, Roots, TlsError,
};
use support::{NOW, fetch};

fn fetch_from(misbehaviour: M) -> Result<Vec<u8>, TlsError> {
    let server = RogueServer::spawn(misbehaviour);
    let mut roots = Roots::empty();
    roots.add_der(server.ca_der()).unwrap();
    fetch(server.port(), "localhost", &roots, CertTime::Known(NOW))
}

/// One line a promise: the name, what the server does, how the connection fails.
macro_rules! refused {
    ($($name:ident: $misbehaviour:expr => $error:expr;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(fetch_from($misbehaviour), Err($error));
        }
    )*};
}

/// The same for what looks strange and is allowed.
macro_rules! taken {
    ($($name:ident: $misbehaviour:expr;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(fetch_from($misbehaviour).as_deref(), Ok(GREETING));
        }
    )*};
}

taken! {
    a_server_that_does_nothing_wrong: M::None;
    an_empty_fragment_and_padding: M::EmptyFragmentAndPadding;
    session_tickets: M::Tickets;
    a_server_that_would_like_a_client_certificate: M::CertificateRequest;
    change_cipher_spec_for_middleboxes: M::ChangeCipherSpec { late: false, content: 1, times: 2 };
}

const fn certificate(error: C) -> TlsError {
    TlsError::Certificate(error)
}

const fn handshake(error: H) -> TlsError {
    TlsError::Handshake(error)
}

const fn record(error: R) -> TlsError {
    TlsError::Record(error)
}

// Who the server is.
refused! {
    no_certificate: M::NoCertificate => certificate(C::NotPresented);
    an_empty_certificate_list: M::EmptyCertificate => certificate(C::NotPresented);
    no_certificate_verify: M::NoCertificateVerify => certificate(C::NotProven);
    certificate_verify_without_certificate: M::CertificateVerifyOnly => certificate(C::NotPresented);
    proof_of_another_key: M::OtherKey => certificate(C::NotProven);
    proof_in_the_clients_name: M::ClientContext => certificate(C::NotProven);
    proof_from_another_handshake: M::ReplayedProof => certificate(C::NotProven);
    proof_by_rsa_pkcs1: M::SignatureScheme(0x0401) => certificate(C::UnsupportedAlgorithm);
    proof_by_ecdsa_with_sha1: M::SignatureScheme(0x0203) => certificate(C::UnsupportedAlgorithm);
    proof_by_ed25519: M::SignatureScheme(0x0807) => certificate(C::UnsupportedAlgorithm);
    proof_by_an_unknown_scheme: M::SignatureScheme(0xFE00) => certificate(C::UnsupportedAlgorithm);
    a_second_certificate: M::CertificateTwice => handshake(H::UnexpectedMessage);
    finished_before_the_certificate: M::FinishedFirst => handshake(H::UnexpectedMessage);
    a_certificate_that_is_garbage: M::GarbageCertificate => certificate(C::Malformed);
    a_chain_of_seven: M::LongChain(7) => certificate(C::TooLarge);
}

// How the handshake goes.
refused! {
    plain_http: M::PlainHttp => record(R::NotTls(b'H'));
    tls_1_2_only: M::AlertInHello(70) => handshake(H::Alert(Alert(70)));
    no_common_parameters: M::AlertInHello(40) => handshake(H::Alert(Alert(40)));
    data_before_the_server_hello: M::DataInHello => record(R::UnexpectedType(23));
    another_key_exchange_group: M::HelloRetryRequest => handshake(H::Malformed);
    a_key_share_off_the_curve: M::BadKeyShare => handshake(H::KeyShare);
    a_certificate_in_the_clear: M::CertificateInTheClear => record(R::UnexpectedType(22));
    a_certificate_split_over_records: M::SplitCertificate => handshake(H::UnexpectedMessage);
    a_wrong_finished: M::WrongFinished => handshake(H::Finished);
    an_encrypted_alert_in_the_handshake: M::AlertInHandshake(80) => handshake(H::EncryptedAlert);
    data_before_finished: M::DataInHandshake => handshake(H::UnexpectedMessage);
    a_handshake_without_end: M::EndlessHandshake => handshake(H::TooLong);
    hanging_up_in_the_handshake: M::HangUpInHandshake => TlsError::Truncated;
}

// Records during the handshake.
refused! {
    a_bare_tag_in_the_handshake: M::BareTag { late: false } => record(R::Empty);
    only_padding_in_the_handshake: M::OnlyPadding { late: false } => handshake(H::UnexpectedMessage);
    an_oversized_record_in_the_handshake: M::OversizedRecord { late: false } => record(R::TooLong);
    an_alert_in_the_clear_in_the_handshake: M::InTheClear { late: false, kind: 21 } => handshake(H::Alert(Alert(0)));
    a_message_in_the_clear_in_the_handshake: M::InTheClear { late: false, kind: 22 } => record(R::UnexpectedType(22));
    an_unknown_record_type_in_the_handshake: M::InTheClear { late: false, kind: 24 } => record(R::NotTls(24));
    a_flipped_bit_in_the_handshake: M::FlippedBit { late: false } => record(R::BadMac);
    an_unknown_inner_type_in_the_handshake: M::InnerType { late: false, kind: 99 } => handshake(H::UnexpectedMessage);
    change_cipher_spec_with_other_content: M::ChangeCipherSpec { late: false, content: 2, times: 1 } => record(R::ChangeCipherSpec);
    change_cipher_spec_again_and_again: M::ChangeCipherSpec { late: false, content: 1, times: 3 } => record(R::ChangeCipherSpec);
}

// Records after the handshake: what anyone on the path can inject, and what only the server can send.
refused! {
    an_injected_close_notify: M::InTheClear { late: true, kind: 21 } => record(R::UnexpectedType(21));
    an_injected_handshake_message: M::InTheClear { late: true, kind: 22 } => record(R::UnexpectedType(22));
    an_injected_change_cipher_spec: M::ChangeCipherSpec { late: true, content: 1, times: 1 } => record(R::UnexpectedType(20));
    an_injected_record_of_unknown_type: M::InTheClear { late: true, kind: 0 } => record(R::NotTls(0));
    injected_application_data: M::InTheClear { late: true, kind: 23 } => record(R::Empty);
    a_flipped_bit: M::FlippedBit { late: true } => record(R::BadMac);
    a_bare_tag: M::BareTag { late: true } => record(R::Empty);
    only_padding: M::OnlyPadding { late: true } => record(R::UnexpectedMessage);
    an_oversized_record: M::OversizedRecord { late: true } => record(R::TooLong);
    an_unknown_inner_type: M::InnerType { late: true, kind: 99 } => record(R::UnexpectedMessage);
    an_inner_change_cipher_spec: M::InnerType { late: true, kind: 20 } => record(R::UnexpectedMessage);
    a_key_update: M::LateMessage(24) => record(R::UnexpectedMessage);
    a_late_server_hello: M::LateMessage(2) => record(R::UnexpectedMessage);
    late_encrypted_extensions: M::LateMessage(8) => record(R::UnexpectedMessage);
    a_late_certificate: M::LateMessage(11) => record(R::UnexpectedMessage);
    a_late_certificate_request: M::LateMessage(13) => record(R::UnexpectedMessage);
    a_late_certificate_verify: M::LateMessage(15) => record(R::UnexpectedMessage);
    a_late_finished: M::LateMessage(20) => record(R::UnexpectedMessage);
    a_late_message_of_unknown_kind: M::LateMessage(77) => record(R::UnexpectedMessage);
    half_a_late_message: M::LateHalfMessage => record(R::UnexpectedMessage);
    a_finished_behind_a_ticket: M::TicketAndFinished => record(R::UnexpectedMessage);
    a_late_error_alert: M::LateAlert(80) => record(R::Alert);
    a_late_alert_of_unknown_kind: M::LateAlert(200) => record(R::Malformed);
    half_an_alert: M::HalfAlert => record(R::UnexpectedMessage);
    an_end_without_close_notify: M::Truncation => TlsError::Truncated;
    an_end_inside_a_record: M::TruncatedRecord => TlsError::Truncated;
}

taken! {
    // embedded-tls would parse past the ticket and panic; here no ticket reaches it.
    a_finished_hidden_inside_a_ticket: M::FinishedInsideTicket;
}

#[test]
fn no_noise_in_the_server_hello_makes_the_client_panic() {
    for seed in 0..300 {
        // The random, for instance, may be any.
        if let Ok(answer) = fetch_from(M::NoisyHello(seed)) {
            assert_eq!(answer, GREETING, "seed {seed}");
        }
    }
}

#[test]
fn no_noise_in_the_handshake_makes_the_client_panic_or_connect() {
    for seed in 0..300 {
        // A change can hit a byte with its own value, and be none.
        if let Ok(answer) = fetch_from(M::NoisyHandshake(seed)) {
            assert_eq!(answer, GREETING, "seed {seed}");
        }
    }
}

#[test]
fn no_noise_after_the_handshake_makes_the_client_panic() {
    for seed in 0..300 {
        if let Ok(answer) = fetch_from(M::NoisyStream(seed)) {
            // Noise of type application_data is data.
            assert!(
                answer.ends_with(GREETING) || answer.is_empty(),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn each_kind_of_failure_has_its_code() {
    for (misbehaviour, code, transient) in [
        (M::NoCertificate, "tls.certificate", false),
        (M::NoCertificateVerify, "tls.certificate", false),
        (M::AlertInHello(70), "tls.handshake", false),
        (M::FlippedBit { late: true }, "tls.record", true),
        (M::Truncation, "tls.truncated", true),
    ] {
        let error = fetch_from(misbehaviour).unwrap_err();
        assert_eq!((error.code(), error.is_transient()), (code, transient));
    }
}
