//! What `s3ota demo --keep` leaves behind: a folder in which everything goes on by hand.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use p256::ecdsa::SigningKey;
use s3ota_devserver::{DevServer, Options};
use serde_json::json;

use crate::commands::keygen;
use crate::error::CliError;
use crate::firmware::Firmware;
use crate::keys::{self, Signer};
use crate::output::{self, Output};
use crate::s3::Credentials;
use crate::s3::development::{secret_of_folder, start};
use crate::state::rollback::RollbackState;

// The files of the folder.
const SERVER: &str = "server";
const KEY: &str = "release.key";
const PUBLIC_KEY: &str = "release.key.pub";
const FLASH: &str = "flash.bin";
const STATE: &str = "state";
const ENVIRONMENT: &str = "env";
const README: &str = "README.md";

/// The port of `s3ota serve`.
const PORT: u16 = 9443;

/// The folder.
pub struct Kept {
    dir: PathBuf,
}

impl Kept {
    /// Makes the folder. One that exists must be empty.
    pub fn new(dir: PathBuf) -> Result<Self, CliError> {
        let refused = |problem: &str| {
            let message = format!("{} {problem}", dir.display());
            CliError::new("demo.keep", message)
                .hint("name a folder that does not exist yet with --keep")
        };
        let failed = |error| CliError::file(&dir, &error);
        if dir.exists() && !dir.is_dir() {
            return Err(refused("is not a folder"));
        }
        fs::create_dir_all(&dir).map_err(failed)?;
        if fs::read_dir(&dir).map_err(failed)?.next().is_some() {
            return Err(refused("is not empty, and nothing in it is replaced"));
        }
        Ok(Self { dir })
    }

    /// Starts the server on its folder: on the port of `s3ota serve`, or on any other if that is in use. Manifests contain it.
    pub async fn serve(&self) -> Result<(DevServer, Credentials), CliError> {
        let dir = self.dir.join(SERVER);
        let options = |port: u16| -> Result<Options, CliError> {
            Ok(Options {
                secret_key: secret_of_folder(&dir)?,
                dir: Some(dir.clone()),
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                ..Options::default()
            })
        };
        match start(options(PORT)?).await {
            Ok(started) => Ok(started),
            Err(_) => start(options(0)?).await,
        }
    }

    /// Keeps the release key, as `s3ota keygen` does.
    pub fn key(&self, secret: &SigningKey) -> Result<(), CliError> {
        keys::write_private(&self.dir.join(KEY), secret, None)?;
        let public = keygen::pem(&Signer::from_key(secret.clone()).key())?;
        keys::write_public(&self.dir.join(PUBLIC_KEY), &public)
    }

    /// Keeps the firmwares.
    pub fn firmwares<'a>(
        &self,
        firmwares: impl IntoIterator<Item = &'a Firmware>,
    ) -> Result<(), CliError> {
        firmwares
            .into_iter()
            .try_for_each(|firmware| self.write(&file_name(firmware), &firmware.bytes))
    }

    /// The device's flash.
    pub fn flash(&self) -> PathBuf {
        self.dir.join(FLASH)
    }

    /// The rollback state of the host that signs.
    pub fn state(&self) -> Result<RollbackState, CliError> {
        RollbackState::open_in(self.dir.join(STATE))
    }

    /// Writes down how to go on, and tells it.
    pub fn tell(
        &self,
        endpoint: &str,
        access_key: &str,
        next: &Firmware,
        out: &Output,
    ) -> Result<(), CliError> {
        self.write(ENVIRONMENT, environment(endpoint, access_key).as_bytes())?;
        let port = endpoint.rsplit(':').next().unwrap_or_default();
        let serve = format!("s3ota serve --dir {SERVER} --listen 127.0.0.1:{port}");
        let by_hand = by_hand(endpoint, &file_name(next));
        self.write(README, readme(&serve, &by_hand).as_bytes())?;

        let dir = output::for_shell(&self.dir.display().to_string());
        let listing = |commands: &str| format!("  {}", commands.replace('\n', "\n  "));
        out.say(format_args!(
            "\n{}\n\nand in another terminal:\n\n{}\n\n{} says the same.",
            listing(&format!("cd {dir}\n{serve}")),
            listing(&format!("cd {dir}\n{by_hand}")),
            self.dir.join(README).display()
        ));
        out.event(
            "kept",
            json!({ "dir": self.dir.display().to_string(), "serve": serve, "by_hand": by_hand }),
        );
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CliError> {
        let path = self.dir.join(name);
        fs::write(&path, bytes).map_err(|error| CliError::file(&path, &error))
    }
}

/// What the commands on the bucket need to know of the server. The secret key stays in the server's folder.
fn environment(endpoint: &str, access_key: &str) -> String {
    format!(
        "# For a POSIX shell, in this folder: . ./{ENVIRONMENT}\n\
         export AWS_ENDPOINT_URL={endpoint}\n\
         export AWS_CA_BUNDLE=\"$PWD/{SERVER}/ca.pem\"\n\
         export AWS_ACCESS_KEY_ID={access_key}\n\
         export AWS_SECRET_ACCESS_KEY=\"$(cat \"$PWD/{SERVER}/secret-key\")\"\n\
         export AWS_REGION=us-east-1\n\
         export S3OTA_STATE=\"$PWD/{STATE}\"\n"
    )
}

/// The commands to go on with, one a line.
fn by_hand(endpoint: &str, next: &str) -> String {
    format!(
        ". ./{ENVIRONMENT}\n\
         s3ota status s3://firmware/lamp --release-key {PUBLIC_KEY}\n\
         s3ota publish {next} s3://firmware/lamp --key {KEY}\n\
         s3ota verify s3://firmware/lamp --release-key {PUBLIC_KEY}\n\
         s3ota device run {FLASH} --once --release-key {PUBLIC_KEY} \\\n    \
             --manifest-url {endpoint}/firmware/lamp/stable.json\n\
         s3ota inspect {FLASH}\n\
         s3ota history s3://firmware/lamp"
    )
}

fn readme(serve: &str, by_hand: &str) -> String {
    format!(
        "\
# What `s3ota demo` left behind

| | |
|---|---|
| `{SERVER}/` | the S3 server's bucket, CA and secret key |
| `*.bin` | firmwares; they are valid, but do not run on a chip |
| `{FLASH}` | the flash of the virtual device |
| `{KEY}`, `{PUBLIC_KEY}` | the release key that the device trusts, not encrypted: for nothing but this demo |
| `{STATE}/` | what this host has signed |
| `{ENVIRONMENT}` | how to reach the server |

Start the server again, in this folder, and leave it running:

```sh
{serve}
```

Go on in another terminal, also in this folder. This publishes the next release, and the device takes it:

```sh
{by_hand}
```

Kill `s3ota device run` at any moment: that is a power cut. Run it again, and the device carries on.
"
    )
}

/// A file name for a firmware, of its project and version.
fn file_name(firmware: &Firmware) -> String {
    let descriptor = firmware.image.descriptor.as_ref();
    let project = descriptor.map_or("firmware", |it| it.project_name());
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') => c,
        _ => '_',
    };
    let name: String = format!("{project}-{}.bin", firmware.version());
    // No name is an option or hidden.
    let name = name.trim_start_matches(['-', '.']);
    name.chars().map(plain).collect()
}
