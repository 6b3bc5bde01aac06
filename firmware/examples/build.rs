//! Passes the settings (network, password, manifest) to the compiler: from the environment, or from `cfg.toml`.
//!
//! `src/main.rs` reads them with `env!`, the extra root certificate, in DER, from `OUT_DIR/root_ca.der`, and the release keys,
//! as Rust source, from `OUT_DIR/release_keys.rs`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};

fn main() {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo"));
    // The workspace's folder: cargo has written the lock file by now.
    let mut folders = package.ancestors();
    let home = folders.find(|folder| folder.join("Cargo.lock").is_file());
    if let Err(message) = settings(home.unwrap_or(&package)) {
        println!("cargo::error={message}");
    }
}

fn settings(home: &Path) -> Result<(), String> {
    let file = home.join("cfg.toml");
    println!("cargo::rerun-if-changed={}", file.display());
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("cfg.toml cannot be read: {error}")),
    };
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| format!("cfg.toml: {}", error.message()))?;
    let setting = |name: &str| -> Result<Option<String>, String> {
        println!("cargo::rerun-if-env-changed={name}");
        let value = match (env::var(name), table.get(name)) {
            (Ok(value), _) => value,
            (Err(env::VarError::NotUnicode(_)), _) => return Err(format!("{name} is not UTF-8")),
            (_, Some(toml::Value::String(value))) => value.clone(),
            (_, Some(_)) => return Err(format!("cfg.toml: {name} must be a quoted string")),
            (_, None) => return Ok(None),
        };
        if value.contains(['\n', '\r']) {
            return Err(format!("{name} must be one line"));
        }
        Ok(Some(value))
    };

    for (name, what) in [
        ("WIFI_SSID", "the name of your Wi-Fi network"),
        ("WIFI_PASSWORD", "its password, empty for an open network"),
        ("MANIFEST_URL", "the URL that `s3ota publish` prints"),
    ] {
        let value = setting(name)?.ok_or_else(|| {
            format!(
                "{name} is missing: {what}. Set it in {}, where cfg.example.toml shows how, or in the environment.",
                file.display()
            )
        })?;
        println!("cargo::rustc-env={name}={value}");
    }

    // The parsed content of a file that a setting names. Empty if it is not set.
    let file_setting = |name: &str, parse: fn(Vec<u8>) -> Result<Vec<u8>, String>| {
        let Some(path) = setting(name)?.filter(|path| !path.is_empty()) else {
            return Ok(Vec::new());
        };
        let path = home.join(path);
        println!("cargo::rerun-if-changed={}", path.display());
        let bytes = fs::read(&path).map_err(|error| error.to_string());
        let parsed = bytes.and_then(parse);
        parsed.map_err(|why| format!("{name}, {}: {why}", path.display()))
    };
    let keys = file_setting("RELEASE_KEY", release_keys)?;
    write_out("root_ca.der", file_setting("ROOT_CA", root)?)?;
    write_out("release_keys.rs", [b"[".as_slice(), &keys, b"]"].concat())
}

fn write_out(file: &str, content: Vec<u8>) -> Result<(), String> {
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo")).join(file);
    fs::write(&out, content).map_err(|error| format!("{}: {error}", out.display()))
}

/// One certificate, from PEM or DER, as DER.
fn root(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    // A DER certificate is a SEQUENCE of more than 255 bytes.
    if bytes.starts_with(&[0x30, 0x82]) {
        return Ok(bytes);
    }
    match &mut pem("CERTIFICATE", bytes)?[..] {
        [] => Err("it contains no certificate".into()),
        [root] => Ok(std::mem::take(root)),
        _ => Err("it contains more than one certificate: keep only the root".into()),
    }
}

/// Public keys in PEM, as Rust source: elements of an array of `ReleaseKey`. There are two while one replaces the other.
fn release_keys(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    // The start of every P-256 key's SubjectPublicKeyInfo (RFC 5480). Its point is the rest, 65 bytes from 4 on.
    const P256: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let keys = pem("PUBLIC KEY", bytes)?;
    if keys.is_empty() {
        return Err("it contains no public key; `s3ota keygen` makes one".into());
    }
    let mut source = String::new();
    for key in keys {
        match key.strip_prefix(&P256) {
            Some(point @ [4, ..]) if point.len() == 65 => {
                source.push_str(&format!("ReleaseKey::from_point({point:?}),"));
            }
            _ => {
                return Err(
                    "it contains a key that is not on P-256, the curve of release keys".into(),
                );
            }
        }
    }
    Ok(source.into_bytes())
}

/// The blocks of a PEM file with this label.
fn pem(label: &str, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, String> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let text = String::from_utf8(bytes).map_err(|_| "it is not a PEM file")?;
    let block = |block: &str| {
        let (body, _) = block.split_once(&end).ok_or("a block has no end")?;
        let body: String = body.split_whitespace().collect();
        let decoded = BASE64_STANDARD.decode(body);
        decoded.map_err(|_| "a block is not base64".to_owned())
    };
    text.split(&begin).skip(1).map(block).collect()
}
