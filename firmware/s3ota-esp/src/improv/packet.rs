//! Packets of Improv Serial, version 1: <https://www.improv-wifi.com/serial/>.
//!
//! `IMPROV`, version, type, length, that many bytes, and the sum of all before it. They share the line with the log, so anything
//! may stand between two of them.

use crate::credentials::{Credentials, counted};

/// What every packet begins with: the name and the version.
const BEGIN: [u8; 7] = *b"IMPROV\x01";

/// The type of a packet from the client.
const COMMAND: u8 = 3;

/// The most data of a command that is kept: credentials take at most 100 bytes.
const KEPT: usize = 128;

/// The most data of a packet.
const LONGEST: usize = 255;

/// The number of a command, which its results repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(pub u8);

impl Number {
    /// "Send Wi-Fi settings".
    pub const CONNECT: Self = Self(1);
    /// "Request current state".
    pub const STATE: Self = Self(2);
    /// "Request device information".
    pub const INFO: Self = Self(3);
    /// "Request scanned Wi-Fi networks".
    pub const SCAN: Self = Self(4);
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Join this network.
    Connect(Credentials),
    /// Say in which state the device is.
    State,
    /// Say what the device is.
    Info,
    /// Say which networks there are.
    Scan,
}

/// What a device says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// No network. Credentials are welcome.
    Ready = 2,
    /// It tries the credentials that it has been given.
    Provisioning = 3,
    /// It is on the network.
    Provisioned = 4,
}

/// Why a command was not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Nothing is wrong (any more).
    None = 0,
    /// The packet is malformed.
    Invalid = 1,
    /// There is no such command here.
    Unknown = 2,
    /// The network cannot be joined with these credentials.
    CannotConnect = 3,
    /// Something else, here: the credentials cannot be saved.
    Other = 0xFF,
}

/// Finds commands in what arrives, byte after byte.
#[derive(Debug)]
pub struct Parser {
    /// How many bytes of the packet there have been.
    seen: usize,
    sum: u8,
    kind: u8,
    length: usize,
    data: [u8; KEPT],
}

impl Parser {
    /// A parser before the first byte.
    pub const fn new() -> Self {
        Self {
            seen: 0,
            sum: 0,
            kind: 0,
            length: 0,
            data: [0; KEPT],
        }
    }

    /// Takes a byte. If a packet from a client ends with it: what it asks for, or what is wrong with it.
    pub fn push(&mut self, byte: u8) -> Option<Result<Command, Fault>> {
        const DATA: usize = BEGIN.len() + 2;
        let at = self.seen;
        self.seen += 1;
        let sum = self.sum;
        self.sum = sum.wrapping_add(byte);
        if let Some(expected) = BEGIN.get(at) {
            if byte != *expected {
                self.restart(byte);
            }
        } else if at == BEGIN.len() {
            self.kind = byte;
            if byte != COMMAND {
                // A device's own packets may be echoed.
                self.restart(byte);
            }
        } else if at < DATA {
            self.length = usize::from(byte);
        } else if at < DATA + self.length {
            if let Some(place) = self.data.get_mut(at - DATA) {
                *place = byte;
            }
        } else {
            let command = self.command(sum == byte);
            *self = Self::new();
            return Some(command);
        }
        None
    }

    /// Begins anew. The byte may be the first of a packet: no other one in `IMPROV` is an `I`.
    fn restart(&mut self, byte: u8) {
        let is_first = byte == BEGIN[0];
        self.seen = usize::from(is_first);
        self.sum = if is_first { byte } else { 0 };
    }

    fn command(&self, is_whole: bool) -> Result<Command, Fault> {
        let kept = self.data.get(..self.length.min(KEPT)).unwrap_or_default();
        let (number, rest) = kept.split_first().ok_or(Fault::Invalid)?;
        if !is_whole {
            return Err(Fault::Invalid);
        }
        match Number(*number) {
            Number::CONNECT => {
                let (payload, after) = counted(rest).ok_or(Fault::Invalid)?;
                let credentials = counted(payload).and_then(|(ssid, rest)| {
                    let (password, rest) = counted(rest)?;
                    rest.is_empty().then(|| Credentials::new(ssid, password))?
                });
                match credentials {
                    Some(credentials) if after.is_empty() => Ok(Command::Connect(credentials)),
                    _ => Err(Fault::Invalid),
                }
            }
            Number::STATE => Ok(Command::State),
            Number::INFO => Ok(Command::Info),
            Number::SCAN => Ok(Command::Scan),
            _ => Err(Fault::Unknown),
        }
    }
}

/// A packet to send.
pub type Packet = heapless::Vec<u8, { 1 + BEGIN.len() + 2 + LONGEST + 2 }>;

/// A packet with the device's state.
pub fn state(state: State) -> Packet {
    packet(1, &[state as u8])
}

/// A packet with an error, or with its end.
pub fn fault(fault: Fault) -> Packet {
    packet(2, &[fault as u8])
}

/// A packet with the result of a command: texts, as many as there is room for.
pub fn result(of: Number, texts: &[&[u8]]) -> Packet {
    let mut data: heapless::Vec<u8, LONGEST> = heapless::Vec::new();
    let _ = data.extend_from_slice(&[of.0, 0]);
    for text in texts {
        let Ok(length) = u8::try_from(text.len()) else {
            break;
        };
        if data.len() + 1 + text.len() > LONGEST {
            break;
        }
        let _ = data.push(length);
        let _ = data.extend_from_slice(text);
    }
    let length = u8::try_from(data.len().saturating_sub(2)).unwrap_or_default();
    if let Some(place) = data.get_mut(1) {
        *place = length;
    }
    packet(4, &data)
}

/// The bytes of a packet, on a line of its own: clients look for packets where a line begins.
fn packet(kind: u8, data: &[u8]) -> Packet {
    let mut packet = Packet::new();
    let length = u8::try_from(data.len()).unwrap_or_default();
    let head = [kind, length];
    let parts = [&BEGIN[..], &head, data];
    let sum = parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    for part in [&b"\n"[..], &BEGIN, &head, data, &[sum, b'\n']] {
        let _ = packet.extend_from_slice(part);
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet as the client of improv-wifi.com makes it (`writePacketToStream` of its SDK).
    fn from_client(kind: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = [&b"IMPROV\x01"[..], &[kind, data.len() as u8], data].concat();
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        bytes.extend([sum, b'\n']);
        bytes
    }

    fn parse(bytes: &[u8]) -> Vec<Result<Command, Fault>> {
        let mut parser = Parser::new();
        bytes.iter().filter_map(|byte| parser.push(*byte)).collect()
    }

    fn home() -> Credentials {
        Credentials::new(b"home", b"secret").unwrap()
    }

    const CONNECT: &[u8] = b"\x01\x0c\x04home\x06secret";

    #[test]
    fn commands_of_a_client_are_understood_wherever_they_stand() {
        let one = from_client(3, CONNECT);
        assert_eq!(parse(&one), [Ok(Command::Connect(home()))]);
        let mut line = b"INFO - IIMPROIMPROV\x02\x03\n IMP".to_vec();
        for (number, command) in [(2, Command::State), (3, Command::Info), (4, Command::Scan)] {
            line.extend(from_client(3, &[number, 0]));
            line.extend(b"\xFF\x00I");
            assert_eq!(parse(&line).last(), Some(&Ok(command)));
        }
        assert_eq!(parse(&line).len(), 3);
    }

    #[test]
    fn what_is_wrong_with_a_packet_is_said() {
        let mut damaged = from_client(3, CONNECT);
        damaged[14] ^= 1;
        for (bytes, fault) in [
            (damaged, Fault::Invalid),
            (from_client(3, &[]), Fault::Invalid),
            (from_client(3, &[5, 0]), Fault::Unknown),
            (from_client(3, &[9; 255]), Fault::Unknown),
            // No name; a length too large, too small; something after the password; too long.
            (from_client(3, b"\x01\x02\x00\x00"), Fault::Invalid),
            (
                from_client(3, b"\x01\x0d\x04home\x06secret"),
                Fault::Invalid,
            ),
            (
                from_client(3, b"\x01\x0b\x04home\x06secret"),
                Fault::Invalid,
            ),
            (
                from_client(3, b"\x01\x0d\x04home\x06secret!"),
                Fault::Invalid,
            ),
            (
                from_client(3, b"\x01\x0c\x04home\x07secret"),
                Fault::Invalid,
            ),
            (
                from_client(3, &[&[1, 253][..], &[33; 253]].concat()),
                Fault::Invalid,
            ),
        ] {
            assert_eq!(parse(&bytes), [Err(fault)], "{bytes:?}");
        }
        // From a device, or of another version: not for us.
        assert_eq!(parse(&from_client(1, &[2])), []);
        assert_eq!(parse(b"IMPROV\x02\x03\x02\x02\x00\x00\n"), []);
    }

    #[test]
    fn after_any_junk_the_next_packet_is_understood() {
        let mut random = 7u32;
        for round in 0..2000 {
            let mut parser = Parser::new();
            for _ in 0..round % 400 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let byte = (random >> 24) as u8;
                // Often something that looks like a packet.
                let byte = if byte < 128 {
                    b"IMPROV\x01\x03"[usize::from(byte % 8)]
                } else {
                    byte
                };
                let _ = parser.push(byte);
            }
            // What is begun takes at most a packet's length to end.
            for _ in 0..LONGEST + 1 {
                let _ = parser.push(0);
            }
            let packet = from_client(3, CONNECT);
            let last = packet.iter().filter_map(|byte| parser.push(*byte)).last();
            assert_eq!(last, Some(Ok(Command::Connect(home()))));
        }
    }

    #[test]
    fn packets_of_the_device_are_as_the_protocol_says() {
        assert_eq!(&state(State::Ready)[..], b"\nIMPROV\x01\x01\x01\x02\xE2\n");
        assert_eq!(
            &fault(Fault::CannotConnect)[..],
            b"\nIMPROV\x01\x02\x01\x03\xE4\n"
        );
        let info = result(Number::INFO, &[b"lamp", b"1.0.0"]);
        assert_eq!(&info[1..10], b"IMPROV\x01\x04\x0d");
        assert_eq!(&info[10..23], b"\x03\x0b\x04lamp\x051.0.0");
        assert_eq!(&result(Number::CONNECT, &[])[8..12], [4, 2, 1, 0]);
        // What does not fit is left out, whole.
        let long = result(Number::SCAN, &[&[b'x'; 200], &[b'y'; 100]]);
        assert_eq!((long[9], long[11]), (203, 201));
    }
}
