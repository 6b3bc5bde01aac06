//! Deltas and compressed images: the shortest way to an image is taken, resumed where it broke off, and left for the next one
//! where it leads nowhere.

#[path = "deltas/field.rs"]
mod field;
#[path = "deltas/hostile.rs"]
mod hostile;
#[path = "deltas/resume.rs"]
mod resume;

use s3ota_manifest::MAX_DELTAS;
use scripted_server::bucket::Response;
use scripted_server::deltas::{Delta, Release, firmware_of, noise};

use field::*;

#[tokio::test(start_paused = true)]
async fn a_delta_is_fetched_instead_of_the_image() {
    let mut device = Field::new();
    let network = serving(similar());
    let updated = device.updates(&network).await;
    assert_eq!(updated.ways, ["delta"]);
    assert!(device.runs(&similar().image));
    let bytes = similar().deltas[0].artefact.bytes.len();
    assert!(bytes < 300, "{bytes} bytes for another version");
    // All of it over the connection that had the manifest, and no more than is needed of it.
    let traffic = network.traffic();
    assert_eq!(traffic.len(), 1);
    assert!(traffic[0].to_device < 6_000, "{traffic:?}");
}

#[tokio::test(start_paused = true)]
async fn the_way_depends_on_what_runs() {
    let all = || similar().compressed();
    let rebuilt = firmware_of("1.0.0", &noise(9, 3000));
    let cases: [(&str, Release, &[&str]); 6] = [
        ("all ways", all(), &["delta"]),
        (
            "a delta for another version",
            {
                let mut release = all();
                release.deltas[0].from = "0.9.0".into();
                release
            },
            &["compressed"],
        ),
        (
            "a delta for another build of the version",
            {
                let mut release = all();
                release.deltas = vec![Delta::new("1.0.0", &rebuilt, &release.image)];
                release
            },
            &["compressed"],
        ),
        (
            "one delta for each of two builds",
            {
                let mut release = all();
                let mut other = Delta::new("v1.0", &rebuilt, &release.image);
                other.artefact.path = "/other.s3od".into();
                release.deltas.insert(0, other);
                release
            },
            &["delta"],
        ),
        (
            "a base larger than the flash",
            {
                let mut release = all();
                release.deltas[0].base_size = u32::MAX as usize;
                release
            },
            &["compressed"],
        ),
        ("neither", Release::whole("1.1.0", all().image), &["whole"]),
    ];
    for (name, release, ways) in cases {
        let mut device = Field::new();
        let image = release.image.clone();
        let updated = device.updates(&serving(release)).await;
        assert_eq!(updated.ways, ways, "{name}");
        assert!(device.runs(&image), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_deltas_than_are_read_do_no_harm() {
    let mut release = similar();
    let right = release.deltas.remove(0);
    let mut other = right.clone();
    other.from = "0.1.0".into();
    for (others, way) in [(MAX_DELTAS - 1, "delta"), (MAX_DELTAS, "whole")] {
        release.deltas = vec![other.clone(); others];
        release.deltas.push(right.clone());
        let mut device = Field::new();
        let updated = device.updates(&serving(release.clone())).await;
        assert_eq!(updated.ways, [way]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_hash_only_the_image_itself_is_fetched() {
    let network = network(|request, port| {
        let release = similar().compressed();
        if request.path != "/manifest.json" {
            return release.answer(request, port).into();
        }
        let manifest = String::from_utf8(release.manifest(port)).unwrap();
        let start = manifest.find(",\"sha256\"").unwrap();
        let end = start + ",\"sha256\":\"\"".len() + 64;
        let bare = manifest.replace(&manifest[start..end], "");
        Response::new("200 OK", bare.as_bytes()).into()
    });
    let mut device = Field::new();
    assert_eq!(device.updates(&network).await.ways, ["whole"]);
}
