//! Deltas and compressed images: `publish` makes them, and every command on a bucket knows them.

use std::time::Duration;

use crate::bucket::*;
use s3ota_devserver::Access;
use s3ota_manifest::{MAX_DELTAS, ManifestDocument};

const PLACE: &str = "s3://firmware/lamp";

/// The versions that the deltas of a manifest are made from.
fn bases(manifest: &ManifestDocument) -> Vec<&str> {
    manifest.deltas.iter().map(|it| it.from.as_str()).collect()
}

/// The keys of artefacts in the bucket.
async fn artefacts(bench: &Bench) -> Vec<String> {
    let mut keys = bench.keys().await;
    keys.retain(|key| key.ends_with(".delta"));
    keys
}

/// The object that a URL leads to.
fn key_of(url: &str) -> String {
    let (_, key) = url.split_once("/firmware/").unwrap();
    key.split('?').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_fetches_a_delta_that_publish_has_made_and_publishing_again_keeps_it() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let signed = ["--key", "release.key"];
    let first = bench.program("1.0.0");
    let run = bench.publish(&first, &signed);
    let url = run.published()["manifest_url"].as_str().unwrap().to_owned();
    let [compressed] = run.all("artefact")[..] else {
        panic!("{:?}", run.events)
    };
    assert_eq!(
        (&compressed["object"], &compressed["existed"]),
        (&"compressed".into(), &false.into())
    );
    let image = std::fs::metadata(&first).unwrap().len();
    assert_eq!(compressed["instead_of"], image);
    assert!(compressed["bytes"].as_u64().unwrap() < image * 6 / 10);

    let second = bench.program("1.1.0");
    let run = bench.publish(&second, &signed);
    run.published();
    let made = run.all("artefact");
    let delta = made.iter().find(|it| it["object"] == "delta").unwrap();
    assert_eq!((made.len(), &delta["from"]), (2, &"1.0.0".into()));
    assert!(delta["bytes"].as_u64().unwrap() < 2000, "{delta}");
    // What the manifest names is there before it does.
    let place = |name: &str, object: &str| {
        let is_it = |it: &serde_json::Value| it["event"] == name && it["object"] == object;
        run.events.iter().position(is_it).unwrap()
    };
    assert!(place("artefact", "delta") < place("uploaded", "manifest"));

    let manifest = bench.manifest("lamp/stable.json").await;
    let named = &manifest.deltas[0];
    assert_eq!(bases(&manifest), ["1.0.0"]);
    let record = bench.manifest("lamp/releases/1.0.0.json").await;
    assert_eq!(
        (Some(named.base_sha256), Some(named.base_size)),
        (record.sha256, record.size)
    );
    assert_eq!(key_of(&named.artefact.url), delta["key"].as_str().unwrap());
    let (kind, cache, bytes) = bench.read(&key_of(&named.artefact.url)).await;
    assert_eq!(bytes.len() as u64, delta["bytes"].as_u64().unwrap());
    assert_eq!(kind, "application/octet-stream");
    assert!(cache.contains("immutable"), "{cache}");
    assert!(record.deltas.is_empty() && record.compressed.is_none());

    bench.new_device("flash.bin", &first);
    let mut requests = bench.server.requests();
    let run = bench.run_device("flash.bin", bench.ca(), &url, &[]);
    assert_eq!(run.succeeded()["version"], "1.1.0");
    let mut fetched = Vec::new();
    while let Ok(Ok(request)) =
        tokio::time::timeout(Duration::from_millis(500), requests.recv()).await
    {
        if request.path.contains("/images/") {
            fetched.push((key_of(&request.path), request.bytes));
        }
    }
    let delta = (key_of(&named.artefact.url), u64::from(named.artefact.size));
    assert_eq!(fetched, [delta]);

    // The version that is there keeps them; and they go when that is asked for.
    let before = bench.keys().await;
    let run = bench.publish(&second, &signed);
    run.published();
    assert!(run.all("artefact").iter().all(|it| it["existed"] == true));
    assert_eq!(run.all("artefact").len(), 2);
    let again = bench.manifest("lamp/stable.json").await;
    assert_eq!(again.deltas, manifest.deltas);
    assert_eq!(again.compressed, manifest.compressed);
    let mut after = bench.keys().await;
    after.retain(|key| !key.contains("/history/"));
    assert!(after.iter().all(|key| before.contains(key)), "{after:?}");
    let none = [&signed[..], &["--delta-from", "none"]].concat();
    bench.publish(&second, &none).published();
    let without = bench.manifest("lamp/stable.json").await;
    assert!(without.deltas.is_empty() && without.compressed.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn deltas_are_made_from_what_devices_may_run_and_from_what_is_asked_for() {
    let bench = Bench::new(Access::PublicRead).await;
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        bench.publish(&bench.program(version), &[]).published();
    }
    let manifest = bench.manifest("lamp/stable.json").await;
    assert_eq!(bases(&manifest), ["1.1.0", "1.0.0"], "the newest first");
    bench.s3ota(&["yank", PLACE, "1.1.0"]).succeeded();
    let first = bench.manifest("lamp/releases/1.0.0.json").await;
    bench.remove(&key_of(&first.url)).await;

    let would = bench.publish(&bench.program("1.3.0"), &["--dry-run"]);
    let [would] = would.all("would_make")[..] else {
        panic!("{:?}", would.events)
    };
    assert_eq!(would["from"], serde_json::json!(["1.2.0", "1.0.0"]));
    let run = bench.publish(&bench.program("1.3.0"), &[]);
    run.published();
    let [skipped] = run.all("no_delta")[..] else {
        panic!("{:?}", run.events)
    };
    assert_eq!(
        (&skipped["from"], &skipped["reason"]),
        (
            &"1.0.0".into(),
            &"its image is not in the bucket any more".into()
        )
    );
    assert_eq!(bases(&bench.manifest("lamp/stable.json").await), ["1.2.0"]);

    // The devices that have a yanked version may need one most.
    let asked = ["--delta-from", "1.1.0,9.9.9"];
    let run = bench.publish(&bench.program("1.4.0"), &asked);
    run.published();
    assert_eq!(run.all("no_delta")[0]["from"], "9.9.9");
    assert_eq!(bases(&bench.manifest("lamp/stable.json").await), ["1.1.0"]);

    let one = bench.publish(&bench.program("1.5.0"), &["--delta-from", "1"]);
    one.published();
    assert_eq!(bases(&bench.manifest("lamp/stable.json").await), ["1.4.0"]);
    let of_itself = bench.publish(&bench.program("1.5.0"), &["--delta-from", "1.5.0"]);
    assert_eq!(
        of_itself.all("no_delta")[0]["reason"],
        "it is this very image"
    );
    let most = (MAX_DELTAS + 1).to_string();
    let run = bench.publish(&bench.program("1.6.0"), &["--delta-from", &most]);
    assert_eq!(run.status, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_beside_which_another_lies_is_no_base() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.publish(&bench.program("1.0.0"), &[]).published();
    let first = bench.manifest("lamp/stable.json").await;
    let size = first.size.unwrap() as usize;
    bench.write(&key_of(&first.url), vec![7; size]).await;
    let run = bench.publish(&bench.program("1.1.0"), &["--drop-guard"]);
    run.published();
    let reason = &run.all("no_delta")[0]["reason"];
    assert_eq!(reason, "its image is not what its record says");
    assert!(bench.manifest("lamp/stable.json").await.deltas.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_commands_carry_them_on_renew_them_and_name_none_that_is_missing() {
    let bench = Bench::new(Access::Policy).await;
    let private = ["--presign", "1h", "--channel", "beta"];
    bench.publish(&bench.program("1.0.0"), &private).published();
    bench.publish(&bench.program("1.1.0"), &private).published();
    let before = bench.manifest("lamp/beta.json").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let presign = ["presign", PLACE, "--channel", "beta", "--presign", "2h"];
    bench.s3ota(&presign).succeeded();
    let renewed = bench.manifest("lamp/beta.json").await;
    assert_eq!(bases(&renewed), ["1.0.0"]);
    for (old, new) in [
        (&before.deltas[0].artefact, &renewed.deltas[0].artefact),
        (
            before.compressed.as_ref().unwrap(),
            renewed.compressed.as_ref().unwrap(),
        ),
    ] {
        assert!(new.url.contains("X-Amz-Expires=7200"), "{}", new.url);
        assert_eq!(key_of(&old.url), key_of(&new.url));
    }

    // As the device decodes them; the bases come from the bucket, which nobody else can read.
    let verify = ["verify", PLACE, "--channel", "beta", "--unsigned"];
    let run = bench.s3ota(&verify);
    run.succeeded();
    let decoded = run.all("artefact");
    assert_eq!(decoded.len(), 2, "{:?}", run.events);
    assert!(decoded.iter().all(|it| it["decoded"] == true));
    assert_eq!(run.warnings(), Vec::<&str>::new());

    // A manifest of one hand leads to no object of another.
    let mut forged = renewed.clone();
    forged.deltas[0].artefact.url = renewed.url.clone();
    bench
        .write("lamp/beta.json", forged.to_json().unwrap())
        .await;
    bench.s3ota(&presign).succeeded();
    let kept = bench.manifest("lamp/beta.json").await;
    assert_eq!(bases(&kept), Vec::<&str>::new());
    bench
        .write("lamp/beta.json", renewed.to_json().unwrap())
        .await;

    bench
        .s3ota(&["rollout", PLACE, "50%", "--channel", "beta"])
        .succeeded();
    assert_eq!(
        bench.manifest("lamp/beta.json").await.deltas,
        renewed.deltas
    );
    let promote = ["promote", PLACE, "beta", "stable", "--presign", "1h"];
    bench.s3ota(&promote).succeeded();
    let stable = bench.manifest("lamp/stable.json").await;
    assert_eq!(bases(&stable), ["1.0.0"]);

    // A delta that someone has changed, and one that someone has removed.
    let delta = key_of(&stable.deltas[0].artefact.url);
    let mut bytes = bench.read(&delta).await.2;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    bench.write(&delta, bytes).await;
    let run = bench.s3ota(&verify);
    run.succeeded();
    assert_eq!(run.warnings(), ["verify.artefact"]);
    bench.remove(&delta).await;
    let run = bench.s3ota(&["status", PLACE]);
    let mut missing = run.warnings();
    missing.retain(|code| *code != "publish.presign");
    assert_eq!(missing, ["release.artefact", "release.artefact"]);
    let [channel, _] = run.all("channel")[..] else {
        panic!("{:?}", run.events)
    };
    assert_eq!(channel["deltas"][0]["from"], "1.0.0");
    let promote = ["promote", PLACE, "beta", "edge", "--presign", "1h"];
    bench.s3ota(&promote).succeeded();
    let edge = bench.manifest("lamp/edge.json").await;
    assert!(edge.deltas.is_empty() && edge.compressed.is_some());

    // The same firmware again makes it anew.
    bench.publish(&bench.program("1.1.0"), &private).published();
    assert_eq!(bases(&bench.manifest("lamp/beta.json").await), ["1.0.0"]);
    bench.read(&delta).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promote_makes_deltas_from_what_the_devices_of_its_channel_run() {
    let bench = Bench::new(Access::PublicRead).await;
    // The same server by another name of its certificate.
    let base = format!(
        "https://127.0.0.1:{}/firmware",
        bench.server.local_addr().port()
    );
    let beta = ["--channel", "beta", "--public-url", &base];
    bench.publish(&bench.program("1.0.0"), &[]).published();
    bench.publish(&bench.program("1.1.0"), &[]).published();
    bench.publish(&bench.program("1.2.0"), &beta).published();
    bench.publish(&bench.program("1.3.0"), &beta).published();
    let source = bench.manifest("lamp/beta.json").await;
    assert_eq!(bases(&source), ["1.2.0"]);

    let promote = ["promote", PLACE, "beta", "stable"];
    let before = artefacts(&bench).await;
    let would = bench.s3ota(&[&promote[..], &["--dry-run"]].concat());
    let [would] = would.all("would_make")[..] else {
        panic!("{:?}", would.events)
    };
    assert_eq!(would["from"], serde_json::json!(["1.1.0", "1.0.0"]));
    assert_eq!(would["compressed"], false);
    assert_eq!(artefacts(&bench).await, before);

    let run = bench.s3ota(&[&promote[..], &["--delta-from", "1.0.0"]].concat());
    run.succeeded();
    let [made] = run.all("artefact")[..] else {
        panic!("{:?}", run.events)
    };
    assert_eq!(
        (&made["from"], &made["existed"]),
        (&"1.0.0".into(), &false.into())
    );
    let stable = bench.manifest("lamp/stable.json").await;
    assert_eq!(bases(&stable), ["1.2.0", "1.0.0"], "the newest first");
    assert_eq!(stable.compressed, source.compressed);
    // At the place that the image's URL names, and such that a device can use it.
    let delta = &stable.deltas[1].artefact;
    assert_eq!(key_of(&delta.url), made["key"].as_str().unwrap());
    let place = |url: &str| url.rsplit_once("/images/").unwrap().0.to_owned();
    assert_eq!(place(&delta.url), place(&stable.url));
    let verify = ["verify", PLACE, "--channel", "stable", "--unsigned"];
    let run = bench.s3ota(&verify);
    run.succeeded();
    assert_eq!(run.all("artefact").len(), 3, "{:?}", run.events);
    assert!(run.all("artefact").iter().all(|it| it["decoded"] == true));

    // What the channels name differs, and the history has it.
    let run = bench.s3ota(&["diff", PLACE, "beta", "stable"]);
    run.succeeded();
    let differ = &run.all("diff")[0]["differences"]["deltas"];
    assert!(
        differ[0].as_str().unwrap().starts_with("1.2.0 ("),
        "{differ}"
    );
    assert!(
        differ[1].as_str().unwrap().contains(", 1.0.0 ("),
        "{differ}"
    );
    let run = bench.s3ota(&["diff", PLACE, "1.3.0", "stable"]);
    assert!(run.all("diff")[0]["differences"]["deltas"].is_null());
    let run = bench.s3ota(&["history", PLACE, "--channel", "stable"]);
    run.succeeded();
    let newest = run.all("change")[0];
    assert_eq!(newest["deltas"][1]["from"], "1.0.0");
    assert_eq!(newest["compressed"], stable.compressed.unwrap().size);

    // None, if that is asked for: what the source names goes along.
    bench.publish(&bench.program("1.4.0"), &beta).published();
    let none = [&promote[..], &["--delta-from", "none"]].concat();
    bench.s3ota(&none).succeeded();
    let stable = bench.manifest("lamp/stable.json").await;
    assert_eq!(bases(&stable), ["1.3.0", "1.2.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_keeps_what_a_channel_names_and_a_yank_goes_back_to_what_is_there() {
    let bench = Bench::new(Access::PublicRead).await;
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        bench.publish(&bench.program(version), &[]).published();
    }
    assert_eq!(artefacts(&bench).await.len(), 1 + 2 + 3);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let gc = ["gc", PLACE, "--keep", "1", "--delete"];
    bench.s3ota(&gc).succeeded();
    assert_eq!(artefacts(&bench).await.len(), 6, "younger than a day");
    // 1.1.0 stays, which the channel would go back to, and what its manifest names.
    let gc = ["gc", PLACE, "--keep", "2", "--grace", "1s", "--delete"];
    bench.s3ota(&gc).succeeded();
    let left = artefacts(&bench).await;
    assert_eq!(left.len(), 5, "{left:?}");
    assert!(left.iter().all(|key| !key.contains("/1.0.0-")));
    let served = bench.manifest("lamp/stable.json").await;
    assert_eq!(bases(&served), ["1.1.0", "1.0.0"]);

    let older = left.iter().find(|key| key.contains("/1.1.0-")).unwrap();
    bench.remove(older).await;
    bench.s3ota(&["yank", PLACE, "1.2.0"]).succeeded();
    let back = bench.manifest("lamp/stable.json").await;
    assert_eq!(back.version, "1.1.0");
    let named = back.deltas.iter().map(|it| &it.artefact);
    let named: Vec<_> = named
        .chain(&back.compressed)
        .map(|it| key_of(&it.url))
        .collect();
    assert_eq!(named.len(), 1);
    assert!(artefacts(&bench).await.contains(&named[0]));
}
