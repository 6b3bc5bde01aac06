//! A device that runs 1.0.0, and what a server has for it.

use std::sync::{LazyLock, Mutex};

use s3ota::{Error, Outcome, Timeouts};
use s3ota_sim::{Bootloader, Flash, Operation, Setup};
use scripted_server::bucket::{Object, Response};
use scripted_server::deltas::{Release, firmware_of, noise};
use scripted_server::network::Network;
use scripted_server::{IMPATIENT, Reply, Request};

/// Where it runs.
pub const SLOT_0: u32 = 0x1_0000;
/// Where the new image goes.
pub const SLOT_1: u32 = 0x20_0000;

/// A single attempt: what follows it is another update, as after a restart.
pub const ONCE: Timeouts = Timeouts {
    attempts: 1,
    ..IMPATIENT
};

/// What runs: 120,000 bytes that do not compress.
pub static OLD: LazyLock<Vec<u8>> = LazyLock::new(|| firmware_of("1.0.0", &noise(1, 120_000)));

/// A release that is the old one but for its version and one word.
pub fn similar() -> Release {
    static RELEASE: LazyLock<Release> = LazyLock::new(|| {
        let mut payload = noise(1, 120_000);
        payload[70_000..70_004].copy_from_slice(b"more");
        let image = firmware_of("1.1.0", &payload);
        Release::whole("1.1.0", image).from("1.0.0", &OLD)
    });
    RELEASE.clone()
}

/// A release of which most is new: its delta has more than one section.
pub fn different() -> Release {
    static RELEASE: LazyLock<Release> = LazyLock::new(|| {
        let payload = [noise(2, 90_000), noise(1, 60_000), noise(3, 60_000)].concat();
        let image = firmware_of("1.1.0", &payload);
        let release = Release::whole("1.1.0", image).from("1.0.0", &OLD);
        assert!(release.deltas[0].artefact.bytes.len() > 140_000);
        release
    });
    RELEASE.clone()
}

/// A network whose server answers so.
pub fn network(script: impl Fn(&Request, u16) -> Reply + Send + Sync + 'static) -> Network {
    Network::new(script)
}

/// A network whose server has this release.
pub fn serving(release: Release) -> Network {
    network(move |request, port| release.answer(request, port).into())
}

/// The same, but that the answer to the nth request for what is no manifest is another one.
pub fn spoiling(
    release: Release,
    nth: usize,
    spoil: impl Fn(&Request, Response) -> Reply + Send + Sync + 'static,
) -> Network {
    let asked = Mutex::new(0);
    network(move |request, port| {
        let answer = release.answer(request, port);
        if Object::of(request) == Object::Manifest {
            return answer.into();
        }
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        match *asked == nth + 1 {
            true => spoil(request, answer),
            false => answer.into(),
        }
    })
}

/// An answer that ends after so many bytes of its body.
pub fn cut(answer: &Response, after: usize) -> Reply {
    let head = answer.head().len();
    let mut bytes = answer.bytes();
    bytes.truncate(head + after);
    Reply::SendAndClose(bytes, false)
}

/// What a network was asked for that is no manifest: the way that the device was on, and the first byte that it wanted.
pub fn asked(network: &Network) -> Vec<(String, usize)> {
    let requests = network.requests();
    let images = requests.iter().filter(|it| Object::of(it) == Object::Image);
    images
        .map(|request| {
            let agent = request.field("User-Agent").unwrap();
            let way = agent.rsplit_once(" image=").expect("a way").1;
            let range = request.field("Range").map_or("bytes=0-", |range| range);
            let from = range.strip_prefix("bytes=").unwrap().strip_suffix('-');
            (way.to_owned(), from.unwrap().parse().unwrap())
        })
        .collect()
}

/// What an update came to.
pub struct Updated {
    pub outcome: Result<Outcome, Error>,
    /// The ways that were taken, one after the other.
    pub ways: Vec<String>,
    /// How often the sector of the slot was erased that was erased most, but for the one of the journal.
    pub erased: usize,
}

/// A device that runs 1.0.0 from `ota_0`.
pub struct Field {
    pub flash: Flash,
}

impl Field {
    pub fn new() -> Self {
        let flash = Setup::default().flash(&OLD).unwrap();
        Self {
            flash: Flash::in_memory(flash),
        }
    }

    /// One attempt, as after a restart.
    pub async fn tries(&mut self, network: &Network) -> Updated {
        self.flash.record();
        let before = asked(network).len();
        let outcome = network
            .install(&mut self.flash, SLOT_0, "1.0.0", ONCE, &mut ())
            .await;
        let mut ways: Vec<String> = asked(network).into_iter().map(|(way, _)| way).collect();
        ways.drain(..before);
        ways.dedup();
        let mut sectors = std::collections::HashMap::<u32, usize>::new();
        for operation in self.flash.take_record() {
            if let Operation::Erase { from, to } = operation {
                for sector in (from..to).step_by(4096) {
                    if (SLOT_1..SLOT_1 + 0x1e_f000).contains(&sector) {
                        *sectors.entry(sector).or_default() += 1;
                    }
                }
            }
        }
        Updated {
            outcome,
            ways,
            erased: sectors.into_values().max().unwrap_or(0),
        }
    }

    /// One attempt that must end with the new image.
    pub async fn updates(&mut self, network: &Network) -> Updated {
        let updated = self.tries(network).await;
        let outcome = &updated.outcome;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        updated
    }

    /// Whether the bootloader boots this image.
    pub fn runs(&self, image: &[u8]) -> bool {
        let bytes = self.flash.bytes().to_vec();
        let there = bytes[SLOT_1 as usize..].starts_with(image);
        let app = Bootloader::default().boot(&mut Flash::in_memory(bytes));
        there && app.is_ok_and(|app| app.slot == Some(1))
    }

    /// Whether the old image boots as ever.
    pub fn runs_the_old(&self) -> bool {
        let bytes = self.flash.bytes().to_vec();
        let app = Bootloader::default().boot(&mut Flash::in_memory(bytes));
        app.is_ok_and(|app| app.slot == Some(0))
    }
}
