//! The firmware project that `s3ota new` writes: s3ota's example `simple`, for one chip, in a workspace of its own.
//!
//! `template/` holds copies of the example's files. A test holds them equal to the example, so what a user starts with is what CI
//! builds, measures and runs in the emulator.

mod cfg;
mod name;
mod source;

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use s3ota_image::Chip;

pub use self::source::Source;
use crate::error::CliError;

const MAIN: &str = include_str!("template/main.rs");
const BUILD: &str = include_str!("template/build.rs");
const CONFIG: &str = include_str!("template/config.toml");
const SETTINGS: &str = include_str!("template/cfg.example.toml");
const LOCK: &str = include_str!("template/lock.toml");
const MANIFEST: &str = include_str!("template/manifest.toml");
const README: &str = include_str!("template/README.md");
const GITIGNORE: &str = include_str!("template/gitignore");

/// The manifest URL in `cfg.example.toml`.
const EXAMPLE_URL: &str = "https://my-bucket.s3.eu-central-1.amazonaws.com/simple/stable.json";

/// A firmware project.
#[derive(Debug)]
pub struct Project {
    name: String,
    chip: Chip,
    flash: FlashSize,
    source: Source,
    manifest_url: Option<String>,
}

/// The size of a flash chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FlashSize {
    #[value(name = "2mb", alias = "2")]
    Mb2,
    #[value(name = "4mb", alias = "4")]
    Mb4,
    #[value(name = "8mb", alias = "8")]
    Mb8,
    #[value(name = "16mb", alias = "16")]
    Mb16,
}

impl Project {
    /// A project by this name.
    ///
    /// # Errors
    ///
    /// `project.name`, `project.chip` and `project.url`: there can be no such project.
    pub fn new(
        name: String,
        chip: Chip,
        flash: FlashSize,
        source: Source,
        manifest_url: Option<String>,
    ) -> Result<Self, CliError> {
        name::check(&name, LOCK)?;
        if target(chip).is_none() {
            return Err(no_project_for(chip));
        }
        if let Some(url) = &manifest_url {
            let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
            if !url.starts_with("https://") || !url.chars().all(is_plain) {
                let message = format!("`{url}` is not the URL of a manifest");
                return Err(CliError::new("project.url", message)
                    .hint("it begins with https://, as `s3ota publish` prints it")
                    .usage());
            }
        }
        Ok(Self {
            name,
            chip,
            flash,
            source,
            manifest_url,
        })
    }

    /// The compiler's target.
    pub fn target(&self) -> &'static str {
        target(self.chip).unwrap_or_default()
    }

    /// Whether it is built by Espressif's compiler.
    pub fn is_xtensa(&self) -> bool {
        self.target().starts_with("xtensa")
    }

    /// Its files: path and text.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let mut files = vec![
            (".cargo/config.toml", self.config()),
            (".gitignore", GITIGNORE.to_owned()),
            ("Cargo.lock", LOCK.to_owned()),
            ("Cargo.toml", self.filled(MANIFEST)),
            ("README.md", self.filled(README)),
            ("build.rs", BUILD.to_owned()),
            ("cfg.example.toml", self.settings()),
            ("cfg.toml", self.own_settings()),
            ("partitions.csv", self.flash.partitions()),
            ("src/main.rs", self.main()),
        ];
        if self.is_xtensa() {
            let toolchain = "[toolchain]\nchannel = \"esp\"\n".to_owned();
            files.push(("rust-toolchain.toml", toolchain));
        }
        files
    }

    /// The example's `main.rs` with this name, without what is for other chips and for the emulator.
    fn main(&self) -> String {
        let main = cfg::resolve(MAIN, &[self.chip.name()]);
        main.replace("\"simple {", &format!("\"{} {{", self.name))
    }

    fn filled(&self, template: &str) -> String {
        let toolchain = if self.is_xtensa() {
            "Espressif's compiler. In every new terminal, run `. ~/export-esp.sh`.\n\n```console\n\
             $ cargo install espup --locked && espup install"
                .to_owned()
        } else {
            format!("```console\n$ rustup target add {}", self.target())
        };
        [
            ("{{s3ota}}", self.source.of("crates/s3ota")),
            ("{{s3ota-esp}}", self.source.of("firmware/s3ota-esp")),
            ("{{toolchain}}", toolchain),
            ("{{chip}}", self.chip.name().to_owned()),
            ("{{chip name}}", self.chip.family().to_owned()),
            ("{{flash}}", self.flash.to_string()),
            ("{{target}}", self.target().to_owned()),
            ("{{name}}", self.name.clone()),
        ]
        .into_iter()
        .fold(template.to_owned(), |text, (hole, filling)| {
            text.replace(hole, &filling)
        })
    }

    /// The workspace's `.cargo/config.toml` for one target: its flags, and a runner for this flash.
    fn config(&self) -> String {
        let arch = if self.is_xtensa() {
            "xtensa"
        } else {
            "riscv32"
        };
        let mut text = format!("[build]\ntarget = \"{}\"\n\n", self.target());
        if self.is_xtensa() {
            text += "[unstable]\nbuild-std = [\"core\", \"alloc\"]\n\n";
        }
        for section in sections(CONFIG) {
            let is_other = section.contains("target_arch = ")
                && !section.contains(&format!("target_arch = \"{arch}\""));
            if is_other {
                continue;
            }
            for line in section.lines() {
                if line.starts_with("runner = ") {
                    // Otadata names the slot that boots, and after an update that is not the one that a cable writes.
                    text += "# Otadata is erased: the board boots what is flashed, whatever it has installed over the air.\n";
                    text += &format!(
                        "runner = \"espflash flash --monitor --chip {} --flash-size {} --partition-table partitions.csv \
                         --erase-parts otadata\"",
                        self.chip.name(),
                        self.flash.for_espflash()
                    );
                } else {
                    text += line;
                }
                text.push('\n');
            }
        }
        let sizes = "https://github.com/s3ota/s3ota/blob/main/firmware/SIZES.md";
        text.trim_end().replace("SIZES.md", sizes) + "\n"
    }

    fn settings(&self) -> String {
        let example = EXAMPLE_URL.replace("/simple/", &format!("/{}/", self.name));
        let url = self.manifest_url.as_ref().unwrap_or(&example);
        SETTINGS.replace(EXAMPLE_URL, url)
    }

    /// `cfg.toml` itself.
    fn own_settings(&self) -> String {
        let settings = self.settings();
        let (_, rest) = settings.split_once('\n').unwrap_or_default();
        format!("# Settings for the build. Git ignores this file.\n{rest}")
    }

    /// Writes it into a folder that does not exist or is empty. On an error nothing of it stays there.
    ///
    /// # Errors
    ///
    /// `project.dir` if there is something, `file.io` from the operating system.
    pub fn write(&self, dir: &Path) -> Result<(), CliError> {
        match fs::read_dir(dir) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(taken(dir, "is not empty"));
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(taken(dir, "is not a folder"));
            }
            Err(error) => return Err(CliError::file(dir, &error)),
        }
        let mut written = Written::default();
        for (path, text) in self.files() {
            let path = dir.join(path);
            written
                .file(&path, &text)
                .map_err(|error| CliError::file(&path, &error))?;
        }
        written.is_complete = true;
        Ok(())
    }
}

/// What has been written. All of it is removed again unless it is complete.
#[derive(Default)]
struct Written {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    is_complete: bool,
}

impl Written {
    fn file(&mut self, path: &Path, text: &str) -> std::io::Result<()> {
        let parents = path.ancestors().skip(1);
        let missing: Vec<_> = parents
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder)?;
            self.folders.push(folder.to_owned());
        }
        let mut file = fs::File::create_new(path)?;
        self.files.push(path.to_owned());
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        // The inner ones last made. One with something of somebody else's in it stays.
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn taken(dir: &Path, what: &str) -> CliError {
    let message = format!("{} {what}", dir.display());
    CliError::new("project.dir", message)
        .hint("choose another name, or another folder with --dir")
        .usage()
}

/// The sections of a TOML file, each with the comment before it.
fn sections(text: &str) -> impl Iterator<Item = String> {
    let (mut sections, mut section, mut comment) = (Vec::new(), String::new(), String::new());
    for line in text.lines() {
        if line.starts_with('#') {
            comment += &format!("{line}\n");
            continue;
        }
        if line.starts_with('[') && !section.is_empty() {
            sections.push(std::mem::take(&mut section));
        }
        section += &format!("{}{line}\n", std::mem::take(&mut comment));
    }
    sections.push(section + &comment);
    sections.into_iter()
}

/// The compiler's target for a chip that has Wi-Fi and is supported.
fn target(chip: Chip) -> Option<&'static str> {
    match chip {
        Chip::Esp32C2 | Chip::Esp32C3 => Some("riscv32imc-unknown-none-elf"),
        Chip::Esp32C5 | Chip::Esp32C6 => Some("riscv32imac-unknown-none-elf"),
        Chip::Esp32 => Some("xtensa-esp32-none-elf"),
        Chip::Esp32S2 => Some("xtensa-esp32s2-none-elf"),
        Chip::Esp32S3 => Some("xtensa-esp32s3-none-elf"),
        _ => None,
    }
}

fn no_project_for(chip: Chip) -> CliError {
    let (message, hint) = match chip {
        Chip::Esp32H2 => (
            "the ESP32-H2 has no Wi-Fi, and that is how this firmware reaches its bucket".to_owned(),
            "use s3ota-esp with a network of your own: https://github.com/s3ota/s3ota/tree/main/firmware/s3ota-esp".to_owned(),
        ),
        _ => (
            format!("s3ota does not support the {} yet", chip.family()),
            format!("it supports {}", supported().join(", ")),
        ),
    };
    CliError::new("project.chip", message).hint(hint).usage()
}

/// The names of the chips that there are projects for.
pub fn supported() -> Vec<&'static str> {
    let with_target = Chip::ALL.into_iter().filter(|chip| target(*chip).is_some());
    with_target.map(Chip::name).collect()
}

impl FlashSize {
    fn megabytes(self) -> u32 {
        match self {
            Self::Mb2 => 2,
            Self::Mb4 => 4,
            Self::Mb8 => 8,
            Self::Mb16 => 16,
        }
    }

    /// As `espflash --flash-size` takes it.
    fn for_espflash(self) -> String {
        format!("{}mb", self.megabytes())
    }

    /// The partition table: otadata, and two slots of the same size.
    fn partitions(self) -> String {
        let first = 0x1_0000;
        let slot = (self.megabytes() << 20) / 2 - first;
        let row = |name: &str, offset: u32| {
            format!(
                "{name},     app,  {name},    {:<11}{slot:#x}\n",
                format!("{offset:#x},")
            )
        };
        format!(
            "# {self} of flash: two OTA slots of {} KiB.\n\
             # Name,   Type, SubType,  Offset,   Size\n\
             nvs,       data, nvs,      0x9000,    0x4000\n\
             otadata,   data, ota,      0xd000,    0x2000\n\
             phy_init,  data, phy,      0xf000,    0x1000\n",
            slot / 1024
        ) + &row("ota_0", first)
            + &row("ota_1", first + slot)
    }
}

impl std::fmt::Display for FlashSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MB", self.megabytes())
    }
}

#[cfg(test)]
mod tests;
