//! The emulated chip: a process that is started, listened to, and killed.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::{env, fs};

use super::transcript::{Who, plain};
use super::{PORT, SERVER};
use crate::{Result, paths, toolchain};

const PROGRAM: &str = "qemu-system-riscv32";
const MACHINE: &str = "esp32c3";

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
        fs::metadata(flash).map_err(|error| paths::about(flash, &error))?;
        let this =
            env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
        // The network takes the command apart as a shell does, and options take commas for their own.
        let relay = format!("cmd:'{}' relay {server}", this.display());
        let option = |text: &str| text.replace(',', ",,");
        let mut process = Command::new(emulator)
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

    /// How the emulator ended, if it did so by itself: an emulated chip goes on for good.
    pub fn has_ended(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok()??;
        // What it said last.
        self.stop_listening();
        Some(format!("the emulator has ended by itself ({status})"))
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
