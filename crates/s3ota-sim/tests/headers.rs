//! Header fields that the application sends along go where they should, and nowhere else.

use s3ota::{Config, Header, Outcome, Updater, Workspace};
use s3ota_sim::{Flash, Setup};
use scripted_server::network::*;
use scripted_server::*;

const TOKEN: &str = "Bearer 0123456789";

/// Where each request went (host and path), and whether it carried the token.
async fn requests(
    redirect: Option<&'static str>,
    image_url: &'static str,
    also_to: &[&str],
) -> Vec<(String, bool)> {
    let image = firmware("1.1.0");
    let manifest = String::from_utf8(full_manifest("1.1.0", PORT, &image)).unwrap();
    let manifest = manifest.replace(&format!("https://localhost:{PORT}/image.bin"), image_url);
    let network = Network::new(move |request, _| match (request.path.as_str(), redirect) {
        ("/manifest.json", Some(to)) => Reply::Send(status(
            "307 Temporary Redirect",
            &format!("Location: {to}\r\n"),
        )),
        ("/manifest.json" | "/moved.json", _) => Reply::Send(ok(manifest.as_bytes())),
        _ => Reply::Send(ok(&image)),
    });
    let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
    let headers = [
        Header::new("Authorization", TOKEN)
            .unwrap()
            .also_to(also_to),
        Header::new("X-Product", "lamp").unwrap().also_to(also_to),
    ];
    let config = Config {
        headers: &headers,
        ..network.config("1.0.0", IMPATIENT)
    };
    let mut workspace = Box::new(Workspace::new());
    let device = network.device(&mut flash, 0x1_0000);
    let outcome = Updater::new(config, device, &mut workspace)
        .install(&mut ())
        .await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    let requests = network.requests();
    let requests = requests.iter().map(|request| {
        let host = request.field("Host").unwrap();
        let has_token = request.field("Authorization") == Some(TOKEN);
        assert_eq!(request.field("X-Product").is_some(), has_token);
        assert!(has_token || request.field("Authorization").is_none());
        (format!("{host}{}", request.path), has_token)
    });
    requests.collect()
}

fn all(requests: &[(&str, bool)]) -> Vec<(String, bool)> {
    let owned = requests
        .iter()
        .map(|(to, token)| ((*to).to_owned(), *token));
    owned.collect()
}

#[tokio::test(start_paused = true)]
async fn a_token_goes_to_the_server_of_the_manifest() {
    assert_eq!(
        requests(None, "https://localhost/image.bin", &[]).await,
        all(&[
            ("localhost/manifest.json", true),
            ("localhost/image.bin", true)
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_does_not_go_to_the_images_host_unless_that_is_named() {
    let image = "https://cdn.example/image.bin";
    assert_eq!(
        requests(None, image, &[]).await,
        all(&[
            ("localhost/manifest.json", true),
            ("cdn.example/image.bin", false)
        ])
    );
    assert_eq!(
        requests(None, image, &["cdn.example"]).await,
        all(&[
            ("localhost/manifest.json", true),
            ("cdn.example/image.bin", true)
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_does_not_follow_a_redirect_to_another_host() {
    assert_eq!(
        requests(
            Some("https://cdn.example/moved.json"),
            "https://localhost/image.bin",
            &[]
        )
        .await,
        all(&[
            ("localhost/manifest.json", true),
            ("cdn.example/moved.json", false),
            ("localhost/image.bin", true)
        ])
    );
    assert_eq!(
        requests(Some("/moved.json"), "https://localhost/image.bin", &[]).await,
        all(&[
            ("localhost/manifest.json", true),
            ("localhost/moved.json", true),
            ("localhost/image.bin", true)
        ])
    );
}
