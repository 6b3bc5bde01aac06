//! `s3ota keygen` and `s3ota pubkey`: a new release key, and the public part of any.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use pkcs8::Document;
use pkcs8::der::pem::LineEnding;
use s3ota_manifest::ReleaseKey;
use serde_json::json;

use crate::error::CliError;
use crate::keys::{self, KeySource, PassphraseArgs, Signer};
use crate::output::{Output, hex};
use crate::s3::AwsArgs;

/// Create a release key
///
/// The private key goes to FILE, encrypted with a passphrase, and the public key to FILE.pub. Nothing is overwritten. The public
/// key is also printed as Rust source: build it into the firmware as one of its `release_keys`, and the devices take only what
/// it has signed.
///
/// Anyone who has the private key and its passphrase can release. Without them nobody can, not even you: keep a copy in another
/// place.
///
/// The file is PKCS#8 in PEM, P-256, encrypted with scrypt and AES-256. `openssl` can read it, and s3ota can read what
/// `openssl` writes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota keygen
  s3ota keygen ~/keys/lamp.key
  s3ota publish lamp.bin s3://my-bucket/lamp --key ~/keys/lamp.key")]
pub struct KeygenArgs {
    /// The file to create
    #[arg(default_value = "release.key")]
    pub file: PathBuf,

    /// Do not encrypt the key: anyone who can read the file, or a backup of it, can release firmware to your devices
    #[arg(long, conflicts_with = "passphrase_file")]
    pub no_passphrase: bool,

    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Print a public key
///
/// From a file with a private or a public key, or from a key in AWS KMS.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota pubkey release.key
  s3ota pubkey kms:alias/lamp-release --format pem > lamp.pub")]
pub struct PubkeyArgs {
    /// The key: a file, or kms:ARN
    #[arg(env = "S3OTA_KEY", value_name = "FILE|kms:ARN")]
    pub key: KeySource,

    /// Print only this form of the key
    #[arg(long)]
    pub format: Option<Format>,

    #[command(flatten)]
    pub passphrase: PassphraseArgs,

    #[command(flatten, next_help_heading = "AWS")]
    pub aws: AwsArgs,
}

/// The format of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// PUBLIC KEY in PEM, for openssl and for --release-key
    Pem,
    /// A Rust constant, for a firmware
    Rust,
    /// The key id, as in manifests
    Id,
}

/// Creates a key.
pub fn keygen(args: &KeygenArgs, out: &Output) -> Result<(), CliError> {
    let public_file = with_suffix(&args.file, ".pub");
    for path in [&args.file, &public_file] {
        keys::refuse_existing(path)?;
    }
    let passphrase = match args.no_passphrase {
        true => None,
        false => Some(keys::choose_passphrase(&args.passphrase)?),
    };
    let secret = keys::generate();
    keys::write_private(
        &args.file,
        &secret,
        passphrase.as_deref().map(String::as_str),
    )?;
    let key = Signer::from_key(secret).key();
    keys::write_public(&public_file, &pem(&key)?)?;

    let (file, public_file) = (args.file.display(), public_file.display());
    let how = match passphrase {
        Some(_) => "encrypted with your passphrase. Keep it secret, and keep a copy",
        None => "NOT encrypted: anyone who can read it can release",
    };
    out.say(format_args!("private   {file}, {how}"));
    out.say(format_args!("public    {public_file}"));
    out.say(format_args!("key id    {}\n", key.id()));
    out.say("For the firmware:\n");
    out.say(rust(&key));
    out.say(format_args!(
        "Sign with it: s3ota publish FIRMWARE s3://BUCKET/PREFIX --key {file}"
    ));
    out.event("key", {
        let mut fields = fields(&key)?;
        fields["file"] = json!(file.to_string());
        fields["public_file"] = json!(public_file.to_string());
        fields["encrypted"] = json!(passphrase.is_some());
        fields
    });
    Ok(())
}

/// Prints a public key.
pub async fn pubkey(args: PubkeyArgs, out: &Output) -> Result<(), CliError> {
    let key = match &args.key {
        KeySource::File(path) if keys::is_public(path)? => keys::read_public(path)?,
        source => Signer::open(source, &args.passphrase, &args.aws)
            .await?
            .key(),
    };
    match args.format {
        Some(Format::Pem) => out.say(pem(&key)?.trim_end()),
        Some(Format::Rust) => out.say(rust(&key).trim_end()),
        Some(Format::Id) => out.say(key.id()),
        None => {
            out.say(format_args!("key id {}\n", key.id()));
            out.say(pem(&key)?);
            out.say(rust(&key).trim_end());
        }
    }
    out.event("key", fields(&key)?);
    Ok(())
}

fn fields(key: &ReleaseKey) -> Result<serde_json::Value, CliError> {
    Ok(
        json!({ "keyid": key.id().to_string(), "pem": pem(key)?, "point": hex(key.point()), "rust": rust(key) }),
    )
}

/// A public key in PEM.
pub fn pem(key: &ReleaseKey) -> Result<String, CliError> {
    let document = Document::try_from(key.to_spki().as_slice());
    let pem = document.and_then(|document| document.to_pem("PUBLIC KEY", LineEnding::LF));
    pem.map_err(|error| {
        CliError::new(
            "key.write",
            format!("the public key cannot be written: {error}"),
        )
    })
}

/// The key as Rust source, formatted as rustfmt does it.
fn rust(key: &ReleaseKey) -> String {
    let mut source = format!(
        "/// The release key {}.\npub const RELEASE_KEY: ReleaseKey = ReleaseKey::from_point([\n",
        key.id()
    );
    for line in key.point().chunks(16) {
        let bytes: Vec<String> = line.iter().map(|byte| format!("0x{byte:02x},")).collect();
        source += &format!("    {}\n", bytes.join(" "));
    }
    source + "]);\n"
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
