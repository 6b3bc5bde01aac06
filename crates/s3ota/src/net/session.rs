//! One TLS connection to one server, and the requests made over it.

use edge_nal::{Dns, TcpConnect};
use embedded_io_async::{BufRead, ErrorType, Read, Write};
use rand_core::{CryptoRng, RngCore};
#[cfg(feature = "delta")]
use s3ota_manifest::user_agent::Fetched;
use s3ota_manifest::{HttpsUrl, MAX_URL, UrlError};
use s3ota_tls::{Buffers, CLAIM, CertTime, Roots, TlsStream, connect_in};

use crate::apart::{apart, ok};
use crate::device::Clock;
use crate::error::{Error, HttpError, cut};
use crate::net::http::{Body, Framing, Head, Identity, MAX_HEAD, Part, Request, Want};
use crate::net::link::{self, ConnectError, Deadline, Link};

/// The most redirects followed for one document.
pub const MAX_REDIRECTS: u8 = 5;

/// The most bytes of a redirect's body read only to keep the connection.
const WORTH_DRAINING: usize = 2048;

/// Who asks for what. The URL being fetched: first the configured one of the manifest, later the image's, then what redirects make of it. What does not
/// come from the configuration lies in a page of the workspace.
pub(crate) struct Target<'t> {
    identity: Identity<'t>,
    /// Bytes of the URL in the page; 0 for the manifest's.
    kept: usize,
    redirects: u8,
    /// A redirect has led to another server than the first.
    is_elsewhere: bool,
}

impl<'t> Target<'t> {
    /// Begins with the manifest.
    pub(crate) fn new(identity: Identity<'t>) -> Result<Self, Error> {
        HttpsUrl::parse(identity.manifest_url).map_err(Error::ManifestUrl)?;
        Ok(Self {
            identity,
            kept: 0,
            redirects: 0,
            is_elsewhere: false,
        })
    }

    /// Whether `url` is on the server that the manifest came from: its own, unless a redirect has led to another.
    pub(crate) fn is_on_server_of(&self, url: &HttpsUrl<'_>) -> bool {
        let manifest_url = HttpsUrl::parse(self.identity.manifest_url);
        !self.is_elsewhere && manifest_url.is_ok_and(|manifest| manifest.same_server(url))
    }

    /// Notes what is fetched to make an image of.
    #[cfg(feature = "delta")]
    pub(crate) fn fetches(&mut self, image: Fetched) {
        self.identity.agent.image = Some(image);
    }

    /// Goes on with the URL that was kept in so many bytes of the page.
    pub(crate) fn aim(&mut self, kept: usize) {
        self.kept = kept;
        self.redirects = 0;
        self.is_elsewhere = false;
    }

    pub(crate) fn url<'u>(&self, page: &'u [u8; MAX_HEAD]) -> Result<HttpsUrl<'u>, Error>
    where
        't: 'u,
    {
        let text = match self.kept {
            0 => self.identity.manifest_url,
            // It was text before it was kept.
            kept => page
                .get(..kept)
                .and_then(|bytes| core::str::from_utf8(bytes).ok())
                .unwrap_or_default(),
        };
        HttpsUrl::parse(text).map_err(Error::ManifestUrl)
    }

    /// Follows the redirect whose head is in `buffer`, with a Location field there: an absolute https URL, or a reference relative
    /// to the present one. Whether the server is still the same.
    #[inline(never)]
    fn follow(
        &mut self,
        location: Option<(usize, usize)>,
        buffer: &mut [u8; MAX_HEAD],
        page: &mut [u8; MAX_HEAD],
    ) -> Result<bool, Error> {
        self.redirects = self.redirects.saturating_add(1);
        if self.redirects > MAX_REDIRECTS {
            return Err(HttpError::TooManyRedirects.into());
        }
        let (start, end) = location.ok_or(HttpError::NoLocation)?;
        let length = end.saturating_sub(start);
        if length > MAX_URL || end > buffer.len() {
            return Err(Error::Redirect(UrlError::TooLong));
        }
        // What else the head says is not needed any more: there is room for the new URL.
        buffer.copy_within(start..end, 0);
        let (location, room) = buffer.split_at_mut(length);
        let location = core::str::from_utf8(location).map_err(|_| HttpError::NoLocation)?;
        let room = room.get_mut(..MAX_URL).unwrap_or_default();
        let url = ok!(self.url(page));
        let next = url.join(location, room).map_err(Error::Redirect)?;
        let is_same = url.same_server(&next);
        let next = next.as_str().as_bytes();
        page.get_mut(..next.len())
            .ok_or(Error::Redirect(UrlError::TooLong))?
            .copy_from_slice(next);
        self.kept = next.len();
        self.is_elsewhere |= !is_same;
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

/// An open connection to the server of one authority (host and port).
///
/// The connection itself is too large to be passed around. It stays where it was made, in a [`Place`].
pub(crate) struct Session<'p, 'b, S>
where
    S: Read + Write,
{
    stream: &'p mut TlsStream<'b, S>,
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
    /// Connects to the server of `target` and makes sure that it is that server. The connection lies in `place` then. Of the two pages
    /// the first is for the handshake, and free again then; the other has the URL.
    pub(crate) async fn open<'p, 'b: 'p>(
        &mut self,
        target: &Target<'_>,
        (buffer, page): (&mut [u8; MAX_HEAD], &[u8; MAX_HEAD]),
        buffers: &'b mut Buffers,
        place: &'p mut Place<'b, 'o, N, C>,
    ) -> Result<NetSession<'p, 'b, 'o, N, C>, Error>
    where
        'o: 'b,
    {
        let url = ok!(target.url(page));
        let (host, port) = (url.host(), url.port());
        debug!("connecting to {}:{}", host, port);
        let connecting = link::connect(self.network, host, port, self.deadline);
        let link = match apart!(connecting) {
            Ok(link) => link,
            Err(error) => return Err(no_connection(error, host, port)),
        };
        let Some(claim) = buffer.first_chunk_mut::<CLAIM>() else {
            return Err(Error::ConnectionClosed);
        };
        let memory = (buffers, claim);
        let handshake = connect_in(place, link, host, self.roots, self.time, self.rng, memory);
        ok!(apart!(handshake));
        match place {
            Some(stream) => Ok(Session {
                stream,
                requests: 0,
                usable: true,
            }),
            None => Err(Error::ConnectionClosed),
        }
    }
}

#[inline(never)]
fn no_connection(error: ConnectError, host: &str, port: u16) -> Error {
    match error {
        ConnectError::Resolve => Error::Resolve(cut(host)),
        ConnectError::Connect(kind) => Error::Connect {
            host: cut(host),
            port,
            kind,
        },
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
    Here,
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
    /// any other is an error. `head` is what its head says. Of the two pages the first is for the request and that head, and free
    /// again then; the other has the URL.
    pub(crate) async fn get(
        &mut self,
        target: &mut Target<'_>,
        want: Want<'_>,
        (buffer, page): (&mut [u8; MAX_HEAD], &mut [u8; MAX_HEAD]),
        head: &mut Head,
    ) -> Result<Answer, Error> {
        loop {
            let url = ok!(target.url(page));
            match apart!(self.exchange(url, target.identity, want, buffer, head)) {
                Err(error) if self.requests > 1 && error.is_connection_loss() => {
                    return Ok(Answer::Elsewhere);
                }
                other => ok!(other),
            }
            match head.status {
                200 => return Ok(Answer::Here),
                304 if matches!(want, Want::Changed(_)) => return Ok(Answer::Here),
                206 | 416 if let Want::Rest(part) = want => {
                    return Ok(if is_the_part(head, &part) {
                        Answer::Here
                    } else {
                        Answer::NoSuchPart
                    });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let is_same = ok!(target.follow(head.location, buffer, page));
                    info!(
                        "redirected ({}) to {}",
                        head.status,
                        ok!(target.url(page)).host()
                    );
                    let mut body = self.body(head);
                    let drained = ok!(apart!(body.drain(WORTH_DRAINING)));
                    self.finished(head, drained);
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
        url: HttpsUrl<'_>,
        identity: Identity<'_>,
        want: Want<'_>,
        buffer: &mut [u8; MAX_HEAD],
        head: &mut Head,
    ) -> Result<(), Error> {
        self.requests = self.requests.saturating_add(1);
        let request = Request {
            url,
            identity,
            want,
        };
        ok!(self.stream.write_all(ok!(request.encode(buffer))).await);
        ok!(self.stream.flush().await);
        *head = ok!(Head::read(&mut Lines(self.stream), buffer).await);
        Ok(())
    }

    /// The body of the response with this head.
    pub(crate) fn body<'s>(&'s mut self, head: &Head) -> Body<'s, TlsStream<'b, S>> {
        // The head was read line by line: nothing of the body came with it.
        Body::new(self.stream, head)
    }

    /// Tells the session whether the response with this head was read to its end.
    pub(crate) fn finished(&mut self, head: &Head, at_end: bool) {
        self.usable = at_end && head.keep_alive;
    }
}

/// A stream that is read up to the end of a line at most. So what is behind the last line stays in the stream.
struct Lines<'s, S>(&'s mut S);

impl<S: ErrorType> ErrorType for Lines<'_, S> {
    type Error = S::Error;
}

impl<S: BufRead> Read for Lines<'_, S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, S::Error> {
        let bytes = self.0.fill_buf().await?;
        let mut copied = 0;
        for (from, to) in bytes.iter().zip(buffer) {
            *to = *from;
            copied += 1;
            if *from == b'\n' {
                break;
            }
        }
        self.0.consume(copied);
        Ok(copied)
    }
}
