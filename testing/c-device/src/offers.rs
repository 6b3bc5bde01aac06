//! What a server offers: a manifest and an image, right or wrong.

use scripted_server::{Reply, Request, Server, ok, status};

/// A release as it is served.
#[derive(Clone)]
pub struct Offer {
    /// The manifest, with `PORT` for the server's port.
    pub manifest: String,
    /// The image, with which the manifest need not agree.
    pub image: Vec<u8>,
}

/// A release with everything that a publisher knows of it, and a change to its manifest: of each pair the first is replaced by
/// the second.
pub fn offer(version: &str, image: &[u8], changes: &[(&str, &str)]) -> Offer {
    let manifest = scripted_server::full_manifest(version, 0, image);
    let mut manifest = String::from_utf8(manifest)
        .unwrap()
        .replace("localhost:0", "localhost:PORT");
    for (from, to) in changes {
        assert!(manifest.contains(from), "{from} is not in {manifest}");
        manifest = manifest.replace(from, to);
    }
    Offer {
        manifest,
        image: image.to_vec(),
    }
}

impl Offer {
    /// Adds fields to the manifest: `"board":"b"`.
    pub fn with(mut self, fields: &str) -> Self {
        self.manifest = self.manifest.replacen('{', &format!("{{{fields},"), 1);
        self
    }

    /// What a server answers to a request.
    pub fn answer(&self, request: &Request, port: u16) -> Reply {
        let manifest = self.manifest.replace("PORT", &port.to_string());
        Reply::Send(match request.path.as_str() {
            "/stable.json" => ok(manifest.as_bytes()),
            "/image.bin" => ok(&self.image),
            _ => status("404 Not Found", ""),
        })
    }

    /// Serves it.
    pub async fn serve(self) -> Server {
        Server::start(move |request: &Request, port| self.answer(request, port)).await
    }
}
