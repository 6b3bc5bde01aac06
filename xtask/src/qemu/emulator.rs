//! The emulated chip: a process that is started, read from, and killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::{env, fs};

use super::improv;
use super::transcript::{Who, plain};
use super::{PORT, SERVER};
use crate::{Result, paths, toolchain};

const PROGRAM: &str = "qemu-system-riscv32";
const MACHINE: &str = "esp32c3";

/// The flash operation in which the emulator cuts the power, counted from 1 since power-on, and after how many bytes.
const CUT_AT: &str = "FLASH_CUT_AT";

/// The file to which it adds a line for each flash operation.
const LOG: &str = "FLASH_LOG";

/// Its exit status after it has cut the power inside an operation.
const CUT: i32 = 75;

/// How many lines of the emulator's own output are kept. The rest is read, so that it does not block, and dropped.
const REMARKS: usize = 200;

/// The emulator to use, if there is one: `S3OTA_QEMU`, or the one in `PATH` if it supports the chip.
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
    /// Which one, counted from 1 since power-on.
    pub operation: u64,
    /// How many of its bytes are done.
    pub bytes: u32,
}

/// What the emulator does besides. Those on flash operations it must support.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switches<'a> {
    /// It cuts the power inside this one.
    pub cut_at: Option<CutAt>,
    /// It adds a line for each to this file.
    pub log: Option<&'a Path>,
    /// It paints this stack before the chip starts.
    pub stack: Option<StackRegion>,
    /// Whether something will be sent to the chip over its serial port.
    pub typing: bool,
}

/// Where a firmware's main stack lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackRegion {
    pub start: u32,
    pub length: u32,
}

/// What a stack is painted with.
const PAINT: u8 = 0xa5;
/// Where esp-hal writes its guard: 4 bytes, so far above the lowest address.
const GUARD: usize = 4096;

/// The bytes of a stack that were used, from its painted contents.
fn used(contents: &[u8]) -> Option<usize> {
    let above_guard = contents.get(GUARD + 4..)?;
    let untouched = above_guard
        .iter()
        .take_while(|byte| **byte == PAINT)
        .count();
    Some(above_guard.len() - untouched)
}

/// How an emulator ended without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has cut the power inside a flash operation, as requested.
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

/// A chip that is powered on. Its power is cut when this is dropped, at the latest.
#[derive(Debug)]
pub struct Chip {
    process: Child,
    /// What is written here arrives at its serial port.
    keyboard: Option<ChildStdin>,
    listeners: Vec<JoinHandle<()>>,
    /// Its painted stack, and the socket of the emulator's monitor.
    painted: Option<(StackRegion, PathBuf)>,
}

impl Chip {
    /// Powers a chip with this flash on. Its serial output goes to `out`, and its emulator's output too.
    pub fn power_on(
        emulator: &Path,
        flash: &Path,
        server: SocketAddr,
        out: Sender<(Who, String)>,
    ) -> Result<Self> {
        Self::power_on_with(emulator, flash, Switches::default(), server, out)
    }

    /// The same, with options for the emulator.
    pub fn power_on_with(
        emulator: &Path,
        flash: &Path,
        switches: Switches<'_>,
        server: SocketAddr,
        out: Sender<(Who, String)>,
    ) -> Result<Self> {
        fs::metadata(flash).map_err(|error| paths::about(flash, &error))?;
        let this =
            env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
        // The network option splits the command like a shell, and options are separated by commas.
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
        let painted = switches
            .stack
            .map(|region| (region, flash.with_extension("monitor")));
        if let Some((region, monitor)) = &painted {
            let paint = flash.with_extension("paint");
            fs::write(&paint, vec![PAINT; region.length as usize])
                .map_err(|error| paths::about(&paint, &error))?;
            command.arg("-device").arg(format!(
                "loader,file={},addr={:#x},force-raw=on",
                option(&paint.display().to_string()),
                region.start
            ));
            // Beside another monitor, -nographic no longer puts the serial port on the terminal in this way.
            command.args(["-serial", "mon:stdio"]);
            command.arg("-qmp").arg(format!(
                "unix:{},server=on,wait=off",
                option(&monitor.display().to_string())
            ));
        }
        if switches.typing {
            // Without the monitor, for which one of the characters would be.
            command.args(["-serial", "stdio", "-monitor", "none"]);
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
            .stdin(match switches.typing {
                true => Stdio::piped(),
                false => Stdio::null(),
            })
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
        Ok(Self {
            keyboard: process.stdin.take(),
            process,
            listeners,
            painted,
        })
    }

    /// Sends bytes to its serial port, if that was asked for.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let keyboard = self
            .keyboard
            .as_mut()
            .ok_or("nothing is to be sent to it")?;
        keyboard
            .write_all(bytes)
            .and_then(|()| keyboard.flush())
            .map_err(|error| format!("the emulator's serial port: {error}"))
    }

    /// The bytes of its painted stack that were used since power-on.
    pub fn stack_used(&self) -> Result<usize> {
        let (region, monitor) = self.painted.as_ref().ok_or("the stack is not painted")?;
        let contents = monitor.with_extension("stack");
        let save = serde_json::json!({
            "execute": "pmemsave",
            "arguments": { "val": region.start, "size": region.length, "filename": contents },
        });
        let about = |error| paths::about(monitor, &error);
        let mut stream = UnixStream::connect(monitor).map_err(about)?;
        let mut answers = BufReader::new(stream.try_clone().map_err(about)?).lines();
        for command in [serde_json::json!({ "execute": "qmp_capabilities" }), save] {
            writeln!(stream, "{command}").map_err(about)?;
            // Events come in between.
            let answer = answers
                .by_ref()
                .map_while(std::result::Result::ok)
                .find(|line| line.contains("\"return\"") || line.contains("\"error\""));
            if answer.is_none_or(|answer| answer.contains("\"error\"")) {
                return Err(format!("the emulator's monitor does not do {command}"));
            }
        }
        let bytes = fs::read(&contents).map_err(|error| paths::about(&contents, &error))?;
        used(&bytes).ok_or_else(|| "the stack is smaller than its guard".to_owned())
    }

    /// How the emulator ended, if it was not asked to.
    pub fn has_ended(&mut self) -> Option<End> {
        let status = self.process.try_wait().ok()??;
        // Its last output.
        self.stop_listening();
        Some(match status.code() {
            Some(CUT) => End::CutInside,
            _ => End::ByItself(status),
        })
    }

    /// Cuts the power. The flash has what the chip had written, and nothing else.
    pub fn cut_power(mut self) {
        self.kill();
    }

    fn kill(&mut self) {
        // SIGKILL: the emulator cannot clean up. It may have ended already.
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

/// Forwards the first `count` lines, and reads to the end.
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
            let text = improv::said(&line)
                .unwrap_or_else(|| plain(String::from_utf8_lossy(&line).trim_end()));
            line.clear();
            if text.is_empty() || left == 0 {
                continue;
            }
            left -= 1;
            // The receiver may be gone.
            let _ = out.send((who, text));
        }
    })
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_painted_stack_tells_what_was_used_and_its_guard_is_not() {
        let mut contents = vec![PAINT; 16 * 1024];
        contents[GUARD..GUARD + 4].fill(0);
        assert_eq!(used(&contents), Some(0));
        contents[10_000] = 1;
        assert_eq!(used(&contents), Some(16 * 1024 - 10_000));
        assert_eq!(used(&[PAINT; 100]), None);
    }
}
