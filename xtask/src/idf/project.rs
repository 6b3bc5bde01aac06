//! The example `ethernet`, as ESP-IDF builds it: in several versions, and with either kind of bootloader.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use serde_json::Value;

use crate::qemu::bootloader::Bootloader;
use crate::qemu::server::PREFIX;
use crate::qemu::{PORT, SERVER};
use crate::{Result, c_api, paths};

const CHIP: &str = "esp32c3";
const FLASH_SIZE: usize = 4 << 20;

/// The components of a build: the example's own and the component, and what they do not require themselves.
const COMPONENTS: &str = "main s3ota faults esp_eth esp_netif esp_event";

/// A release, or what was flashed by cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 2.0.0, flashed by cable.
    First,
    /// 3.0.0, which is sound.
    Next,
    /// 4.0.0, which panics right behind its guard.
    Panics,
    /// 5.0.0, which hangs there.
    Hangs,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::First, Self::Next, Self::Panics, Self::Hangs];

    pub fn version(self) -> &'static str {
        match self {
            Self::First => "2.0.0",
            Self::Next => "3.0.0",
            Self::Panics => "4.0.0",
            Self::Hangs => "5.0.0",
        }
    }

    fn fault(self) -> &'static str {
        match self {
            Self::First | Self::Next => "",
            Self::Panics => "panic",
            Self::Hangs => "hang",
        }
    }
}

/// A project that is built for several releases.
#[derive(Debug)]
pub struct Project {
    idf: PathBuf,
    dir: PathBuf,
    cmake: Vec<String>,
}

impl Project {
    /// Copies example and component to where they are built, with settings for the emulator's network.
    pub fn prepare(
        idf: PathBuf,
        dir: &Path,
        component: &Path,
        authority: &Path,
        release_key: &Path,
        cmake: &[String],
    ) -> Result<Self> {
        let as_it_is = |_: &Path, bytes| Ok(bytes);
        let components = dir.join("components");
        for part in ["include", "lib", "src"] {
            let to = components.join("s3ota").join(part);
            paths::copy(&component.join(part), &to, as_it_is)?;
        }
        for file in ["CMakeLists.txt", "Kconfig"] {
            copy(&component.join(file), &components.join("s3ota").join(file))?;
        }
        let bindings = paths::root().join("bindings/esp-idf");
        paths::copy(
            &bindings.join("test/faults"),
            &components.join("faults"),
            as_it_is,
        )?;
        let example = dir.join("project");
        paths::copy(&bindings.join("examples/ethernet"), &example, as_it_is)?;
        copy(authority, &example.join("ca.pem"))?;
        copy(
            &release_key.with_extension("key.pub"),
            &example.join("release.key.pub"),
        )?;
        let settings = format!(
            "CONFIG_S3OTA_MANIFEST_URL=\"https://{SERVER}:{PORT}/{PREFIX}/stable.json\"\n\
             CONFIG_S3OTA_ROOT_CA_FILE=\"ca.pem\"\n\
             CONFIG_S3OTA_RELEASE_KEY_FILE=\"release.key.pub\"\n\
             CONFIG_S3OTA_TRIAL_MINUTES=2\n\
             CONFIG_COMPILER_OPTIMIZATION_SIZE=y\n"
        );
        paths::write_if_changed(&example.join("sdkconfig.test"), settings.as_bytes())?;
        paths::write_if_changed(
            &example.join("sdkconfig.rollback"),
            b"CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE=y\n",
        )?;
        let this = Self::prepared(idf, dir, cmake);
        // ESP-IDF would keep the defaults of the run before.
        for bootloader in [Bootloader::Stock, Bootloader::AppRollback] {
            let _ = fs::remove_file(this.build_dir(bootloader).join("sdkconfig"));
        }
        Ok(this)
    }

    /// The same, as a run before has prepared it.
    pub fn prepared(idf: PathBuf, dir: &Path, cmake: &[String]) -> Self {
        Self {
            idf,
            dir: dir.to_owned(),
            cmake: cmake.to_vec(),
        }
    }

    /// Where the image of a release is, once it is built.
    pub fn image(&self, kind: Kind) -> PathBuf {
        self.dir.join(format!("{}.bin", kind.version()))
    }

    /// Builds a release, and returns the path of its image.
    pub fn build(&self, kind: Kind, bootloader: Bootloader) -> Result<PathBuf> {
        let version = kind.version();
        println!("building lamp-ethernet {version}, for a bootloader {bootloader}");
        let build = self.build_dir(bootloader);
        let mut defaults = vec!["sdkconfig.defaults", "sdkconfig.qemu", "sdkconfig.test"];
        if bootloader == Bootloader::AppRollback {
            defaults.push("sdkconfig.rollback");
        }
        let define = |name: &str, value: &str| format!("-D{name}={value}");
        let mut command = self.idf_py();
        command
            .arg("-C")
            .arg(self.dir.join("project"))
            .arg("-B")
            .arg(&build)
            .arg(define("IDF_TARGET", CHIP))
            .arg(define("PROJECT_VER", version))
            .arg(define("S3OTA_FAULT", kind.fault()))
            .arg(define("COMPONENTS", COMPONENTS))
            .arg(define("SDKCONFIG_DEFAULTS", &defaults.join(";")))
            .arg(define(
                "SDKCONFIG",
                &build.join("sdkconfig").display().to_string(),
            ))
            .arg(define(
                "EXTRA_COMPONENT_DIRS",
                &self.dir.join("components").display().to_string(),
            ))
            .args(&self.cmake)
            .args(["reconfigure", "build"])
            // The component is here already.
            .env("IDF_COMPONENT_MANAGER", "0")
            .stdin(Stdio::null());
        let log = self.dir.join(format!("build-{version}.log"));
        let output = command
            .output()
            .map_err(|error| format!("idf.py: {error}"))?;
        let text = [output.stdout, output.stderr].concat();
        fs::write(&log, &text).map_err(|error| paths::about(&log, &error))?;
        if !output.status.success() {
            return Err(format!(
                "idf.py failed ({}): its output is in {}, and ends in\n{}",
                output.status,
                log.display(),
                last_lines(&String::from_utf8_lossy(&text), 15)
            ));
        }
        let image = self.image(kind);
        copy(&build.join("lamp-ethernet.bin"), &image)?;
        Ok(image)
    }

    /// The flash of a new device, with 2.0.0 in its first slot: bootloader, partition table and what else ESP-IDF would flash.
    pub fn flash(&self, bootloader: Bootloader) -> Result<Vec<u8>> {
        let build = self.build_dir(bootloader);
        let path = build.join("flasher_args.json");
        let text = fs::read_to_string(&path).map_err(|error| paths::about(&path, &error))?;
        let args: Value =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let files = args["flash_files"]
            .as_object()
            .ok_or_else(|| format!("{} names no files", path.display()))?;
        let mut flash = vec![0xff; FLASH_SIZE];
        for (offset, file) in files {
            let file = build.join(file.as_str().unwrap_or_default());
            // The application of the last build: its place takes 2.0.0.
            let file = match file.ends_with("lamp-ethernet.bin") {
                true => self.image(Kind::First),
                false => file,
            };
            put(&mut flash, offset, &read(&file)?)
                .ok_or_else(|| format!("{} does not fit at {offset}", file.display()))?;
        }
        Ok(flash)
    }

    fn build_dir(&self, bootloader: Bootloader) -> PathBuf {
        self.dir.join(match bootloader {
            Bootloader::Stock => "build",
            Bootloader::AppRollback => "build-app-rollback",
        })
    }

    /// idf.py, in the environment that export.sh has made.
    fn idf_py(&self) -> Command {
        let python = env::var_os("IDF_PYTHON_ENV_PATH").map_or_else(
            || PathBuf::from("python3"),
            |environment| PathBuf::from(environment).join("bin/python"),
        );
        let mut command = Command::new(python);
        command.arg(self.idf.join("tools/idf.py"));
        command
    }
}

/// The component with the archive for the chip, as `cargo xtask c-api` lays it out.
pub fn component() -> Result<PathBuf> {
    let this = env::current_exe().map_err(|error| format!("the path of this program: {error}"))?;
    let status = Command::new(this)
        .args(["c-api", "riscv32imc"])
        .status()
        .map_err(|error| format!("cargo xtask c-api: {error}"))?;
    if !status.success() {
        return Err("cargo xtask c-api riscv32imc failed".to_owned());
    }
    c_api::esp_idf()
}

fn put(flash: &mut [u8], offset: &str, bytes: &[u8]) -> Option<()> {
    let offset = usize::from_str_radix(offset.strip_prefix("0x")?, 16).ok()?;
    let end = offset.checked_add(bytes.len())?;
    flash.get_mut(offset..end)?.copy_from_slice(bytes);
    Some(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| paths::about(path, &error))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    paths::write_if_changed(to, &read(from)?)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_to_their_offsets_and_not_beyond_the_flash() {
        let mut flash = vec![0xff; 8];
        assert_eq!(put(&mut flash, "0x4", &[1, 2]), Some(()));
        assert_eq!(flash, [0xff, 0xff, 0xff, 0xff, 1, 2, 0xff, 0xff]);
        assert_eq!(put(&mut flash, "0x7", &[1, 2]), None);
        assert_eq!(put(&mut flash, "4", &[1]), None);
    }

    #[test]
    fn the_last_lines_are_those_that_tell() {
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
