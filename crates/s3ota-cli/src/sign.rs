//! `s3ota sign`: a signature for a manifest that is there already.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use s3ota_manifest::ManifestDocument;
use serde_json::json;

use crate::channel::{ChangeArgs, Channel};
use crate::clock;
use crate::error::CliError;
use crate::keys::{self, Signer};
use crate::output::{Output, hex};
use crate::s3::{Location, S3Args, Store};
use crate::seal::{self, Lifetime, Present, SealArgs};

/// Sign a manifest, or sign it anew
///
/// A manifest in a bucket is the release of a channel: it gets a new serial and a new date to expire, so that devices believe it
/// longer; or a new key's signature, when keys are changed. It is signed only if it bears a good signature already, by the same
/// key or by one given with --release-key: whoever else can write to the bucket must not get things signed.
///
/// A manifest in a file is signed as it is; what a device needs and it does not have yet, it gets: a serial, a date to expire
/// (--expires), and the channel (--channel).
///
/// Keys that s3ota cannot reach (a smart card, an HSM, a colleague) sign in two steps: --statement prints the bytes to
/// sign, --signature puts the result into the manifest. The signature is ECDSA over P-256 with SHA-256, in DER: what `openssl
/// dgst -sha256 -sign` makes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota sign s3://my-bucket/lamp --key release.key --expires 90d
  s3ota sign s3://my-bucket/lamp --key new.key --release-key old.key.pub
  s3ota sign stable.json --key release.key --channel stable
  s3ota sign stable.json --channel stable --expires 90d --statement > statement.txt
  openssl dgst -sha256 -sign release.pem -out statement.sig statement.txt
  s3ota sign stable.json --signature statement.sig --release-key release.pub")]
pub struct SignArgs {
    /// The manifest: a file, or s3://BUCKET/PREFIX
    #[arg(value_name = "FILE|s3://BUCKET/PREFIX")]
    pub target: String,

    /// The channel: which manifest in the bucket, or what to write into the file. `stable` in a bucket by default
    #[arg(long)]
    pub channel: Option<String>,

    #[command(flatten)]
    pub seal: SealArgs,

    /// The manifest's number among those of its channel, each higher than the last; by default the present second
    #[arg(long, value_name = "NUMBER")]
    pub serial: Option<u64>,

    /// Do not sign, but print the release statement: the exact bytes to sign. What it needs is written into the file
    #[arg(long, conflicts_with = "signature")]
    pub statement: bool,

    /// Put this signature (DER) into the manifest instead of making one; --release-key says whose it is
    #[arg(long, value_name = "FILE", requires = "release_keys")]
    pub signature: Option<PathBuf>,

    /// The public key of a signature that is there: PEM, as `s3ota pubkey --format pem` prints it
    #[arg(long = "release-key", value_name = "FILE")]
    pub release_keys: Vec<PathBuf>,

    /// Set the ACL public-read on the manifest, for buckets whose ACLs are enabled
    #[arg(long)]
    pub public_read: bool,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Signs what the command line says.
pub async fn run(args: SignArgs, out: &Output) -> Result<(), CliError> {
    if args.target.starts_with("s3://") {
        in_bucket(&args, out).await
    } else {
        in_file(&args, out).await
    }
}

async fn in_file(args: &SignArgs, out: &Output) -> Result<(), CliError> {
    let path = Path::new(&args.target);
    let bytes = fs::read(path).map_err(|error| CliError::file(path, &error))?;
    let named = |error: CliError| CliError {
        message: format!("{}: {}", path.display(), error.message),
        ..error
    };
    let mut manifest = ManifestDocument::parse(&bytes).map_err(|error| named(error.into()))?;

    let signature = match &args.signature {
        Some(file) => Some(fs::read(file).map_err(|error| CliError::file(file, &error))?),
        None => {
            complete(&mut manifest, args)?;
            None
        }
    };
    if args.statement {
        let found = ManifestDocument::parse(&bytes)?;
        let is_complete = manifest == found;
        manifest.signature = None;
        let statement = manifest.statement().map_err(|error| named(error.into()))?;
        keys::vouches_for_an_image(&manifest).map_err(named)?;
        // A signature of something else goes.
        if !is_complete {
            write(path, &manifest)?;
        }
        out.raw(&statement);
        out.event(
            "statement",
            json!({ "statement": statement, "sha256": hex(&keys::digest(&manifest)?) }),
        );
        return Ok(());
    }
    if let Some(signature) = signature {
        attach(&mut manifest, args, &signature).map_err(named)?;
    } else {
        signer(args)
            .await?
            .sign_manifest(&mut manifest)
            .await
            .map_err(named)?;
    }
    write(path, &manifest)?;
    tell(&manifest, &args.target, out);
    Ok(())
}

/// Gives a manifest in a file what devices ask of a signed one, where it is not there or shall be another.
fn complete(manifest: &mut ManifestDocument, args: &SignArgs) -> Result<(), CliError> {
    if let Some(channel) = &args.channel {
        manifest.channel = Some(channel.clone());
    }
    if manifest.channel.is_none() {
        let message = "the manifest does not say on which channel it is, and devices take no signed one of another";
        return Err(CliError::new("sign.channel", message).hint("say it with --channel stable"));
    }
    manifest.serial = args
        .serial
        .or(manifest.serial)
        .or_else(|| Some(clock::now()));
    if args.seal.expires.is_some() || manifest.expires.is_none() {
        manifest.expires = args.seal.expires.unwrap_or(seal::DEFAULT_LIFETIME).end()?;
    }
    if manifest.downgrade && manifest.expires.is_none() {
        let message = "the manifest lets devices go back, and such a permission has to end";
        return Err(CliError::new("publish.expires", message).hint("say until when with --expires"));
    }
    Ok(())
}

/// Puts a signature that was made elsewhere into a manifest, if it is that of one of the keys that were given.
fn attach(
    manifest: &mut ManifestDocument,
    args: &SignArgs,
    signature: &[u8],
) -> Result<(), CliError> {
    let mut refusal = None;
    for path in &args.release_keys {
        match keys::attach(manifest, &keys::read_public(path)?, signature) {
            Ok(()) => return Ok(()),
            Err(error) => refusal = Some(error),
        }
    }
    // clap makes sure that there is a key.
    Err(refusal.map_or_else(no_key, |error| {
        CliError::new("sign.signature", format!("this is not a signature of the manifest as it stands: {error}"))
            .hint("sign what `s3ota sign --statement` prints, to the byte, with the private part of --release-key; the signature is DER")
    }))
}

async fn in_bucket(args: &SignArgs, out: &Output) -> Result<(), CliError> {
    let flag = match args {
        SignArgs {
            statement: true, ..
        } => Some("--statement"),
        SignArgs {
            signature: Some(_), ..
        } => Some("--signature"),
        SignArgs {
            serial: Some(_), ..
        } => Some("--serial"),
        _ => None,
    };
    if let Some(flag) = flag {
        let error = CliError::new("cli.usage", format!("{flag} is for a manifest in a file"));
        return Err(error
            .hint("fetch it with `aws s3 cp`, sign it, and put it back")
            .usage());
    }
    let location: Location = args.target.parse().map_err(CliError::usage)?;
    let channel = args.channel.as_deref().unwrap_or("stable");
    let trusted = args
        .release_keys
        .iter()
        .map(|path| keys::read_public(path))
        .collect::<Result<Vec<_>, _>>()?;
    let signer = signer(args).await?;
    let store = Store::connect(&args.s3, &location, None).await?;
    let nothing = || {
        CliError::new(
            "sign.nothing",
            format!("there is no release on the channel {channel} in {location}"),
        )
    };
    let held = Channel::read(&store, &location.prefix, channel).await?;
    let current = held.current.as_ref().ok_or_else(nothing)?;
    let key = &held.key;

    let mut trusted_or_own = trusted;
    trusted_or_own.push(signer.key());
    keys::verify(current.bytes(), &trusted_or_own).map_err(|error| {
        CliError::new("sign.untrusted", format!("s3://{}/{key} is not signed by a key that is trusted here: {error}", location.bucket))
            .hint("if another key of yours signed it, name its public part with --release-key; else publish your firmware again with --key")
    })?;
    let mut manifest = ManifestDocument::parse(current.bytes())?;
    if manifest.downgrade
        && args
            .seal
            .expires
            .is_none_or(|lifetime| lifetime == Lifetime::Never)
    {
        let message = "this release lets devices go back to it, and such a permission has to end";
        return Err(CliError::new("publish.expires", message)
            .hint("say how long with --expires")
            .usage());
    }
    let present = Present {
        manifest: manifest.clone(),
        is_ours: true,
    };
    seal::seal(
        &mut manifest,
        channel,
        args.seal.expires,
        Some(&present),
        &signer,
    )
    .await?;
    let by = ChangeArgs::default().by();
    held.describe(&mut manifest, "sign", None, by.as_deref());
    held.replace(&store, &manifest, args.public_read).await?;
    tell(&manifest, &format!("s3://{}/{key}", location.bucket), out);
    Ok(())
}

async fn signer(args: &SignArgs) -> Result<Signer, CliError> {
    args.seal.key.open(&args.s3.aws).await?.ok_or_else(no_key)
}

fn no_key() -> CliError {
    CliError::new("cli.usage", "no key to sign with")
        .hint("name one with --key, or in the variable S3OTA_KEY")
        .usage()
}

/// Writes a manifest over the one in a file; whole, or not at all.
fn write(path: &Path, manifest: &ManifestDocument) -> Result<(), CliError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = fs::write(&new, manifest.to_json()?).and_then(|()| fs::rename(&new, path));
    written.map_err(|error| CliError::file(path, &error))
}

fn tell(manifest: &ManifestDocument, target: &str, out: &Output) {
    let keyid = manifest
        .signature
        .as_ref()
        .map_or("", |signature| &signature.keyid);
    let channel = manifest.channel.as_deref().unwrap_or_default();
    let expires = manifest.expires.map(|end| end.to_string());
    out.say(format_args!(
        "{target}: {} on {channel} is signed with the key {keyid}, good {}",
        manifest.version,
        expires
            .as_ref()
            .map_or_else(|| "for ever".to_owned(), |end| format!("until {end}"))
    ));
    out.event(
        "signed",
        json!({
            "target": target, "version": manifest.version, "channel": channel, "keyid": keyid,
            "serial": manifest.serial, "expires": expires,
        }),
    );
}
