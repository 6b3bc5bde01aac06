//! What a program that links the library looks like to it.
//!
//! Every firmware with the library carries the scanner for the boot guard's marker. This program does,
//! too, and it is read as one would be. It has no marker of its own: nothing here may make one.

use s3ota_image::{
    Chip,
    app::{ImageBuilder, Verifier, VersionMarker},
};

#[test]
fn a_program_with_the_scanner_in_it_has_no_marker() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let has = |text: &[u8]| program.windows(text.len()).any(|window| window == text);
    assert!(
        has(b"a_program_with_the_scanner_in_it"),
        "this is the program"
    );
    // The table that the scanner compares with, each bit inverted.
    let inverted = b"s3ota-boot-guard".map(|byte| !byte);
    assert!(has(&inverted), "the scanner is in it");

    let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0")
        .without_guard()
        .payload(&program)
        .build();
    let mut verifier = Verifier::new();
    verifier.update(&image).unwrap();
    assert_eq!(verifier.finish().unwrap().guard, None);
    // A host's program looks for the version's marker, too.
    assert_eq!(VersionMarker::find(&program), Ok(None));
}
