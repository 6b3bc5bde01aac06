//! The emulated chip: a process that is started, listened to, and killed.

use std::io::{BufRead, BufReader};
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
    listener: Option<JoinHandle<()>>,
}

impl Chip {
    /// Switches a chip with this flash on. What it says on its serial port goes to `out`.
    pub fn power_on(
        emulator: &Path,
        flash: &Path,
        server: SocketAddr,
        out: Sender<(Who, String)>,
    ) -> Result<Self> {
        fs::metadata(flash).map_err(|error| paths::about(flash, &error))?;
        let this =
            env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
        let relay = format!("cmd:{} relay {server}", this.display());
        let mut process = Command::new(emulator)
            .args(["-nographic", "-M", MACHINE])
            .arg("-drive")
            .arg(format!("file={},if=mtd,format=raw", flash.display()))
            .arg("-nic")
            .arg(format!(
                "user,model=open_eth,guestfwd=tcp:{SERVER}:{PORT}-{relay}"
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
        let listener = thread::spawn(move || {
            let mut lines = BufReader::new(serial);
            let mut line = Vec::new();
            while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
                let text = plain(String::from_utf8_lossy(&line).trim_end());
                line.clear();
                if !text.is_empty() && out.send((Who::Device, text)).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            listener: Some(listener),
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
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.kill();
    }
}
