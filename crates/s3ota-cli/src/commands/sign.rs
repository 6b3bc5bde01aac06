//! `s3ota sign`: signs an existing manifest.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use s3ota_manifest::{ManifestDocument, Rollout};
use serde_json::json;

use crate::bucket::channel::{self, Act, ChangeArgs, Channel};
use crate::bucket::resign::{self, MeantArgs, Origin, SigningHost};
use crate::bucket::seal::{self, SealArgs};
use crate::clock;
use crate::error::CliError;
use crate::keys::{self, Signer};
use crate::output::{Output, hex};
use crate::s3::{Location, S3Args, Store};
use crate::state::rollback::{RollbackState, Signed};
use crate::text;

/// Sign a manifest, or sign it again
///
/// A manifest in a bucket is the release of a channel. It gets a new serial and a new expiry date, so that devices trust it for
/// longer; or the signature of a new key, when you replace a key. It is signed only if it has a valid signature for this channel,
/// by the same key or by one given with --release-key; if it has not expired; and if it is not older than what this host has
/// signed or seen signed (`s3ota state show`). On a host that knows nothing about the channel, name the version with --version:
/// an attacker who can write to the bucket must not get old releases signed again.
///
/// A manifest in a file is signed as it is. It gets what a device needs and it lacks: a serial, an expiry date (--expires), and
/// the channel (--channel). Check it first, above all if it comes from a bucket. If it was signed before, it must not have
/// expired, nor be known as outdated.
///
/// Keys that s3ota cannot reach (a smart card, an HSM, a colleague) sign in two steps: --statement prints the bytes to sign,
/// --signature puts the result into the manifest. The signature is ECDSA over P-256 with SHA-256, in DER: the output of `openssl
/// dgst -sha256 -sign`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota sign s3://my-bucket/lamp --key release.key --expires 90d
  s3ota sign s3://my-bucket/lamp --key new.key --release-key old.key.pub
  s3ota sign s3://my-bucket/lamp --key kms:alias/lamp-release --version 1.3.0
  s3ota sign stable.json --key release.key --channel stable
  s3ota sign stable.json --channel stable --expires 90d --statement > statement.txt
  openssl dgst -sha256 -sign release.pem -out statement.sig statement.txt
  s3ota sign stable.json --signature statement.sig --release-key release.pub")]
pub struct SignArgs {
    /// The manifest: a file, or s3://BUCKET/PREFIX
    #[arg(value_name = "FILE|s3://BUCKET/PREFIX")]
    pub target: String,

    /// The channel: of the manifest in the bucket, by default stable; or to write into the file
    #[arg(long)]
    pub channel: Option<String>,

    #[command(flatten)]
    pub seal: SealArgs,

    #[command(flatten)]
    pub meant: MeantArgs,

    /// Let devices that run a newer version go back to this one, until --expires. An earlier permission in the manifest is not signed
    /// again unless it is given again
    #[arg(long, requires = "expires")]
    pub allow_downgrade: bool,

    /// The manifest's serial, higher than the channel's last one; by default the current second
    #[arg(long, value_name = "NUMBER")]
    pub serial: Option<u64>,

    /// Print the release statement, the exact bytes to sign, instead of signing. What the manifest lacks is written into the file
    #[arg(long, conflicts_with = "signature")]
    pub statement: bool,

    /// Put this signature (DER) into the manifest instead of creating one; --release-key names its key
    #[arg(long, value_name = "FILE", requires = "release_keys")]
    pub signature: Option<PathBuf>,

    /// The public key of an existing signature, PEM or DER, as `s3ota pubkey --format pem` prints it
    #[arg(long = "release-key", value_name = "FILE")]
    pub release_keys: Vec<PathBuf>,

    /// Set the ACL public-read on the manifest, for buckets whose ACLs are enabled
    #[arg(long)]
    pub public_read: bool,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Signs a manifest.
pub async fn run(args: SignArgs, out: &Output) -> Result<(), CliError> {
    if args.target.starts_with("s3://") {
        in_bucket(&args, out).await
    } else {
        in_file(&args, out).await
    }
}

async fn in_file(args: &SignArgs, out: &Output) -> Result<(), CliError> {
    let path = Path::new(&args.target);
    let bytes = text::read(path).map_err(|error| CliError::file(path, &error))?;
    let named = |error: CliError| CliError {
        message: format!("{}: {}", path.display(), error.message),
        ..error
    };
    let mut manifest = ManifestDocument::parse(&bytes).map_err(|error| named(error.into()))?;

    resign::is_meant(
        &manifest,
        &args.target,
        args.meant.intent()?.version.as_deref(),
    )?;
    let signature = match &args.signature {
        Some(file) => Some(text::read(file).map_err(|error| CliError::file(file, &error))?),
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
        // A signature of another statement goes.
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
        let signer = signer(args).await?;
        is_still_good(&ManifestDocument::parse(&bytes)?, &signer, args)?;
        signer.sign_manifest(&mut manifest).await.map_err(named)?;
    }
    write(path, &manifest)?;
    tell(&manifest, &args.target, out);
    Ok(())
}

/// Gives a manifest in a file what devices require of a signed one, where it is missing or is to be changed. Refuses one that was
/// signed for another channel, or has expired.
fn complete(manifest: &mut ManifestDocument, args: &SignArgs) -> Result<(), CliError> {
    match (&manifest.channel, &args.channel) {
        (Some(is), Some(shall_be)) if is != shall_be => {
            let message = format!(
                "{} belongs to the channel {is}, and is not signed for {shall_be}",
                args.target
            );
            return Err(CliError::new("sign.channel", message).hint(format!(
                "`s3ota promote` puts a release on another channel; or remove `channel` from the file, if it is meant for {shall_be}"
            )));
        }
        (None, None) => {
            let message = "the manifest names no channel, and devices take no signed manifest of another channel";
            return Err(
                CliError::new("sign.channel", message).hint("name it with --channel stable")
            );
        }
        (is, shall_be) => manifest.channel = shall_be.clone().or_else(|| is.clone()),
    }
    resign::has_not_expired(manifest, &args.target)?;
    manifest.serial = args
        .serial
        .or(manifest.serial)
        .or_else(|| Some(clock::now()));
    if args.seal.expires.is_some() || manifest.expires.is_none() {
        manifest.expires = args.seal.expires.unwrap_or(seal::DEFAULT_LIFETIME).end()?;
    }
    if (manifest.downgrade || args.allow_downgrade) && manifest.expires.is_none() {
        let message = "the manifest lets devices go back, and such a permission must end";
        return Err(CliError::new("publish.expires", message).hint("set the end with --expires"));
    }
    if manifest.downgrade && !args.allow_downgrade {
        let message = format!(
            "{} lets devices with a newer version go back to {}: it is signed again only with --allow-downgrade",
            args.target, manifest.version
        );
        return Err(CliError::new("sign.downgrade", message)
            .hint("use --allow-downgrade --expires TIME; or remove `downgrade` from the file"));
    }
    manifest.downgrade = args.allow_downgrade;
    Ok(())
}

/// Refuses a manifest in a file that this key has signed before, if this host has yanked it since or knows a newer one of the
/// same channel.
fn is_still_good(
    manifest: &ManifestDocument,
    signer: &Signer,
    args: &SignArgs,
) -> Result<(), CliError> {
    // Whether its signature is still there makes no difference: this statement was signed.
    let signed = Signed::of(manifest)?;
    let channel = manifest.channel.as_deref().or(args.channel.as_deref());
    let state = RollbackState::read()?;
    for (at, known) in state.channels() {
        // A file does not name its location. Where it was, this host knows.
        let is_from_here = signer.key_id().is(&at.key) && known.releases().any(|it| *it == signed);
        // For each version, only its last manifest is known by its statement.
        let is_of_channel = signer.key_id().is(&at.key)
            && channel == Some(&*at.channel)
            && known.is_of_product(manifest);
        if (is_from_here || is_of_channel) && state.is_yanked(&at.key, &at.place, &signed.version) {
            return Err(resign::known_to_be_yanked(&signed.version));
        }
        if let Some(newest) = known.newest()
            && is_from_here
            && *newest != signed
            && !args.meant.newer_is_lost
        {
            let found = format!(
                "{} is {} with the serial {}",
                args.target, signed.version, signed.serial
            );
            return Err(resign::replayed(&found, &at.channel, newest));
        }
    }
    Ok(())
}

/// Puts a signature that was made elsewhere into a manifest, if it is by one of the given keys.
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
    // clap ensures that there is a key.
    Err(refusal.map_or_else(no_key, |error| {
        CliError::new("sign.signature", format!("the signature does not match the manifest as it is: {error}"))
            .hint("sign exactly the bytes that `s3ota sign --statement` prints, with the private part of --release-key; the signature is DER")
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
            .hint("leave it out to sign what the bucket holds, or give the file of a manifest")
            .usage());
    }
    if args.allow_downgrade {
        seal::may_allow_downgrade(args.seal.expires, true).map_err(CliError::usage)?;
    }
    let location: Location = args.target.parse().map_err(CliError::usage)?;
    let name = args.channel.as_deref().unwrap_or("stable");
    let trusted = args
        .release_keys
        .iter()
        .map(|path| keys::read_public(path))
        .collect::<Result<Vec<_>, _>>()?;
    let signer = signer(args).await?;
    let store = Store::connect(&args.s3, &location, None).await?;
    let host = SigningHost::open(signer, &store, &location, args.meant.intent()?).await?;
    let host = host.trusting(trusted);
    let held = Channel::read(&store, &location.prefix, name).await?;
    let key = &held.key;
    if held.current.is_none() {
        let message = format!("there is no release on the channel {name} in {location}");
        return Err(CliError::new("sign.nothing", message));
    }
    let vouched = host.vouch(&held, &store, host.intent().version.as_deref())?;
    let mut manifest = held.manifest(&store)?.clone();
    resign::refuse_yanked(Some(&host), &store, &location.prefix, &manifest.version).await?;
    channel::must_have_image(&store, &location.prefix, &manifest).await?;
    if let Some(warning) = resign::end_permission(&mut manifest, args.allow_downgrade) {
        out.warning(&warning);
    }
    let act = Act {
        action: "sign",
        from: None,
        by: ChangeArgs::default().by(),
        signing: Some((&host, Origin::Bucket(vouched))),
        lifetime: args.seal.expires,
        unsigned: false,
        legacy: None,
    };
    // That another key signed the present one is known: --release-key names it.
    held.stamp(&mut manifest, &act).await?;
    held.replace(&store, &manifest, Some(&host), args.public_read)
        .await?;
    tell(&manifest, &format!("s3://{}/{key}", location.bucket), out);
    Ok(())
}

async fn signer(args: &SignArgs) -> Result<Signer, CliError> {
    args.seal.key.open(&args.s3.aws).await?.ok_or_else(no_key)
}

fn no_key() -> CliError {
    CliError::new("cli.usage", "no key to sign with")
        .hint("name one with --key, or in S3OTA_KEY")
        .usage()
}

/// Writes a manifest over the one in a file, as a whole or not at all.
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
    let rollout = manifest.rollout.unwrap_or(Rollout::EVERYONE).to_string();
    // What an attacker put back may have had another rollout than the owner remembers.
    let reach = match rollout.as_str() {
        "0" => "paused".to_owned(),
        percent => format!("to {percent}% of devices"),
    };
    out.say(format_args!(
        "signed {} on {channel}, {reach}, with the key {keyid}, {}: {target}",
        manifest.version,
        expires.as_ref().map_or_else(
            || "valid without end".to_owned(),
            |end| format!("valid until {end}")
        )
    ));
    out.event(
        "signed",
        json!({
            "target": target, "version": manifest.version, "channel": channel, "keyid": keyid,
            "rollout": rollout, "serial": manifest.serial, "expires": expires,
        }),
    );
}
