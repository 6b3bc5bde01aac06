//! Against OpenSSL's `s_server`, which is many people's idea of a TLS server. Skipped where `openssl` is not installed.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use embassy_futures::block_on;
use embedded_io_async::{BufRead, Read, Write};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use s3ota_tls::rand_core::OsRng;
use s3ota_tls::{Buffers, CertTime, RecordError, Roots, TlsError, connect};
use support::{NOW, Socket};

/// A running `openssl s_server`, whose standard input goes to the client.
struct SServer {
    process: Child,
    port: u16,
    ca_der: Vec<u8>,
    files: PathBuf,
}

impl SServer {
    fn spawn(test: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("skipped: openssl is not installed");
            return None;
        }
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_der = ca.self_signed(&ca_key).unwrap().der().to_vec();
        let key = KeyPair::generate().unwrap();
        let mut own = CertificateParams::new(["localhost".to_string()]).unwrap();
        own.distinguished_name
            .push(rcgen::DnType::CommonName, "server");
        let own = own.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();

        let files = std::env::temp_dir().join(format!("s3ota-tls-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("cert.der"), own.der()).unwrap();
        std::fs::write(files.join("key.der"), key.serialized_der()).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|socket| socket.local_addr())
            .unwrap()
            .port();
        let mut process = Command::new("openssl")
            .args(["s_server", "-tls1_3", "-naccept", "1", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["-certform", "DER", "-cert", "cert.der"])
            .args(["-keyform", "DER", "-key", "key.der"])
            .current_dir(&files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It says ACCEPT once it listens.
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim() != "ACCEPT" {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "s_server ended");
        }
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Some(Self {
            process,
            port,
            ca_der,
            files,
        })
    }

    fn type_line(&mut self, line: &str) {
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

/// Opens a connection, types each line at the server's end, and reads what must arrive at ours.
fn with_s_server(test: &str, lines: &[(&str, Result<&str, TlsError>)]) {
    let Some(mut server) = SServer::spawn(test) else {
        return;
    };
    let ca_der = server.ca_der.clone();
    let mut roots = Roots::empty();
    roots.add_der(&ca_der).unwrap();
    let mut buffers = Box::new(Buffers::new());
    block_on(async {
        let socket = Socket::connect(server.port);
        let time = CertTime::Known(NOW);
        let mut stream = connect(socket, "localhost", &roots, time, &mut OsRng, &mut buffers)
            .await
            .unwrap();
        // OpenSSL sends its tickets first: they pass unseen.
        stream.write_all(b"hello\n").await.unwrap();
        stream.flush().await.unwrap();
        for (line, wanted) in lines {
            server.type_line(line);
            match wanted {
                Ok(text) => {
                    let mut read = vec![0; text.len()];
                    stream.read_exact(&mut read).await.unwrap();
                    assert_eq!(read, text.as_bytes());
                }
                Err(error) => assert_eq!(stream.fill_buf().await, Err(*error)),
            }
        }
        if lines.iter().all(|(_, wanted)| wanted.is_ok()) {
            stream.close().await.unwrap();
        }
    });
}

#[test]
fn openssl_is_understood() {
    with_s_server("talk", &[("one", Ok("one\n")), ("two", Ok("two\n"))]);
}

#[test]
fn a_key_update_by_openssl_ends_the_connection_and_does_not_panic() {
    // At the start of a line `k` makes s_server send KeyUpdate.
    let refused = Err(TlsError::Record(RecordError::UnexpectedMessage));
    with_s_server("key-update", &[("one", Ok("one\n")), ("k", refused)]);
}
