//! s3ota and its neighbours under the same power cuts, as a table.
//!
//! A device is brought to a state, its library does something, and power fails before, inside and after each operation that
//! changes otadata. Then: what does the bootloader boot, and can the library update again? See the README.

mod cuts;
mod device;
mod libraries;
mod mmu;
mod report;
mod scenarios;
mod verdict;

use std::process::ExitCode;
use std::{io, panic, thread};

use libraries::{EspBootloaderEspIdf, EspHalOta, S3ota};
use mmu::Mmu;
use scenarios::run;

fn main() -> io::Result<ExitCode> {
    let mmu = Mmu::map()?;
    // A library that panics is counted, not shown.
    panic::set_hook(Box::new(|_| {}));
    let outcomes = thread::scope(|scope| {
        // The neighbours read the MMU's table, and there is only one; s3ota gets its partition as an argument.
        let s3ota = scope.spawn(|| run(&S3ota::new()));
        let neighbours = [
            run(&EspHalOta { mmu }),
            run(&EspBootloaderEspIdf { mmu, resets: true }),
            run(&EspBootloaderEspIdf { mmu, resets: false }),
        ];
        s3ota.join().map(|s3ota| {
            let [a, b, c] = neighbours;
            [s3ota, a, b, c]
        })
    });
    let outcomes = outcomes.map_err(|_| io::Error::other("a thread has panicked"))?;
    report::print(&outcomes);
    let [s3ota, ..] = outcomes;
    Ok(match s3ota.total().harmed {
        0 if s3ota.without_cuts.is_empty() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
