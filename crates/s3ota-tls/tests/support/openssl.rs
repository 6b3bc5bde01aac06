//! A running `openssl s_server`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Takes one connection, over TLS 1.3.
pub struct SServer {
    process: Child,
    files: PathBuf,
    pub port: u16,
}

impl SServer {
    /// Starts the server with this chain, its own certificate first, and this key, as PKCS #8.
    pub fn spawn(chain: &[Vec<u8>], key: &[u8], arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let files = std::env::temp_dir().join(format!("s3ota-tls-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&files).unwrap();
        let (own, more) = chain.split_first().expect("a certificate");
        std::fs::write(files.join("own.der"), own).unwrap();
        std::fs::write(files.join("key.der"), key).unwrap();
        let more: String = more.iter().map(|der| pem(der)).collect();
        std::fs::write(files.join("more.pem"), &more).unwrap();
        let mut command = Command::new("openssl");
        command
            .args([
                "s_server",
                "-tls1_3",
                "-naccept",
                "1",
                "-accept",
                "127.0.0.1:0",
            ])
            // Weak keys and signatures are for the client to refuse, and no certificate comes from elsewhere.
            .args(["-cipher", "DEFAULT@SECLEVEL=0"])
            .args(["-no-CAfile", "-no-CApath", "-no-CAstore"])
            .args(["-certform", "DER", "-cert", "own.der"])
            .args(["-keyform", "DER", "-key", "key.der"])
            .args(arguments);
        if !more.is_empty() {
            command.args(["-cert_chain", "more.pem"]);
        }
        let mut process = command
            .current_dir(&files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        // It says `ACCEPT 127.0.0.1:port` once it listens.
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "s_server ended");
            if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
                break address.rsplit(':').next().unwrap().parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self {
            process,
            files,
            port,
        }
    }

    /// Types a line, which goes to the client.
    pub fn type_line(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().unwrap();
        // In one write: s_server takes what one read gives for a line.
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.files);
    }
}

/// A certificate in PEM (RFC 7468).
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let mut bytes = [0; 4];
            bytes[1..][..three.len()].copy_from_slice(three);
            let bits = u32::from_be_bytes(bytes);
            for place in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
                text.push(if place > three.len() {
                    '='
                } else {
                    digit.into()
                });
            }
        }
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}
