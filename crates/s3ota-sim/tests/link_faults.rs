//! What servers and the things between do to an answer: every row is an update under one fault.
//!
//! The update completes, or ends with an error of its own before its deadline; the flash is consistent in both cases;
//! and the next attempt, without the fault, works. `-- --nocapture` prints the rows.

#[path = "support/bench.rs"]
mod bench;
#[path = "support/bucket.rs"]
mod bucket;
#[path = "support/network.rs"]
mod network;
mod support;

use std::ops::Range;
use std::time::Duration;

use bench::{Bench, NEW, patience};
use bucket::Object::{Image, Manifest};
use bucket::{AnswerFault, Bucket, Exchange, Response, etag, faulty};
use network::{Fault, Network, PORT};
use s3ota::Chip;
use s3ota_image::app::ImageBuilder;
use support::{Reply, Request, firmware};

use Ends::*;
use Release::*;

/// One fault and what must become of it.
struct Row {
    name: &'static str,
    release: Release,
    faults: Vec<AnswerFault>,
    line: fn(usize) -> Option<Fault>,
    ends: Ends,
}

/// What the manifest says of the image.
#[derive(Clone, Copy, PartialEq)]
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

fn row(name: &'static str, release: Release, ends: Ends, faults: Vec<AnswerFault>) -> Row {
    Row {
        name,
        release,
        faults,
        line: |_| None,
        ends,
    }
}

/// Answers a fault is made of.
type Spoil = fn(Exchange<'_>) -> Reply;

fn always(object: bucket::Object, spoil: Spoil) -> Vec<AnswerFault> {
    vec![AnswerFault::new(object, 0.., spoil)]
}

fn once(object: bucket::Object, spoil: Spoil) -> Vec<AnswerFault> {
    vec![AnswerFault::new(object, 0..1, spoil)]
}

/// The image is cut off in the middle, and what follows is for the request that goes on from there.
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

/// Runs the rows, each on a device of its own, and says which of them went wrong.
async fn tried(rows: Vec<Row>) {
    println!("{:48} {:>16} {:>8} requests", "fault", "ends", "seconds");
    let mut wrong = Vec::new();
    for row in rows {
        let name = row.name;
        if let Err(what) = row.run().await {
            wrong.push(format!("{name}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What was asked for, in one letter.
fn letter(request: &Request) -> char {
    match bucket::Object::of(request) {
        Manifest => 'M',
        Image if request.field("Range").is_some() => 'R',
        Image => 'I',
    }
}

impl Row {
    async fn run(self) -> Result<(), String> {
        let image = firmware(NEW);
        let bucket = match self.release {
            Hashed => Bucket::hashed(NEW, image.clone(), PORT),
            Bare => Bucket::bare(NEW, image.clone(), PORT),
        };
        let honest = Network::new(faulty(bucket.clone(), Vec::new()));
        let network = Network::new(faulty(bucket, self.faults)).with_faults(self.line);
        let mut bench = Bench::new();
        let attempt = bench.update(&network, patience()).await;
        let asked: String = network.requests().iter().map(letter).collect();
        let (name, verdict) = (self.name, attempt.verdict());
        let seconds = attempt.took.as_secs_f32();
        println!("{name:48} {verdict:>16} {seconds:>8.1} {asked}");

        let expected = match self.ends {
            Failed(code) => code,
            Updated(_) => "updated",
        };
        if verdict != expected {
            return Err(format!("{expected} expected, {:?}", attempt.outcome));
        }
        match self.ends {
            Failed(_) => {
                bench.unharmed()?;
                let next = bench.update(&honest, patience()).await;
                if next.verdict() != "updated" {
                    return Err(format!("the next attempt: {:?}", next.outcome));
                }
            }
            Updated(expected) if asked != expected => {
                return Err(format!("{expected} expected, {asked} were the requests"));
            }
            Updated(_) => {}
        }
        bench.runs(&image)
    }
}

/// A part that says truly what it is, of an image that goes on with zeros.
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
async fn parts_that_are_not_what_was_asked_for() {
    let claiming = |range: &'static str| {
        let claim = move |it: Exchange<'_>| it.answer.with("Content-Range", range);
        vec![cut_in_the_middle(), AnswerFault::new(Image, 1..2, claim)]
    };
    let mut rows = Vec::new();
    for release in [Hashed, Bare] {
        rows.extend([
            row("a cut", release, Updated("MIMR"), vec![cut_in_the_middle()]),
            row(
                "a 200 to a Range request",
                release,
                Updated("MIMR"),
                on_resume(|it| {
                    Response::new("200 OK", &it.bucket.image)
                        .with("ETag", &etag(&it.bucket.image))
                        .into()
                }),
            ),
            row(
                "a Content-Range that is missing",
                release,
                Updated("MIMRI"),
                on_resume(|it| it.answer.without("Content-Range").into()),
            ),
            row(
                "a part that begins too early",
                release,
                Updated("MIMRI"),
                on_resume(|it| part(&it, HAVE - 4096..WHOLE, WHOLE).into()),
            ),
            row(
                "a part that begins too late",
                release,
                Updated("MIMRI"),
                on_resume(|it| part(&it, HAVE + 4096..WHOLE, WHOLE).into()),
            ),
            row(
                "a part that begins at the start",
                release,
                Updated("MIMRI"),
                on_resume(|it| part(&it, 0..WHOLE, WHOLE).into()),
            ),
            row(
                "a part that ends too early",
                release,
                Updated("MIMRI"),
                on_resume(|it| part(&it, HAVE..70_000, WHOLE).into()),
            ),
            row(
                "a part of something longer",
                release,
                Updated("MIMRI"),
                on_resume(|it| part(&it, HAVE..120_000, 120_000).into()),
            ),
            row(
                "a part of something shorter",
                release,
                Updated("MIMRI"),
                on_resume(|it| part(&it, HAVE..80_000, 80_000).into()),
            ),
            row(
                "a part shorter than it says",
                release,
                Updated("MIMRI"),
                on_resume(|it| {
                    let claim = format!("bytes {HAVE}-{}/{WHOLE}", WHOLE - 1);
                    part(&it, HAVE..70_000, WHOLE)
                        .with("Content-Range", &claim)
                        .into()
                }),
            ),
            row(
                "a Content-Range that begins elsewhere",
                release,
                Updated("MIMRI"),
                claiming("bytes 53248-99999/100000"),
            ),
            row(
                "a Content-Range without a total",
                release,
                Updated("MIMR"),
                claiming("bytes 49152-99999/*"),
            ),
            row(
                "a Content-Range that is no range",
                release,
                Updated("MIMRI"),
                claiming("bytes the-rest/100000"),
            ),
            row(
                "a Content-Range in a unit of its own",
                release,
                Updated("MIMRI"),
                claiming("blocks 49152-99999/100000"),
            ),
            row(
                "a part of multiple parts",
                release,
                Updated("MIMRI"),
                on_resume(|it| {
                    it.answer
                        .without("Content-Range")
                        .with("Content-Type", "multipart/byteranges; boundary=b")
                        .into()
                }),
            ),
            row(
                "a part whose body is the whole",
                release,
                Updated("MIMRI"),
                on_resume(|it| {
                    Response {
                        body: it.bucket.image.clone(),
                        ..it.answer.with("Content-Length", "100000")
                    }
                    .into()
                }),
            ),
            row(
                "a part in chunks",
                release,
                Updated("MIMR"),
                on_resume(|it| Reply::Send(it.answer.chunked())),
            ),
            row(
                "a 416",
                release,
                Updated("MIMRI"),
                on_resume(|_| {
                    Response::new("416 Range Not Satisfiable", b"")
                        .with("Content-Range", "bytes */100000")
                        .into()
                }),
            ),
            row(
                "a part nobody asked for",
                release,
                Failed("http.status"),
                always(Image, |it| {
                    let length = it.bucket.image.len();
                    Response {
                        status: "206 Partial Content".into(),
                        ..it.answer
                    }
                    .with("Content-Range", &format!("bytes 0-{}/{length}", length - 1))
                    .into()
                }),
            ),
            row(
                "a 304 nobody asked for",
                release,
                Failed("http.status"),
                always(Image, |_| Response::new("304 Not Modified", b"").into()),
            ),
        ]);
    }
    tried(rows).await;
}

#[tokio::test(start_paused = true)]
async fn images_that_change_in_mid_update_are_never_mixed() {
    // The object is replaced between two requests, by an image of the same version and size.
    let replaced = |it: &Exchange<'_>| {
        let bucket = Bucket {
            image: other_image(),
            ..it.bucket.clone()
        };
        bucket.answer(it.request)
    };
    // By a server that does not know If-Range.
    let part_of_another = |it: &Exchange<'_>| {
        let other = other_image();
        Response {
            body: other[100_000 - it.answer.body.len()..].to_vec(),
            ..it.answer.clone()
        }
    };
    tried(vec![
        // The manifest's hash says which one is meant, and the bucket comes to its senses.
        row(
            "another ETag in mid-resume, for good",
            Hashed,
            Failed("image.digest"),
            vec![
                cut_in_the_middle(),
                AnswerFault::new(Image, 1.., move |it| replaced(&it)),
            ],
        ),
        row(
            "another ETag in mid-resume, once",
            Hashed,
            Updated("MIMRMI"),
            vec![
                cut_in_the_middle(),
                AnswerFault::new(Image, 1..2, move |it| replaced(&it)),
            ],
        ),
        row(
            "another ETag in a part, once",
            Hashed,
            Updated("MIMRI"),
            vec![
                cut_in_the_middle(),
                AnswerFault::new(Image, 1..2, move |it| {
                    part_of_another(&it).with("ETag", &etag(&other_image()))
                }),
            ],
        ),
        row(
            "another ETag in a part, once",
            Bare,
            Updated("MIMRI"),
            vec![
                cut_in_the_middle(),
                AnswerFault::new(Image, 1..2, move |it| {
                    part_of_another(&it).with("ETag", &etag(&other_image()))
                }),
            ],
        ),
        row(
            "no ETag in a part",
            Bare,
            Updated("MIMRI"),
            vec![
                cut_in_the_middle(),
                AnswerFault::new(Image, 1..2, move |it| part_of_another(&it).without("ETag")),
            ],
        ),
        row(
            "another image under the same ETag",
            Hashed,
            Updated("MIMRMI"),
            vec![
                cut_in_the_middle(),
                AnswerFault::new(Image, 1..2, move |it| part_of_another(&it)),
            ],
        ),
        row(
            "another image under the same ETag",
            Bare,
            Updated("MIMRMI"),
            vec![
                cut_in_the_middle(),
                AnswerFault::new(Image, 1..2, move |it| part_of_another(&it)),
            ],
        ),
        // Nothing tells one image from another: only all of it from one answer is one image.
        row(
            "no ETag and no hash",
            Bare,
            Updated("MIMI"),
            vec![AnswerFault::new(Image, 0..1, |it| {
                cut(&it.answer.without("ETag"), MIDDLE)
            })],
        ),
        row(
            "a weak ETag and no hash",
            Bare,
            Updated("MIMI"),
            vec![AnswerFault::new(Image, 0..1, |it| {
                cut(&it.answer.with("ETag", "W/\"1\""), MIDDLE)
            })],
        ),
        row(
            "no ETag, but a hash",
            Hashed,
            Updated("MIMR"),
            vec![AnswerFault::new(Image, 0..1, |it| {
                cut(&it.answer.without("ETag"), MIDDLE)
            })],
        ),
    ])
    .await;
}

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
    let attempt = bench.update(&network, patience()).await;
    assert_eq!(attempt.verdict(), "updated", "{:?}", attempt.outcome);
    assert_eq!(bench.runs(&image), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn lengths_that_are_missing_or_wrong() {
    let length =
        |length: &'static str| move |it: Exchange<'_>| it.answer.with("Content-Length", length);
    let says = |object, is| vec![AnswerFault::new(object, 0.., length(is))];
    tried(vec![
        row(
            "an image without a Content-Length",
            Hashed,
            Updated("MI"),
            always(Image, |it| {
                Reply::SendAndClose(it.answer.without("Content-Length").bytes(), true)
            }),
        ),
        row(
            "an image without a Content-Length",
            Bare,
            Updated("MI"),
            always(Image, |it| {
                Reply::SendAndClose(it.answer.without("Content-Length").bytes(), true)
            }),
        ),
        row(
            "a manifest without a Content-Length",
            Hashed,
            Updated("MI"),
            always(Manifest, |it| {
                Reply::SendAndClose(it.answer.without("Content-Length").bytes(), true)
            }),
        ),
        row(
            "no Content-Length, cut by TCP alone",
            Bare,
            Updated("MIMR"),
            once(Image, |it| {
                cut(&it.answer.without("Content-Length"), MIDDLE)
            }),
        ),
        row(
            "no Content-Length, ended by TLS too early",
            Hashed,
            Failed("image.size"),
            always(Image, |it| {
                let answer = it.answer.without("Content-Length");
                Reply::SendAndClose(answer.bytes()[..MIDDLE].to_vec(), true)
            }),
        ),
        row(
            "a short Content-Length",
            Hashed,
            Failed("image.size"),
            says(Image, "90000"),
        ),
        row(
            "a short Content-Length",
            Bare,
            Failed("image.size"),
            says(Image, "90000"),
        ),
        row(
            "a long Content-Length",
            Hashed,
            Failed("image.size"),
            says(Image, "100001"),
        ),
        row(
            "a long Content-Length, then the end",
            Bare,
            Failed("http.incomplete"),
            always(Image, |it| {
                Reply::SendAndClose(it.answer.with("Content-Length", "100016").bytes(), true)
            }),
        ),
        row(
            "a long Content-Length, then silence",
            Bare,
            Failed("net.io"),
            says(Image, "100016"),
        ),
        row(
            "a Content-Length larger than the slot",
            Bare,
            Failed("image.size"),
            says(Image, "262145"),
        ),
        row(
            "a Content-Length of 2^64",
            Bare,
            Failed("http.invalid"),
            says(Image, "18446744073709551616"),
        ),
        row(
            "a negative Content-Length",
            Bare,
            Failed("http.invalid"),
            says(Image, "-1"),
        ),
        row(
            "two Content-Lengths",
            Hashed,
            Failed("http.invalid"),
            always(Image, |mut it| {
                it.answer.fields.push(("Content-Length".into(), "7".into()));
                it.answer.into()
            }),
        ),
        row(
            "an empty image",
            Hashed,
            Failed("image.size"),
            always(Image, |_| Response::new("200 OK", b"").into()),
        ),
        row(
            "a short manifest",
            Hashed,
            Failed("manifest.invalid"),
            says(Manifest, "30"),
        ),
        row(
            "a long manifest, then silence",
            Hashed,
            Failed("net.io"),
            says(Manifest, "3000"),
        ),
        row(
            "an empty manifest",
            Hashed,
            Failed("manifest.invalid"),
            always(Manifest, |_| Response::new("200 OK", b"").into()),
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn chunks() {
    tried(vec![
        row(
            "an image in chunks",
            Hashed,
            Updated("MI"),
            always(Image, |it| Reply::Send(it.answer.chunked())),
        ),
        row(
            "an image in chunks",
            Bare,
            Updated("MI"),
            always(Image, |it| Reply::Send(it.answer.chunked())),
        ),
        row(
            "a manifest in chunks",
            Hashed,
            Updated("MI"),
            always(Manifest, |it| Reply::Send(it.answer.chunked())),
        ),
        row(
            "chunks that stop",
            Bare,
            Updated("MIMR"),
            once(Image, |it| {
                Reply::SendAndClose(it.answer.chunked()[..MIDDLE].to_vec(), true)
            }),
        ),
        row(
            "chunks without a last one",
            Hashed,
            Failed("http.incomplete"),
            always(Image, |it| {
                let chunked = it.answer.chunked();
                Reply::SendAndClose(chunked[..chunked.len() - 5].to_vec(), true)
            }),
        ),
        row(
            "chunks that become garbage",
            Bare,
            Failed("http.invalid"),
            always(Image, |it| {
                let mut chunked = it.answer.chunked();
                chunked.truncate(MIDDLE);
                chunked.extend([b'x'; 10_000]);
                Reply::Send(chunked)
            }),
        ),
        row(
            "chunks and a Content-Length",
            Hashed,
            Failed("http.invalid"),
            always(Image, |it| {
                it.answer.with("Transfer-Encoding", "chunked").into()
            }),
        ),
        row(
            "chunks without end",
            Bare,
            Failed("image.digest"),
            always(Image, |it| {
                let head = it
                    .answer
                    .without("Content-Length")
                    .with("Transfer-Encoding", "chunked")
                    .head();
                let image = &it.bucket.image[..0x1000];
                let first = [head, b"1000\r\n".to_vec(), image.to_vec(), b"\r\n".to_vec()].concat();
                Reply::Endless(first, [b"1000\r\n", &[0; 0x1000][..], b"\r\n"].concat())
            }),
        ),
    ])
    .await;
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

#[tokio::test(start_paused = true)]
async fn redirects() {
    tried(vec![
        row(
            "a loop",
            Hashed,
            Failed("http.redirect"),
            always(Manifest, |_| to("/manifest.json")),
        ),
        row(
            "a loop of two",
            Hashed,
            Failed("http.redirect"),
            always(Image, |it| {
                to(if it.request.path == "/a" { "/b" } else { "/a" })
            }),
        ),
        row(
            "a loop over two hosts",
            Hashed,
            Failed("http.redirect"),
            always(Image, |it| {
                let here = it
                    .request
                    .field("Host")
                    .is_some_and(|host| host.starts_with("localhost"));
                to(if here {
                    "https://cdn.example/a"
                } else {
                    "https://localhost/a"
                })
            }),
        ),
        row(
            "a redirect to http",
            Hashed,
            Failed("http.redirect"),
            always(Manifest, |_| to("http://localhost/manifest.json")),
        ),
        row(
            "an image's redirect to http",
            Hashed,
            Failed("http.redirect"),
            always(Image, |_| to("http://localhost/image.bin")),
        ),
        row(
            "a redirect to a file",
            Hashed,
            Failed("http.redirect"),
            always(Image, |_| to("file:///etc/passwd")),
        ),
        row(
            "a redirect to nowhere",
            Hashed,
            Failed("http.redirect"),
            always(Image, |_| Response::new("302 Found", b"").into()),
        ),
        row(
            "a redirect to a host of another name",
            Hashed,
            Failed("tls.certificate"),
            always(Image, |_| to("https://elsewhere.example/image.bin")),
        ),
        row(
            "a redirect to a port nobody listens on",
            Hashed,
            Failed("net.connect"),
            always(Image, |_| to("https://localhost:444/image.bin")),
        ),
        row(
            "a cross-host redirect",
            Hashed,
            Updated("MII"),
            always(Image, |it| {
                to_unless_there(it, "https://cdn.example/real.bin")
            }),
        ),
        row(
            "a manifest's cross-host redirect",
            Bare,
            Updated("MMI"),
            always(Manifest, |it| {
                let there = it.request.field("Host") == Some("cdn.example");
                if there {
                    it.answer.into()
                } else {
                    to("https://cdn.example/manifest.json")
                }
            }),
        ),
        row(
            "a cross-host redirect in mid-resume",
            Bare,
            Updated("MIMRR"),
            vec![
                cut_in_the_middle(),
                AnswerFault::new(Image, 1.., |it| {
                    to_unless_there(it, "https://cdn.example/real.bin")
                }),
            ],
        ),
        row(
            "a redirect with a long body",
            Hashed,
            Updated("MII"),
            always(Image, |it| {
                if it.request.path == "/real.bin" {
                    return it.answer.into();
                }
                Response::new("307 Temporary Redirect", &[b'x'; 20_000])
                    .with("Location", "/real.bin")
                    .into()
            }),
        ),
        row(
            "a redirect with a body without end",
            Hashed,
            Updated("MII"),
            always(Image, |it| {
                if it.request.path == "/real.bin" {
                    return it.answer.into();
                }
                let head =
                    Response::new("307 Temporary Redirect", b"").with("Location", "/real.bin");
                Reply::Endless(head.without("Content-Length").head(), vec![b'x'; 1000])
            }),
        ),
        row(
            "a redirect to a URL of 2,048 bytes",
            Hashed,
            Updated("MII"),
            always(Image, |it| to_unless_there(it, &long_url(2048))),
        ),
        row(
            "a redirect to a URL of 2,049 bytes",
            Hashed,
            Failed("http.redirect"),
            always(Image, |it| to_unless_there(it, &long_url(2049))),
        ),
        row(
            "a URL of 2,048 bytes in the manifest",
            Hashed,
            Updated("MI"),
            always(Manifest, |it| with_url(it, 2048)),
        ),
        row(
            "a URL of 2,049 bytes in the manifest",
            Hashed,
            Failed("manifest.url"),
            always(Manifest, |it| with_url(it, 2049)),
        ),
    ])
    .await;
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
async fn refusals() {
    tried(vec![
        row(
            "a 403 for the manifest",
            Hashed,
            Failed("http.status"),
            always(Manifest, |_| s3_error("403 Forbidden").into()),
        ),
        row(
            "a 403 for the image",
            Hashed,
            Failed("http.status"),
            always(Image, |_| s3_error("403 Forbidden").into()),
        ),
        row(
            "a 404 for the image",
            Bare,
            Failed("http.status"),
            always(Image, |_| s3_error("404 Not Found").into()),
        ),
        row(
            "a 500 for good",
            Hashed,
            Failed("http.status"),
            always(Manifest, |_| s3_error("500 Internal Server Error").into()),
        ),
        row(
            "a 500 once",
            Hashed,
            Updated("MIMI"),
            once(Image, |_| s3_error("500 Internal Server Error").into()),
        ),
        row(
            "a 503 for good",
            Hashed,
            Failed("http.status"),
            always(Image, |_| s3_error("503 Slow Down").into()),
        ),
        row(
            "a burst of 503 for the manifest",
            Hashed,
            Updated("MMMMMI"),
            vec![AnswerFault::new(Manifest, 0..4, |_| {
                s3_error("503 Slow Down")
            })],
        ),
        row(
            "a burst of 503 for the image",
            Bare,
            Updated("MIMIMIMIMI"),
            vec![AnswerFault::new(Image, 0..4, |_| s3_error("503 Slow Down"))],
        ),
        row(
            "a burst of 503 in mid-resume",
            Bare,
            Updated("MIMRMRMRMR"),
            vec![
                cut_in_the_middle(),
                AnswerFault::new(Image, 1..4, |_| s3_error("503 Slow Down")),
            ],
        ),
        row(
            "a burst of 503, Retry-After 30",
            Hashed,
            Updated("MIMIMIMIMI"),
            vec![AnswerFault::new(Image, 0..4, |_| {
                s3_error("503 Slow Down").with("Retry-After", "30")
            })],
        ),
        row(
            "a 503, Retry-After a week",
            Hashed,
            Updated("MIMI"),
            vec![AnswerFault::new(Image, 0..1, |_| {
                s3_error("503 Slow Down").with("Retry-After", "604800")
            })],
        ),
        row(
            "a 503, Retry-After a date",
            Hashed,
            Updated("MIMI"),
            vec![AnswerFault::new(Image, 0..1, |_| {
                s3_error("503 Slow Down").with("Retry-After", "Fri, 31 Dec 2999 23:59:59 GMT")
            })],
        ),
        row(
            "a 503 that closes the connection",
            Hashed,
            Updated("MIMIMI"),
            vec![AnswerFault::new(Image, 0..2, |_| {
                Reply::SendAndClose(
                    s3_error("503 Slow Down")
                        .with("Connection", "close")
                        .bytes(),
                    true,
                )
            })],
        ),
        row(
            "a 429 once",
            Hashed,
            Updated("MIMI"),
            once(Image, |_| s3_error("429 Too Many Requests").into()),
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_url_that_expires_in_mid_resume_is_replaced_by_a_fresh_one() {
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
        let attempt = bench.update(&network, patience()).await;
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

#[tokio::test(start_paused = true)]
async fn bodies_that_are_something_else() {
    tried(vec![
        row(
            "an XML error as the manifest",
            Hashed,
            Failed("manifest.invalid"),
            always(Manifest, |_| s3_error("200 OK").into()),
        ),
        row(
            "an XML error as the image",
            Hashed,
            Failed("image.size"),
            always(Image, |_| s3_error("200 OK").into()),
        ),
        row(
            "an XML error as the image",
            Bare,
            Failed("image.invalid"),
            always(Image, |_| s3_error("200 OK").into()),
        ),
        row(
            "a login page as the manifest",
            Hashed,
            Failed("manifest.invalid"),
            always(Manifest, |_| {
                Response::new(
                    "200 OK",
                    b"<!DOCTYPE html><title>Welcome to our Wi-Fi</title>",
                )
                .into()
            }),
        ),
        row(
            "truncated JSON",
            Hashed,
            Failed("manifest.invalid"),
            always(Manifest, |it| {
                let half = &it.bucket.manifest[..it.bucket.manifest.len() / 2];
                Response::new("200 OK", half).into()
            }),
        ),
        row(
            "JSON without its last byte",
            Bare,
            Failed("manifest.invalid"),
            always(Manifest, |it| {
                let most = &it.bucket.manifest[..it.bucket.manifest.len() - 1];
                Response::new("200 OK", most).into()
            }),
        ),
        row(
            "JSON cut off by the line",
            Hashed,
            Updated("MMI"),
            once(Manifest, |it| cut(&it.answer, 40)),
        ),
        row(
            "a manifest that never ends",
            Hashed,
            Failed("http.length"),
            always(Manifest, |it| {
                Reply::Endless(
                    it.answer.without("Content-Length").head(),
                    b"{\"notes\":\"".to_vec(),
                )
            }),
        ),
        row(
            "an image that never ends",
            Bare,
            Failed("image.size"),
            always(Image, |it| {
                let start = it.answer.without("Content-Length").bytes();
                Reply::Endless(start, vec![0xff; 4096])
            }),
        ),
        row(
            "an image that never ends",
            Hashed,
            Failed("image.size"),
            always(Image, |it| {
                let start = it.answer.without("Content-Length").bytes();
                Reply::Endless(start, vec![0xff; 4096])
            }),
        ),
        row(
            "a gzipped manifest",
            Hashed,
            Failed("http.invalid"),
            always(Manifest, |_| {
                Response::new("200 OK", b"\x1f\x8b\x08\x00")
                    .with("Content-Encoding", "gzip")
                    .into()
            }),
        ),
        row(
            "a gzipped image",
            Hashed,
            Failed("http.invalid"),
            always(Image, |it| {
                it.answer.with("Content-Encoding", "gzip").into()
            }),
        ),
        row(
            "an image in br",
            Bare,
            Failed("http.invalid"),
            always(Image, |it| it.answer.with("Content-Encoding", "br").into()),
        ),
        row(
            "a part in gzip",
            Bare,
            Failed("http.invalid"),
            on_resume(|it| it.answer.with("Content-Encoding", "gzip").into()),
        ),
        row(
            "gzip as the transfer coding",
            Hashed,
            Failed("http.invalid"),
            always(Image, |it| {
                it.answer
                    .without("Content-Length")
                    .with("Transfer-Encoding", "gzip, chunked")
                    .into()
            }),
        ),
        row(
            "identity as the encoding",
            Hashed,
            Updated("MI"),
            always(Image, |it| {
                it.answer.with("Content-Encoding", "identity").into()
            }),
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn heads_that_are_none() {
    tried(vec![
        row(
            "a field that never ends",
            Hashed,
            Failed("http.invalid"),
            always(Manifest, |_| {
                Reply::Endless(b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec(), vec![b'x'; 100])
            }),
        ),
        row(
            "fields that never end",
            Hashed,
            Failed("http.invalid"),
            always(Image, |_| {
                Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X-Many: x\r\n".to_vec())
            }),
        ),
        row(
            "a status line that never ends",
            Hashed,
            Failed("http.invalid"),
            always(Image, |_| {
                Reply::Endless(b"HTTP/1.1 200 ".to_vec(), b"OK ".to_vec())
            }),
        ),
        row(
            "binary data",
            Hashed,
            Failed("http.invalid"),
            always(Image, |it| Reply::Send(it.bucket.image.clone())),
        ),
        row(
            "HTTP/2",
            Hashed,
            Failed("http.invalid"),
            always(Manifest, |_| {
                Reply::Send(
                    b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff"
                        .to_vec(),
                )
            }),
        ),
        row(
            "a head in pieces",
            Hashed,
            Updated("MI"),
            always(Image, |it| {
                Reply::Drip(it.answer.bytes(), Duration::from_millis(1))
            }),
        ),
        row(
            "half a head, then the end",
            Hashed,
            Failed("http.incomplete"),
            always(Image, |it| {
                Reply::SendAndClose(it.answer.head()[..30].to_vec(), true)
            }),
        ),
        row(
            "half a head, then silence",
            Hashed,
            Failed("net.io"),
            always(Image, |it| Reply::Send(it.answer.head()[..30].to_vec())),
        ),
        row(
            "a 100 Continue before the answer",
            Hashed,
            Updated("MI"),
            always(Image, |it| {
                Reply::Send([b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), it.answer.bytes()].concat())
            }),
        ),
        row(
            "HTTP/1.0",
            Hashed,
            Updated("MI"),
            always(Manifest, |it| {
                let bytes = it.answer.without("Content-Length").bytes();
                Reply::SendAndClose([b"HTTP/1.0", &bytes[8..]].concat(), true)
            }),
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_kept_open_too_long() {
    tried(vec![
        row(
            "closed as announced",
            Hashed,
            Updated("MI"),
            always(Manifest, |it| {
                Reply::SendAndClose(it.answer.with("Connection", "close").bytes(), true)
            }),
        ),
        row(
            "closed by TLS after the manifest",
            Hashed,
            Updated("MI"),
            always(Manifest, |it| Reply::SendAndClose(it.answer.bytes(), true)),
        ),
        row(
            "closed by TCP after the manifest",
            Hashed,
            Updated("MI"),
            always(Manifest, |it| Reply::SendAndClose(it.answer.bytes(), false)),
        ),
        row(
            "closed by TLS on the request",
            Hashed,
            Updated("MII"),
            once(Image, |_| Reply::SendAndClose(Vec::new(), true)),
        ),
        row(
            "closed by TCP on the request",
            Hashed,
            Updated("MII"),
            once(Image, |_| Reply::SendAndClose(Vec::new(), false)),
        ),
        row(
            "silent on the request",
            Hashed,
            Updated("MIMI"),
            once(Image, |_| Reply::Send(Vec::new())),
        ),
        row(
            "closed on every second request",
            Hashed,
            Updated("MIIMRR"),
            vec![
                AnswerFault::new(Image, 0..1, |_| Reply::SendAndClose(Vec::new(), true)),
                AnswerFault::new(Image, 1..2, |it| cut(&it.answer, MIDDLE)),
                AnswerFault::new(Image, 2..3, |_| Reply::SendAndClose(Vec::new(), false)),
            ],
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_is_given_up_at_the_deadline() {
    let mut wire = row(
        "the whole connection, a byte a second",
        Hashed,
        Failed("update.deadline"),
        Vec::new(),
    );
    wire.line = |_| Some(Fault::Pace(1, Duration::from_secs(1)));
    let mut first = row(
        "the first connection, a byte a second",
        Hashed,
        Failed("update.deadline"),
        Vec::new(),
    );
    first.line = |connection| (connection == 0).then_some(Fault::Pace(1, Duration::from_secs(1)));
    tried(vec![
        row(
            "an image, a byte a second",
            Hashed,
            Failed("update.deadline"),
            always(Image, |it| {
                Reply::Drip(it.answer.bytes(), Duration::from_secs(1))
            }),
        ),
        row(
            "a manifest, a byte in ten seconds",
            Hashed,
            Failed("update.deadline"),
            always(Manifest, |it| {
                Reply::Drip(it.answer.bytes(), Duration::from_secs(10))
            }),
        ),
        row(
            "a part, a byte a second",
            Bare,
            Failed("update.deadline"),
            on_resume(|it| Reply::Drip(it.answer.bytes(), Duration::from_secs(1))),
        ),
        row(
            "a redirect's body, a byte a second",
            Bare,
            Failed("update.deadline"),
            always(Image, |_| {
                let answer =
                    Response::new("302 Found", &[b'x'; 2000]).with("Location", "/real.bin");
                Reply::Drip(answer.bytes(), Duration::from_secs(1))
            }),
        ),
        wire,
        first,
    ])
    .await;
}
