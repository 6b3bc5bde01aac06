//! A crowd: thousands of virtual devices in this process, each with the whole library, that update themselves from one server.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use s3ota::simulate::Pauses;
use s3ota::tls::Roots;
use s3ota::{
    Agent, Chip, Config, Device, Error, Hooks, NoUpdate, Schedule, Timeouts, Updater, Workspace,
};
use s3ota_sim::host::{HostClock, HostNetwork, OsRng};
use s3ota_sim::{RunningFirmware, SparseFlash, VirtualDevice};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::error::CliError;

/// What a crowd does.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// How many devices.
    pub devices: u32,
    /// How many of them are awake at once: each has two files open, its own socket and the server's.
    pub at_once: usize,
    /// The pause before a device's first check, and as much at random.
    pub first: Duration,
    /// The flash of each at the start.
    pub flash: Arc<[u8]>,
    /// Where the manifest is.
    pub manifest_url: String,
    /// The CA of its server, in DER.
    pub ca: Arc<[u8]>,
    /// What all must run in the end.
    pub version: String,
}

/// When something happened to each device that it happened to, from the start.
#[derive(Debug, Default)]
pub struct Course {
    /// Its pause was over.
    pub due: Vec<Duration>,
    /// It was awake, and asked.
    pub asked: Vec<Duration>,
    /// The new firmware was on flash.
    pub installed: Vec<Duration>,
    /// The new firmware had proven itself, and nothing more was to be done.
    pub confirmed: Vec<Duration>,
    /// What kept the others from that.
    pub failures: Vec<String>,
    /// The flash of those that have it.
    pub flash: Vec<SparseFlash>,
}

impl Course {
    /// Bytes of flash that are the devices' own.
    pub fn own_bytes(&self) -> u64 {
        self.flash
            .iter()
            .map(|flash| flash.own_bytes() as u64)
            .sum()
    }
}

/// How often a device checks at most: for the update, for its proof, and again where the server was too busy.
const CHECKS: u32 = 12;

/// On a machine that plays all the devices, silence is not the network's fault.
const PATIENT: Timeouts = Timeouts {
    idle: Duration::from_secs(120),
    deadline: Duration::from_secs(60 * 60),
    attempts: 5,
    first_pause: Duration::from_secs(5),
    longest_pause: Duration::from_secs(30),
};

impl Crowd {
    /// Switches all of them on, and waits until each has the version, or has failed. `told` is called each time that one is done.
    pub async fn come(self, told: impl FnMut(u64) + 'static) -> Course {
        let crowd = Rc::new(self);
        let course = Rc::new(RefCell::new(Course::default()));
        let told = Rc::new(RefCell::new(told));
        let gate = Rc::new(Semaphore::new(crowd.at_once));
        let start = Instant::now();
        let devices = LocalSet::new();
        for index in 0..crowd.devices {
            let (crowd, course) = (Rc::clone(&crowd), Rc::clone(&course));
            let (gate, told) = (Rc::clone(&gate), Rc::clone(&told));
            devices.spawn_local(async move {
                let came = crowd.one(index, start, &gate, &course).await;
                let mut course = course.borrow_mut();
                match came {
                    Ok(flash) => {
                        course.confirmed.push(start.elapsed());
                        course.flash.push(flash);
                    }
                    Err(error) => course.failures.push(error.message),
                }
                let done = course.confirmed.len() + course.failures.len();
                (told.borrow_mut())(done as u64);
            });
        }
        devices.await;
        Rc::try_unwrap(course).map_or_else(|course| course.take(), RefCell::into_inner)
    }

    /// One device, from power-on to the new version.
    async fn one(
        &self,
        index: u32,
        start: Instant,
        gate: &Semaphore,
        course: &RefCell<Course>,
    ) -> Result<SparseFlash, CliError> {
        let pauses = Pauses {
            schedule: Schedule {
                first: self.first,
                ..Schedule::default()
            },
            timeouts: PATIENT,
        };
        sleep(pauses.first(&mut OsRng)).await;
        course.borrow_mut().due.push(start.elapsed());
        // It cannot be closed.
        let _awake = gate.acquire().await;
        course.borrow_mut().asked.push(start.elapsed());
        let id = format!("crowd-{index:05}");
        let mut flash = SparseFlash::new(Arc::clone(&self.flash));
        let mut workspace = Box::new(Workspace::new());
        let mut running = boot(&mut flash)?;
        let mut last = None;
        for _ in 0..CHECKS {
            let mut told = Told::default();
            let restarts = self
                .check(&id, &running, &mut flash, &mut workspace, &mut told)
                .await?;
            if restarts {
                course.borrow_mut().installed.push(start.elapsed());
                running = boot(&mut flash)?;
            } else if told.up_to_date && running.version() == self.version {
                return Ok(flash);
            } else if let Some(error) = told.error {
                // As the agent does on trial.
                last = Some(error);
                sleep(pauses.soon(1, &mut OsRng)).await;
            }
        }
        if let Some(error) = last {
            return Err(error.into());
        }
        let message = format!("{id} does not come to run {}", self.version);
        Err(CliError::new("simulate.device", message))
    }

    /// One check. Whether the device is to restart.
    fn check<'c>(
        &'c self,
        id: &'c str,
        running: &'c RunningFirmware,
        flash: &'c mut SparseFlash,
        workspace: &'c mut Workspace,
        told: &'c mut Told,
    ) -> impl Future<Output = Result<bool, CliError>> + 'c {
        // Boxed: ten thousand of them lie in their tasks, and most of the time they only wait.
        Box::pin(async move {
            let mut roots = Roots::empty();
            roots
                .add_der(&self.ca)
                .map_err(|error| CliError::new("tls.certificate", error.to_string()))?;
            let config = Config {
                roots,
                timeouts: PATIENT,
                ..Config::new(
                    &self.manifest_url,
                    running.version(),
                    running.chip().unwrap_or(Chip::Esp32C3),
                    id,
                )
            };
            let device = Device {
                flash,
                running: running.app.partition.offset,
                network: HostNetwork::default(),
                clock: HostClock::new(),
                rng: OsRng,
            };
            let updater = Updater::new(config, device, workspace);
            let mut agent = Agent::new(updater, Schedule::default());
            Ok(agent.once(told).await.is_some())
        })
    }
}

/// Starts the device: the bootloader, and the boot guard.
fn boot(flash: &mut SparseFlash) -> Result<RunningFirmware, CliError> {
    let mut device = VirtualDevice::new(flash.dense());
    let running = device.power_on();
    flash.keep(device.flash());
    running.map_err(|error| CliError::new("device.boot", error.to_string()))
}

/// What a check said.
#[derive(Debug, Default)]
struct Told {
    up_to_date: bool,
    error: Option<Error>,
}

impl Hooks for Told {
    fn on_no_update(&mut self, reason: NoUpdate) {
        self.up_to_date = reason == NoUpdate::UpToDate;
    }

    fn on_error(&mut self, error: &Error, retry_in: Option<Duration>) {
        if retry_in.is_none() {
            self.error = Some(error.clone());
        }
    }
}
