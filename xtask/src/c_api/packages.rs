//! The packages for ESP-IDF and Arduino: their sources, the header, and the archives in the places where each looks for them.
//! Arduino's has the port of ESP-IDF's component among its sources: `bindings/arduino/stage` puts it there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, paths};

/// A package: its folder in `bindings/` and in the output, where its header is, and where the archives of a chip are.
struct Package {
    name: &'static str,
    header: &'static str,
    archives: &'static str,
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "esp-idf",
        header: "include",
        archives: "lib",
    },
    // By the rules of precompiled Arduino libraries: src/{build.mcu}/.
    Package {
        name: "arduino",
        header: "src",
        archives: "src",
    },
];

/// Lays out the packages there are, with the archives there are.
pub fn lay_out(out: &Path, chips: &[(&str, &str, &[&str])]) -> Result<()> {
    let bindings = paths::root().join("bindings");
    for package in PACKAGES {
        let from = bindings.join(package.name);
        if !from.is_dir() {
            continue;
        }
        let to = out.join(package.name);
        let stage = from.join("stage");
        if stage.is_file() {
            let staged = Command::new("sh").arg(&stage).arg(&to).status();
            if !staged.is_ok_and(|status| status.success()) {
                return Err(format!("{} failed: it needs sh", stage.display()));
            }
        } else {
            paths::copy(&from, &to, |_, bytes| Ok(bytes))?;
        }
        let header = read(&bindings.join("c/include/s3ota.h"))?;
        paths::write_if_changed(&to.join(package.header).join("s3ota.h"), &header)?;
        let mut with = Vec::new();
        for (archive, _, chips) in chips {
            let archive = out.join(archive).join("libs3ota.a");
            if !archive.is_file() {
                continue;
            }
            let bytes = read(&archive)?;
            for chip in *chips {
                let place = to.join(package.archives).join(chip).join("libs3ota.a");
                paths::write_if_changed(&place, &bytes)?;
                with.push(*chip);
            }
        }
        println!("{}: for {}", to.display(), with.join(", "));
    }
    Ok(())
}

fn read(path: &PathBuf) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| paths::about(path, &error))
}
