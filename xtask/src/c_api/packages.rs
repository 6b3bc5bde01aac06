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

/// The package for ESP-IDF.
pub const ESP_IDF: &str = "esp-idf";

const PACKAGES: [Package; 2] = [
    Package {
        name: ESP_IDF,
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

/// Where a package is laid out.
pub fn folder(out: &Path, name: &str) -> PathBuf {
    out.join(name)
}

/// Lays out the packages there are, with the archives there are.
pub fn lay_out(out: &Path, chips: &[(&str, &str, &[&str])]) -> Result<()> {
    let bindings = paths::root().join("bindings");
    for package in PACKAGES {
        let from = bindings.join(package.name);
        if !from.is_dir() {
            continue;
        }
        let to = folder(out, package.name);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_laid_out_where_it_is_looked_for() {
        let out = tempfile::tempdir().unwrap();
        lay_out(out.path(), &[]).unwrap();
        let component = folder(out.path(), ESP_IDF);
        for file in [
            "CMakeLists.txt",
            "Kconfig",
            "include/s3ota.h",
            "src/guard.c",
        ] {
            assert!(component.join(file).is_file(), "{file}");
        }
    }
}
