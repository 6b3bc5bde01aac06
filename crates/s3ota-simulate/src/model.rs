//! What is not the library's: the network, the hardware and the people. Every number is an assumption, with its reason.

/// The assumptions. `docs/simulate.md` has them as a table, with their sources.
///
/// All shares are of the devices, and all of them are drawn for each device by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// Devices that are sold during the simulation, and appear at a random moment.
    pub sold_later: f64,
    /// Devices that fall silent for ever, at a random moment: thrown away, another Wi-Fi, a dead supply.
    pub falls_silent: f64,
    /// Devices that are off once for one to three and a half weeks: a summer house, a battery, a shelf.
    pub sleeps_for_weeks: f64,
    /// Devices that are off for eight hours each night: on a switched socket.
    pub off_at_night: f64,
    /// Devices with a weak link: some [`weak_rate`](Self::weak_rate), and a break every [`weak_breaks`](Self::weak_breaks) seconds.
    pub weak_link: f64,
    /// Bytes a second of an ordinary link, from and to.
    pub rate: (f64, f64),
    /// Seconds between two breaks of an ordinary link, on average.
    pub breaks: f64,
    /// Bytes a second of a weak link, from and to.
    pub weak_rate: (f64, f64),
    /// Seconds between two breaks of a weak link, on average.
    pub weak_breaks: f64,
    /// How often an ordinary connection fails before the request: the resolver, or the way to the server.
    pub connect_fails: f64,
    /// The same of a weak link.
    pub weak_connect_fails: f64,
    /// How often S3 answers 503 Slow Down.
    pub busy: f64,
    /// Devices whose owner sends no id.
    pub without_id: f64,
    /// Devices whose owner sends a keyed hash of the id.
    pub hashed_id: f64,
    /// Devices with flash that cannot be erased any more: every update ends in `flash.io`.
    pub worn_flash: f64,
    /// Devices on which a release that crashes does crash: a batch with another sensor.
    pub odd_batch: f64,
    /// How many of these crash only when the network is up, so that the trial shows in the log.
    pub crash_is_late: f64,
    /// Devices whose bootloader does app rollback.
    pub app_rollback: f64,
    /// Seconds from power-on or restart to the network: boot, Wi-Fi, DHCP, from and to.
    pub until_network: (f64, f64),
}

impl Default for Model {
    fn default() -> Self {
        Self {
            sold_later: 0.06,
            falls_silent: 0.03,
            sleeps_for_weeks: 0.05,
            off_at_night: 0.08,
            weak_link: 0.06,
            rate: (25_000.0, 90_000.0),
            breaks: 3.0 * 60.0 * 60.0,
            weak_rate: (3_000.0, 12_000.0),
            weak_breaks: 25.0,
            connect_fails: 0.002,
            weak_connect_fails: 0.08,
            busy: 0.000_02,
            without_id: 0.01,
            hashed_id: 0.03,
            worn_flash: 0.004,
            odd_batch: 0.12,
            crash_is_late: 0.4,
            app_rollback: 0.3,
            until_network: (3.0, 9.0),
        }
    }
}

impl Model {
    /// Devices that are always on, on good links, with nothing wrong.
    pub fn without_misfortune() -> Self {
        Self {
            sold_later: 0.0,
            falls_silent: 0.0,
            sleeps_for_weeks: 0.0,
            off_at_night: 0.0,
            weak_link: 0.0,
            breaks: f64::INFINITY,
            connect_fails: 0.0,
            busy: 0.0,
            without_id: 0.0,
            hashed_id: 0.0,
            worn_flash: 0.0,
            odd_batch: 0.0,
            ..Self::default()
        }
    }

    /// Bytes of a delta from the release before, for an image of this size: what IPv6 in the example `simple` costs, 44 of 756 KB
    /// (`docs/delta.md`).
    pub fn delta_size(image: u32) -> u32 {
        (u64::from(image) * 58 / 1000) as u32
    }

    /// Bytes of the compressed image (`docs/delta.md`: 401 of 723 KB).
    pub fn compressed_size(image: u32) -> u32 {
        (u64::from(image) * 555 / 1000) as u32
    }
}
