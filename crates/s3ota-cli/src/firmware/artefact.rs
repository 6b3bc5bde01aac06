//! Making deltas and compressed images.

use s3ota_codec::encode::{self, CannotEncode, Encoded};

use crate::error::CliError;

/// Makes an artefact that makes `image` of `base`; of an empty base, the compressed image. `Ok(Err(_))` if there is none.
///
/// The device's decoder has made the image of it again: what it could not decode must not be given away.
pub fn make_artefact(
    base: &[u8],
    image: &[u8],
    progress: &mut dyn FnMut(f32),
) -> Result<Result<Encoded, CannotEncode>, CliError> {
    let made = match encode::encode(base, image, progress) {
        Ok(made) => made,
        Err(error) => return Ok(Err(error)),
    };
    match encode::apply(base, &made.bytes) {
        Ok(result) if result == image => Ok(Ok(made)),
        _ => Err(CliError::new(
            "delta.invalid",
            "a delta does not make the image again: this is a defect of s3ota",
        )
        .hint("please report it with both images; `s3ota publish --delta-from none` does without")),
    }
}
