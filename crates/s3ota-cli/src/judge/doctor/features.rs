//! Whether a firmware has the features that the servers' certificates need.
//!
//! The command itself has all of them. A firmware has Amazon's roots alone, and no P-384, unless it was built otherwise. An
//! image says what its TLS client was built with ([`BuiltWith`]); of one that does not say it, the default is assumed.

use s3ota::tls::BuiltWith;
use s3ota_manifest::HttpsUrl;

use super::client::Client;
use super::finding::Report;
use crate::error::CliError;
use crate::judge::certificates::{Chain, NeededRoot, Needs, P384_COST, quoted};
use crate::output::Output;

const SUBJECT: &str = "firmware";
const CODE: &str = "tls.features";

/// Checks for each server whether a firmware can be sure of it. `image` is the release, as far as it could be downloaded.
pub fn examine(client: &Client, report: &mut Report, image: Option<&[u8]>) {
    let built_with = image.and_then(BuiltWith::of);
    for (host, chain) in client.chains() {
        // What nobody accepts has been reported.
        let Ok(needs) = chain.needs(&client.more_roots()) else {
            continue;
        };
        match (built_with, image) {
            (Some(built_with), Some(image)) => {
                examine_image(client, report, (host, chain), &needs, built_with, image);
            }
            _ if needs.is_nothing() => {}
            _ => {
                report.needs(&needs.features());
                report.warning(
                    SUBJECT,
                    CODE,
                    default_refuses(host, &needs),
                    mend(&needs.features()),
                );
            }
        }
    }
}

/// Warns if firmware with the default features could not connect to one of these servers.
pub async fn warn(urls: &[&str], roots: &[Vec<u8>], out: &Output) -> Result<(), CliError> {
    let mut client = Client::new(roots.to_vec())?;
    for url in urls.iter().filter_map(|url| HttpsUrl::parse(url).ok()) {
        client.look_at_certificates(&url).await;
    }
    for (host, chain) in client.chains() {
        if let Ok(needs) = chain.needs(&client.more_roots())
            && !needs.is_nothing()
        {
            let warning = CliError::new(CODE, default_refuses(host, &needs));
            out.warning(&warning.hint(mend(&needs.features())));
        }
    }
    Ok(())
}

fn default_refuses(host: &str, needs: &Needs) -> String {
    format!(
        "{host}: firmware with the default features refuses its certificates: {}",
        needs.reasons()
    )
}

/// Checks an image that says what it was built with.
fn examine_image(
    client: &Client,
    report: &mut Report,
    (host, chain): (&str, &Chain),
    needs: &Needs,
    built_with: BuiltWith,
    image: &[u8],
) {
    if !chain.is_accepted_by(built_with, &client.more_roots()) {
        let p384 = !needs.p384.is_empty() && !built_with.p384;
        let missing = if p384 { "p384" } else { "rsa" };
        let reasons = match needs.reasons() {
            reasons if p384 => reasons,
            _ => "they have RSA keys".to_owned(),
        };
        let message = format!(
            "{host}: this firmware refuses its certificates: it was built without `{missing}`, and {reasons}"
        );
        return report.fault(SUBJECT, CODE, message, mend(&[missing]));
    }
    let has = |root: &&NeededRoot| root.is_in(image);
    match &needs.root {
        Some(root) if !has(&root) => {
            report.needs(&[root.feature]);
            let message = format!(
                "{host}: its certificates lead to {}, which is not in this firmware",
                quoted(&root.name)
            );
            report.warning(SUBJECT, CODE, message, mend(&[root.feature]));
        }
        _ if needs.is_nothing() => {}
        _ => {
            let features = list(&needs.features());
            report.good(
                SUBJECT,
                format!("{host}: this firmware has what its certificates need: {features}"),
            );
        }
    }
}

/// The fix for a server whose certificates lead to no known root.
pub fn mend_unknown_issuer(client: &Client, url: &HttpsUrl<'_>) -> String {
    let stranger = client
        .chain(url)
        .and_then(|chain| chain.needs(&client.more_roots()).err());
    let Some(stranger) = stranger else {
        return "add this server's root to the firmware (`Config::roots`), and pass it here with --ca; or make the server send its \
                intermediate certificates, too"
            .to_owned();
    };
    let mut fix = format!(
        "its last certificate was issued by {}: if that is its root, add it to the firmware (`Config::roots`), and pass it here with \
         --ca; if not, make the server send that certificate, too",
        quoted(&stranger.issuer)
    );
    if !stranger.p384.is_empty() {
        let names: Vec<_> = stranger.p384.iter().map(|name| quoted(name)).collect();
        fix += &format!(
            ". The firmware also needs the feature `p384` ({P384_COST}), for {}",
            names.join(" and ")
        );
    }
    fix
}

/// How a firmware gets features.
fn mend(features: &[&str]) -> String {
    let what = match features.len() {
        1 => "feature",
        _ => "features",
    };
    let cost = match features.contains(&"p384") {
        true => format!("; `p384` takes {P384_COST}"),
        false => String::new(),
    };
    format!(
        "build the firmware with the {what} {} of s3ota-esp{cost}. A device that runs a firmware without gets no updates from here",
        list(features)
    )
}

/// Features, as a text.
pub fn list(features: &[&str]) -> String {
    let quoted: Vec<_> = features
        .iter()
        .map(|feature| format!("`{feature}`"))
        .collect();
    quoted.join(" and ")
}
