//! What servers, lines and whatever is between them do to an update: one test for each fault.
//!
//! The update completes, or ends with an error of its own before its deadline; the flash is consistent in both cases;
//! and the next attempt, without the fault, works. This prints the list, and what becomes of each:
//!
//! ```text
//! cargo test -p s3ota-sim --test link_faults -- --list
//! cargo test -p s3ota-sim --test link_faults -- --nocapture
//! ```

use std::future::pending;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use s3ota::{Chip, Timeouts};
use s3ota_image::app::ImageBuilder;
use scripted_server::bench::{Bench, NEW, timeouts};
use scripted_server::bucket::Object::{Image, Manifest};
use scripted_server::bucket::{AnswerFault, Bucket, Exchange, Response, etag, faulty};
use scripted_server::network::Way::{self, ToDevice, ToServer};
use scripted_server::network::{Ending, Fault as LineFault, Network, PORT};
use scripted_server::{Reply, Request, bench, bucket, firmware, network};
use tokio::io::DuplexStream;
use tokio_rustls::TlsAcceptor;

use Ends::*;
use Release::*;

/// A test for each fault: what the manifest says, what must become of the update, and the answers that are spoilt.
macro_rules! faults {
    ($($name:ident: [$($release:expr),+] => $ends:expr, $faults:expr;)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            for release in [$($release),+] {
                Fault::of(release, $faults, |_| None).tried(stringify!($name), $ends).await;
            }
        }
    )*};
}

/// A fault: of the answers, or of the line.
struct Fault {
    release: Release,
    faults: Vec<AnswerFault>,
    line: fn(usize) -> Option<LineFault>,
}

/// What the manifest says of the image.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Release {
    /// Size and hash.
    Hashed,
    /// Nothing: the entity tag tells one image from another.
    Bare,
}

/// What becomes of the update.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ends {
    /// It is installed, after exactly these requests: `M` for the manifest, `I` for the image, `R` for the rest of it.
    Updated(&'static str),
    /// It ends with the error of this code.
    Failed(&'static str),
}

/// Answers a fault is made of.
type Spoil = fn(Exchange<'_>) -> Reply;

fn always(object: bucket::Object, spoil: Spoil) -> Vec<AnswerFault> {
    vec![AnswerFault::new(object, 0.., spoil)]
}

fn once(object: bucket::Object, spoil: Spoil) -> Vec<AnswerFault> {
    vec![AnswerFault::new(object, 0..1, spoil)]
}

/// The image is cut off in the middle; the fault answers the request that resumes it.
fn on_resume(spoil: Spoil) -> Vec<AnswerFault> {
    vec![cut_in_the_middle(), AnswerFault::new(Image, 1..2, spoil)]
}

const MIDDLE: usize = 50_000;

fn cut_in_the_middle() -> AnswerFault {
    AnswerFault::new(Image, 0..1, |it| cut(&it.answer, MIDDLE))
}

/// The answer up to some byte of its body, and then the end of the connection without TLS' word for it.
fn cut(answer: &Response, at: usize) -> Reply {
    Reply::SendAndClose([answer.head(), answer.body[..at].to_vec()].concat(), false)
}

/// An answer with the right kind of body for an error of S3's.
fn s3_error(status: &str) -> Response {
    let xml = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code><Message>Please reduce your \
                request rate.</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>";
    Response::new(status, xml).with("Content-Type", "application/xml")
}

/// Another image of the same version and size.
fn other_image() -> Vec<u8> {
    ImageBuilder::new(Chip::Esp32C3, "1.1.0+other")
        .length(firmware(NEW).len())
        .build()
}

/// What was asked for, in one letter.
fn letter(request: &Request) -> char {
    match bucket::Object::of(request) {
        Manifest => 'M',
        Image if request.field("Range").is_some() => 'R',
        Image => 'I',
    }
}

impl Fault {
    fn of(
        release: Release,
        faults: Vec<AnswerFault>,
        line: fn(usize) -> Option<LineFault>,
    ) -> Self {
        Self {
            release,
            faults,
            line,
        }
    }

    /// Updates a device under this fault, and once more without it where the update ended with an error.
    async fn tried(self, name: &str, ends: Ends) {
        let image = firmware(NEW);
        let bucket = match self.release {
            Hashed => Bucket::hashed(NEW, image.clone(), PORT),
            Bare => Bucket::bare(NEW, image.clone(), PORT),
        };
        let honest = Network::new(faulty(bucket.clone(), Vec::new()));
        let network = Network::new(faulty(bucket, self.faults)).with_faults(self.line);
        let mut bench = Bench::new();
        let attempt = bench.update(&network, timeouts()).await;
        let asked: String = network.requests().iter().map(letter).collect();
        let verdict = attempt.verdict();
        let (release, seconds) = (self.release, attempt.took.as_secs_f32());
        println!("{name:48} {release:8?} {verdict:>16} {seconds:>8.1} s {asked}");

        let outcome = attempt.outcome;
        match ends {
            Failed(code) => {
                assert_eq!(verdict, code, "{release:?}: {outcome:?}");
                assert_eq!(bench.unharmed(), Ok(()), "{release:?}");
                let next = bench.update(&honest, timeouts()).await;
                assert_eq!(next.verdict(), "updated", "{release:?}: {:?}", next.outcome);
            }
            Updated(expected) => {
                assert_eq!(verdict, "updated", "{release:?}: {outcome:?}");
                assert_eq!(asked, expected, "{release:?}: the requests");
            }
        }
        assert_eq!(bench.runs(&image), Ok(()), "{release:?}");
    }
}

/// A part with a correct description, of an image that continues with zeros.
fn part(it: &Exchange<'_>, range: Range<usize>, total: usize) -> Response {
    let mut image = it.bucket.image.clone();
    image.resize(total, 0);
    let (first, last) = (range.start, range.end - 1);
    Response::new("206 Partial Content", &image[range])
        .with("ETag", &etag(&it.bucket.image))
        .with("Content-Range", &format!("bytes {first}-{last}/{total}"))
}

/// The whole of the image that is published, in bytes.
const WHOLE: usize = 100_000;

/// What a device has of it after [`cut_in_the_middle`]: whole sectors.
const HAVE: usize = 49_152;

#[tokio::test(start_paused = true)]
async fn an_image_replaced_for_good_is_taken_whole() {
    let image = other_image();
    let replaced = AnswerFault::new(Image, 1.., |it| {
        let bucket = Bucket {
            image: other_image(),
            ..it.bucket.clone()
        };
        bucket.answer(it.request)
    });
    let bucket = Bucket::bare(NEW, firmware(NEW), PORT);
    let network = Network::new(faulty(bucket, vec![cut_in_the_middle(), replaced]));
    let mut bench = Bench::new();
    let attempt = bench.update(&network, timeouts()).await;
    assert_eq!(attempt.verdict(), "updated", "{:?}", attempt.outcome);
    assert_eq!(bench.runs(&image), Ok(()));
}

/// A redirect.
fn to(location: &str) -> Reply {
    Response::new("302 Found", b"")
        .with("Location", location)
        .into()
}

/// A redirect to here, unless this is there already.
fn to_unless_there(it: Exchange<'_>, location: &str) -> Reply {
    let there = location
        .rsplit_once('/')
        .is_some_and(|(_, end)| it.request.path.ends_with(end));
    if there {
        it.answer.into()
    } else {
        to(location)
    }
}

/// A URL on the CDN of so many bytes.
fn long_url(length: usize) -> String {
    let start = "https://cdn.example/real.bin?X-Amz-Security-Token=";
    format!("{start}{}", "t".repeat(length - start.len()))
}

/// The manifest with a URL of so many bytes.
fn with_url(it: Exchange<'_>, length: usize) -> Reply {
    let manifest = String::from_utf8(it.bucket.manifest.clone()).unwrap();
    let url = format!("https://localhost:{PORT}/image.bin");
    Response::new(
        "200 OK",
        manifest.replace(&url, &long_url(length)).as_bytes(),
    )
    .into()
}

#[tokio::test(start_paused = true)]
async fn a_403_in_mid_resume_gets_a_fresh_url() {
    // Every manifest has a new signature in its URL. The one of the second manifest is too old when it is used.
    for release in [Bucket::hashed, Bucket::bare] {
        let bucket = release(NEW, firmware(NEW), PORT);
        let signed = AnswerFault::new(Manifest, 0.., |it| {
            let manifest = String::from_utf8(it.bucket.manifest.clone()).unwrap();
            let signed = format!("/image.bin?X-Amz-Signature={}", it.before);
            Response::new("200 OK", manifest.replace("/image.bin", &signed).as_bytes())
        });
        let expired = AnswerFault::new(Image, 1..2, |_| s3_error("403 Forbidden"));
        let network = Network::new(faulty(bucket, vec![signed, cut_in_the_middle(), expired]));
        let mut bench = Bench::new();
        let attempt = bench.update(&network, timeouts()).await;
        assert_eq!(attempt.verdict(), "updated", "{:?}", attempt.outcome);
        assert_eq!(bench.runs(&firmware(NEW)), Ok(()));
        let requests = network.requests();
        let images: Vec<_> = requests
            .iter()
            .filter(|request| bucket::Object::of(request) == Image)
            .map(|request| (request.path.as_str(), request.field("Range")))
            .collect();
        let rest = Some("bytes=49152-");
        assert_eq!(
            images,
            [
                ("/image.bin?X-Amz-Signature=0", None),
                ("/image.bin?X-Amz-Signature=1", rest),
                ("/image.bin?X-Amz-Signature=2", rest),
            ]
        );
    }
}

/// The answer says of the part what is not so.
fn claiming(range: &'static str) -> Vec<AnswerFault> {
    let claim = move |it: Exchange<'_>| it.answer.with("Content-Range", range);
    vec![cut_in_the_middle(), AnswerFault::new(Image, 1..2, claim)]
}

/// The answer says this of its length.
fn says(object: bucket::Object, length: &'static str) -> Vec<AnswerFault> {
    let claim = move |it: Exchange<'_>| it.answer.with("Content-Length", length);
    vec![AnswerFault::new(object, 0.., claim)]
}

/// The answer of a bucket in which the image was replaced by one of the same version and size.
fn replaced(it: &Exchange<'_>) -> Response {
    let bucket = Bucket {
        image: other_image(),
        ..it.bucket.clone()
    };
    bucket.answer(it.request)
}

/// The same of a server that does not know If-Range.
fn part_of_another(it: &Exchange<'_>) -> Response {
    let other = other_image();
    Response {
        body: other[100_000 - it.answer.body.len()..].to_vec(),
        ..it.answer.clone()
    }
}

/// Answers to a request for a part that are not what was asked for.
mod parts {
    use super::*;

    faults! {
        a_cut: [Hashed, Bare] => Updated("MIMR"), vec![cut_in_the_middle()];
        a_200_to_a_range_request: [Hashed, Bare] => Updated("MIMR"), on_resume(|it| {
            Response::new("200 OK", &it.bucket.image)
                .with("ETag", &etag(&it.bucket.image))
                .into()
        });
        a_content_range_that_is_missing: [Hashed, Bare] => Updated("MIMRI"),
            on_resume(|it| it.answer.without("Content-Range").into());
        a_part_that_begins_too_early: [Hashed, Bare] => Updated("MIMRI"),
            on_resume(|it| part(&it, HAVE - 4096..WHOLE, WHOLE).into());
        a_part_that_begins_too_late: [Hashed, Bare] => Updated("MIMRI"),
            on_resume(|it| part(&it, HAVE + 4096..WHOLE, WHOLE).into());
        a_part_that_begins_at_the_start: [Hashed, Bare] => Updated("MIMRI"),
            on_resume(|it| part(&it, 0..WHOLE, WHOLE).into());
        a_part_that_ends_too_early: [Hashed, Bare] => Updated("MIMRI"),
            on_resume(|it| part(&it, HAVE..70_000, WHOLE).into());
        a_part_of_something_longer: [Hashed, Bare] => Updated("MIMRI"),
            on_resume(|it| part(&it, HAVE..120_000, 120_000).into());
        a_part_of_something_shorter: [Hashed, Bare] => Updated("MIMRI"),
            on_resume(|it| part(&it, HAVE..80_000, 80_000).into());
        a_part_shorter_than_it_says: [Hashed, Bare] => Updated("MIMRI"), on_resume(|it| {
            let claim = format!("bytes {HAVE}-{}/{WHOLE}", WHOLE - 1);
            part(&it, HAVE..70_000, WHOLE)
                .with("Content-Range", &claim)
                .into()
        });
        a_content_range_that_begins_elsewhere: [Hashed, Bare] => Updated("MIMRI"), claiming("bytes 53248-99999/100000");
        a_content_range_without_a_total: [Hashed, Bare] => Updated("MIMR"), claiming("bytes 49152-99999/*");
        a_content_range_that_is_no_range: [Hashed, Bare] => Updated("MIMRI"), claiming("bytes the-rest/100000");
        a_content_range_in_a_unit_of_its_own: [Hashed, Bare] => Updated("MIMRI"), claiming("blocks 49152-99999/100000");
        a_part_of_multiple_parts: [Hashed, Bare] => Updated("MIMRI"), on_resume(|it| {
            it.answer
                .without("Content-Range")
                .with("Content-Type", "multipart/byteranges; boundary=b")
                .into()
        });
        a_part_whose_body_is_the_whole: [Hashed, Bare] => Updated("MIMRI"), on_resume(|it| {
            Response {
                body: it.bucket.image.clone(),
                ..it.answer.with("Content-Length", "100000")
            }
            .into()
        });
        a_part_in_chunks: [Hashed, Bare] => Updated("MIMR"), on_resume(|it| Reply::Send(it.answer.chunked()));
        a_416: [Hashed, Bare] => Updated("MIMRI"), on_resume(|_| {
            Response::new("416 Range Not Satisfiable", b"")
                .with("Content-Range", "bytes */100000")
                .into()
        });
        a_part_nobody_asked_for: [Hashed, Bare] => Failed("http.status"), always(Image, |it| {
            let length = it.bucket.image.len();
            Response {
                status: "206 Partial Content".into(),
                ..it.answer
            }
            .with("Content-Range", &format!("bytes 0-{}/{length}", length - 1))
            .into()
        });
        a_304_nobody_asked_for: [Hashed, Bare] => Failed("http.status"),
            always(Image, |_| Response::new("304 Not Modified", b"").into());
    }
}

/// Images that change in mid-update: two are never mixed.
mod changes {
    use super::*;

    faults! {
        // The manifest's hash says which one is meant, and the bucket comes to its senses.
        another_etag_in_mid_resume_for_good: [Hashed] => Failed("image.digest"), vec![
            cut_in_the_middle(),
            AnswerFault::new(Image, 1.., move |it| replaced(&it)),
        ];
        another_etag_in_mid_resume_once: [Hashed] => Failed("image.digest"), vec![
            cut_in_the_middle(),
            AnswerFault::new(Image, 1..2, move |it| replaced(&it)),
        ];
        another_etag_in_a_part_once: [Hashed, Bare] => Updated("MIMRI"), vec![
            cut_in_the_middle(),
            AnswerFault::new(Image, 1..2, move |it| {
                part_of_another(&it).with("ETag", &etag(&other_image()))
            }),
        ];
        no_etag_in_a_part: [Bare] => Updated("MIMRI"), vec![
            cut_in_the_middle(),
            AnswerFault::new(Image, 1..2, move |it| part_of_another(&it).without("ETag")),
        ];
        another_image_under_the_same_etag: [Hashed, Bare] => Updated("MIMRMI"), vec![
            cut_in_the_middle(),
            AnswerFault::new(Image, 1..2, move |it| part_of_another(&it)),
        ];
        // Nothing tells one image from another: only all of it from one answer is one image.
        no_etag_and_no_hash: [Bare] => Updated("MIMI"), vec![AnswerFault::new(Image, 0..1, |it| {
            cut(&it.answer.without("ETag"), MIDDLE)
        })];
        a_weak_etag_and_no_hash: [Bare] => Updated("MIMI"), vec![AnswerFault::new(Image, 0..1, |it| {
            cut(&it.answer.with("ETag", "W/\"1\""), MIDDLE)
        })];
        no_etag_but_a_hash: [Hashed] => Updated("MIMR"), vec![AnswerFault::new(Image, 0..1, |it| {
            cut(&it.answer.without("ETag"), MIDDLE)
        })];
    }
}

/// Lengths that are missing or wrong.
mod lengths {
    use super::*;

    faults! {
        an_image_without_a_content_length: [Hashed, Bare] => Updated("MI"), always(Image, |it| {
            Reply::SendAndClose(it.answer.without("Content-Length").bytes(), true)
        });
        a_manifest_without_a_content_length: [Hashed] => Updated("MI"), always(Manifest, |it| {
            Reply::SendAndClose(it.answer.without("Content-Length").bytes(), true)
        });
        no_content_length_cut_by_tcp_alone: [Bare] => Updated("MIMR"), once(Image, |it| {
            cut(&it.answer.without("Content-Length"), MIDDLE)
        });
        no_content_length_ended_by_tls_too_early: [Hashed] => Failed("image.size"), always(Image, |it| {
            let answer = it.answer.without("Content-Length");
            Reply::SendAndClose(answer.bytes()[..MIDDLE].to_vec(), true)
        });
        a_short_content_length: [Hashed, Bare] => Failed("image.size"), says(Image, "90000");
        a_long_content_length: [Hashed] => Failed("image.size"), says(Image, "100001");
        a_long_content_length_then_the_end: [Bare] => Failed("http.incomplete"), always(Image, |it| {
            Reply::SendAndClose(it.answer.with("Content-Length", "100016").bytes(), true)
        });
        a_long_content_length_then_silence: [Bare] => Failed("net.io"), says(Image, "100016");
        a_content_length_larger_than_the_slot: [Bare] => Failed("image.size"), says(Image, "262145");
        a_content_length_of_two_to_the_64: [Bare] => Failed("http.invalid"), says(Image, "18446744073709551616");
        a_negative_content_length: [Bare] => Failed("http.invalid"), says(Image, "-1");
        two_content_lengths: [Hashed] => Failed("http.invalid"), always(Image, |mut it| {
            it.answer.fields.push(("Content-Length".into(), "7".into()));
            it.answer.into()
        });
        an_empty_image: [Hashed] => Failed("image.size"), always(Image, |_| Response::new("200 OK", b"").into());
        a_short_manifest: [Hashed] => Failed("manifest.invalid"), says(Manifest, "30");
        a_long_manifest_then_silence: [Hashed] => Failed("net.io"), says(Manifest, "3000");
        an_empty_manifest: [Hashed] => Failed("manifest.invalid"),
            always(Manifest, |_| Response::new("200 OK", b"").into());
    }
}

/// Bodies in chunks.
mod chunks {
    use super::*;

    faults! {
        an_image_in_chunks: [Hashed, Bare] => Updated("MI"), always(Image, |it| Reply::Send(it.answer.chunked()));
        a_manifest_in_chunks: [Hashed] => Updated("MI"), always(Manifest, |it| Reply::Send(it.answer.chunked()));
        chunks_that_stop: [Bare] => Updated("MIMR"), once(Image, |it| {
            Reply::SendAndClose(it.answer.chunked()[..MIDDLE].to_vec(), true)
        });
        chunks_without_a_last_one: [Hashed] => Failed("http.incomplete"), always(Image, |it| {
            let chunked = it.answer.chunked();
            Reply::SendAndClose(chunked[..chunked.len() - 5].to_vec(), true)
        });
        chunks_that_become_garbage: [Bare] => Failed("http.invalid"), always(Image, |it| {
            let mut chunked = it.answer.chunked();
            chunked.truncate(MIDDLE);
            chunked.extend([b'x'; 10_000]);
            Reply::Send(chunked)
        });
        chunks_and_a_content_length: [Hashed] => Failed("http.invalid"), always(Image, |it| {
            it.answer.with("Transfer-Encoding", "chunked").into()
        });
        chunks_without_end: [Bare] => Failed("image.digest"), always(Image, |it| {
            let head = it
                .answer
                .without("Content-Length")
                .with("Transfer-Encoding", "chunked")
                .head();
            let image = &it.bucket.image[..0x1000];
            let first = [head, b"1000\r\n".to_vec(), image.to_vec(), b"\r\n".to_vec()].concat();
            Reply::Endless(first, [b"1000\r\n", &[0; 0x1000][..], b"\r\n"].concat())
        });
    }
}

/// Redirects, and long URLs.
mod redirects {
    use super::*;

    faults! {
        a_loop: [Hashed] => Failed("http.redirect"), always(Manifest, |_| to("/manifest.json"));
        a_loop_of_two: [Hashed] => Failed("http.redirect"), always(Image, |it| {
            to(if it.request.path == "/a" { "/b" } else { "/a" })
        });
        a_loop_over_two_hosts: [Hashed] => Failed("http.redirect"), always(Image, |it| {
            let here = it
                .request
                .field("Host")
                .is_some_and(|host| host.starts_with("localhost"));
            to(if here {
                "https://cdn.example/a"
            } else {
                "https://localhost/a"
            })
        });
        a_redirect_to_http: [Hashed] => Failed("http.redirect"),
            always(Manifest, |_| to("http://localhost/manifest.json"));
        an_images_redirect_to_http: [Hashed] => Failed("http.redirect"),
            always(Image, |_| to("http://localhost/image.bin"));
        a_redirect_to_a_file: [Hashed] => Failed("http.redirect"), always(Image, |_| to("file:///etc/passwd"));
        a_redirect_to_nowhere: [Hashed] => Failed("http.redirect"),
            always(Image, |_| Response::new("302 Found", b"").into());
        a_redirect_to_a_host_of_another_name: [Hashed] => Failed("tls.certificate"),
            always(Image, |_| to("https://elsewhere.example/image.bin"));
        a_redirect_to_a_port_nobody_listens_on: [Hashed] => Failed("net.connect"),
            always(Image, |_| to("https://localhost:444/image.bin"));
        a_cross_host_redirect: [Hashed] => Updated("MII"), always(Image, |it| {
            to_unless_there(it, "https://cdn.example/real.bin")
        });
        a_manifests_cross_host_redirect: [Bare] => Updated("MMI"), always(Manifest, |it| {
            let there = it.request.field("Host") == Some("cdn.example");
            if there {
                it.answer.into()
            } else {
                to("https://cdn.example/manifest.json")
            }
        });
        a_cross_host_redirect_in_mid_resume: [Bare] => Updated("MIMRR"), vec![
            cut_in_the_middle(),
            AnswerFault::new(Image, 1.., |it| {
                to_unless_there(it, "https://cdn.example/real.bin")
            }),
        ];
        a_redirect_with_a_long_body: [Hashed] => Updated("MII"), always(Image, |it| {
            if it.request.path == "/real.bin" {
                return it.answer.into();
            }
            Response::new("307 Temporary Redirect", &[b'x'; 20_000])
                .with("Location", "/real.bin")
                .into()
        });
        a_redirect_with_a_body_without_end: [Hashed] => Updated("MII"), always(Image, |it| {
            if it.request.path == "/real.bin" {
                return it.answer.into();
            }
            let head =
                Response::new("307 Temporary Redirect", b"").with("Location", "/real.bin");
            Reply::Endless(head.without("Content-Length").head(), vec![b'x'; 1000])
        });
        a_redirect_to_a_url_of_2048_bytes: [Hashed] => Updated("MII"),
            always(Image, |it| to_unless_there(it, &long_url(2048)));
        a_redirect_to_a_url_of_2049_bytes: [Hashed] => Failed("http.redirect"),
            always(Image, |it| to_unless_there(it, &long_url(2049)));
        a_url_of_2048_bytes_in_the_manifest: [Hashed] => Updated("MI"), always(Manifest, |it| with_url(it, 2048));
        a_url_of_2049_bytes_in_the_manifest: [Hashed] => Failed("manifest.url"),
            always(Manifest, |it| with_url(it, 2049));
    }
}

/// Statuses that say no.
mod refusals {
    use super::*;

    faults! {
        a_403_for_the_manifest: [Hashed] => Failed("http.status"),
            always(Manifest, |_| s3_error("403 Forbidden").into());
        a_403_for_the_image: [Hashed] => Failed("http.status"), always(Image, |_| s3_error("403 Forbidden").into());
        a_404_for_the_image: [Bare] => Failed("http.status"), always(Image, |_| s3_error("404 Not Found").into());
        a_500_for_good: [Hashed] => Failed("http.status"),
            always(Manifest, |_| s3_error("500 Internal Server Error").into());
        a_500_once: [Hashed] => Updated("MIMI"), once(Image, |_| s3_error("500 Internal Server Error").into());
        a_503_for_good: [Hashed] => Failed("http.status"), always(Image, |_| s3_error("503 Slow Down").into());
        a_burst_of_503_for_the_manifest: [Hashed] => Updated("MMMMMI"), vec![AnswerFault::new(Manifest, 0..4, |_| {
            s3_error("503 Slow Down")
        })];
        a_burst_of_503_for_the_image: [Bare] => Updated("MIMIMIMIMI"),
            vec![AnswerFault::new(Image, 0..4, |_| s3_error("503 Slow Down"))];
        a_burst_of_503_in_mid_resume: [Bare] => Updated("MIMRMRMRMR"), vec![
            cut_in_the_middle(),
            AnswerFault::new(Image, 1..4, |_| s3_error("503 Slow Down")),
        ];
        a_burst_of_503_retry_after_30: [Hashed] => Updated("MIMIMIMIMI"), vec![AnswerFault::new(Image, 0..4, |_| {
            s3_error("503 Slow Down").with("Retry-After", "30")
        })];
        a_503_retry_after_a_week: [Hashed] => Updated("MIMI"), vec![AnswerFault::new(Image, 0..1, |_| {
            s3_error("503 Slow Down").with("Retry-After", "604800")
        })];
        a_503_retry_after_a_date: [Hashed] => Updated("MIMI"), vec![AnswerFault::new(Image, 0..1, |_| {
            s3_error("503 Slow Down").with("Retry-After", "Fri, 31 Dec 2999 23:59:59 GMT")
        })];
        a_503_that_closes_the_connection: [Hashed] => Updated("MIMIMI"), vec![AnswerFault::new(Image, 0..2, |_| {
            Reply::SendAndClose(
                s3_error("503 Slow Down")
                    .with("Connection", "close")
                    .bytes(),
                true,
            )
        })];
        a_429_once: [Hashed] => Updated("MIMI"), once(Image, |_| s3_error("429 Too Many Requests").into());
    }
}

/// Bodies that are something else, have no end, or are compressed though nobody asked for it.
mod bodies {
    use super::*;

    faults! {
        an_xml_error_as_the_manifest: [Hashed] => Failed("manifest.invalid"),
            always(Manifest, |_| s3_error("200 OK").into());
        an_xml_error_as_the_image_with_a_hash: [Hashed] => Failed("image.size"),
            always(Image, |_| s3_error("200 OK").into());
        an_xml_error_as_the_image_without_a_hash: [Bare] => Failed("image.invalid"),
            always(Image, |_| s3_error("200 OK").into());
        a_login_page_as_the_manifest: [Hashed] => Failed("manifest.invalid"), always(Manifest, |_| {
            Response::new(
                "200 OK",
                b"<!DOCTYPE html><title>Welcome to our Wi-Fi</title>",
            )
            .into()
        });
        truncated_json: [Hashed] => Failed("manifest.invalid"), always(Manifest, |it| {
            let half = &it.bucket.manifest[..it.bucket.manifest.len() / 2];
            Response::new("200 OK", half).into()
        });
        json_without_its_last_byte: [Bare] => Failed("manifest.invalid"), always(Manifest, |it| {
            let most = &it.bucket.manifest[..it.bucket.manifest.len() - 1];
            Response::new("200 OK", most).into()
        });
        json_cut_off_by_the_line: [Hashed] => Updated("MMI"), once(Manifest, |it| cut(&it.answer, 40));
        a_manifest_that_never_ends: [Hashed] => Failed("http.length"), always(Manifest, |it| {
            Reply::Endless(
                it.answer.without("Content-Length").head(),
                b"{\"notes\":\"".to_vec(),
            )
        });
        an_image_that_never_ends: [Bare, Hashed] => Failed("image.size"), always(Image, |it| {
            let start = it.answer.without("Content-Length").bytes();
            Reply::Endless(start, vec![0xff; 4096])
        });
        a_gzipped_manifest: [Hashed] => Failed("http.invalid"), always(Manifest, |_| {
            Response::new("200 OK", b"\x1f\x8b\x08\x00")
                .with("Content-Encoding", "gzip")
                .into()
        });
        a_gzipped_image: [Hashed] => Failed("http.invalid"), always(Image, |it| {
            it.answer.with("Content-Encoding", "gzip").into()
        });
        an_image_in_br: [Bare] => Failed("http.invalid"),
            always(Image, |it| it.answer.with("Content-Encoding", "br").into());
        a_part_in_gzip: [Bare] => Failed("http.invalid"),
            on_resume(|it| it.answer.with("Content-Encoding", "gzip").into());
        gzip_as_the_transfer_coding: [Hashed] => Failed("http.invalid"), always(Image, |it| {
            it.answer
                .without("Content-Length")
                .with("Transfer-Encoding", "gzip, chunked")
                .into()
        });
        identity_as_the_encoding: [Hashed] => Updated("MI"), always(Image, |it| {
            it.answer.with("Content-Encoding", "identity").into()
        });
    }
}

/// Heads that are none, or have no end.
mod heads {
    use super::*;

    faults! {
        a_field_that_never_ends: [Hashed] => Failed("http.invalid"), always(Manifest, |_| {
            Reply::Endless(b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec(), vec![b'x'; 100])
        });
        fields_that_never_end: [Hashed] => Failed("http.invalid"), always(Image, |_| {
            Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X-Many: x\r\n".to_vec())
        });
        a_status_line_that_never_ends: [Hashed] => Failed("http.invalid"), always(Image, |_| {
            Reply::Endless(b"HTTP/1.1 200 ".to_vec(), b"OK ".to_vec())
        });
        binary_data: [Hashed] => Failed("http.invalid"), always(Image, |it| Reply::Send(it.bucket.image.clone()));
        http_2: [Hashed] => Failed("http.invalid"), always(Manifest, |_| {
            Reply::Send(
                b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff"
                    .to_vec(),
            )
        });
        a_head_in_pieces: [Hashed] => Updated("MI"), always(Image, |it| {
            Reply::Drip(it.answer.bytes(), Duration::from_millis(1))
        });
        half_a_head_then_the_end: [Hashed] => Failed("http.incomplete"), always(Image, |it| {
            Reply::SendAndClose(it.answer.head()[..30].to_vec(), true)
        });
        half_a_head_then_silence: [Hashed] => Failed("net.io"),
            always(Image, |it| Reply::Send(it.answer.head()[..30].to_vec()));
        a_100_continue_before_the_answer: [Hashed] => Updated("MI"), always(Image, |it| {
            Reply::Send([b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), it.answer.bytes()].concat())
        });
        http_1_0: [Hashed] => Updated("MI"), always(Manifest, |it| {
            let bytes = it.answer.without("Content-Length").bytes();
            Reply::SendAndClose([b"HTTP/1.0", &bytes[8..]].concat(), true)
        });
    }
}

/// Connections that were kept open for too long.
mod kept_alive {
    use super::*;

    faults! {
        closed_as_announced: [Hashed] => Updated("MI"), always(Manifest, |it| {
            Reply::SendAndClose(it.answer.with("Connection", "close").bytes(), true)
        });
        closed_by_tls_after_the_manifest: [Hashed] => Updated("MI"),
            always(Manifest, |it| Reply::SendAndClose(it.answer.bytes(), true));
        closed_by_tcp_after_the_manifest: [Hashed] => Updated("MI"),
            always(Manifest, |it| Reply::SendAndClose(it.answer.bytes(), false));
        closed_by_tls_on_the_request: [Hashed] => Updated("MII"),
            once(Image, |_| Reply::SendAndClose(Vec::new(), true));
        closed_by_tcp_on_the_request: [Hashed] => Updated("MII"),
            once(Image, |_| Reply::SendAndClose(Vec::new(), false));
        silent_on_the_request: [Hashed] => Updated("MIMI"), once(Image, |_| Reply::Send(Vec::new()));
        closed_on_every_second_request: [Hashed] => Updated("MIIMRR"), vec![
            AnswerFault::new(Image, 0..1, |_| Reply::SendAndClose(Vec::new(), true)),
            AnswerFault::new(Image, 1..2, |it| cut(&it.answer, MIDDLE)),
            AnswerFault::new(Image, 2..3, |_| Reply::SendAndClose(Vec::new(), false)),
        ];
    }
}

/// Answers that come a byte at a time: given up at the deadline.
mod pace {
    use super::*;

    faults! {
        an_image_a_byte_a_second: [Hashed] => Failed("update.deadline"), always(Image, |it| {
            Reply::Drip(it.answer.bytes(), Duration::from_secs(1))
        });
        a_manifest_a_byte_in_ten_seconds: [Hashed] => Failed("update.deadline"), always(Manifest, |it| {
            Reply::Drip(it.answer.bytes(), Duration::from_secs(10))
        });
        a_part_a_byte_a_second: [Bare] => Failed("update.deadline"),
            on_resume(|it| Reply::Drip(it.answer.bytes(), Duration::from_secs(1)));
        a_redirects_body_a_byte_a_second: [Bare] => Failed("update.deadline"), always(Image, |_| {
            let answer =
                Response::new("302 Found", &[b'x'; 2000]).with("Location", "/real.bin");
            Reply::Drip(answer.bytes(), Duration::from_secs(1))
        });
    }

    /// A byte a second, below TLS.
    const SLOW: LineFault = LineFault::Pace(1, Duration::from_secs(1));

    #[tokio::test(start_paused = true)]
    async fn every_connection_a_byte_a_second() {
        let fault = Fault::of(Hashed, Vec::new(), |_| Some(SLOW));
        fault
            .tried(
                "every_connection_a_byte_a_second",
                Failed("update.deadline"),
            )
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_connection_a_byte_a_second() {
        let fault = Fault::of(Hashed, Vec::new(), |connection| {
            (connection == 0).then_some(SLOW)
        });
        fault
            .tried(
                "the_first_connection_a_byte_a_second",
                Failed("update.deadline"),
            )
            .await;
    }
}

/// A line that ends at some stage of an update: by a FIN, by a RST, or in silence.
mod stages {
    use super::*;

    /// A test for each stage and each way to end there. The stage is a direction, and a number of bytes in it.
    macro_rules! stages {
        ($($stage:ident: $place:expr;)*) => {$(
            mod $stage {
                use super::*;

                #[tokio::test(start_paused = true)]
                async fn fin() {
                    ended(stringify!($stage), $place, Ending::Fin).await;
                }

                #[tokio::test(start_paused = true)]
                async fn rst() {
                    ended(stringify!($stage), $place, Ending::Reset).await;
                }

                #[tokio::test(start_paused = true)]
                async fn silence() {
                    ended(stringify!($stage), $place, Ending::Silence).await;
                }
            }
        )*};
    }

    stages! {
        before_the_first_byte: |_| (ToDevice, 0);
        in_the_client_hello: |it| (ToServer, it.client_hello / 2);
        in_the_server_hello: |_| (ToDevice, 40);
        in_the_servers_certificate: |it| (ToDevice, it.handshake / 2);
        before_the_end_of_the_servers_handshake: |it| (ToDevice, it.handshake - 8);
        in_the_clients_finished: |it| (ToServer, it.client_hello + 20);
        in_the_request_for_the_manifest: |it| (ToServer, it.manifest_asked - 20);
        before_the_manifest: |it| (ToDevice, it.handshake + 8);
        in_the_manifest: |it| (ToDevice, it.manifest - 100);
        in_the_request_for_the_image: |it| (ToServer, it.manifest_asked + 20);
        before_the_image: |it| (ToDevice, it.manifest + 8);
        in_the_image: |it| (ToDevice, it.manifest.midpoint(it.image));
        before_the_end_of_the_image: |it| (ToDevice, it.image - 8);
    }

    /// How many bytes pass up to which stage. A signature of the server's may have two bytes more or less.
    #[derive(Debug, Clone, Copy)]
    struct Stages {
        /// To the server: the ClientHello.
        client_hello: usize,
        /// To the server: all with the request for the manifest.
        manifest_asked: usize,
        /// To the device: all of the server's handshake.
        handshake: usize,
        /// To the device: all with the manifest.
        manifest: usize,
        /// To the device: all with the image.
        image: usize,
    }

    impl Stages {
        async fn measured(bucket: &Bucket) -> Self {
            let once = Timeouts {
                attempts: 1,
                ..timeouts()
            };
            let silent = Network::of_peers(async |socket: DuplexStream, _| {
                pending::<()>().await;
                drop(socket);
            });
            Bench::new().update(&silent, once).await;
            // Whoever takes the request and says nothing to it has sent the handshake and no more.
            let mut config = (*network::identity().config).clone();
            config.send_tls13_tickets = 0;
            let config = Arc::new(config);
            let mute = Network::of_peers(move |socket, _| {
                let acceptor = TlsAcceptor::from(config.clone());
                async move {
                    let stream = acceptor.accept(socket).await;
                    pending::<()>().await;
                    drop(stream);
                }
            });
            Bench::new().update(&mute, once).await;
            let no_image = AnswerFault::new(Image, 0.., |_| Reply::Send(Vec::new()));
            let half = Network::new(faulty(bucket.clone(), vec![no_image]));
            Bench::new().update(&half, once).await;
            let whole = Network::new(faulty(bucket.clone(), Vec::new()));
            Bench::new().update(&whole, once).await;
            Self {
                client_hello: silent.traffic()[0].to_server,
                manifest_asked: mute.traffic()[0].to_server,
                handshake: mute.traffic()[0].to_device,
                manifest: half.traffic()[0].to_device,
                image: whole.traffic()[0].to_device,
            }
        }
    }

    /// Ends the first connection at a stage: the update completes by the next one. Ends every connection there: it
    /// completes, or ends with an error that is worth another attempt, and that one completes.
    async fn ended(name: &str, place: impl Fn(Stages) -> (Way, usize), ending: Ending) {
        let image = bench::image(NEW, 30_000);
        let bucket = Bucket::hashed(NEW, image.clone(), PORT);
        let stages = Stages::measured(&bucket).await;
        let (way, after) = place(stages);
        for always in [false, true] {
            let network = Network::new(faulty(bucket.clone(), Vec::new())).with_faults(move |n| {
                (always || n == 0).then_some(LineFault::Cut(way, after, ending))
            });
            let mut bench = Bench::new();
            let attempt = bench.update(&network, timeouts()).await;
            let connections = network.traffic().len();
            let (verdict, seconds) = (attempt.verdict(), attempt.took.as_secs_f32());
            println!(
                "{name:40} {ending:?} {verdict:>10} {seconds:>6.1} s, {connections} connections"
            );
            assert!(
                connections > 1,
                "{way:?} {after} of {stages:?} is never reached"
            );
            match &attempt.outcome {
                Ok(_) => assert_eq!(verdict, "updated"),
                Err(error) => {
                    assert!(always, "{ending:?}: {error:?}");
                    assert!(error.is_transient(), "{ending:?}: {error:?}");
                    assert_eq!(bench.unharmed(), Ok(()), "{ending:?}");
                    let honest = Network::new(faulty(bucket.clone(), Vec::new()));
                    let next = bench.update(&honest, timeouts()).await;
                    assert_eq!(next.verdict(), "updated", "{ending:?}: {:?}", next.outcome);
                }
            }
            assert_eq!(bench.runs(&image), Ok(()), "{ending:?}");
        }
    }
}
