//! The emulated chip: a process that is started, listened to, and killed.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::{env, fs};

use super::transcript::{Who, plain};
use super::{PORT, SERVER};
use crate::{Result, paths, toolchain};

const PROGRAM: &str = "qemu-system-riscv32";
const MACHINE: &str = "esp32c3";

/// Names the flash operation in which the emulator cuts the power, counted from 1 since power on, and after how many bytes.
const CUT_AT: &str = "FLASH_CUT_AT";

/// Names the file to which it adds a line for each flash operation.
const LOG: &str = "FLASH_LOG";

/// What it exits with when it has cut the power inside an operation.
const CUT: i32 = 75;

/// So many lines the emulator may say about itself. The rest is read, so that it is not held up, and forgotten.
const REMARKS: usize = 200;

/// The emulator to use, if there is one: `S3OTA_QEMU`, else the one in `PATH` if it knows the chip.
pub fn find() -> Result<Option<PathBuf>> {
    if let Some(named) = env::var_os("S3OTA_QEMU") {
        let named = PathBuf::from(named);
        return if knows_the_chip(&named) {
            Ok(Some(named))
        } else {
            Err(format!(
                "S3OTA_QEMU is {}, which has no {MACHINE} machine",
                named.display()
            ))
        };
    }
    Ok(toolchain::in_path(PROGRAM).filter(|path| knows_the_chip(path)))
}

fn knows_the_chip(emulator: &Path) -> bool {
    let output = Command::new(emulator).args(["-M", "help"]).output();
    output.is_ok_and(|output| {
        let machines = String::from_utf8_lossy(&output.stdout);
        machines
            .lines()
            .any(|line| line.split(' ').next() == Some(MACHINE))
    })
}

/// Where in the flash operations the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutAt {
    /// Which one, counted from 1 since power on.
    pub operation: u64,
    /// So many of its bytes are done.
    pub bytes: u32,
}

/// What an emulator that can do so does about flash operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlashSwitches<'a> {
    /// It cuts the power inside this one.
    pub cut_at: Option<CutAt>,
    /// It adds a line for each to this file.
    pub log: Option<&'a Path>,
}

/// How an emulator ended without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has cut the power inside a flash operation, as it was told.
    CutInside,
    /// By itself, which an emulated chip does not.
    ByItself(ExitStatus),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CutInside => f.write_str("the power was cut inside a flash operation"),
            Self::ByItself(status) => write!(f, "the emulator has ended by itself ({status})"),
        }
    }
}

/// A chip that is switched on. It is switched off as by pulling the plug, when this is dropped at the latest.
#[derive(Debug)]
pub struct Chip {
    process: Child,
    listeners: Vec<JoinHandle<()>>,
}

impl Chip {
    /// Switches a chip with this flash on. What it says on its serial port goes to `out`, and what its emulator says.
    pub fn power_on(
        emulator: &Path,
        flash: &Path,
        server: SocketAddr,
        out: Sender<(Who, String)>,
    ) -> Result<Self> {
        Self::power_on_with(emulator, flash, FlashSwitches::default(), server, out)
    }

    /// The same, with switches of the emulator.
    pub fn power_on_with(
        emulator: &Path,
        flash: &Path,
        switches: FlashSwitches<'_>,
        server: SocketAddr,
        out: Sender<(Who, String)>,
    ) -> Result<Self> {
        fs::metadata(flash).map_err(|error| paths::about(flash, &error))?;
        let this =
            env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
        // The network takes the command apart as a shell does, and options take commas for their own.
        let relay = format!("cmd:'{}' relay {server}", this.display());
        let option = |text: &str| text.replace(',', ",,");
        let mut command = Command::new(emulator);
        // Not those of whoever calls us.
        command.env_remove(CUT_AT).env_remove(LOG);
        if let Some(CutAt { operation, bytes }) = switches.cut_at {
            command.env(CUT_AT, format!("{operation}:{bytes}"));
        }
        if let Some(log) = switches.log {
            command.env(LOG, log);
        }
        let mut process = command
            .args(["-nographic", "-M", MACHINE])
            .arg("-drive")
            .arg(format!(
                "file={},if=mtd,format=raw",
                option(&flash.display().to_string())
            ))
            .arg("-nic")
            .arg(format!(
                "user,model=open_eth,guestfwd=tcp:{SERVER}:{PORT}-{}",
                option(&relay)
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| paths::about(emulator, &error))?;
        let serial = process
            .stdout
            .take()
            .ok_or("the emulator has no serial port")?;
        let remarks = process.stderr.take().ok_or("the emulator has no stderr")?;
        let listeners = vec![
            listen(serial, Who::Device, usize::MAX, out.clone()),
            listen(remarks, Who::Emulator, REMARKS, out),
        ];
        Ok(Self { process, listeners })
    }

    /// How the emulator ended, if it did without being asked to.
    pub fn has_ended(&mut self) -> Option<End> {
        let status = self.process.try_wait().ok()??;
        // What it said last.
        self.stop_listening();
        Some(match status.code() {
            Some(CUT) => End::CutInside,
            _ => End::ByItself(status),
        })
    }

    /// Cuts the power. What the chip had written is in its flash, and nothing else.
    pub fn cut_power(mut self) {
        self.kill();
    }

    fn kill(&mut self) {
        // SIGKILL: the emulator cannot tidy up. It may be dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.stop_listening();
    }

    fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

/// Passes on the first `count` lines, and reads to the end.
fn listen(
    from: impl Read + Send + 'static,
    who: Who,
    count: usize,
    out: Sender<(Who, String)>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        let mut left = count;
        while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            let text = plain(String::from_utf8_lossy(&line).trim_end());
            line.clear();
            if text.is_empty() || left == 0 {
                continue;
            }
            left -= 1;
            // Nobody may be there to hear it any more.
            let _ = out.send((who, text));
        }
    })
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.kill();
    }
}
