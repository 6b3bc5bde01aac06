//! A transport adapter that checks every record before embedded-tls sees it (RFC 8446 section 5.1).
//!
//! The filter reads each record's header and decides: pass it on, drop it, or end the connection. What embedded-tls 0.19.0
//! would do with records that are stopped here:
//! - it panics (`unimplemented!`) on an unencrypted handshake record after the handshake, and accepts an unencrypted
//!   close_notify; anyone on the network path can inject both;
//! - it accepts unencrypted handshake messages where they must be encrypted;
//! - it panics on an encrypted record that is nothing but a tag (`connection.rs`, `decrypt_record`);
//! - it accepts any content of change_cipher_spec, any number of times, and drops an alert's description;
//! - it accepts a ServerHello with anything in it (`server_hello.rs`);
//! - it keeps reading for ever while a server sends records without data.
// UPSTREAM(embedded-tls): cleartext-records.md (the phases), panics.md (`MIN_CIPHERTEXT`), server-hello.md, alerts.md,
// idle-records.md (`MAX_IDLE`, `MAX_HANDSHAKE`, `MAX_CHANGE_CIPHER_SPEC`). With all of them this file goes.

use core::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};

use crate::alert::Alert;
use crate::error::{HandshakeError, RecordError, TlsError};
use crate::protection::{Epoch, content_type};
use crate::server_hello;

/// A record's header: its type, a version, its length.
const HEADER: usize = 5;
/// The longest plaintext record: 2^14 bytes.
const MAX_PLAINTEXT: u16 = 1 << 14;
/// The longest encrypted record: what is in it, its content type and padding have 2^14 + 1 bytes at most (RFC 8446 section 5.4), and
/// the tag of AES-GCM has 16. The 256 bytes that section 5.2 allows are for ciphers that add more.
pub(crate) const MAX_CIPHERTEXT: u16 = MAX_PLAINTEXT + 1 + 16;
/// The shortest encrypted record: a content type and the tag of AES-GCM.
const MIN_CIPHERTEXT: u16 = 1 + 16;
/// The most change_cipher_spec records that a server has reason to send: one after its ServerHello, and one after a
/// HelloRetryRequest before it.
const MAX_CHANGE_CIPHER_SPEC: u8 = 2;
/// Several times the longest handshake of a public server. Without a limit a server could keep the device busy for ever.
const MAX_HANDSHAKE: u32 = 64 * 1024;
/// Records without data, such as session tickets, that a server may send before one with data.
const MAX_IDLE: u8 = 32;

/// What the connection and the filter inside it tell each other.
///
/// embedded-tls owns the transport, and passes on no more than an [`ErrorKind`]. Atomics, so that a connection can move
/// between threads; only loads and stores, which every chip has.
pub(crate) struct Link {
    phase: AtomicU8,
    fault: AtomicU16,
    /// Records passed on since the connection last asked for data.
    idle: AtomicU8,
}

impl Link {
    pub(crate) const fn new() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Hello as u8),
            fault: AtomicU16::new(0),
            idle: AtomicU8::new(0),
        }
    }

    /// The caller wants data. Up to [`MAX_IDLE`] records without data may come before the one that has it.
    pub(crate) fn begin_read(&self) {
        self.idle.store(0, Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        let records = self.idle.load(Ordering::Relaxed);
        self.idle
            .store(records.saturating_add(1), Ordering::Relaxed);
        records > MAX_IDLE
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        const HELLO: u8 = Phase::Hello as u8;
        const HANDSHAKE: u8 = Phase::Handshake as u8;
        const APPLICATION: u8 = Phase::Application as u8;
        match self.phase.load(Ordering::Relaxed) {
            HELLO => Phase::Hello,
            HANDSHAKE => Phase::Handshake,
            APPLICATION => Phase::Application,
            _ => Phase::Over,
        }
    }

    /// Why the filter ended the connection, if it did.
    pub(crate) fn fault(&self) -> Option<TlsError> {
        Fault::decode(self.fault.load(Ordering::Relaxed)).map(TlsError::from)
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Before the ServerHello, the only unencrypted handshake message.
    Hello,
    /// The encrypted part of the handshake.
    Handshake,
    /// After the handshake.
    Application,
    /// Nothing more is read or sent.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Alert(u8),
    NotTls(u8),
    UnexpectedType(u8),
    TooLong,
    Empty,
    ChangeCipherSpec,
    HandshakeTooLong,
    Idle,
    /// The server wants another key exchange group.
    Retry,
    SplitHello,
    NotOffered,
}

impl Fault {
    fn encode(self) -> u16 {
        let (kind, detail) = match self {
            Self::Alert(description) => (1, description),
            Self::NotTls(first) => (2, first),
            Self::UnexpectedType(kind) => (3, kind),
            Self::TooLong => (4, 0),
            Self::Empty => (5, 0),
            Self::ChangeCipherSpec => (6, 0),
            Self::HandshakeTooLong => (7, 0),
            Self::Idle => (8, 0),
            Self::Retry => (9, 0),
            Self::NotOffered => (10, 0),
            Self::SplitHello => (11, 0),
        };
        u16::from_be_bytes([kind, detail])
    }

    fn decode(bits: u16) -> Option<Self> {
        let [kind, detail] = bits.to_be_bytes();
        Some(match kind {
            1 => Self::Alert(detail),
            2 => Self::NotTls(detail),
            3 => Self::UnexpectedType(detail),
            4 => Self::TooLong,
            5 => Self::Empty,
            6 => Self::ChangeCipherSpec,
            7 => Self::HandshakeTooLong,
            8 => Self::Idle,
            9 => Self::Retry,
            10 => Self::NotOffered,
            11 => Self::SplitHello,
            _ => return None,
        })
    }
}

impl From<Fault> for TlsError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Alert(description) => Self::Handshake(HandshakeError::Alert(Alert(description))),
            Fault::NotTls(first) => Self::Record(RecordError::NotTls(first)),
            Fault::UnexpectedType(kind) => Self::Record(RecordError::UnexpectedType(kind)),
            Fault::TooLong => Self::Record(RecordError::TooLong),
            Fault::Empty => Self::Record(RecordError::Empty),
            Fault::ChangeCipherSpec => Self::Record(RecordError::ChangeCipherSpec),
            Fault::HandshakeTooLong => Self::Handshake(HandshakeError::TooLong),
            Fault::Idle => Self::Record(RecordError::Idle),
            Fault::Retry => Self::Handshake(HandshakeError::KeyShare),
            Fault::SplitHello => Self::Handshake(HandshakeError::Split),
            Fault::NotOffered => Self::Handshake(HandshakeError::NotOffered),
        }
    }
}

impl From<server_hello::Fault> for Fault {
    fn from(fault: server_hello::Fault) -> Self {
        match fault {
            server_hello::Fault::Retry => Self::Retry,
            server_hello::Fault::Split => Self::SplitHello,
            server_hello::Fault::NotOffered => Self::NotOffered,
        }
    }
}

/// The transport as embedded-tls sees it: allowed records only.
pub(crate) struct RecordFilter<'b, IO> {
    io: IO,
    link: &'b Link,
    stage: Stage,
    /// The header of a record, and after that the content of one that does not pass.
    small: [u8; HEADER],
    /// Bytes in there.
    filled: usize,
    change_cipher_specs: u8,
    handshake_bytes: u32,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Bytes of a header are read.
    Header,
    /// Bytes of an alert or a change_cipher_spec of this length are read.
    Content { kind: u8, length: u8 },
    /// A header, from this byte on, and so many bytes behind it are passed on.
    Pass { from: u8, body: u16 },
    /// So many bytes of a record are read and passed on.
    Body { left: u16 },
}

impl<'b, IO> RecordFilter<'b, IO> {
    pub(crate) fn new(io: IO, link: &'b Link) -> Self {
        Self {
            io,
            link,
            stage: Stage::Header,
            small: [0; HEADER],
            filled: 0,
            change_cipher_specs: 0,
            handshake_bytes: 0,
        }
    }

    pub(crate) fn into_inner(self) -> IO {
        self.io
    }
}

impl<IO: Read> RecordFilter<'_, IO> {
    /// What `buf` gets of a record, or of the next one; 0 bytes: the transport has ended.
    // It awaits in one place: each more would take memory.
    async fn pass(&mut self, buf: &mut [u8]) -> Result<usize, Stop> {
        // Bytes of a ServerHello in `buf`: it passes in one piece.
        let mut hello = 0;
        loop {
            let room = match self.stage {
                Stage::Pass { from, body } => {
                    let from = usize::from(from);
                    let header = self.small.get(from..).unwrap_or_default();
                    let count = header.len().min(buf.len());
                    buf[..count].copy_from_slice(&header[..count]);
                    self.stage = if count < header.len() {
                        let from = (from + count) as u8;
                        Stage::Pass { from, body }
                    } else {
                        Stage::Body { left: body }
                    };
                    return Ok(count);
                }
                Stage::Header => self.small.get_mut(self.filled..),
                Stage::Content { length, .. } => {
                    self.small.get_mut(self.filled..usize::from(length))
                }
                Stage::Body { left } if self.is_hello() => {
                    // embedded-tls has room for all of a record, whose length it knows by now.
                    let end = usize::from(left).min(server_hello::LENGTH);
                    if end > buf.len() {
                        return Err(Fault::NotOffered.into());
                    }
                    buf.get_mut(hello..end)
                }
                Stage::Body { left } => {
                    let end = usize::from(left).min(buf.len());
                    buf.get_mut(..end)
                }
            };
            let read = self.io.read(room.unwrap_or_default()).await;
            let read = read.map_err(|error| Stop::Io(error.kind()))?;
            if read == 0 {
                return Ok(0);
            }
            match self.stage {
                Stage::Pass { .. } => {}
                Stage::Header => {
                    self.filled = self.filled.saturating_add(read);
                    if self.filled >= HEADER {
                        self.filled = 0;
                        self.stage = self.after_header()?;
                    }
                }
                Stage::Content { kind, length } => {
                    self.filled = self.filled.saturating_add(read);
                    if self.filled >= usize::from(length) {
                        self.filled = 0;
                        self.stage = self.after_content(kind)?;
                    }
                }
                Stage::Body { left } if self.is_hello() => {
                    hello = hello.saturating_add(read);
                    let length = usize::from(left);
                    if hello >= length.min(server_hello::LENGTH) {
                        let start = buf.get(..hello).unwrap_or_default();
                        server_hello::check(start, length).map_err(Fault::from)?;
                        self.stage = Stage::Header;
                        self.link.enter(Phase::Handshake);
                        return Ok(hello);
                    }
                }
                Stage::Body { left } => {
                    self.stage = match left.saturating_sub(read.min(left.into()) as u16) {
                        0 => Stage::Header,
                        left => Stage::Body { left },
                    };
                    return Ok(read);
                }
            }
        }
    }

    fn is_hello(&self) -> bool {
        self.link.phase() == Phase::Hello
    }

    /// What comes after this header.
    fn after_header(&mut self) -> Result<Stage, Fault> {
        let [kind, _, _, l0, l1] = self.small;
        let length = u16::from_be_bytes([l0, l1]);
        match (self.link.phase(), kind) {
            (Phase::Hello, content_type::HANDSHAKE) => {
                in_range(length, 1, MAX_PLAINTEXT)?;
            }
            (Phase::Handshake, content_type::APPLICATION_DATA) => {
                in_range(length, MIN_CIPHERTEXT, MAX_CIPHERTEXT)?;
                self.handshake_bytes = self.handshake_bytes.saturating_add(length.into());
                if self.handshake_bytes > MAX_HANDSHAKE {
                    return Err(Fault::HandshakeTooLong);
                }
                self.small = Epoch::Handshake.mark(length);
            }
            (Phase::Application, content_type::APPLICATION_DATA) => {
                in_range(length, MIN_CIPHERTEXT, MAX_CIPHERTEXT)?;
                if self.link.is_idle() {
                    return Err(Fault::Idle);
                }
                self.small = Epoch::Application.mark(length);
            }
            (Phase::Hello | Phase::Handshake, content_type::ALERT) if length == 2 => {
                return Ok(Stage::Content { kind, length: 2 });
            }
            // Middlebox compatibility: "MUST simply drop it" (RFC 8446 section 5).
            (Phase::Hello | Phase::Handshake, content_type::CHANGE_CIPHER_SPEC) => {
                self.change_cipher_specs = self.change_cipher_specs.saturating_add(1);
                if length != 1 || self.change_cipher_specs > MAX_CHANGE_CIPHER_SPEC {
                    return Err(Fault::ChangeCipherSpec);
                }
                return Ok(Stage::Content { kind, length: 1 });
            }
            (_, content_type::CHANGE_CIPHER_SPEC..=content_type::APPLICATION_DATA) => {
                return Err(Fault::UnexpectedType(kind));
            }
            _ => return Err(Fault::NotTls(kind)),
        }
        Ok(Stage::Pass {
            from: 0,
            body: length,
        })
    }

    /// What comes after this content of a record that does not pass.
    fn after_content(&self, kind: u8) -> Result<Stage, Fault> {
        match (kind, self.small) {
            (content_type::ALERT, [_level, description, ..]) => Err(Fault::Alert(description)),
            (_, [1, ..]) => Ok(Stage::Header),
            _ => Err(Fault::ChangeCipherSpec),
        }
    }
}

enum Stop {
    Io(ErrorKind),
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn in_range(length: u16, min: u16, max: u16) -> Result<(), Fault> {
    if length < min {
        Err(Fault::Empty)
    } else if length > max {
        Err(Fault::TooLong)
    } else {
        Ok(())
    }
}

impl<IO> ErrorType for RecordFilter<'_, IO> {
    type Error = ErrorKind;
}

impl<IO: Read> Read for RecordFilter<'_, IO> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.link.phase() == Phase::Over {
            return Err(ErrorKind::NotConnected);
        }
        match self.pass(buf).await {
            Ok(count) => Ok(count),
            Err(Stop::Io(kind)) => Err(kind),
            Err(Stop::Fault(fault)) => {
                self.link.fault.store(fault.encode(), Ordering::Relaxed);
                self.link.enter(Phase::Over);
                Err(ErrorKind::InvalidData)
            }
        }
    }
}

impl<IO: Write> Write for RecordFilter<'_, IO> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        // After a failure embedded-tls has nothing to send that a server could use.
        if self.link.phase() == Phase::Over {
            return Ok(buf.len());
        }
        match self.io.write(buf).await {
            // embedded-tls uses `write_all`, which panics if a transport writes nothing.
            Ok(0) if !buf.is_empty() => Err(ErrorKind::WriteZero),
            Ok(count) => Ok(count),
            Err(error) => Err(error.kind()),
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        if self.link.phase() == Phase::Over {
            return Ok(());
        }
        self.io.flush().await.map_err(|error| error.kind())
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use embassy_futures::block_on;

    use super::*;

    /// A transport that gives at most `step` bytes at a time, and ends.
    struct Transport<'a> {
        bytes: &'a [u8],
        step: usize,
    }

    impl ErrorType for Transport<'_> {
        type Error = ErrorKind;
    }

    impl Read for Transport<'_> {
        async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
            let count = self.bytes.len().min(self.step).min(buf.len());
            let (now, later) = self.bytes.split_at(count);
            buf[..count].copy_from_slice(now);
            self.bytes = later;
            Ok(count)
        }
    }

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3, high, low], body].concat()
    }

    /// All that comes out of the filter, and why it stopped.
    fn pass(phase: Phase, bytes: &[u8], step: usize) -> (Vec<u8>, Option<TlsError>) {
        let link = Link::new();
        link.enter(phase);
        let mut filter = RecordFilter::new(Transport { bytes, step }, &link);
        let mut passed = vec![];
        // Room for a ServerHello, as embedded-tls has.
        let mut buf = [0; 150];
        while let Ok(count @ 1..) = block_on(filter.read(&mut buf)) {
            passed.extend(&buf[..count]);
        }
        (passed, link.fault())
    }

    fn fault(phase: Phase, kind: u8, body: &[u8]) -> Option<TlsError> {
        pass(phase, &record(kind, body), 1000).1
    }

    const UNEXPECTED: fn(u8) -> Option<TlsError> =
        |kind| Some(TlsError::Record(RecordError::UnexpectedType(kind)));

    #[test]
    fn a_handshake_passes_however_the_bytes_arrive() {
        let hello = record(22, &server_hello::tests::right());
        let encrypted = record(23, &[5; 300]);
        let ccs = record(20, &[1]);
        let sent = [&hello[..], &ccs, &encrypted, &encrypted].concat();
        let wanted = [&hello[..], &encrypted, &encrypted].concat();
        for step in [1, 2, 5, 6, 1000] {
            assert_eq!(pass(Phase::Hello, &sent, step), (wanted.clone(), None));
        }
    }

    #[test]
    fn only_one_message_passes_in_the_clear() {
        let sent = [
            record(22, &server_hello::tests::right()),
            record(22, &[11; 90]),
        ]
        .concat();
        let (passed, fault) = pass(Phase::Hello, &sent, 1000);
        assert_eq!(passed, record(22, &server_hello::tests::right()));
        assert_eq!(fault, UNEXPECTED(22));
    }

    #[test]
    fn after_the_handshake_nothing_in_the_clear_passes() {
        for kind in [20, 21, 22] {
            assert_eq!(fault(Phase::Application, kind, &[1]), UNEXPECTED(kind));
            assert_eq!(fault(Phase::Application, kind, &[1, 0]), UNEXPECTED(kind));
        }
    }

    #[test]
    fn application_records_carry_the_mark_of_their_epoch() {
        let body = [5; 20];
        let (passed, fault) = pass(Phase::Application, &record(23, &body), 1000);
        assert_eq!(fault, None);
        assert_eq!(passed[..5], Epoch::Application.mark(20));
        // A mark from the network means nothing.
        let forged = [&Epoch::Application.mark(20)[..], &body].concat();
        let (passed, _) = pass(Phase::Handshake, &forged, 1000);
        assert_eq!(passed[..5], Epoch::Handshake.mark(20));
    }

    #[test]
    fn record_lengths_keep_to_the_protocol() {
        let too_long = Some(TlsError::Record(RecordError::TooLong));
        let empty = Some(TlsError::Record(RecordError::Empty));
        for phase in [Phase::Handshake, Phase::Application] {
            assert_eq!(fault(phase, 23, &[0; 16_401]), None);
            assert_eq!(fault(phase, 23, &[0; 16_402]), too_long);
            assert_eq!(fault(phase, 23, &[0; 17]), None);
            assert_eq!(fault(phase, 23, &[0; 16]), empty);
            assert_eq!(fault(phase, 23, &[]), empty);
        }
        let hello = server_hello::tests::right();
        assert_eq!(fault(Phase::Hello, 22, &hello), None);
        let not_offered = Some(TlsError::Handshake(HandshakeError::NotOffered));
        assert_eq!(fault(Phase::Hello, 22, &[0; 16_384]), not_offered);
        assert_eq!(fault(Phase::Hello, 22, &[0; 16_385]), too_long);
        assert_eq!(fault(Phase::Hello, 22, &[]), empty);
    }

    #[test]
    fn records_without_data_come_to_an_end() {
        // The filter does not know which of them have data. The connection tells it when it has received some.
        let one = record(23, &[5; 17]);
        let sent = one.repeat(100);
        let (passed, fault) = pass(Phase::Application, &sent, 1000);
        assert_eq!(passed.len(), one.len() * 33);
        assert_eq!(fault, Some(TlsError::Record(RecordError::Idle)));
    }

    #[test]
    fn an_alert_in_the_handshake_is_named() {
        for phase in [Phase::Hello, Phase::Handshake] {
            let alert = HandshakeError::Alert(Alert(40));
            assert_eq!(fault(phase, 21, &[2, 40]), Some(TlsError::Handshake(alert)));
            assert_eq!(fault(phase, 21, &[2]), UNEXPECTED(21));
            assert_eq!(fault(phase, 21, &[2, 40, 0]), UNEXPECTED(21));
        }
    }

    #[test]
    fn what_is_no_tls_is_called_so() {
        for phase in [Phase::Hello, Phase::Handshake, Phase::Application] {
            let (passed, fault) = pass(phase, b"HTTP/1.1 400 Bad Request\r\n", 1000);
            assert!(passed.is_empty());
            assert_eq!(fault, Some(TlsError::Record(RecordError::NotTls(b'H'))));
        }
    }

    #[test]
    fn nothing_is_read_after_a_fault() {
        let sent = [record(20, &[1]), record(23, &[0; 20])].concat();
        let (passed, fault) = pass(Phase::Application, &sent, 1000);
        assert_eq!((passed, fault), (vec![], UNEXPECTED(20)));
    }

    #[test]
    fn an_end_of_the_transport_is_an_end_wherever_it_comes() {
        let sent = [
            record(22, &server_hello::tests::right()),
            record(20, &[1]),
            record(21, &[2, 40]),
        ]
        .concat();
        for length in 0..sent.len() {
            assert_eq!(pass(Phase::Hello, &sent[..length], 1000).1, None);
        }
    }

    #[test]
    fn a_fault_survives_its_way_through_the_link() {
        for fault in [
            Fault::Alert(40),
            Fault::NotTls(72),
            Fault::UnexpectedType(23),
            Fault::TooLong,
            Fault::Empty,
            Fault::ChangeCipherSpec,
            Fault::HandshakeTooLong,
            Fault::Idle,
            Fault::Retry,
            Fault::SplitHello,
            Fault::NotOffered,
        ] {
            assert_eq!(Fault::decode(fault.encode()), Some(fault));
        }
        assert_eq!(Fault::decode(0), None);
    }
}
