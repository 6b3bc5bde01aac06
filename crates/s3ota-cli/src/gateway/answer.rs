//! The answers for devices. This file handles requests and answers only; how they arrive is up to the others.

use std::time::{Duration, SystemTime};

use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use s3ota_manifest::{ManifestDocument, layout};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::clock;
use crate::error::CliError;
use crate::output::{Output, hex};
use crate::publishing::{image_to_renew, presign_artefacts, presigned_url};
use crate::s3::{Location, S3Args, Store};

/// Temporary credentials are renewed when they expire sooner than this.
const RENEWED_BEFORE: Duration = Duration::from_secs(10 * 60);

/// The handler.
pub struct Gateway {
    s3: S3Args,
    location: Location,
    good_for: Duration,
    tokens: Option<Tokens>,
    store: Mutex<Store>,
    out: Output,
}

impl Gateway {
    /// A gateway to a location. URLs are valid for `good_for`; without `tokens`, anyone gets an answer.
    pub async fn open(
        s3: S3Args,
        location: Location,
        good_for: Duration,
        tokens: Option<Tokens>,
        out: Output,
    ) -> Result<Self, CliError> {
        let store = Store::connect(&s3, &location, None).await?;
        // Session tokens may be longer than devices have room for: better now than at each request.
        let image = format!("{}/images/0.0.0-000000000000.bin", location.prefix);
        presigned_url(&store, &image, good_for).await?;
        Ok(Self {
            s3,
            location,
            good_for,
            tokens,
            store: Mutex::new(store),
            out,
        })
    }

    /// Where the releases are.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The answer to a request, whose body is ignored. The request is reported, with the device that made it.
    pub async fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        let answer = match self.manifest(request).await {
            Ok(answer) => answer,
            Err(Refusal::Device(status, why)) => refusal(status, why),
            // What is wrong with the bucket is for its owner only.
            Err(Refusal::Bucket(error)) => {
                self.out.warning(&error);
                refusal(
                    StatusCode::BAD_GATEWAY,
                    "the bucket cannot be read: see the gateway's log",
                )
            }
        };
        let status = answer.status().as_u16();
        // Without the query, which may contain a token.
        let path = request.uri().path();
        let agent = request.headers().get(USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or("-");
        self.out.say(format_args!(
            "{status} {} {path}  {agent}",
            request.method()
        ));
        self.out.event(
            "request",
            json!({
                "time": clock::timestamp().to_string(), "method": request.method().as_str(), "path": path,
                "status": status, "user_agent": agent,
            }),
        );
        answer
    }

    async fn manifest<B>(&self, request: &Request<B>) -> Result<Response<String>, Refusal> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err(Refusal::Device(
                StatusCode::METHOD_NOT_ALLOWED,
                "a manifest can only be read",
            ));
        }
        if let Some(tokens) = &self.tokens
            && !tokens.has(shown(request))
        {
            return Err(Refusal::Device(
                StatusCode::FORBIDDEN,
                "a token is required: ?token=… in the manifest's URL, or Authorization: Bearer …",
            ));
        }
        let path = request.uri().path();
        let channel = path
            .rsplit('/')
            .next()
            .and_then(|name| name.strip_suffix(".json"));
        let nothing = Refusal::Device(
            StatusCode::NOT_FOUND,
            "there is no such channel: the path of a manifest is /CHANNEL.json",
        );
        let key = channel.and_then(|name| layout::channel_key(&self.location.prefix, name).ok());
        let Some(key) = key else {
            return Err(nothing);
        };
        let store = self.store().await?;
        let Some(stored) = store.get(&key).await? else {
            return Err(nothing);
        };

        // Of the stored manifest, not of the sent one: a new pre-signed URL does not make a new manifest.
        let etag = format!("\"{}\"", &hex(&Sha256::digest(&stored.bytes))[..32]);
        let answer = Response::builder()
            .header(ETAG, &etag)
            // Its URL is for this device, and for now.
            .header(CACHE_CONTROL, "private, no-store");
        if is_known(request.headers(), &etag) {
            return finish(answer.status(StatusCode::NOT_MODIFIED), String::new());
        }
        let mut manifest = ManifestDocument::parse(&stored.bytes).map_err(CliError::from)?;
        let image = image_to_renew(&manifest, &self.location)?;
        manifest.url = presigned_url(&store, &image, self.good_for).await?;
        presign_artefacts(&store, &self.location.prefix, &mut manifest, self.good_for).await;
        let json = manifest.to_json().map_err(CliError::from)?;
        finish(
            answer.header(CONTENT_TYPE, layout::MANIFEST_CONTENT_TYPE),
            json,
        )
    }

    /// The bucket, with credentials that last for a while.
    async fn store(&self) -> Result<Store, CliError> {
        let mut store = self.store.lock().await;
        if let Some(Some(end)) = store.credentials_end()
            && end < SystemTime::now() + RENEWED_BEFORE
        {
            *store = Store::connect(&self.s3, &self.location, None).await?;
        }
        Ok(store.clone())
    }
}

/// Why a request gets no manifest.
enum Refusal {
    /// The device's fault; it is told.
    Device(StatusCode, &'static str),
    /// The bucket, its permissions or its contents.
    Bucket(CliError),
}

impl From<CliError> for Refusal {
    fn from(error: CliError) -> Self {
        Self::Bucket(error)
    }
}

fn refusal(status: StatusCode, why: &str) -> Response<String> {
    let mut answer = Response::new(json!({ "error": why }).to_string());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    headers.insert(
        CACHE_CONTROL,
        hyper::header::HeaderValue::from_static("no-store"),
    );
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
    }
    answer
}

fn finish(
    answer: hyper::http::response::Builder,
    body: String,
) -> Result<Response<String>, Refusal> {
    answer
        .body(body)
        .map_err(|error| CliError::new("gateway.answer", error.to_string()).into())
}

/// Whether the device has this state of the manifest.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let tags = headers.get_all(IF_NONE_MATCH).iter();
    tags.filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

/// The token in a request.
fn shown<B>(request: &Request<B>) -> &str {
    let header = request.headers().get(AUTHORIZATION);
    let bearer = header
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let query = request.uri().query().unwrap_or_default();
    let in_query = || {
        query
            .split('&')
            .find_map(|part| part.strip_prefix("token="))
    };
    bearer.or_else(in_query).unwrap_or_default()
}

/// The accepted tokens. Only hashes are kept and compared, so the time of a comparison reveals nothing about a token.
#[derive(Debug)]
pub struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// The shortest token that cannot be guessed.
    const LEAST: usize = 16;

    /// Tokens of at least 16 characters that can be in a URL. `None` if there are none.
    pub fn new<'t>(tokens: impl Iterator<Item = &'t str>) -> Result<Option<Self>, CliError> {
        let mut hashes = Vec::new();
        for token in tokens {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if token.len() < Self::LEAST || !token.bytes().all(fits) {
                let message = format!(
                    "a token must have at least {} characters, and only letters, digits and - . _ ~",
                    Self::LEAST
                );
                return Err(CliError::new("gateway.token", message)
                    .hint("`openssl rand -hex 16` makes one"));
            }
            hashes.push(Sha256::digest(token).into());
        }
        Ok((!hashes.is_empty()).then_some(Self(hashes)))
    }

    fn has(&self, token: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(token).into();
        self.0.contains(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn tokens() -> Tokens {
        Tokens::new([TOKEN, "another-token.of_a~device"].into_iter())
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_token_is_in_the_query_or_the_header() {
        let shows = |uri: &str, header: Option<&str>| {
            let mut request = Request::builder().uri(uri);
            if let Some(header) = header {
                request = request.header(AUTHORIZATION, header);
            }
            tokens().has(shown(&request.body(()).unwrap()))
        };
        let good = format!("/stable.json?a=b&token={TOKEN}");
        assert!(shows(&good, None));
        assert!(shows("/stable.json", Some(&format!("Bearer {TOKEN}"))));
        assert!(!shows("/stable.json", None));
        assert!(!shows("/stable.json?token=", None));
        assert!(!shows("/stable.json?token=0123456789abcdeF", None));
        assert!(!shows(&format!("/stable.json?xtoken={TOKEN}"), None));
        assert!(!shows("/stable.json", Some(&format!("Basic {TOKEN}"))));
    }

    #[test]
    fn tokens_that_could_be_guessed_or_not_sent_are_refused() {
        assert!(Tokens::new(std::iter::empty()).unwrap().is_none());
        for wrong in [
            "short",
            "0123456789 abcdef",
            "0123456789abcdé",
            "0123456789&abcdef",
        ] {
            assert_eq!(
                Tokens::new([wrong].into_iter()).unwrap_err().code,
                "gateway.token"
            );
        }
    }

    #[test]
    fn a_state_is_recognised_by_its_tag_strong_or_weak() {
        let known = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, value.parse().unwrap());
            is_known(&headers, "\"abc\"")
        };
        assert!(known("\"abc\"") && known("\"x\", W/\"abc\""));
        assert!(!known("\"ab\"") && !known("abc"));
        assert!(!is_known(&HeaderMap::new(), "\"abc\""));
    }
}
