//! An emulated device: a chip with its flash and its server. Scenarios publish to it, read its output, and cut its power.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::emulator::{Chip, CutAt, End, Switches};
use super::scenarios::Bench;
use super::server::{Artefacts, Published, Server};
use super::transcript::{Part, Who};
use super::variants::Variant;
use super::wire::Wire;
use crate::{Result, paths};

/// How long to wait for an event. The first check comes after at most 20 seconds; the rest is for slow emulators.
pub const TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How often to check whether the emulator still runs, while it prints nothing.
pub const LOOK: Duration = Duration::from_millis(500);

/// What a device prints during an update, and when.
pub type Course = Vec<(Instant, String)>;

/// One device with its server and its part of the transcript.
pub struct Device<'b> {
    bench: &'b Bench,
    part: Part<'b>,
    server: Server,
    /// Between it and its server.
    wire: Wire,
    /// Its flash.
    pub flash: PathBuf,
    chip: Option<Chip>,
    said: Receiver<(Who, String)>,
    saying: Sender<(Who, String)>,
    /// Its output.
    pub course: Course,
}

impl<'b> Device<'b> {
    /// A device with a copy of this flash, powered off.
    pub fn new(bench: &'b Bench, heading: &str, flash: &Path, live: bool) -> Result<Self> {
        let (saying, said) = channel();
        let name: String = heading
            .chars()
            .map_while(|c| match c {
                ':' => None,
                ' ' => Some('-'),
                c => Some(c),
            })
            .collect();
        let copy = bench.dir.join(format!("{name}.bin"));
        fs::copy(flash, &copy).map_err(|error| paths::about(flash, &error))?;
        let server = Server::start(&bench.s3ota, &bench.authority, saying.clone())?;
        let address = match bench.chain {
            Some(chain) => chain.serve(server.address, &bench.authority)?,
            None => server.address,
        };
        Ok(Self {
            bench,
            part: bench.transcript.part(heading, live),
            wire: Wire::to(address)?,
            server,
            flash: copy,
            chip: None,
            said,
            saying,
            course: Course::new(),
        })
    }

    /// Publishes a firmware, signed if the firmware itself has the key.
    pub fn publish(&mut self, variant: Variant) -> Result<()> {
        self.publish_with(variant, Artefacts::Nothing).map(drop)
    }

    /// The same, with what makes its image in fewer bytes.
    pub fn publish_with(&mut self, variant: Variant, artefacts: Artefacts) -> Result<Published> {
        let Bench {
            images,
            release_key,
            ..
        } = self.bench;
        let key = variant.has_key.then_some(release_key.as_path());
        let image = &images[variant.name];
        let published = self.server.publish(image, key, artefacts)?;
        let signed = if key.is_some() { ", signed" } else { "" };
        let Published { version, size } = &published;
        let note = format!(
            "published {version} ({}), {size} bytes{signed}",
            variant.name
        );
        self.part.line(Who::Harness, note);
        Ok(published)
    }

    /// Publishes what is on its flash.
    pub fn publish_own(&mut self) -> Result<()> {
        let Published { version, .. } = self.server.publish_flashed(&self.flash)?;
        let note = format!("published {version}, which it has");
        self.part.line(Who::Harness, note);
        Ok(())
    }

    /// Adds a note to its part of the transcript.
    pub fn note(&mut self, text: &str) {
        self.part.line(Who::Harness, text);
    }

    /// What has passed between it and its server, TLS and all.
    pub fn bytes_on_the_wire(&self) -> u64 {
        self.wire.bytes()
    }

    /// Publishes an image by its name, signed.
    pub fn publish_image(&mut self, name: &str) -> Result<()> {
        let Bench {
            images,
            release_key,
            ..
        } = self.bench;
        let image = images
            .get(name)
            .ok_or_else(|| format!("there is no image {name}"))?;
        let Published { version, .. } =
            self.server
                .publish(image, Some(release_key), Artefacts::Nothing)?;
        let note = format!("published {version}, signed");
        self.part.line(Who::Harness, note);
        Ok(())
    }

    /// Powers it on.
    pub fn power_on(&mut self) -> Result<()> {
        self.power_on_with(Switches::default())
    }

    /// Powers it on, with options for the emulator.
    pub fn power_on_with(&mut self, switches: Switches<'_>) -> Result<()> {
        let note = match switches.cut_at {
            Some(CutAt { operation, bytes }) => {
                format!("power on, until {bytes} bytes of flash operation {operation} are done")
            }
            None => "power on".to_owned(),
        };
        self.part.line(Who::Harness, note);
        let Bench { emulator, .. } = self.bench;
        let chip = Chip::power_on_with(
            emulator,
            &self.flash,
            switches,
            self.wire.address,
            self.saying.clone(),
        )?;
        self.chip = Some(chip);
        Ok(())
    }

    /// Sends bytes to its serial port, if it was powered on for that.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.chip.as_mut().ok_or("it is off")?.send(bytes)
    }

    /// The bytes of its stack that were used, if it was powered on with a painted one.
    pub fn stack_used(&self) -> Result<usize> {
        self.chip.as_ref().ok_or("it is off")?.stack_used()
    }

    /// Cuts its power.
    pub fn cut_power(&mut self) {
        if let Some(chip) = self.chip.take() {
            chip.cut_power();
        }
        // What it printed before the cut.
        self.listen(Duration::ZERO);
        self.part.line(Who::Harness, "power cut");
    }

    /// Waits until the device prints one of these.
    pub fn expect(&mut self, texts: &[&str]) -> Result<String> {
        self.expect_in(TIMEOUT, texts)
    }

    /// The same, with a timeout.
    pub fn expect_in(&mut self, timeout: Duration, texts: &[&str]) -> Result<String> {
        match self.wait(timeout, texts) {
            Heard::Said(line) => Ok(line),
            Heard::Ended(end) => Err(end.to_string()),
            Heard::Nothing => Err(format!(
                "the device did not say `{}` in {} s",
                texts.join("` or `"),
                timeout.as_secs()
            )),
        }
    }

    /// Waits until the device prints one of these, or its emulator ends.
    pub fn wait(&mut self, timeout: Duration, texts: &[&str]) -> Heard {
        let until = Instant::now() + timeout;
        loop {
            match self.next(until.min(Instant::now() + LOOK)) {
                Some((Who::Device, line)) if texts.iter().any(|text| line.contains(text)) => {
                    return Heard::Said(line);
                }
                Some(_) => {}
                None => {
                    if let Some(end) = self.chip.as_mut().and_then(Chip::has_ended) {
                        // Its last output.
                        self.listen(Duration::ZERO);
                        return Heard::Ended(end);
                    }
                    if Instant::now() >= until {
                        return Heard::Nothing;
                    }
                }
            }
        }
    }

    /// Reads its output for a while.
    pub fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while self.next(end).is_some() {}
    }

    /// The next output, until `end`.
    fn next(&mut self, end: Instant) -> Option<(Who, String)> {
        let left = end.saturating_duration_since(Instant::now());
        match self.said.recv_timeout(left) {
            Ok((who, line)) => {
                self.part.line(who, &line);
                if who == Who::Device {
                    self.course.push((Instant::now(), line.clone()));
                }
                Some((who, line))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Powers the device off. Its flash must now have this version, confirmed, in this slot.
    pub fn settled(&mut self, version: &str, slot: u64) -> Result<()> {
        // The confirmation is written before it is printed.
        self.cut_power();
        let flash = inspect(self.bench, &self.flash)?;
        let in_force = flash["otadata"]
            .as_array()
            .and_then(|sectors| sectors.iter().find(|sector| sector["in_force"] == true))
            .cloned()
            .unwrap_or_default();
        let boots = &flash["boots"];
        let text = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
        let seen = format!(
            "{} boots from slot {}, otadata says {}",
            text(&boots["version"]),
            boots["slot"],
            text(&in_force["state"])
        );
        self.part.line(Who::Harness, &seen);
        if boots["version"] != version || boots["slot"] != slot || in_force["state"] != "valid" {
            return Err(format!(
                "{version} should be confirmed in slot {slot}, but {seen}"
            ));
        }
        Ok(())
    }

    /// What boots from the flash by the bootloader's rules. Something must.
    pub fn boots(&mut self) -> Result<String> {
        let flash = inspect(self.bench, &self.flash)?;
        let version = flash["boots"]["version"].as_str().map(str::to_owned);
        version.ok_or_else(|| format!("nothing boots: {}", flash["problem"]))
    }

    /// Ends the scenario and its part of the transcript.
    pub fn end<T>(mut self, outcome: Result<T>) -> Result<T> {
        self.cut_power();
        if let Err(problem) = &outcome {
            self.part.line(Who::Harness, format!("FAILED: {problem}"));
        }
        self.part.end(outcome.is_err());
        outcome
    }
}

/// The result of waiting for a device.
#[derive(Debug)]
pub enum Heard {
    /// It printed what was awaited.
    Said(String),
    /// Its emulator has ended.
    Ended(End),
    /// Neither.
    Nothing,
}

/// What `s3ota inspect` says about a flash.
pub fn inspect(bench: &Bench, flash: &Path) -> Result<Value> {
    let output = Command::new(&bench.s3ota)
        .args(["inspect", "--json"])
        .arg(flash)
        .output()
        .map_err(|error| paths::about(&bench.s3ota, &error))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        format!(
            "`s3ota inspect` says: {}",
            String::from_utf8_lossy(&output.stdout)
        )
    })
}
