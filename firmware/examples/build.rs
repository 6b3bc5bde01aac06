//! Hands the settings (network, password, manifest) to the compiler: from the environment, else from `cfg.toml`.
//!
//! `src/main.rs` reads them with `env!`, and the extra root certificate, as DER, from `OUT_DIR/root_ca.der`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};

fn main() {
    // firmware/, two levels above the example.
    let home = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../..");
    if let Err(message) = settings(&home) {
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
            (Err(env::VarError::NotUnicode(_)), _) => return Err(format!("{name} is no UTF-8")),
            (_, Some(toml::Value::String(value))) => value.clone(),
            (_, Some(_)) => return Err(format!("cfg.toml: {name} must be a text in quotes")),
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
                "{name} is missing: {what}. Copy firmware/cfg.example.toml to firmware/cfg.toml and fill it in, or set \
                 {name} in the environment."
            )
        })?;
        println!("cargo::rustc-env={name}={value}");
    }

    let root = match setting("ROOT_CA")?.filter(|path| !path.is_empty()) {
        Some(path) => {
            let path = home.join(path);
            println!("cargo::rerun-if-changed={}", path.display());
            let bytes =
                fs::read(&path).map_err(|error| format!("ROOT_CA, {}: {error}", path.display()))?;
            der(bytes).map_err(|why| format!("ROOT_CA, {}: {why}", path.display()))?
        }
        None => Vec::new(),
    };
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo")).join("root_ca.der");
    fs::write(&out, root).map_err(|error| format!("{}: {error}", out.display()))
}

/// One certificate, from PEM or DER, as DER.
fn der(bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    // A DER certificate is a SEQUENCE of more than 255 bytes.
    if bytes.starts_with(&[0x30, 0x82]) {
        return Ok(bytes);
    }
    let text = String::from_utf8(bytes).map_err(|_| "neither PEM nor DER")?;
    let (_, rest) = text.split_once(BEGIN).ok_or("no certificate in it")?;
    let (body, rest) = rest.split_once(END).ok_or("the certificate has no end")?;
    if rest.contains(BEGIN) {
        return Err("more than one certificate in it: keep only the root");
    }
    let body: String = body.split_whitespace().collect();
    BASE64_STANDARD
        .decode(body)
        .map_err(|_| "the certificate is not base64")
}
