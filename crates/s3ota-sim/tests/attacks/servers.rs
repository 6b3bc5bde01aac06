//! Servers that do what they like: mirrors, endless data, slow retrieval, no service.

use std::time::Duration;

use s3ota::{Chip, Timeouts};
use s3ota_image::app::ImageBuilder;

use crate::field::*;
use scripted_server::bucket::{Bucket, Object};
use scripted_server::network::{Network, PORT};
use scripted_server::{IMPATIENT, Reply, ok, status};

/// The answers to requests for one object.
fn to(
    object: Object,
    reply: fn() -> Reply,
) -> impl Fn(&scripted_server::Request, &Bucket) -> Option<Reply> {
    move |request, _| (Object::of(request) == object).then(reply)
}

#[tokio::test]
async fn malicious_mirror() {
    // It has all that the owner ever released, and puts it together as it likes.
    let owner = Owner::new(1);
    let (old, new, next) = (
        owner.releases("1.1.0", 1),
        owner.releases("1.2.0", 2),
        owner.releases("1.3.0", 3),
    );
    let mut lamp = Lamp::trusting(&[&owner]);
    let mirror = Mirror::of(new.clone()).await;
    lamp.asks(&mirror).await.is_installed("1.2.0");
    let with = |release: &Bucket, image: &Bucket| Bucket {
        manifest: release.manifest.clone(),
        image: image.image.clone(),
    };
    let newer = replaced(&old, "\"1.1.0\"", "\"1.4.0\"");
    for (offer, code) in [
        (old.clone(), "release.replayed"),
        (newer, "release.signature"),
        (with(&next, &old), "image.version"),
        (with(&next, &new), "image.version"),
    ] {
        mirror.put(offer);
        lamp.asks(&mirror).await.is_refused_unwritten(code);
    }
    mirror.put(next);
    lamp.asks(&mirror).await.is_installed("1.3.0");
}

#[tokio::test]
async fn redirect_to_the_attackers_host() {
    let (owner, attacker) = (Owner::new(1), Owner::new(2));
    let signed = owner.releases("1.1.0", 1);
    // Another customer's bucket: its certificate is as good as any.
    let theirs = Mirror::of(attacker.releases("1.1.0", 9)).await;
    let mirror = Mirror::of(signed.clone()).await;
    let mut lamp = Lamp::trusting(&[&owner]);
    lamp.authorities.push(theirs.server.ca.clone());
    let redirect = |object, to: String| {
        let reply = format!("Location: {to}\r\n");
        mirror.says(move |request, _| {
            let moved = Object::of(request) == object;
            moved.then(|| Reply::Send(status("307 Temporary Redirect", &reply)))
        });
    };
    redirect(Object::Manifest, theirs.server.url("/manifest.json"));
    lamp.asks(&mirror).await.is_refused("release.signature");
    theirs.put(Bucket {
        image: image(Chip::Esp32C3, "1.1.0+theirs", PROJECT),
        ..signed.clone()
    });
    redirect(Object::Image, theirs.server.url("/image.bin"));
    lamp.asks(&mirror).await.fails("image.digest");
    redirect(Object::Image, "http://localhost/image.bin".into());
    lamp.asks(&mirror).await.fails("http.redirect");
    mirror.behaves();
    lamp.asks(&mirror).await.is_installed("1.1.0");
    // Whose authority a device does not know is not even asked.
    let mut strict = Lamp::trusting(&[&owner]);
    redirect(Object::Manifest, theirs.server.url("/manifest.json"));
    strict.asks(&mirror).await.is_refused("tls.certificate");
}

#[tokio::test]
async fn endless_data() {
    let owner = Owner::new(1);
    let signed = owner.releases("1.1.0", 1);
    let mirror = Mirror::of(signed.clone()).await;
    let mut lamp = Lamp::trusting(&[&owner]);
    let head = || b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    mirror.says(to(Object::Manifest, || {
        let spaces = [b"1000\r\n".to_vec(), vec![b' '; 0x1000], b"\r\n".to_vec()].concat();
        Reply::Endless(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            spaces,
        )
    }));
    lamp.asks(&mirror).await.is_refused("http.length");
    mirror.says(to(Object::Manifest, || {
        Reply::Endless(
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            b"X-More: and more\r\n".to_vec(),
        )
    }));
    lamp.asks(&mirror).await.is_refused("http.invalid");
    // An image that is correct up to its length, with more bytes after it; and one that is too long from the start.
    let longer = ImageBuilder::new(Chip::Esp32C3, "1.1.0").length(1_500_000);
    for image in [signed.image.clone(), longer.build()] {
        mirror.says(move |request, _| {
            let chunk = |bytes: &[u8]| {
                let size = format!("{:x}\r\n", bytes.len()).into_bytes();
                [&size, bytes, b"\r\n"].concat()
            };
            let endless = Reply::Endless([head(), chunk(&image)].concat(), chunk(&[0; 4096]));
            (Object::of(request) == Object::Image).then_some(endless)
        });
        let answer = lamp.asks(&mirror).await;
        answer.fails("image.size");
        assert!(answer.written < 110_000, "{answer:?}");
    }
    mirror.behaves();
    lamp.asks(&mirror).await.is_installed("1.1.0");
}

#[tokio::test(start_paused = true)]
async fn slow_retrieval() {
    // A byte a second: never silent, never done.
    let owner = Owner::new(1);
    for object in [Object::Manifest, Object::Image] {
        let signed = owner.releases("1.1.0", 1);
        let network = Network::new(move |request, _| {
            let answer = at_port(&signed, PORT).answer(request);
            match Object::of(request) == object {
                true => Reply::Drip(answer.bytes(), Duration::from_secs(1)),
                false => answer.into(),
            }
        });
        let keys = [owner.key()];
        let timeouts = Timeouts {
            deadline: Duration::from_secs(300),
            ..Timeouts::default()
        };
        let config = s3ota::Config {
            release_keys: &keys,
            ..network.config("1.0.0", timeouts)
        };
        let mut lamp = Lamp::trusting(&[&owner]);
        let bytes = lamp.device.flash().bytes().to_vec();
        let mut flash = s3ota_sim::Flash::in_memory(bytes);
        let mut workspace = Box::new(s3ota::Workspace::new());
        let device = network.device(&mut flash, 0x1_0000);
        let mut updater = s3ota::Updater::new(config, device, &mut workspace);
        let began = tokio::time::Instant::now();
        let error = updater.install(&mut ()).await.unwrap_err();
        assert_eq!(error.code(), "update.deadline");
        assert!(began.elapsed() <= timeouts.deadline);
        lamp.device = s3ota_sim::VirtualDevice::new(flash);
        assert_eq!(lamp.version(), "1.0.0");
    }
}

#[tokio::test]
async fn repository_denial_of_service() {
    let owner = Owner::new(1);
    let signed = owner.releases("1.1.0", 1);
    let mirror = Mirror::of(signed).await;
    let mut lamp = Lamp::trusting(&[&owner]).with(|config| {
        config.timeouts = Timeouts {
            attempts: 3,
            ..IMPATIENT
        };
    });
    type Refusal = fn() -> Reply;
    let refusals: [(Refusal, &str, usize); 6] = [
        (
            || Reply::Send(status("503 Slow Down", "Retry-After: 0\r\n")),
            "http.status",
            3,
        ),
        (
            || Reply::Send(status("404 Not Found", "")),
            "http.status",
            1,
        ),
        (
            || Reply::SendAndClose(Vec::new(), false),
            "tls.truncated",
            3,
        ),
        (
            || Reply::Send(ok(b"<html>Welcome!</html>")),
            "manifest.invalid",
            1,
        ),
        (|| Reply::Send(ok(b"")), "manifest.invalid", 1),
        (
            || Reply::SendAndClose(vec![0; 3000], true),
            "http.invalid",
            1,
        ),
    ];
    for (refusal, code, attempts) in refusals {
        let before = mirror.server.requests().len();
        mirror.says(to(Object::Manifest, refusal));
        let answer = lamp.asks(&mirror).await;
        answer.is_refused(code);
        assert_eq!(mirror.server.requests().len() - before, attempts, "{code}");
    }
    // It carries on with its firmware, and takes the next release that the server lets through.
    mirror.behaves();
    lamp.asks(&mirror).await.is_installed("1.1.0");
}
