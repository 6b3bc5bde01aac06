//! A delta that broke off goes on where it was.

use scripted_server::Reply;
use scripted_server::bucket::Response;
use scripted_server::deltas::{Release, artefact};
use scripted_server::network::{Ending, Fault, Network, Way};

use crate::field::*;

/// Of an artefact, as much as is fetched again at most.
const MOST: usize = 64 * 1024;

/// An artefact whose header promises what another one makes.
fn promising(artefact: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = artefact.to_vec();
    bytes[44..80].copy_from_slice(&other[44..80]);
    bytes
}

/// The network's faults are cuts after so many bytes of the first answer that is no manifest.
fn cut_after(bytes: usize) -> Network {
    spoiling(different(), 0, move |_, answer| cut(&answer, bytes))
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_anywhere_at_most_64_kib_of_a_delta_are_fetched_again() {
    let release = different();
    let length = release.deltas[0].artefact.bytes.len();
    let mut most = 0;
    for received in (0..length).step_by(7_919) {
        let network = cut_after(received);
        let mut device = Field::new();
        let first = device.tries(&network).await;
        assert!(first.outcome.unwrap_err().is_transient(), "{received}");
        assert!(device.runs_the_old());
        // The updater of the first attempt is gone, as it is after a restart. All there is, is on flash.
        let second = device.updates(&network).await;
        assert_eq!(second.ways, ["delta"]);
        assert!(device.runs(&release.image), "{received}");
        // What precedes the sections is read once more; the sections that are there are not.
        let from = asked(&network).last().unwrap().1;
        assert!(from <= received, "{from} of {received}");
        let again = received - from;
        assert!(again <= MOST, "{again} of {received} fetched again");
        most = most.max(again);
    }
    println!("at most {most} of {length} bytes fetched again, and the artefact's beginning");
}

/// What one way has made may be wrong, and only its own end would show that: another way begins with the first byte.
#[tokio::test(start_paused = true)]
async fn two_ways_are_never_mixed() {
    let image = different().image;
    let all = different().compressed();
    for (first, then) in [
        ("delta", "compressed"),
        ("delta", "whole"),
        ("compressed", "delta"),
        ("compressed", "whole"),
        ("whole", "delta"),
        ("whole", "compressed"),
    ] {
        let only = |way: &str| {
            let mut release = all.clone();
            if way != "delta" {
                release.deltas.clear();
            }
            if way != "compressed" {
                release.compressed = None;
            }
            release
        };
        let mut device = Field::new();
        // It makes another image, whatever its header promises, and does not come to its end.
        let mut wrong = only(first);
        let right = wrong.clone();
        wrong.image[30_000] ^= 1;
        for (delta, right) in wrong.deltas.iter_mut().zip(&right.deltas) {
            delta.artefact.bytes = promising(&artefact(&OLD, &wrong.image), &right.artefact.bytes);
        }
        if let (Some(wrong_one), Some(right)) = (&mut wrong.compressed, &right.compressed) {
            wrong_one.bytes = promising(&artefact(&[], &wrong.image), &right.bytes);
        }
        let mut manifest = only(first);
        for (delta, wrong) in manifest.deltas.iter_mut().zip(&wrong.deltas) {
            delta.artefact.size = wrong.artefact.bytes.len();
        }
        if let (Some(named), Some(wrong)) = (&mut manifest.compressed, &wrong.compressed) {
            named.size = wrong.bytes.len();
        }
        let network = network(move |request, port| match request.path.as_str() {
            "/manifest.json" => manifest.answer(request, port).into(),
            _ => cut(&wrong.answer(request, port), 50_000),
        });
        assert_eq!(device.tries(&network).await.ways, [first]);
        let updated = device.updates(&serving(only(then))).await;
        assert_eq!((updated.ways, updated.erased), (vec![then.into()], 1));
        assert!(device.runs(&image), "{first} and then {then}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_artefact_that_changes_while_it_is_resumed_is_refused() {
    // The first answer breaks off. The second has the beginning, and for the third the artefact is another one.
    for spoil in [
        |_: Response| Response::new("416 Range Not Satisfiable", b""),
        |answer: Response| answer.with("ETag", "\"another\""),
        |answer: Response| answer.with("Content-Range", "bytes 7-8/9"),
    ] {
        let asked_for = std::sync::atomic::AtomicUsize::new(0);
        let release = different();
        let network = network(move |request, port| {
            let answer = release.answer(request, port);
            if request.path != "/delta.s3od" {
                return answer.into();
            }
            match asked_for.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => cut(&answer, 100_000),
                2 => spoil(answer).into(),
                _ => answer.into(),
            }
        });
        let mut device = Field::new();
        assert!(device.tries(&network).await.outcome.is_err());
        let updated = device.updates(&network).await;
        assert_eq!(updated.ways, ["delta", "whole"]);
        assert!(device.runs(&different().image));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_ranges_costs_the_bytes_and_nothing_else() {
    let release = different();
    let first = std::sync::atomic::AtomicBool::new(true);
    let network = network(move |request, port| {
        let mut request = request.clone();
        request.head = request.head.replace("\r\nRange:", "\r\nX-Range:");
        let answer = release.answer(&request, port);
        let is_delta = request.path == "/delta.s3od";
        if is_delta && first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return cut(&answer, 100_000);
        }
        Reply::from(answer)
    });
    let mut device = Field::new();
    assert!(device.tries(&network).await.outcome.is_err());
    let updated = device.updates(&network).await;
    assert_eq!((updated.ways, updated.erased), (vec!["delta".into()], 1));
    assert!(device.runs(&different().image));
}

/// A line that fails anywhere, in either direction and in every way that lines do, costs an attempt at most.
#[tokio::test(start_paused = true)]
async fn a_line_that_fails_anywhere_costs_an_attempt() {
    let image = different().image;
    let compressed = || Release::whole("1.1.0", different().image).compressed();
    for (way, release) in [("delta", different()), ("compressed", compressed())] {
        for ending in [Ending::Fin, Ending::Reset, Ending::Silence] {
            let to_device = [0, 1_000, 3_000, 5_000, 9_000, 40_000, 90_000, 130_000];
            let to_device = to_device.map(|bytes| (Way::ToDevice, bytes));
            let to_server = [0, 200, 700, 1_000].map(|bytes| (Way::ToServer, bytes));
            for (direction, bytes) in to_device.into_iter().chain(to_server) {
                let network = serving(release.clone()).with_faults(move |connection| {
                    (connection == 0).then_some(Fault::Cut(direction, bytes, ending))
                });
                let mut device = Field::new();
                let first = device.tries(&network).await;
                let case = (way, ending, direction, bytes);
                if first.outcome.is_err() {
                    assert!(device.runs_the_old(), "{case:?}");
                    assert_eq!(device.updates(&network).await.ways, [way], "{case:?}");
                }
                assert!(device.runs(&image), "{case:?}");
            }
        }
    }
}
