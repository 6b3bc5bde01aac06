//! What the device of the demo has fetched, as its server saw it.

use std::fmt;
use std::time::Duration;

use s3ota_devserver::RequestRecord;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use crate::output;

/// How long to wait for another request: one is reported a moment after its answer has gone out.
const SILENCE: Duration = Duration::from_millis(300);

/// What a device has fetched of a release, besides the manifest.
pub struct Fetched {
    /// Bytes of it.
    pub bytes: u64,
    /// Bytes of the image.
    pub image: u32,
    is_artefact: bool,
}

impl Fetched {
    /// From the requests that have come in.
    pub async fn find(requests: &mut Receiver<RequestRecord>, image: u32) -> Self {
        let mut fetched = Self {
            bytes: 0,
            image,
            is_artefact: false,
        };
        while let Ok(Ok(request)) = timeout(SILENCE, requests.recv()).await {
            if request.path.contains("/images/") {
                fetched.bytes += request.bytes;
                fetched.is_artefact |= request.path.ends_with(".delta");
            }
        }
        fetched
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({ "bytes": self.bytes, "instead_of": self.image, "is_artefact": self.is_artefact })
    }
}

impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, image) = (output::bytes(self.bytes), output::bytes(self.image.into()));
        match self.is_artefact {
            true => write!(
                f,
                "has fetched only what changed: {bytes} instead of {image}"
            ),
            false => write!(f, "has fetched the image: {bytes}"),
        }
    }
}
