//! A program with a boot guard's marker, made as a firmware makes it.

use s3ota_image::{
    Chip,
    app::{GuardMarker, ImageBuilder, Verifier},
};

const GUARD: GuardMarker = GuardMarker::new(GuardMarker::ESP_HAL, 42);

#[used]
static MARKER: [u8; GuardMarker::LEN] = GUARD.bytes();

#[test]
fn the_marker_in_a_built_program_is_found() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0")
        .without_guard()
        .payload(&program)
        .build();
    let mut verifier = Verifier::new();
    verifier.update(&image).unwrap();
    assert_eq!(verifier.finish().unwrap().guard, Some(GUARD));
}
