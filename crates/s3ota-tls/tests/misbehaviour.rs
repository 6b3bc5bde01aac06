//! Whatever a server does wrong is refused, under the right name, and nothing panics.

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
    the_extensions_of_the_server_hello_the_other_way_round: M::HelloExtensions(&[51, 43]);
    a_record_version_that_nobody_looks_at: M::RecordVersion(0x0301);
    a_server_that_could_do_less: M::DowngradeSentinel;
    groups_for_the_next_time: M::Extension(10);
    empty_fragments_within_reason: M::EmptyFragments(31);
    tickets_within_reason: M::ManyTickets(31);
}

#[cfg(feature = "rsa")]
taken! {
    proof_by_rsa_pss_sha256: M::RsaKey(0x0804);
    proof_by_rsa_pss_sha384: M::RsaKey(0x0805);
    proof_by_rsa_pss_sha512: M::RsaKey(0x0806);
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
    proof_that_does_not_say_what_it_is_for: M::BareProof => certificate(C::NotProven);
    proof_with_one_bit_changed: M::FlippedProof => certificate(C::NotProven);
    proof_of_no_bytes: M::EmptyProof => certificate(C::NotProven);
    a_scheme_for_rsa_keys_by_an_ecdsa_key: M::SignatureScheme(0x0804) => certificate(C::UnsupportedAlgorithm);
    a_scheme_for_p384_by_a_p256_key: M::SignatureScheme(0x0503) => certificate(C::UnsupportedAlgorithm);
    a_scheme_for_p521_by_a_p256_key: M::SignatureScheme(0x0603) => certificate(C::UnsupportedAlgorithm);
    a_scheme_for_ecdsa_keys_by_an_rsa_key: M::RsaKey(0x0403) => certificate(C::UnsupportedAlgorithm);
    a_scheme_for_rsa_pss_keys_by_an_rsa_key: M::RsaKey(0x0809) => certificate(C::UnsupportedAlgorithm);
    rsa_pkcs1_by_an_rsa_key: M::RsaKey(0x0401) => certificate(C::UnsupportedAlgorithm);
    proof_by_rsa_pkcs1: M::SignatureScheme(0x0401) => certificate(C::UnsupportedAlgorithm);
    proof_by_ecdsa_with_sha1: M::SignatureScheme(0x0203) => certificate(C::UnsupportedAlgorithm);
    proof_by_ed25519: M::SignatureScheme(0x0807) => certificate(C::UnsupportedAlgorithm);
    proof_by_an_unknown_scheme: M::SignatureScheme(0xFE00) => certificate(C::UnsupportedAlgorithm);
    a_second_certificate: M::CertificateTwice => handshake(H::UnexpectedMessage);
    finished_before_the_certificate: M::FinishedFirst => handshake(H::UnexpectedMessage);
    a_certificate_that_is_garbage: M::GarbageCertificate => certificate(C::Malformed);
    a_chain_of_seven: M::LongChain(7) => certificate(C::TooLarge);
    a_chain_of_seventeen: M::LongChain(17) => handshake(H::Malformed);
    an_ocsp_response_nobody_asked_for: M::StapledOcsp => handshake(H::UnexpectedMessage);
    a_certificate_for_a_request_nobody_made: M::CertificateContext => handshake(H::UnexpectedMessage);
    a_certificate_message_longer_than_its_list: M::LongCertificate => handshake(H::UnexpectedMessage);
}

// In which order. Every other order: `only_two_orders_of_messages_are_taken`.
taken! {
    the_order_of_the_protocol: M::Order(&[8, 11, 15, 20]);
    the_order_with_a_certificate_request: M::Order(&[8, 13, 11, 15, 20]);
}
refused! {
    no_encrypted_extensions: M::Order(&[11, 15, 20]) => handshake(H::UnexpectedMessage);
    encrypted_extensions_twice: M::Order(&[8, 8, 11, 15, 20]) => handshake(H::UnexpectedMessage);
    encrypted_extensions_behind_the_certificate: M::Order(&[11, 8, 15, 20]) => handshake(H::UnexpectedMessage);
    encrypted_extensions_again_behind_the_certificate: M::Order(&[8, 11, 8, 15, 20]) => certificate(C::NotProven);
    encrypted_extensions_again_behind_the_proof: M::Order(&[8, 11, 15, 8, 20]) => handshake(H::Finished);
    a_certificate_request_first: M::Order(&[13, 8, 11, 15, 20]) => handshake(H::UnexpectedMessage);
    a_certificate_request_twice: M::Order(&[8, 13, 13, 11, 15, 20]) => handshake(H::UnexpectedMessage);
    a_certificate_request_behind_the_certificate: M::Order(&[8, 11, 13, 15, 20]) => certificate(C::NotProven);
    a_certificate_request_behind_the_proof: M::Order(&[8, 11, 15, 13, 20]) => handshake(H::Finished);
    the_proof_before_the_certificate: M::Order(&[8, 15, 11, 20]) => certificate(C::NotPresented);
    the_proof_twice: M::Order(&[8, 11, 15, 15, 20]) => certificate(C::NotProven);
    finished_before_the_proof: M::Order(&[8, 11, 20, 15]) => certificate(C::NotProven);
    nothing_but_finished: M::Order(&[20]) => certificate(C::NotPresented);
    no_finished: M::Order(&[8, 11, 15]) => TlsError::Truncated;
}

#[test]
fn only_two_orders_of_messages_are_taken() {
    const KINDS: [u8; 5] = [8, 13, 11, 15, 20];
    // All sequences of up to four messages, and all of five that are different.
    let mut orders: Vec<Vec<u8>> = vec![vec![]];
    for start in 0.. {
        let Some(order) = orders.get(start).cloned() else {
            break;
        };
        let more = KINDS.iter().map(|kind| [&order[..], &[*kind]].concat());
        orders.extend(more.filter(|longer| {
            let all_differ = (1..longer.len()).all(|n| !longer[n..].contains(&longer[n - 1]));
            longer.len() <= 4 || (longer.len() == 5 && all_differ)
        }));
    }
    assert_eq!(orders.len(), 1 + 5 + 25 + 125 + 625 + 120);
    for order in orders {
        let taken = fetch_from(M::Order(order.clone().leak()));
        let is_right = matches!(order[..], [8, 11, 15, 20] | [8, 13, 11, 15, 20]);
        assert_eq!(taken.is_ok(), is_right, "{order:?}: {taken:?}");
    }
}

// How the handshake goes.
refused! {
    plain_http: M::PlainHttp => record(R::NotTls(b'H'));
    tls_1_2_only: M::AlertInHello(70) => handshake(H::Alert(Alert(70)));
    no_common_parameters: M::AlertInHello(40) => handshake(H::Alert(Alert(40)));
    data_before_the_server_hello: M::DataInHello => record(R::UnexpectedType(23));
    another_key_exchange_group: M::HelloRetryRequest => handshake(H::KeyShare);
    a_key_share_off_the_curve: M::BadKeyShare(0xFF) => handshake(H::KeyShare);
    a_key_share_of_zeros: M::BadKeyShare(0) => handshake(H::KeyShare);
    a_key_share_that_is_no_point: M::HelloByte { at: 58, value: 0 } => handshake(H::NotOffered);
    a_key_share_on_another_curve: M::HelloByte { at: 53, value: 24 } => handshake(H::NotOffered);
    aes_256_which_was_not_offered: M::HelloByte { at: 40, value: 2 } => handshake(H::NotOffered);
    chacha20_which_was_not_offered: M::HelloByte { at: 40, value: 3 } => handshake(H::NotOffered);
    a_cipher_suite_of_tls_1_2: M::HelloByte { at: 39, value: 0xC0 } => handshake(H::NotOffered);
    compression: M::HelloByte { at: 41, value: 1 } => handshake(H::NotOffered);
    another_legacy_version: M::HelloByte { at: 5, value: 4 } => handshake(H::NotOffered);
    tls_1_2_as_the_chosen_version: M::HelloByte { at: 49, value: 3 } => handshake(H::NotOffered);
    a_draft_of_tls_1_3: M::HelloByte { at: 48, value: 0x7F } => handshake(H::NotOffered);
    a_downgrade_to_tls_1_2: M::Tls12Hello => handshake(H::NotOffered);
    a_session_id_nobody_sent: M::SessionId => handshake(H::NotOffered);
    a_server_hello_without_version: M::HelloExtensions(&[51]) => handshake(H::NotOffered);
    a_server_hello_with_the_version_twice: M::HelloExtensions(&[43, 51, 43]) => handshake(H::NotOffered);
    a_pre_shared_key_nobody_offered: M::HelloExtensions(&[43, 51, 41]) => handshake(H::NotOffered);
    alpn_in_the_server_hello: M::HelloExtensions(&[43, 51, 16]) => handshake(H::NotOffered);
    a_cookie_in_the_server_hello: M::HelloExtensions(&[43, 51, 44]) => handshake(H::NotOffered);
    more_behind_the_server_hello: M::HelloAndMore => handshake(H::NotOffered);
    alpn_nobody_asked_for: M::Extension(16) => handshake(H::UnexpectedMessage);
    early_data_nobody_sent: M::Extension(42) => handshake(H::UnexpectedMessage);
    a_fragment_length_nobody_asked_for: M::Extension(1) => handshake(H::UnexpectedMessage);
    an_unknown_extension_nobody_sent: M::Extension(0xFFFF) => handshake(H::UnexpectedMessage);
    hello_request_in_the_handshake: M::EarlyMessage(0) => handshake(H::UnexpectedMessage);
    client_hello_in_the_handshake: M::EarlyMessage(1) => handshake(H::UnexpectedMessage);
    a_second_server_hello: M::EarlyMessage(2) => handshake(H::UnexpectedMessage);
    a_ticket_in_the_handshake: M::EarlyMessage(4) => handshake(H::UnexpectedMessage);
    end_of_early_data: M::EarlyMessage(5) => handshake(H::UnexpectedMessage);
    a_key_exchange_of_tls_1_2: M::EarlyMessage(12) => handshake(H::UnexpectedMessage);
    a_hello_done_of_tls_1_2: M::EarlyMessage(14) => handshake(H::UnexpectedMessage);
    a_key_update_in_the_handshake: M::EarlyMessage(24) => handshake(H::UnexpectedMessage);
    a_compressed_certificate: M::EarlyMessage(25) => handshake(H::UnexpectedMessage);
    a_message_hash: M::EarlyMessage(254) => handshake(H::UnexpectedMessage);
    a_certificate_in_the_clear: M::CertificateInTheClear => record(R::UnexpectedType(22));
    a_certificate_split_over_records: M::SplitCertificate => handshake(H::Split);
    a_server_hello_split_over_records: M::SplitHello => handshake(H::Split);
    a_wrong_finished: M::WrongFinished => handshake(H::Finished);
    an_encrypted_alert_in_the_handshake: M::AlertInHandshake(80) => handshake(H::EncryptedAlert);
    an_encrypted_close_notify_in_the_handshake: M::AlertInHandshake(0) => handshake(H::EncryptedAlert);
    data_before_finished: M::DataInHandshake => handshake(H::UnexpectedMessage);
    a_handshake_without_end: M::EndlessHandshake => handshake(H::TooLong);
    hanging_up_in_the_handshake: M::HangUpInHandshake => TlsError::Truncated;
}

// Records during the handshake.
refused! {
    a_bare_tag_in_the_handshake: M::BareTag { late: false } => record(R::Empty);
    an_empty_record_in_the_handshake: M::EmptyRecord { late: false, kind: 23 } => record(R::Empty);
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
    renegotiation_by_hello_request: M::LateMessage(0) => record(R::UnexpectedMessage);
    renegotiation_by_client_hello: M::LateMessage(1) => record(R::UnexpectedMessage);
    post_handshake_authentication: M::LateMessage(13) => record(R::UnexpectedMessage);
    an_empty_record: M::EmptyRecord { late: true, kind: 23 } => record(R::Empty);
    empty_fragments_without_end: M::EmptyFragments(40) => record(R::Idle);
    tickets_without_end: M::ManyTickets(40) => record(R::Idle);
    a_late_server_hello: M::LateMessage(2) => record(R::UnexpectedMessage);
    late_encrypted_extensions: M::LateMessage(8) => record(R::UnexpectedMessage);
    a_late_certificate: M::LateMessage(11) => record(R::UnexpectedMessage);
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

/// Records in the clear, at each of seven points: before the ServerHello, before the four messages behind it, before
/// the answer, and before its end.
macro_rules! injected {
    ($($name:ident: $kind:expr => $in_hello:expr, $in_handshake:expr, $later:expr;)*) => {$(
        #[test]
        fn $name() {
            for before in 0..=6 {
                let answer = fetch_from(M::Inject { before, kind: $kind });
                let wanted = match before {
                    0 => $in_hello,
                    1..=4 => $in_handshake,
                    _ => $later,
                };
                assert_eq!(answer, Err(wanted), "before message {before}");
            }
        }
    )*};
}

injected! {
    change_cipher_spec_injected_at_every_point: 20
        => record(R::ChangeCipherSpec), record(R::ChangeCipherSpec), record(R::UnexpectedType(20));
    close_notify_injected_at_every_point: 21
        => handshake(H::Alert(Alert(0))), handshake(H::Alert(Alert(0))), record(R::UnexpectedType(21));
    a_handshake_message_injected_at_every_point: 22
        => handshake(H::NotOffered), record(R::UnexpectedType(22)), record(R::UnexpectedType(22));
    application_data_injected_at_every_point: 23
        => record(R::UnexpectedType(23)), record(R::Empty), record(R::Empty);
    a_heartbeat_injected_at_every_point: 24
        => record(R::NotTls(24)), record(R::NotTls(24)), record(R::NotTls(24));
}

#[test]
fn the_longest_record_is_taken() {
    let answer = fetch_from(M::FullRecord).unwrap();
    assert_eq!(answer.len(), 16_384 + GREETING.len());
    assert!(answer.ends_with(GREETING));
}

#[test]
fn a_connection_cut_anywhere_is_never_complete() {
    // The ticket, the answer and close_notify.
    const LENGTH: usize = (5 + 50 + 17) + (5 + GREETING.len() + 17) + (5 + 2 + 17);
    for bytes in 0..LENGTH {
        let answer = fetch_from(M::CutAfter(bytes));
        assert_eq!(answer, Err(TlsError::Truncated), "after {bytes} bytes");
    }
    assert_eq!(fetch_from(M::CutAfter(LENGTH)).as_deref(), Ok(GREETING));
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
