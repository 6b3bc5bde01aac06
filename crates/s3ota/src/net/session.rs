//! One TLS connection to one server, and the requests made over it.

use edge_nal::{Dns, TcpConnect};
use embedded_io_async::{Read, Write};
use heapless::String;
use rand_core::{CryptoRng, RngCore};
use s3ota_manifest::{HttpsUrl, MAX_URL, UrlError};
use s3ota_tls::{Buffers, CertTime, Roots, TlsError, TlsStream};

use crate::apart::{apart, ok};
use crate::device::Clock;
use crate::error::{Error, HttpError, cut};
use crate::net::http::{Body, Framing, Head, Identity, MAX_HEAD, Part, Request, Want};
use crate::net::link::{self, ConnectError, Deadline, Link};

/// The most redirects followed for one document.
pub const MAX_REDIRECTS: u8 = 5;

/// The most bytes of a redirect's body read only to keep the connection.
const WORTH_DRAINING: usize = 2048;

/// The URL being fetched: first the configured or the manifest's, then what redirects make of it.
pub(crate) struct Target {
    url: String<MAX_URL>,
    redirects: u8,
}

impl Target {
    /// No URL yet.
    pub(crate) const fn new() -> Self {
        Self {
            url: String::new(),
            redirects: 0,
        }
    }

    /// Begins with `url`. Whether it is on the server of the URL before.
    pub(crate) fn aim(&mut self, url: &HttpsUrl<'_>) -> Result<bool, Error> {
        self.redirects = 0;
        self.replace(url)
    }

    pub(crate) fn url(&self) -> Result<HttpsUrl<'_>, Error> {
        // It was parsed before it was kept.
        HttpsUrl::parse(&self.url).map_err(Error::ManifestUrl)
    }

    /// Follows a redirect to `location`, an absolute https URL or a reference relative to the present one. Whether the
    /// server is still the same.
    #[inline(never)]
    fn follow(&mut self, location: &[u8]) -> Result<bool, Error> {
        self.redirects = self.redirects.saturating_add(1);
        if self.redirects > MAX_REDIRECTS {
            return Err(HttpError::TooManyRedirects.into());
        }
        let location = core::str::from_utf8(location).map_err(|_| HttpError::NoLocation)?;
        let mut joined = [0; MAX_URL];
        let next = HttpsUrl::join(&self.url()?, location, &mut joined).map_err(Error::Redirect)?;
        self.replace(&next)
    }

    fn replace(&mut self, url: &HttpsUrl<'_>) -> Result<bool, Error> {
        let is_same = HttpsUrl::parse(&self.url).is_ok_and(|old| old.same_server(url));
        self.url.clear();
        self.url
            .push_str(url.as_str())
            .map_err(|_| Error::ManifestUrl(UrlError::TooLong))?;
        Ok(is_same)
    }
}

/// What a session needs of its updater.
pub(crate) struct Opener<'o, N, C, R> {
    pub(crate) network: &'o N,
    pub(crate) rng: &'o mut R,
    pub(crate) roots: &'o Roots<'o>,
    pub(crate) time: CertTime,
    pub(crate) deadline: Deadline<'o, C>,
}

/// The memory a session works in.
pub(crate) struct SessionBuffers {
    tls: Buffers,
    head: [u8; MAX_HEAD],
}

impl SessionBuffers {
    pub(crate) const fn new() -> Self {
        Self {
            tls: Buffers::new(),
            head: [0; MAX_HEAD],
        }
    }
}

/// An open connection to the server of one authority (host and port).
///
/// The connection itself is too large to be passed around. It stays where it was made, in a [`Place`].
pub(crate) struct Session<'p, 'b, S>
where
    S: Read + Write,
{
    stream: &'p mut TlsStream<'b, S>,
    head: &'p mut [u8; MAX_HEAD],
    requests: u32,
    usable: bool,
}

/// Where the connection of a [`Session`] over the sockets of the network `N` lies.
pub(crate) type Place<'b, 'o, N, C> =
    Option<TlsStream<'b, Link<'o, <N as TcpConnect>::Socket<'o>, C>>>;

/// A [`Session`] over the sockets of the network `N`.
pub(crate) type NetSession<'p, 'b, 'o, N, C> =
    Session<'p, 'b, Link<'o, <N as TcpConnect>::Socket<'o>, C>>;

impl<'o, N, C, R> Opener<'o, N, C, R>
where
    N: TcpConnect + Dns,
    C: Clock,
    R: CryptoRng + RngCore,
{
    /// Connects to the server of `target` and makes sure that it is that server. The connection lies in `place` then.
    pub(crate) async fn open<'p, 'b: 'p>(
        &mut self,
        target: &Target,
        buffers: &'b mut SessionBuffers,
        place: &'p mut Place<'b, 'o, N, C>,
    ) -> Result<NetSession<'p, 'b, 'o, N, C>, Error>
    where
        'o: 'b,
    {
        let url = ok!(target.url());
        let (host, port) = (url.host(), url.port());
        debug!("connecting to {}:{}", host, port);
        let connecting = link::connect(self.network, host, port, self.deadline);
        let link = ok!(apart!(connecting).map_err(|error| match error {
            ConnectError::Resolve => Error::Resolve(cut(host)),
            ConnectError::Connect(kind) => Error::Connect {
                host: cut(host),
                port,
                kind,
            },
        }));
        let handshake = s3ota_tls::connect_in(
            place,
            link,
            host,
            self.roots,
            self.time,
            self.rng,
            &mut buffers.tls,
        );
        ok!(apart!(handshake));
        Ok(Session {
            stream: ok!(place.as_mut().ok_or(TlsError::Interrupted)),
            head: &mut buffers.head,
            requests: 0,
            usable: true,
        })
    }
}

/// Whether a response holds exactly the part that was asked for, and of the same document.
pub fn is_the_part(head: &Head, part: &Part<'_>) -> bool {
    let Some(range) = head.content_range.filter(|_| head.status == 206) else {
        return false;
    };
    let length = range.last - range.first + 1;
    let total = range.total.unwrap_or(range.last + 1);
    range.first == u64::from(part.from)
        && range.last + 1 == total
        && part
            .total
            .is_none_or(|expected| u64::from(expected) == total)
        && !matches!(head.framing, Framing::Length(announced) if announced != length)
        && part
            .etag
            .is_none_or(|tag| head.etag.as_deref() == Some(tag))
}

/// What a request came to.
pub(crate) enum Answer {
    /// The response to the final request; its body is to be read.
    Here(Head),
    /// Another connection is needed: a redirect leads to another server, or the server had closed this one, which was
    /// kept open.
    Elsewhere,
    /// The part that was asked for is not to be had: the server has another document now, or does not do parts well.
    /// All of it must be fetched, over a new connection.
    NoSuchPart,
}

impl<'b, S> Session<'_, 'b, S>
where
    S: Read + Write,
{
    /// Whether another request may go over this connection.
    pub(crate) fn is_usable(&self) -> bool {
        self.usable
    }

    /// Requests `target` and follows redirects as long as they stay on this server.
    ///
    /// The answer's status is 200 for all of it, 206 for exactly the part that was asked for, or 304 for no change;
    /// any other is an error.
    pub(crate) async fn get(
        &mut self,
        target: &mut Target,
        identity: Identity<'_>,
        want: Want<'_>,
    ) -> Result<Answer, Error> {
        loop {
            let head = match apart!(self.exchange(target, identity, want)) {
                Err(error) if self.requests > 1 && error.is_connection_loss() => {
                    return Ok(Answer::Elsewhere);
                }
                other => other?,
            };
            match head.status {
                200 => return Ok(Answer::Here(head)),
                304 if matches!(want, Want::Changed(_)) => return Ok(Answer::Here(head)),
                206 | 416 if let Want::Rest(part) = want => {
                    return Ok(if is_the_part(&head, &part) {
                        Answer::Here(head)
                    } else {
                        Answer::NoSuchPart
                    });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let (start, end) = ok!(head.location.ok_or(HttpError::NoLocation));
                    let is_same = ok!(target.follow(self.head.get(start..end).unwrap_or_default()));
                    info!(
                        "redirected ({}) to {}",
                        head.status,
                        ok!(target.url()).host()
                    );
                    let mut body = self.body(&head);
                    let drained = ok!(apart!(body.drain(WORTH_DRAINING)));
                    self.finished(&head, drained);
                    if !is_same || !self.usable {
                        return Ok(Answer::Elsewhere);
                    }
                }
                status => {
                    return Err(HttpError::Status {
                        status,
                        retry_after: head.retry_after,
                    }
                    .into());
                }
            }
        }
    }

    async fn exchange(
        &mut self,
        target: &Target,
        identity: Identity<'_>,
        want: Want<'_>,
    ) -> Result<Head, Error> {
        self.requests = self.requests.saturating_add(1);
        let request = Request {
            url: ok!(target.url()),
            identity,
            want,
        };
        ok!(self.stream.write_all(ok!(request.encode(self.head))).await);
        ok!(self.stream.flush().await);
        Head::read(self.stream, self.head).await
    }

    /// The body of the response with this head.
    pub(crate) fn body<'s>(&'s mut self, head: &Head) -> Body<'s, TlsStream<'b, S>> {
        let (start, end) = head.body;
        Body::new(
            self.stream,
            head,
            self.head.get(start..end).unwrap_or_default(),
        )
    }

    /// Tells the session whether the response with this head was read to its end.
    pub(crate) fn finished(&mut self, head: &Head, at_end: bool) {
        self.usable = at_end && head.keep_alive;
    }
}
