//! What a TLS server does, in the right order and in any other.
//!
//! The first byte: how the connection is split into pieces. The second: 1 is a device that does not know the time. What the
//! server does follows, step by step (see [`server`]). Keys, random numbers and certificates are the same in every run, so an
//! input always means the same: unless the input changes them, the server's proofs are correct.

pub mod identity;
pub mod server;

use std::sync::LazyLock;

use embassy_futures::block_on;
use embedded_io_async::{Read, Write};
use s3ota_tls::rand_core::{CryptoRng, Error, RngCore, impls};
use s3ota_tls::{Buffers, CertTime, Roots, TlsError, connect};

use crate::input::{Input, Pieces};
use crate::mutate::Random;
use crate::wire::Wire;
use identity::{HOST, IDENTITY};
use server::{Sent, Step};

/// 2030-06-01, in seconds since the Unix epoch.
const NOW: u64 = 1_906_502_400;

/// Connects, sends a request and reads what comes.
pub fn target(data: &[u8]) {
    connects(data);
}

/// The same, and whether the client accepted the server.
pub fn connects(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let pieces = input.byte();
    let time = match input.byte() & 1 {
        0 => CertTime::Known(NOW),
        _ => CertTime::AtLeast(NOW),
    };
    let sent = server::play(&CLIENT_HELLO, input.rest());
    let received = converse(Wire::new(&sent.wire, Pieces::new(pieces)), time);
    check(&received, &sent);
    if pieces != 0 {
        let whole = converse(Wire::new(&sent.wire, Pieces::new(0)), time);
        assert_eq!(received, whole, "the pieces matter");
    }
    received.is_connected
}

/// What the client received.
#[derive(Debug, PartialEq)]
struct Received {
    is_connected: bool,
    data: Vec<u8>,
    /// How the connection ended: properly, or with an error.
    end: Result<(), TlsError>,
}

fn check(received: &Received, sent: &Sent) {
    if let Err(error) = received.end {
        assert!(!error.to_string().is_empty() && !error.code().is_empty());
    }
    if !received.is_connected {
        return assert!(received.end.is_err() && received.data.is_empty());
    }
    assert!(
        sent.has_shown_certificate,
        "connected without the server's certificate"
    );
    assert!(
        sent.has_proven_key,
        "connected without proof of the server's key"
    );
    assert!(sent.has_finished, "connected without the server's Finished");
    assert!(
        sent.data.starts_with(&received.data),
        "data the server did not send"
    );
    if received.end.is_ok() {
        assert!(sent.has_closed, "an end the server did not send");
        assert_eq!(received.data, sent.data, "less than the server sent");
    }
}

fn converse(wire: Wire<'_>, time: CertTime) -> Received {
    let mut received = Received {
        is_connected: false,
        data: Vec::new(),
        end: Ok(()),
    };
    let mut roots = Roots::empty();
    for root in &IDENTITY.roots {
        roots.add_der(root).expect("a root");
    }
    let mut buffers = Box::new(Buffers::new());
    let mut rng = SameNumbers(Random::new(1));
    received.end = block_on(async {
        let mut stream = connect(wire, HOST, &roots, time, &mut rng, &mut buffers).await?;
        received.is_connected = true;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        stream.flush().await?;
        let mut part = [0; 3000];
        loop {
            match stream.read(&mut part).await {
                Ok(0) => {
                    assert_eq!(stream.read(&mut part).await, Ok(0));
                    return Ok(());
                }
                Ok(n) => received.data.extend(&part[..n]),
                Err(error) => {
                    // Whatever the error, every further call fails with it.
                    assert_eq!(stream.read(&mut part).await, Err(error));
                    return Err(error);
                }
            }
        }
    });
    received
}

/// The message that [`converse`] always begins with.
static CLIENT_HELLO: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut roots = Roots::empty();
    roots.add_der(&IDENTITY.roots[0]).expect("a root");
    let mut buffers = Box::new(Buffers::new());
    let mut rng = SameNumbers(Random::new(1));
    let mut wire = Wire::new(&[], Pieces::new(0));
    let connected = block_on(connect(
        &mut wire,
        HOST,
        &roots,
        CertTime::Known(NOW),
        &mut rng,
        &mut buffers,
    ));
    assert!(connected.is_err());
    // One record: after its header, and before the alert that it was useless.
    let written = wire.written();
    let length = u16::from_be_bytes([written[3], written[4]]);
    written[5..][..length.into()].to_vec()
});

/// No secret depends on these numbers.
struct SameNumbers(Random);

impl RngCore for SameNumbers {
    fn next_u32(&mut self) -> u32 {
        self.0.number() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0.number()
    }

    fn fill_bytes(&mut self, into: &mut [u8]) {
        impls::fill_bytes_via_next(self, into);
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(into);
        Ok(())
    }
}

impl CryptoRng for SameNumbers {}

/// A correct server with each kind of chain, and a few that misbehave.
pub fn seeds() -> Vec<Vec<u8>> {
    let hello = Step::Clear(22, server::hello(&identity::public_point()));
    let extensions = Step::handshake(&server::message(8, &[0, 0]));
    let chain = |certificates: &[&[u8]]| Step::handshake(&server::certificate(certificates));
    let with = |certificate: Step, before: &[Step], after: &[Step]| {
        let mut steps = vec![hello.clone(), extensions.clone()];
        steps.extend_from_slice(before);
        steps.extend([
            certificate,
            Step::Proof(Vec::new()),
            Step::Finished(Vec::new()),
        ]);
        steps.extend_from_slice(after);
        steps
    };
    let data = Step::data(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let close = Step::Sealed(vec![1, 0, 21]);
    let answer = [data.clone(), close.clone()];
    let own = &IDENTITY.certificate[..];
    let issued = &IDENTITY.issued_certificate[..];
    let intermediate = &IDENTITY.intermediate[..];
    let ticket = server::message(4, &[&[0; 9][..], &[0, 8], &[7; 8], &[0, 0]].concat());
    let change_cipher_spec = Step::Clear(20, vec![1]);
    let request = Step::handshake(&server::message(13, &[0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]));
    let padded = Step::Sealed([b"padded\x17".as_slice(), &[0; 40]].concat());
    let rsa = &IDENTITY.rsa_certificate[..];
    [
        with(chain(&[own]), &[], &answer),
        with(chain(&[issued, intermediate]), &[], &answer),
        with(
            chain(&[issued, intermediate, &IDENTITY.roots[0], own]),
            &[],
            &answer,
        ),
        with(Step::Issue(IDENTITY.to_be_signed.clone()), &[], &answer),
        with(chain(&[rsa]), &[], &answer),
        with(chain(&[&IDENTITY.roots[1]]), &[], &answer),
        with(
            chain(&[own]),
            &[change_cipher_spec.clone(), request],
            &[padded, data.clone(), close.clone()],
        ),
        with(
            chain(&[own]),
            &[],
            &[
                Step::handshake(&ticket),
                Step::handshake(&[ticket.clone(), ticket].concat()),
                data.clone(),
            ],
        ),
        with(
            chain(&[own]),
            &[],
            &[data.clone(), Step::Clear(21, vec![1, 0]), close.clone()],
        ),
        with(
            chain(&[own]),
            &[],
            &[data, Step::Sealed(vec![2, 80, 21]), close],
        ),
        with(chain(&[own]), &[Step::Sealed(vec![2, 80, 21])], &answer),
        vec![Step::Clear(21, vec![2, 70])],
        vec![Step::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())],
        vec![
            hello.clone(),
            change_cipher_spec,
            Step::Raw(vec![23, 3, 3, 0, 17]),
            Step::Raw(vec![0; 17]),
        ],
    ]
    .into_iter()
    .zip([0u8, 0, 3, 0, 0, 0, 5, 0, 9, 0, 0, 0, 1, 2])
    .map(|(steps, pieces)| {
        let steps = steps.iter().flat_map(Step::emit);
        [pieces, pieces & 1].into_iter().chain(steps).collect()
    })
    .collect()
}

/// Tokens of TLS servers and certificates.
pub const TOKENS: &[&[u8]] = &[
    // Steps.
    b"\x00\x00\x05\x17\x03\x03\x00\x11",
    b"\x01\x00\x02\x14\x01",
    b"\x01\x00\x03\x15\x01\x00",
    b"\x02\x00\x03\x01\x00\x15",
    b"\x02\x00\x01\x17",
    b"\x02\x00\x02\x00\x00",
    b"\x03\x00\x00",
    b"\x04\x00\x00",
    b"\x05",
    // Extensions of the ServerHello, and signature schemes.
    b"\x00\x2b\x00\x02\x03\x04",
    b"\x00\x33\x00\x45\x00\x17\x00\x41\x04",
    b"\x13\x01",
    b"\x13\x02",
    b"\x04\x03",
    b"\x08\x04",
    b"\x04\x01",
    b"\x05\x03",
    // DER: tags with lengths, a date, object identifiers.
    b"\x30\x80",
    b"\x30\x82\x01\x00",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x02\x01\x00",
    b"\x03\x02\x00",
    b"\x05\x00",
    b"\x01\x01\xff",
    b"\x17\x0d490101000000Z",
    b"\x18\x0f20500101000000Z",
    b"\x06\x03\x55\x1d\x11",
    b"\x06\x03\x55\x1d\x13",
    b"\x06\x03\x55\x1d\x0f",
    b"\x06\x03\x55\x1d\x1e",
    b"\x06\x03\x55\x1d\x25",
    b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01",
    b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b",
    b"\x82\x0ebucket.s3.test",
    b"\x82\x09*.s3.test",
    b"\x87\x04\x7f\x00\x00\x01",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seed: usize) -> Received {
        let seed = &seeds()[seed];
        let sent = server::play(&CLIENT_HELLO, &seed[2..]);
        converse(
            Wire::new(&sent.wire, Pieces::new(seed[0])),
            CertTime::Known(NOW),
        )
    }

    #[test]
    fn the_client_believes_the_server_that_does_everything_right() {
        for seed in [0, 1, 2, 3, 6] {
            let received = outcome(seed);
            assert_eq!(received.end, Ok(()), "seed {seed}");
            assert!(received.data.ends_with(b"hello"), "seed {seed}");
        }
    }

    #[test]
    fn the_seeds_reach_every_part_that_refuses() {
        let refused = [4, 5, 7, 8, 9, 10, 11, 12, 13].map(|seed| outcome(seed).end.unwrap_err());
        for (at, error) in refused.iter().enumerate() {
            assert!(!refused[..at].contains(error), "{error:?} twice");
        }
    }
}
