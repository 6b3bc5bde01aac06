//! What a device does with Improv commands, whatever its radio, its flash and its serial line are.

use core::cell::Cell;
use core::future::pending;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;

use super::packet::{self, Command, Fault, Number, Parser, State};
use crate::credentials::Credentials;

/// A Wi-Fi station.
pub trait Radio {
    /// Leaves the network it is on and joins this one. Returns whether it is on it, with an address, in a time that a person waits.
    async fn join(&mut self, credentials: &Credentials) -> bool;

    /// Waits until the network is lost.
    async fn lost(&mut self);

    /// A pause before the next attempt.
    async fn pause(&mut self);
}

/// Where the credentials are kept.
pub trait Store {
    /// The saved credentials.
    async fn load(&mut self) -> Option<Credentials>;

    /// Saves credentials; whether they are saved now.
    async fn save(&mut self, credentials: &Credentials) -> bool;
}

/// A serial line.
pub trait Line {
    /// Waits for bytes; how many there are.
    async fn read(&mut self, bytes: &mut [u8]) -> usize;

    /// Sends a packet.
    fn write(&mut self, packet: &[u8]);
}

/// What a device says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Info<'a> {
    /// The firmware's name.
    pub firmware: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The chip, as `ESP32-C3`.
    pub chip: &'a str,
    /// The device's own name.
    pub device: &'a str,
}

/// Keeps the radio on the network of the saved credentials, or of `otherwise` while there are none, and takes new ones from the line.
///
/// New credentials are tried at once. They are saved if the network can be joined with them. If not, the client is told, and the
/// device goes back to the credentials that it has.
pub async fn provision(
    radio: &mut impl Radio,
    store: &mut impl Store,
    line: &mut impl Line,
    info: &Info<'_>,
    otherwise: Option<Credentials>,
) {
    let shared = Shared {
        state: Cell::new(State::Ready),
        wanted: Signal::new(),
        tried: Signal::new(),
    };
    join(
        shared.keep_joined(radio, store, otherwise),
        shared.answer(line, info),
    )
    .await;
}

/// What both sides know.
struct Shared {
    state: Cell<State>,
    /// Credentials to try.
    wanted: Signal<NoopRawMutex, Credentials>,
    /// How that has ended.
    tried: Signal<NoopRawMutex, Fault>,
}

impl Shared {
    async fn keep_joined(
        &self,
        radio: &mut impl Radio,
        store: &mut impl Store,
        otherwise: Option<Credentials>,
    ) {
        let mut current = store.load().await.or(otherwise);
        loop {
            let stays = self.stay_joined(radio, current.as_ref());
            let new = match select(self.wanted.wait(), stays).await {
                Either::First(new) => new,
                Either::Second(()) => continue,
            };
            self.state.set(State::Provisioning);
            let fault = if !radio.join(&new).await {
                Fault::CannotConnect
            } else if !store.save(&new).await {
                Fault::Other
            } else {
                Fault::None
            };
            if fault == Fault::None {
                current = Some(new);
                self.state.set(State::Provisioned);
            } else {
                self.state.set(State::Ready);
            }
            self.tried.signal(fault);
            if fault == Fault::None {
                match select(self.wanted.wait(), radio.lost()).await {
                    // Taken up at the loop's beginning.
                    Either::First(again) => self.wanted.signal(again),
                    Either::Second(()) => self.state.set(State::Ready),
                }
            }
        }
    }

    /// Joins the network and stays until it is lost.
    async fn stay_joined(&self, radio: &mut impl Radio, credentials: Option<&Credentials>) {
        let Some(credentials) = credentials else {
            return pending().await;
        };
        if radio.join(credentials).await {
            self.state.set(State::Provisioned);
            radio.lost().await;
        }
        self.state.set(State::Ready);
        radio.pause().await;
    }

    async fn answer(&self, line: &mut impl Line, info: &Info<'_>) {
        let mut parser = Parser::new();
        let mut bytes = [0; 32];
        loop {
            let count = line.read(&mut bytes).await;
            for byte in bytes.iter().take(count) {
                match parser.push(*byte) {
                    None => {}
                    Some(Ok(command)) => self.obey(command, line, info).await,
                    Some(Err(fault)) => line.write(&packet::fault(fault)),
                }
            }
        }
    }

    async fn obey(&self, command: Command, line: &mut impl Line, info: &Info<'_>) {
        // A command ends an earlier error.
        line.write(&packet::fault(Fault::None));
        match command {
            Command::Connect(credentials) => {
                line.write(&packet::state(State::Provisioning));
                self.wanted.signal(credentials);
                match self.tried.wait().await {
                    Fault::None => {
                        line.write(&packet::state(State::Provisioned));
                        line.write(&packet::result(Number::CONNECT, &[]));
                    }
                    fault => {
                        line.write(&packet::fault(fault));
                        line.write(&packet::state(self.state.get()));
                    }
                }
            }
            Command::State => {
                let state = self.state.get();
                line.write(&packet::state(state));
                if state == State::Provisioned {
                    line.write(&packet::result(Number::STATE, &[]));
                }
            }
            Command::Info => {
                let Info {
                    firmware,
                    version,
                    chip,
                    device,
                } = info;
                let texts = [firmware, version, chip, device].map(|text| text.as_bytes());
                line.write(&packet::result(Number::INFO, &texts));
            }
            // A client then asks for the name.
            Command::Scan => line.write(&packet::fault(Fault::Unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use embassy_futures::block_on;

    use super::*;

    /// Networks with their passwords, and which one the radio is on.
    struct Air<'a> {
        joined: &'a Cell<Option<&'static str>>,
    }

    const NETWORKS: [(&str, &str); 2] = [("home", "secret"), ("new", "secret too")];

    impl Radio for Air<'_> {
        async fn join(&mut self, credentials: &Credentials) -> bool {
            self.joined.set(None);
            let found = NETWORKS.iter().find(|(ssid, password)| {
                credentials.ssid() == ssid.as_bytes()
                    && credentials.password() == password.as_bytes()
            });
            self.joined.set(found.map(|(ssid, _)| *ssid));
            embassy_futures::yield_now().await;
            found.is_some()
        }

        async fn lost(&mut self) {
            pending().await
        }

        async fn pause(&mut self) {
            pending().await
        }
    }

    #[derive(Default)]
    struct Kept {
        credentials: Option<Credentials>,
        is_broken: bool,
    }

    impl Store for Kept {
        async fn load(&mut self) -> Option<Credentials> {
            self.credentials.clone()
        }

        async fn save(&mut self, credentials: &Credentials) -> bool {
            if !self.is_broken {
                self.credentials = Some(credentials.clone());
            }
            !self.is_broken
        }
    }

    /// What a client sends, one packet after the other, and what the device answers. At the end it hangs up.
    struct Client<'a> {
        sends: VecDeque<Vec<u8>>,
        heard: Vec<u8>,
        hung_up: &'a Signal<NoopRawMutex, ()>,
    }

    impl Line for Client<'_> {
        async fn read(&mut self, bytes: &mut [u8]) -> usize {
            // The device has time to go on.
            for _ in 0..10 {
                embassy_futures::yield_now().await;
            }
            let Some(mut next) = self.sends.pop_front() else {
                self.hung_up.signal(());
                return pending().await;
            };
            if next.len() > bytes.len() {
                self.sends.push_front(next.split_off(bytes.len()));
            }
            bytes[..next.len()].copy_from_slice(&next);
            next.len()
        }

        fn write(&mut self, packet: &[u8]) {
            self.heard.extend_from_slice(packet);
        }
    }

    fn command(data: &[u8]) -> Vec<u8> {
        let mut bytes = [&b"IMPROV\x01\x03"[..], &[data.len() as u8], data].concat();
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        bytes.push(sum);
        bytes
    }

    fn connect(ssid: &str, password: &str) -> Vec<u8> {
        let counted = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
        let settings = [counted(ssid), counted(password)].concat();
        command(&[&[1, settings.len() as u8][..], &settings].concat())
    }

    /// The packets that a device answers to these commands, the network it is on then, and what it has saved.
    fn talk(
        mut store: Kept,
        otherwise: Option<Credentials>,
        commands: &[Vec<u8>],
    ) -> (
        Vec<(u8, Vec<u8>)>,
        Option<&'static str>,
        Option<Credentials>,
    ) {
        let info = Info {
            firmware: "lamp",
            version: "1.0.0",
            chip: "ESP32-C3",
            device: "lamp 7",
        };
        let (joined, hung_up) = (Cell::new(None), Signal::new());
        let mut client = Client {
            sends: commands.iter().cloned().collect(),
            heard: Vec::new(),
            hung_up: &hung_up,
        };
        let mut radio = Air { joined: &joined };
        block_on(select(
            provision(&mut radio, &mut store, &mut client, &info, otherwise),
            hung_up.wait(),
        ));
        let mut packets = Vec::new();
        let mut rest = &client.heard[..];
        while let [
            b'\n',
            b'I',
            b'M',
            b'P',
            b'R',
            b'O',
            b'V',
            1,
            kind,
            length,
            after @ ..,
        ] = rest
        {
            let (data, after) = after.split_at(usize::from(*length));
            packets.push((*kind, data.to_vec()));
            rest = &after[2..];
        }
        assert!(rest.is_empty(), "{rest:?}");
        // The ends of errors are no news.
        packets.retain(|packet| *packet != (2, vec![0]));
        (packets, joined.get(), store.credentials)
    }

    fn home() -> Credentials {
        Credentials::new(b"home", b"secret").unwrap()
    }

    fn with(credentials: Option<Credentials>) -> Kept {
        Kept {
            credentials,
            is_broken: false,
        }
    }

    #[test]
    fn a_new_device_takes_credentials_and_keeps_them() {
        let commands = [
            command(&[2, 0]),
            command(&[3, 0]),
            connect("home", "secret"),
            command(&[2, 0]),
        ];
        let (packets, joined, saved) = talk(with(None), None, &commands);
        let info = b"\x03\x1b\x04lamp\x051.0.0\x08ESP32-C3\x06lamp 7".to_vec();
        assert_eq!(
            packets,
            [
                (1, vec![2]),
                (4, info),
                (1, vec![3]),
                (1, vec![4]),
                (4, vec![1, 0]),
                (1, vec![4]),
                (4, vec![2, 0]),
            ]
        );
        assert_eq!((joined, saved), (Some("home"), Some(home())));
    }

    #[test]
    fn a_wrong_password_is_answered_and_the_old_credentials_stay() {
        let wrong = [connect("new", "wrong")];
        let (packets, joined, saved) = talk(with(Some(home())), None, &wrong);
        assert_eq!(packets, [(1, vec![3]), (2, vec![3]), (1, vec![2])]);
        assert_eq!((joined, saved), (Some("home"), Some(home())));
        // The next ones are taken.
        let both = [connect("new", "wrong"), connect("new", "secret too")];
        let (_, joined, saved) = talk(with(Some(home())), None, &both);
        assert_eq!(joined, Some("new"));
        assert_eq!(saved.unwrap().ssid(), b"new");
    }

    #[test]
    fn what_cannot_be_saved_is_not_used() {
        let store = Kept {
            credentials: Some(home()),
            is_broken: true,
        };
        let (packets, joined, saved) = talk(store, None, &[connect("new", "secret too")]);
        assert_eq!(packets, [(1, vec![3]), (2, vec![0xFF]), (1, vec![2])]);
        assert_eq!((joined, saved), (Some("home"), Some(home())));
    }

    #[test]
    fn credentials_of_development_are_used_and_not_saved() {
        let (packets, joined, saved) = talk(with(None), Some(home()), &[command(&[2, 0])]);
        assert_eq!(packets, [(1, vec![4]), (4, vec![2, 0])]);
        assert_eq!((joined, saved), (Some("home"), None));
        let new = Credentials::new(b"new", b"secret too");
        let (_, joined, _) = talk(with(new), Some(home()), &[]);
        assert_eq!(joined, Some("new"));
    }

    #[test]
    fn a_scan_and_junk_are_answered_with_an_error() {
        let mut damaged = connect("home", "secret");
        damaged[12] ^= 1;
        let (packets, joined, saved) = talk(
            with(None),
            None,
            &[command(&[4, 0]), damaged, vec![0xFF; 100]],
        );
        assert_eq!(packets, [(2, vec![2]), (2, vec![1])]);
        assert_eq!((joined, saved), (None, None));
    }
}
