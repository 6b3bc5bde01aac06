//! Images: mixed, cut, lengthened, or made for something else.

use s3ota::{Chip, Hardware, NoUpdate};
use s3ota_image::app::{GuardMarker, ImageBuilder, SignatureKind};

use crate::field::*;
use scripted_server::bucket::{Bucket, Object, Response};
use scripted_server::firmware;

/// A signed release of an image under a version.
fn signed(owner: &Owner, version: &str, image: Vec<u8>) -> Bucket {
    owner.signs(&release_of(version, image), |document| {
        document.serial = Some(1)
    })
}

#[tokio::test]
async fn mix_and_match_of_manifest_and_image() {
    let owner = Owner::new(1);
    let offered = owner.releases("1.2.0", 1);
    let with = |image: Vec<u8>| Bucket {
        manifest: offered.manifest.clone(),
        image,
    };
    let right = firmware("1.2.0");
    let same_name = image(Chip::Esp32C3, "1.2.0+other", PROJECT);
    let half = [&right[..50_000], &same_name[50_000..]].concat();
    let mut lamp = Lamp::trusting(&[&owner]);
    lamp.is_offered(&with(firmware("1.1.0")))
        .await
        .is_refused_unwritten("image.version");
    for other in [same_name, half] {
        lamp.is_offered(&with(other)).await.fails("image.digest");
    }
    lamp.is_offered(&with(right)).await.is_installed("1.2.0");
}

#[tokio::test]
async fn substituted_pre_signed_url() {
    let owner = Owner::new(1);
    let offered = owner.releases("1.2.0", 1);
    let mut lamp = Lamp::trusting(&[&owner]);
    // A URL for another object, good in itself.
    let mirror = Mirror::of(replaced(
        &offered,
        "/image.bin",
        "/old.bin?X-Amz-Signature=1",
    ))
    .await;
    mirror.says(|request, _| {
        let old = Response::new("200 OK", &image(Chip::Esp32C3, "1.2.0+old", PROJECT));
        request.path.starts_with("/old.bin").then(|| old.into())
    });
    lamp.asks(&mirror).await.fails("image.digest");
    for url in [
        "http://localhost:65535/x",
        "ftp://localhost/x",
        "file:///etc/passwd",
    ] {
        let offer = replaced(&offered, "https://localhost:65535/image.bin", url);
        lamp.is_offered(&offer).await.is_refused("manifest.url");
    }
    // A URL that was signed again, without the owner's key, is as good as the first.
    let anew = replaced(&offered, "/image.bin", "/image.bin?X-Amz-Signature=2");
    lamp.is_offered(&anew).await.is_installed("1.2.0");
}

#[tokio::test]
async fn truncated_and_extended_images_with_the_right_prefix() {
    let owner = Owner::new(1);
    let offered = owner.releases("1.2.0", 1);
    let right = firmware("1.2.0");
    let mut lamp = Lamp::trusting(&[&owner]);
    let lengths = [
        right[..99_984].to_vec(),
        right[..4_096].to_vec(),
        right[..300].to_vec(),
        right[..10].to_vec(),
        [&right[..], &[0]].concat(),
        [&right[..], &[0xff; 4096]].concat(),
    ];
    for image in lengths {
        let announced = Bucket {
            manifest: offered.manifest.clone(),
            image: image.clone(),
        };
        lamp.is_offered(&announced)
            .await
            .is_refused_unwritten("image.size");
        // In chunks no length is announced.
        let mirror = Mirror::of(announced).await;
        mirror.says(|request, release| {
            let image = Object::of(request) == Object::Image;
            image.then(|| scripted_server::Reply::Send(release.answer(request).chunked()))
        });
        lamp.asks(&mirror).await.fails("image.size");
    }
    lamp.is_offered(&offered).await.is_installed("1.2.0");
}

#[tokio::test]
async fn size_is_known_before_anything_is_fetched() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]);
    for size in [0x1f_0001, u32::MAX] {
        let huge = owner.signs(&release("1.1.0"), |document| document.size = Some(size));
        lamp.is_offered(&huge).await.is_refused("image.size");
    }
}

#[tokio::test]
async fn image_whose_descriptor_lies() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]);
    for (image, code) in [
        (firmware("1.1.0"), "image.version"),
        (firmware("9.0.0"), "image.version"),
        (image(Chip::Esp32C6, "1.2.0", PROJECT), "image.chip"),
        (image(Chip::Esp32C3, "1.2.0", "kettle"), "image.project"),
    ] {
        // Its owner signed it, and what the manifest says fits.
        let offer = owner.signs(&signed(&owner, "1.2.0", image), |document| {
            document.project = Some(PROJECT.into());
        });
        lamp.is_offered(&offer).await.is_refused_unwritten(code);
    }
}

#[tokio::test]
async fn image_of_another_product_signed_by_the_same_key() {
    let owner = Owner::new(1);
    let kettle = signed(&owner, "1.2.0", image(Chip::Esp32C3, "1.2.0", "kettle"));
    let named = owner.signs(&kettle, |document| document.project = Some("kettle".into()));
    let mut lamp = Lamp::trusting(&[&owner]);
    lamp.is_offered(&named).await.is_refused("release.project");
    // Where the manifest does not say, the image does.
    lamp.is_offered(&kettle)
        .await
        .is_refused_unwritten("image.project");
    let mut unsigned = Lamp::trusting(&[]);
    unsigned
        .is_offered(&kettle)
        .await
        .is_refused_unwritten("image.project");
    // Unless the product is to be renamed.
    let mut renamed = Lamp::trusting(&[&owner]).with(|config| config.renamed_to = Some("kettle"));
    renamed.is_offered(&named).await.is_installed("1.2.0");
}

#[tokio::test]
async fn wrong_target() {
    let owner = Owner::new(1);
    let other = owner.signs(&release("1.1.0"), |document| {
        document.chip = Some("esp32".into())
    });
    let mut lamp = Lamp::trusting(&[&owner]);
    lamp.is_offered(&other).await.is_refused("image.chip");
    // The image speaks for itself where the manifest does not.
    let silent = signed(&owner, "1.1.0", image(Chip::Esp32C6, "1.1.0", PROJECT));
    let silent = owner.signs(&silent, |document| document.chip = None);
    lamp.is_offered(&silent)
        .await
        .is_refused_unwritten("image.chip");

    let on_board = |board: Option<&str>| {
        owner.signs(&release("1.1.0"), |document| {
            document.board = board.map(String::from)
        })
    };
    let mut lamp = Lamp::trusting(&[&owner]).with(|config| config.board = Some("rev-2"));
    for board in [Some("rev-1"), Some("REV-2"), Some("rev-2 "), None] {
        lamp.is_offered(&on_board(board))
            .await
            .is_refused("release.board");
    }
    lamp.is_offered(&on_board(Some("rev-2")))
        .await
        .is_installed("1.1.0");
    lamp.is_offered(&on_board(Some("rev-2")))
        .await
        .is_nothing(NoUpdate::UpToDate);
}

/// An image of 1.1.0 for the devices here, of which something is changed.
fn made(version: &str, change: impl FnOnce(ImageBuilder) -> ImageBuilder) -> Vec<u8> {
    let builder = ImageBuilder::new(Chip::Esp32C3, version).project_name(PROJECT);
    change(builder).length(100_000).build()
}

#[tokio::test]
async fn image_that_the_bootloader_would_refuse_on_this_chip() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]).with(|config| {
        config.hardware = Hardware {
            revision: Some(101),
            block_revision: Some(103),
            secure_version: Some(2),
            ..Hardware::default()
        }
    });
    let right = |builder: ImageBuilder| builder.secure_version(2);
    type Change = fn(ImageBuilder) -> ImageBuilder;
    let wrong: [(&str, Change); 5] = [
        ("image.revision", |builder| builder.revisions(300, 399)),
        ("image.revision", |builder| builder.revisions(0, 100)),
        ("image.efuse", |builder| builder.block_revisions(104, 199)),
        ("image.efuse", |builder| builder.block_revisions(0, 102)),
        ("image.rollback", |builder| builder.secure_version(1)),
    ];
    for (code, change) in wrong {
        let image = made("1.1.0", |builder| change(right(builder)));
        let offer = signed(&owner, "1.1.0", image);
        lamp.is_offered(&offer).await.is_refused_unwritten(code);
    }
    let image = made("1.1.0", |builder| right(builder).revisions(100, 199));
    let offer = signed(&owner, "1.1.0", image);
    lamp.is_offered(&offer).await.is_installed("1.1.0");
    // What runs from now on has secure version 2: the chip's eFuse may follow it.
    lamp = lamp.with(|_| {});
    let older = signed(
        &owner,
        "1.2.0",
        made("1.2.0", |builder| builder.secure_version(1)),
    );
    let answer = lamp.is_offered(&older).await;
    answer.is_refused_unwritten("image.rollback");
}

#[tokio::test]
async fn image_that_loses_the_boot_guard_or_its_signature() {
    const GUARD: GuardMarker = GuardMarker::new(GuardMarker::ESP_HAL, 1);
    let owner = Owner::new(1);
    type Change = fn(ImageBuilder) -> ImageBuilder;
    let kinds: [(&str, Change, Change); 3] = [
        (
            "image.guard",
            |builder| builder.guard(GUARD),
            |builder| builder.without_guard(),
        ),
        (
            "image.secure_boot",
            |builder| builder.signature(SignatureKind::Rsa),
            |builder| builder,
        ),
        (
            "image.secure_boot",
            |builder| builder.signature(SignatureKind::Rsa),
            |builder| builder.signature(SignatureKind::Ecdsa),
        ),
    ];
    for (code, has, loses) in kinds {
        let mut lamp = Lamp::trusting(&[&owner]);
        // From an image without to one with it is no step back.
        let first = signed(&owner, "1.1.0", made("1.1.0", has));
        lamp.is_offered(&first).await.is_installed("1.1.0");
        let loser = signed(&owner, "1.2.0", made("1.2.0", loses));
        let answer = lamp.is_offered(&loser).await;
        answer.fails(code);
        let keeper = signed(&owner, "1.3.0", made("1.3.0", has));
        lamp.is_offered(&keeper).await.is_installed("1.3.0");
    }
}
