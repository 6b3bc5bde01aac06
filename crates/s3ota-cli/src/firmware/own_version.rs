//! The version that a firmware calls itself by.

use s3ota_image::app::{Descriptor, Image, TwoVersions, VersionMarker};
use s3ota_manifest::Version;

/// The version that a firmware tells the library on its device, and where the image says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnVersion {
    /// As the image spells it. It can be compared.
    pub text: String,
    /// The most bytes that there is room for where it is.
    pub room: usize,
}

/// Why it is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    /// The reason, as a sentence without its full stop.
    pub problem: String,
    /// The next step.
    pub hint: &'static str,
    allowed: Allowed,
}

/// The versions that it may be published under.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Any,
    Either(Box<TwoVersions>),
    None,
}

impl Unnamed {
    /// Whether it may be published under this version, because somebody says that this is the right one.
    pub fn may_be(&self, version: &Version<'_>) -> bool {
        let is = |marker: &VersionMarker| {
            Version::parse(marker.version()).is_ok_and(|own| own == *version)
        };
        match &self.allowed {
            Allowed::Any => true,
            Allowed::Either(two) => is(&two.first) || is(&two.second),
            Allowed::None => false,
        }
    }
}

impl OwnVersion {
    /// The version of an image, which are these bytes.
    ///
    /// The descriptor's; but the marker's, which holds what a sketch gives to the library, in Arduino builds and where the
    /// descriptor's cannot be compared.
    pub fn of(image: &Image, bytes: &[u8]) -> Result<Self, Unnamed> {
        let marker = VersionMarker::find(bytes).map_err(two_versions)?;
        let from_marker = |marker: VersionMarker| {
            let room = VersionMarker::TEXT_MAX;
            comparable(marker.version(), "the sketch").map(|version| Self {
                text: version.to_owned(),
                room,
            })
        };
        let descriptor = image.descriptor.as_ref();
        match (descriptor, marker) {
            (Some(descriptor), Some(marker)) if !descriptor.is_arduino() => {
                let text = descriptor.version();
                match (Version::parse(text), Version::parse(marker.version())) {
                    (Ok(named), Ok(told)) if named != told => Err(Unnamed {
                        problem: format!(
                            "the image's descriptor names the version {named}, and the firmware tells the library that it is {told}"
                        ),
                        hint: "give both the same version, build the firmware again and publish that",
                        allowed: Allowed::None,
                    }),
                    (Ok(_), _) => Ok(Self::described(text)),
                    (Err(_), _) => from_marker(marker),
                }
            }
            (_, Some(marker)) => from_marker(marker),
            (Some(descriptor), None) if descriptor.is_arduino() => Err(Unnamed {
                problem:
                    "the image was built with Arduino, so it contains the version of the Arduino core, and it does not name the \
                     sketch's"
                        .to_owned(),
                hint:
                    "give the version to `begin` as S3OTA_VERSION(\"1.2.0\"), if the sketch uses the library s3ota; or set it with \
                     --version, and make the sketch report the same one",
                allowed: Allowed::Any,
            }),
            (Some(descriptor), None) => {
                let text = descriptor.version();
                comparable(text, "the image").map(Self::described)
            }
            (None, None) => comparable("", "the image").map(Self::described),
        }
    }

    fn described(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            room: Descriptor::TEXT_MAX,
        }
    }
}

fn two_versions(two: TwoVersions) -> Unnamed {
    Unnamed {
        problem: two.to_string(),
        hint: "give the same version to every `begin`, build the sketch again and publish that; or, if the image contains \
               another firmware with a version of its own, name the right one with --version",
        allowed: Allowed::Either(Box::new(two)),
    }
}

/// The text, if it is a version.
fn comparable<'t>(text: &'t str, whose: &str) -> Result<&'t str, Unnamed> {
    let unnamed = |problem| Unnamed {
        problem,
        hint: "set the version with --version, and make the sketch report the same one",
        allowed: Allowed::Any,
    };
    match text {
        "" => Err(unnamed(format!("{whose} does not name its version"))),
        text => Version::parse(text).map(|_| text).map_err(|problem| {
            unnamed(format!(
                "{whose}'s version is `{text}`, which cannot be compared: {problem}"
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::verify;
    use s3ota_image::Chip;
    use s3ota_image::app::ImageBuilder;

    /// An image with this version in its descriptor, of this project, with these markers.
    fn own(described: &str, project: &str, markers: &[&str]) -> Result<String, Unnamed> {
        let payload: Vec<u8> = markers
            .iter()
            .flat_map(|version| VersionMarker::new(version).unwrap().bytes())
            .collect();
        let bytes = ImageBuilder::new(Chip::Esp32, described)
            .project_name(project)
            .payload(&payload)
            .build();
        let image = verify(&bytes).unwrap();
        OwnVersion::of(&image, &bytes).map(|own| own.text)
    }

    const ARDUINO: &str = "arduino-lib-builder";

    #[test]
    fn a_sketch_is_what_its_marker_says() {
        for core in ["v5.5.1", "esp-idf: v4.4.7 38eeba213a", "3.0.0", ""] {
            assert_eq!(own(core, ARDUINO, &["1.2.0"]).unwrap(), "1.2.0");
            assert_eq!(own(core, ARDUINO, &["1.2.0", "1.2.0"]).unwrap(), "1.2.0");
        }
    }

    #[test]
    fn a_sketch_without_a_marker_may_be_any_version() {
        let unnamed = own("3.0.0", ARDUINO, &[]).unwrap_err();
        assert!(unnamed.hint.contains("S3OTA_VERSION"), "{unnamed:?}");
        assert!(unnamed.may_be(&Version::new(9, 9, 9)));
    }

    #[test]
    fn two_versions_in_an_image_are_an_error_that_names_them() {
        let unnamed = own("v5.5.1", ARDUINO, &["1.2.0", "1.3.0"]).unwrap_err();
        assert!(
            unnamed.problem.contains("both 1.2.0 and 1.3.0"),
            "{unnamed:?}"
        );
        assert!(unnamed.may_be(&Version::new(1, 2, 0)) && unnamed.may_be(&Version::new(1, 3, 0)));
        assert!(!unnamed.may_be(&Version::new(1, 4, 0)));
    }

    #[test]
    fn a_marker_does_not_outvote_a_descriptor() {
        assert_eq!(own("1.2.0", "lamp", &["v1.2"]).unwrap(), "1.2.0");
        assert_eq!(own("4a5be1f-dirty", "lamp", &["1.2.0"]).unwrap(), "1.2.0");
        let unnamed = own("1.2.0", "lamp", &["1.3.0"]).unwrap_err();
        assert!(
            unnamed.problem.contains("1.2.0") && unnamed.problem.contains("1.3.0"),
            "{unnamed:?}"
        );
        assert!(!unnamed.may_be(&Version::new(1, 2, 0)));
    }

    #[test]
    fn a_version_that_cannot_be_compared_is_none() {
        let unnamed = own("v5.5.1", ARDUINO, &["4a5be1f-dirty"]).unwrap_err();
        assert!(unnamed.problem.contains("4a5be1f-dirty"), "{unnamed:?}");
        assert!(own("", "lamp", &[]).is_err());
    }
}
