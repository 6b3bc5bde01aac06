//! S3 servers: the development server, moto, and Ceph's gateway, each over HTTPS on this machine.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use s3ota_devserver::{Access, DevServer, Options};
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A running S3 server, and a directory for the files of a test. Its CA is `ca.pem` there.
pub struct Server {
    /// Its endpoint.
    pub url: String,
    dir: TempDir,
    access_key: &'static str,
    secret_key: &'static str,
    processes: Vec<Child>,
    development: Option<(Runtime, Option<DevServer>)>,
}

impl Drop for Server {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Some((runtime, server)) = &mut self.development
            && let Some(server) = server.take()
        {
            runtime.block_on(server.stop());
        }
    }
}

impl Server {
    fn new(access_key: &'static str, secret_key: &'static str) -> Self {
        Self {
            url: String::new(),
            dir: tempfile::tempdir().unwrap(),
            access_key,
            secret_key,
            processes: Vec::new(),
            development: None,
        }
    }

    /// The development server, with reading only where a policy allows it.
    pub fn development() -> Self {
        let mut this = Self::new("s3ota", "s3ota-secret");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            access: Access::Policy,
            ..Options::default()
        };
        let server = runtime.block_on(DevServer::start(options)).unwrap();
        fs::copy(server.ca_path(), this.path("ca.pem")).unwrap();
        this.url = server.endpoint_url();
        this.development = Some((runtime, Some(server)));
        this
    }

    /// moto's S3.
    pub fn moto() -> Self {
        let mut this = Self::new("test", "test");
        this.certify();
        let port = free_port();
        let mut command = Command::new("moto_server");
        command
            .args(["-H", "127.0.0.1", "-p", &port.to_string(), "-s", "-c"])
            .arg(this.path("server.pem"))
            .arg("-k")
            .arg(this.path("server.key"));
        this.spawn(command, "moto");
        this.answers_at(port);
        this
    }

    /// A Ceph cluster of one monitor and one daemon that keeps objects in memory, and its S3 gateway: the code that
    /// serves petabytes elsewhere.
    pub fn ceph() -> Self {
        const FSID: &str = "a7f64266-0894-4f1e-a635-d0aeaca0e993";
        const OSD: &str = "5a0f8cb1-9f3e-4a58-8b0e-6a6f0f7c2d11";
        let mut this = Self::new("s3ota", "s3ota-secret");
        this.certify();
        for name in ["mon", "osd", "rgw", "run"] {
            fs::create_dir(this.path(name)).unwrap();
        }
        let (port, monitor) = (free_port(), free_port());
        let dir = this.dir.path().display().to_string();
        fs::write(
            this.path("ceph.conf"),
            format!(
                "[global]
                fsid = {FSID}
                mon host = v1:127.0.0.1:{monitor}
                auth cluster required = none
                auth service required = none
                auth client required = none
                ms bind msgr2 = false
                public addr = 127.0.0.1
                osd pool default size = 1
                osd pool default min size = 1
                osd pool default pg num = 1
                osd pool default pg autoscale mode = off
                osd crush chooseleaf type = 0
                mon allow pool size one = true
                run dir = {dir}/run
                log file = {dir}/$name.log
                admin socket = {dir}/run/$name.sock
                pid file = {dir}/run/$name.pid
                [mon]
                mon data = {dir}/mon
                mon data avail crit = 1
                mon data avail warn = 2
                [osd]
                osd data = {dir}/osd
                osd objectstore = memstore
                memstore device bytes = 1073741824
                [client]
                rados mon op timeout = 120
                rados osd op timeout = 120
                rgw data = {dir}/rgw
                rgw thread pool size = 16
                rgw frontends = beast ssl_endpoint=127.0.0.1:{port} ssl_certificate={dir}/server.pem ssl_private_key={dir}/server.key
                "
            )
            .lines()
            .map(|line| format!("{}\n", line.trim()))
            .collect::<String>(),
        )
        .unwrap();
        let map = this.path("monmap").display().to_string();
        let address = format!("[v1:127.0.0.1:{monitor}]");
        this.run_ceph(
            "monmaptool",
            &["--create", "--addv", "a", &address, "--fsid", FSID, &map],
        );
        this.run_ceph("ceph-mon", &["--mkfs", "-i", "a", "--monmap", &map]);
        this.spawn(this.ceph_tool("ceph-mon", &["-i", "a", "-f"]), "mon");
        // With its UUID given, it is the same daemon however often it is asked for.
        let osd = this.monitor_says(&["osd", "create", OSD], |id| !id.trim().is_empty());
        assert_eq!(osd.trim(), "0");
        this.run_ceph("ceph-osd", &["-i", "0", "--mkfs", "--osd-uuid", OSD]);
        this.start_osd();
        this.monitor_says(&["osd", "stat"], |stat| stat.contains("1 up"));
        let user = [
            "user",
            "create",
            "--uid",
            "s3ota",
            "--display-name",
            "s3ota",
        ];
        let keys = ["--access-key", "s3ota", "--secret", "s3ota-secret"];
        this.run_ceph("radosgw-admin", &[&user[..], &keys[..]].concat());
        let gateway = this.ceph_tool("radosgw", &["-n", "client.rgw", "-f"]);
        this.spawn(gateway, "gateway");
        this.answers_at(port);
        this
    }

    /// One of Ceph's programs, for the cluster of this server.
    fn ceph_tool(&self, tool: &str, args: &[&str]) -> Command {
        let mut command = Command::new(tool);
        command.arg("-c").arg(self.path("ceph.conf")).args(args);
        command
    }

    fn run_ceph(&self, tool: &str, args: &[&str]) -> String {
        succeeded(&self.ceph_tool(tool, args).output().expect(tool))
    }

    fn start_osd(&mut self) {
        self.spawn(self.ceph_tool("ceph-osd", &["-i", "0", "-f"]), "osd");
    }

    /// Asks Ceph's monitor until it says what is hoped for: it answers with an error while it elects itself, and its
    /// object daemon, which gives up when that happens to it, is started again.
    fn monitor_says(&mut self, question: &[&str], hoped_for: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        for _ in 0..240 {
            let ask = [&["--connect-timeout", "120"], question].concat();
            let output = self.ceph_tool("ceph", &ask).output().unwrap();
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && hoped_for(&answer) {
                return answer;
            }
            last = format!("{answer}{}", String::from_utf8_lossy(&output.stderr));
            if self.processes.len() > 1 && self.processes[1].try_wait().unwrap().is_some() {
                self.processes.pop();
                self.start_osd();
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        panic!(
            "the answer to `ceph {}` stayed {last:?}",
            question.join(" ")
        );
    }

    /// Makes a CA, and a certificate for `localhost`.
    fn certify(&self) {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
        ca.distinguished_name.push(DnType::CommonName, "Test CA");
        fs::write(self.path("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        fs::write(self.path("server.pem"), leaf.pem()).unwrap();
        fs::write(self.path("server.key"), key.serialize_pem()).unwrap();
    }

    fn spawn(&mut self, mut command: Command, name: &str) {
        let log = fs::File::create(self.path(&format!("{name}.out"))).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.processes.push(command.spawn().expect(name));
    }

    /// Waits until it listens.
    fn answers_at(&mut self, port: u16) {
        self.url = format!("https://localhost:{port}");
        for _ in 0..1200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no server listens at {} within two minutes", self.url);
    }

    /// A file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command that knows the server, and runs in the directory.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_CA_BUNDLE", self.path("ca.pem"))
            .env("S3OTA_STATE", self.path("state"))
            .env("AWS_ACCESS_KEY_ID", self.access_key)
            .env("AWS_SECRET_ACCESS_KEY", self.secret_key)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_REGION", "us-east-1")
            // Without this `aws` sends checksums behind the body, which Ceph learned to read later. s3ota does without.
            .env("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
            .current_dir(self.dir.path());
        command
    }

    /// What `aws` prints; it must succeed.
    pub fn aws(&self, args: &[&str]) -> String {
        succeeded(&self.command("aws").args(args).output().expect("aws"))
    }

    /// What `s3ota` prints; it must succeed.
    pub fn s3ota(&self, args: &[&str]) -> String {
        succeeded(&self.try_s3ota(args))
    }

    /// What comes of `s3ota`.
    pub fn try_s3ota(&self, args: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_s3ota"));
        command.args(args).output().unwrap()
    }

    /// The JSON objects `s3ota` prints; it must succeed.
    pub fn events(&self, args: &[&str]) -> Vec<Value> {
        let text = self.s3ota(&[args, &["--json"]].concat());
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// A firmware in a file.
    pub fn firmware(&self, version: &str) -> String {
        let name = format!("lamp-{version}.bin");
        let image = ImageBuilder::new(Chip::Esp32C3, version)
            .project_name("lamp")
            .length(150_000);
        fs::write(self.path(&name), image.build()).unwrap();
        name
    }

    /// Makes a device with 1.0.0 and lets it update itself to 1.1.0 from a manifest.
    pub fn update_a_device(&self, manifest_url: &str, more: &[&str]) {
        let first = self.firmware("1.0.0");
        self.s3ota(&["device", "new", "flash.bin", "--force", "--image", &first]);
        let run = [
            "device",
            "run",
            "flash.bin",
            "--once",
            "--ca",
            "ca.pem",
            "--manifest-url",
            manifest_url,
        ];
        let events = self.events(&[&run, more].concat());
        let last = events.last().unwrap();
        assert_eq!(
            (&last["event"], &last["version"]),
            (&"confirmed".into(), &"1.1.0".into()),
            "{events:?}"
        );
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What a command printed; it must have succeeded.
pub fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
