//! An `s3ota.toml` from someone else sends no credentials and no releases anywhere that the user has not approved.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::bucket::*;
use s3ota_devserver::Access;
use serde_json::{Value, json};

/// A user in a folder that somebody else filled.
struct Folder {
    dir: tempfile::TempDir,
    /// Where the folder would have the user's credentials sent.
    trap: TcpListener,
}

impl Folder {
    fn new() -> Self {
        let trap = TcpListener::bind("127.0.0.1:0").unwrap();
        trap.set_nonblocking(true).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("clone")).unwrap();
        std::fs::create_dir_all(dir.path().join("other")).unwrap();
        Self { dir, trap }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.trap.local_addr().unwrap())
    }

    fn says(&self, toml: &str) {
        std::fs::write(self.dir.path().join("clone/s3ota.toml"), toml).unwrap();
    }

    fn command_in(&self, folder: &str, args: &[&str]) -> Command {
        let mut command = s3ota();
        command
            .args(args)
            .env("AWS_ACCESS_KEY_ID", "the-users")
            .env("AWS_SECRET_ACCESS_KEY", "the-users")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("S3OTA_STATE", self.dir.path().join("state"))
            .current_dir(self.dir.path().join(folder));
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        self.command_in("clone", args)
    }

    fn run(&self, args: &[&str]) -> Run {
        let args = [&["--json"][..], args].concat();
        Run::of(self.command(&args).output().unwrap())
    }

    /// Whether somebody came to the trap since it was last looked at.
    fn is_sprung(&self) -> bool {
        let mut sprung = false;
        while self.trap.accept().is_ok() {
            sprung = true;
        }
        sprung
    }

    /// The command is refused with a hint, and sends no request.
    fn is_refused(&self, args: &[&str], what: &str) {
        let run = self.run(args);
        assert_eq!(run.usage_error(), "cli.untrusted", "{args:?}");
        let error = run.events.last().unwrap();
        assert!(error["message"].as_str().unwrap().contains(what), "{error}");
        let hint = error["hint"].as_str().unwrap();
        let flag = format!("--{}", what.replace('_', "-"));
        assert!(
            hint.contains("s3ota trust") && hint.contains(&flag),
            "{error}"
        );
        assert!(!self.is_sprung(), "{args:?}");
    }

    /// The command goes where the folder has it go. Nobody answers there.
    fn goes(&self, args: &[&str]) {
        let mut command = self.command(&[&["--json"][..], args].concat());
        let mut running = command.stdout(Stdio::null()).spawn().unwrap();
        let begin = std::time::Instant::now();
        while !self.is_sprung() {
            assert!(begin.elapsed().as_secs() < 20, "{args:?} went nowhere");
            assert!(
                running.try_wait().unwrap().is_none() || self.is_sprung(),
                "{args:?} ended"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        running.kill().unwrap();
        running.wait().unwrap();
        self.is_sprung();
    }
}

#[test]
fn an_endpoint_in_a_settings_file_gets_no_credentials_before_it_is_approved() {
    let folder = Folder::new();
    let endpoint = folder.endpoint();
    let toml = format!("location = 's3://firmware/lamp'\nendpoint_url = '{endpoint}'\n");
    folder.says(&toml);
    std::fs::write(folder.dir.path().join("clone/lamp.bin"), b"no firmware").unwrap();
    for args in [
        &["status"][..],
        &["list"],
        &["history"],
        &["diff", "1.0.0", "1.1.0"],
        &["gc"],
        &["promote", "beta", "stable"],
        &["rollout", "5%"],
        &["yank", "1.0.0"],
        &["presign"],
        &["publish", "lamp.bin"],
        &["doctor"],
        &["doctor", "s3://firmware/lamp"],
        &["sign"],
        &["gateway"],
        &["bucket", "init", "--dry-run"],
        &["status", "s3://firmware/elsewhere"],
        // Alone, it shows the status.
        &[],
    ] {
        folder.is_refused(args, "endpoint_url");
    }
    // What has nothing to do with it goes on.
    assert_eq!(folder.run(&["inspect", "lamp.bin"]).status, 1);

    // What the user sets on the command line or in the environment needs no approval.
    folder.goes(&["status", "--endpoint-url", &endpoint]);
    let mut command = folder.command(&["--json", "status"]);
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let run = Run::of(command.output().unwrap());
    assert_eq!(run.error(), "s3.connect");
    assert!(!folder.is_sprung());

    let approved = folder.run(&["trust"]);
    assert_eq!(
        approved.succeeded()["settings"],
        json!({ "endpoint_url": endpoint, "location": "s3://firmware/lamp" })
    );
    folder.goes(&["status"]);
    folder.goes(&[]);

    // What is approved is this, in this folder.
    folder.says(&toml.replace("/lamp", "/another"));
    folder.is_refused(&["status"], "endpoint_url");
    folder.says(&toml.replace("127.0.0.1", "localhost"));
    folder.is_refused(&["status"], "endpoint_url");
    folder.says(&format!("{toml}ca = 'ca.pem'\n"));
    std::fs::write(folder.dir.path().join("clone/ca.pem"), "one").unwrap();
    folder.is_refused(&["status"], "ca");
    folder.says(&toml);
    folder.goes(&["status"]);
    std::fs::copy(
        folder.dir.path().join("clone/s3ota.toml"),
        folder.dir.path().join("other/s3ota.toml"),
    )
    .unwrap();
    let run = Run::of(
        folder
            .command_in("other", &["--json", "status"])
            .output()
            .unwrap(),
    );
    assert_eq!(run.usage_error(), "cli.untrusted");

    // Nor does a link to what is approved make another folder's file approved.
    #[cfg(unix)]
    {
        let there = folder.dir.path().join("other/s3ota.toml");
        std::fs::remove_file(&there).unwrap();
        std::os::unix::fs::symlink(folder.dir.path().join("clone/s3ota.toml"), there).unwrap();
        let run = folder.command_in("other", &["--json", "status"]).output();
        assert_eq!(Run::of(run.unwrap()).usage_error(), "cli.untrusted");
    }

    folder.run(&["trust", "--forget"]).succeeded();
    folder.is_refused(&["status"], "endpoint_url");
    // What is remembered is the user's alone.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &str| {
            let path = folder.dir.path().join(path);
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("state"), mode("state/approved.json")), (0o700, 0o600));
    }
}

#[test]
fn the_other_settings_about_trust_need_approval_too() {
    let folder = Folder::new();
    std::fs::write(folder.dir.path().join("clone/ca.pem"), "one").unwrap();
    std::fs::write(folder.dir.path().join("clone/lamp.bin"), b"no firmware").unwrap();
    let publish = ["publish", "lamp.bin", "s3://firmware/lamp"];
    for (setting, value, args) in [
        ("ca", "'ca.pem'", &["status", "s3://firmware/lamp"][..]),
        ("profile", "'production'", &["status", "s3://firmware/lamp"]),
        ("key", "'kms:alias/theirs'", &publish),
        ("public_url", "'https://theirs.example.com'", &publish),
        ("public_read", "true", &publish),
    ] {
        folder.says(&format!("{setting} = {value}\n"));
        folder.is_refused(args, setting);
        let run = folder.run(&["trust"]);
        assert!(!run.succeeded()["settings"][setting].is_null());
        assert_ne!(folder.run(args).status, 2, "{setting}");
    }
    // A CA whose file is another one is another CA.
    folder.says("ca = 'ca.pem'\n");
    folder.run(&["trust"]).succeeded();
    std::fs::write(folder.dir.path().join("clone/ca.pem"), "two").unwrap();
    folder.is_refused(&["status", "s3://firmware/lamp"], "ca");
    // A file that has been written by hand into the state is as good as its contents.
    std::fs::write(
        folder.dir.path().join("state/approved.json"),
        "{\"approved\":[{}, 5",
    )
    .unwrap();
    folder.is_refused(&["status", "s3://firmware/lamp"], "ca");
}

#[tokio::test(flavor = "multi_thread")]
async fn harmless_settings_need_no_approval() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let firmware = bench.firmware(s3ota_image::Chip::Esp32C3, "1.0.0", b"");
    std::fs::write(
        bench.path("s3ota.toml"),
        "location = 's3://firmware/lamp'\nchannel = 'beta'\nboard = 'two'\nby = 'ada'\nregion = 'us-east-1'\n\
         presign = '1h'\nrelease_key = 'release.key.pub'\n",
    )
    .unwrap();
    let firmware = firmware.to_str().unwrap();
    bench
        .s3ota(&["publish", firmware, "--key", "release.key"])
        .published();
    let run = bench.s3ota(&["status"]);
    let channel = run.all("channel")[0];
    assert_eq!(
        (&channel["channel"], &channel["by"]),
        (&json!("beta"), &json!("ada"))
    );
    assert_eq!(channel["signature"], "verified");
}

#[test]
fn plain_http_is_for_this_machine_only_wherever_the_endpoint_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    let url = "http://minio.example.com:9000";
    std::fs::write(&config, format!("[profile lab]\nendpoint_url = {url}\n")).unwrap();
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = s3ota();
        command
            .args(["--json", "status", "s3://firmware/lamp"])
            .args(args)
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "x")
            .envs(variables.iter().copied())
            .current_dir(dir.path());
        Run::of(command.output().unwrap())
    };
    let config = config.to_str().unwrap();
    for refused in [
        run(&["--endpoint-url", url], &[]),
        run(&[], &[("AWS_ENDPOINT_URL", url)]),
        run(&[], &[("AWS_ENDPOINT_URL_S3", url)]),
        run(
            &[],
            &[("AWS_ENDPOINT_URL_S3", "http://s3.us-east-1.amazonaws.com")],
        ),
        run(&[], &[("AWS_CONFIG_FILE", config), ("AWS_PROFILE", "lab")]),
    ] {
        assert_eq!(refused.error(), "s3.endpoint");
        let error: &Value = refused.events.last().unwrap();
        assert!(
            error["hint"].as_str().unwrap().contains("https://"),
            "{error}"
        );
    }
    let here = run(
        &["--endpoint-url", "http://localhost:1"],
        &[("AWS_MAX_ATTEMPTS", "1")],
    );
    assert_eq!(here.error(), "s3.connect");
}
