//! A fleet that loses its server together does not come back together.
//!
//! The devices run one after the other, each on its own clock, and are laid over each other afterwards. 100,000 of them, and
//! when they come:
//!
//! ```text
//! cargo test --release -p s3ota-sim --test backoff -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use s3ota::{Agent, Schedule, Timeouts, Updater, Workspace};
use s3ota_sim::Flash;
use scripted_server::bench::{Bench, OLD};
use scripted_server::network::{Fault, Network};
use scripted_server::{Reply, status};
use tokio::time::{Instant, timeout};

/// Devices of a fleet. Without optimisation it is a smaller one.
const FLEET: usize = if cfg!(debug_assertions) {
    10_000
} else {
    100_000
};

/// When devices came: how many in which second.
struct Arrivals {
    fleet: usize,
    seconds: BTreeMap<u64, usize>,
}

impl Arrivals {
    fn new(fleet: &[Vec<Duration>], times: impl Fn(&[Duration]) -> &[Duration]) -> Self {
        let mut seconds = BTreeMap::new();
        for at in fleet.iter().flat_map(|device| times(device)) {
            *seconds.entry(at.as_secs()).or_insert(0) += 1;
        }
        Self {
            fleet: fleet.len(),
            seconds,
        }
    }

    /// The most devices that came within one second, in percent of the fleet.
    fn worst(&self) -> f64 {
        let most = self.seconds.values().max().copied().unwrap_or(0);
        100.0 * most as f64 / self.fleet as f64
    }

    /// Shows them in some twenty lines.
    fn print(&self, title: &str) {
        let (fleet, worst) = (self.fleet, self.worst());
        println!("\n{title}: of {fleet} devices, at most {worst:.2} % in one second");
        let first = self.seconds.keys().next().copied().unwrap_or(0);
        let last = self.seconds.keys().last().copied().unwrap_or(0);
        let step = ((last - first) / 20).max(1);
        let mut lines = BTreeMap::new();
        for (second, devices) in &self.seconds {
            *lines.entry(second / step * step).or_insert(0) += devices;
        }
        let most = lines.values().max().copied().unwrap_or(1);
        for (second, devices) in lines {
            let bar = "#".repeat((devices * 60_usize).div_ceil(most));
            println!("{second:>6} s {devices:>7} {bar}");
        }
    }
}

/// What each device of a fleet does.
#[derive(Clone, Copy)]
enum Does {
    /// One update with its retries.
    Install(Timeouts),
    /// The agent's loop.
    Agent(Schedule, Timeouts),
}

/// Lets every device of a fleet do the same for so long. Returns when each of them connected, counted from its start.
async fn fleet(
    network: &Network,
    devices: usize,
    does: Does,
    time: Duration,
) -> Vec<Vec<Duration>> {
    // Nothing is ever written: one flash and one workspace will do for all.
    let bench = Bench::new();
    let (flash, running) = bench.flash();
    let mut flash = Flash::in_memory(flash.to_vec());
    let mut workspace = Box::new(Workspace::new());
    let mut came = Vec::new();
    for _ in 0..devices {
        let start = Instant::now();
        let (Does::Install(timeouts) | Does::Agent(_, timeouts)) = does;
        let config = network.config(OLD, timeouts);
        let device = network.device(&mut flash, running);
        let mut updater = Updater::new(config, device, &mut workspace);
        match does {
            Does::Install(_) => {
                let _ = timeout(time, updater.install(&mut ())).await;
            }
            Does::Agent(schedule, _) => {
                let mut agent = Agent::new(updater, schedule);
                let _ = timeout(time, agent.run(&mut (), pending)).await;
            }
        }
        let traffic = network.take_traffic();
        came.push(traffic.iter().map(|it| it.opened - start).collect());
    }
    came
}

fn without_server() -> Network {
    Network::new(|_, _| Reply::Send(Vec::new())).with_faults(|_| Some(Fault::Refused))
}

#[tokio::test(start_paused = true)]
async fn retries_of_a_fleet_that_lost_its_server_are_spread() {
    let timeouts = Timeouts::default();
    let does = Does::Install(timeouts);
    let came = fleet(&without_server(), FLEET, does, timeouts.deadline).await;
    assert!(
        came.iter()
            .all(|device| device.len() == usize::from(timeouts.attempts))
    );
    let retries = Arrivals::new(&came, |device| &device[1..]);
    retries.print("Retries after the server was lost");
    assert!(
        retries.worst() < 7.0,
        "{:.2} % in one second",
        retries.worst()
    );
}

#[tokio::test(start_paused = true)]
async fn checks_of_a_fleet_that_was_powered_up_together_drift_apart() {
    let schedule = Schedule::default();
    let timeouts = Timeouts {
        attempts: 1,
        ..Timeouts::default()
    };
    let does = Does::Agent(schedule, timeouts);
    let came = fleet(&without_server(), FLEET, does, 4 * schedule.every).await;
    for (check, most) in [(0, 11.0), (1, 1.0), (2, 1.0)] {
        let arrivals = Arrivals::new(&came, |device| &device[check..=check]);
        arrivals.print(&format!("Check {} after power came back", check + 1));
        assert!(
            arrivals.worst() < most,
            "check {}: {:.2} % in one second",
            check + 1,
            arrivals.worst()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn devices_that_were_all_told_the_same_retry_after_are_spread() {
    // Each of them needs a TLS connection.
    let devices = FLEET / 30;
    let asked = Duration::from_secs(60);
    let network = Network::new(|_, _| Reply::Send(status("503 Slow Down", "Retry-After: 60\r\n")));
    let timeouts = Timeouts {
        attempts: 2,
        ..Timeouts::default()
    };
    let does = Does::Install(timeouts);
    let came = fleet(&network, devices, does, timeouts.deadline).await;
    let again = Arrivals::new(&came, |device| &device[1..]);
    again.print("After a Retry-After of 60 s for all");
    assert!(
        came.iter()
            .all(|device| device.len() == 2 && device[1] >= asked)
    );
    // A small sample is uneven.
    assert!(again.worst() < 10.0, "{:.2} % in one second", again.worst());
}
