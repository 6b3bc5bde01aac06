//! A line that is cut at any byte, in either direction, in any of the ways lines are cut.
//!
//! The attempt ends in time, with an error that is worth a retry and with consistent flash; and the next attempt
//! resumes. `-- --nocapture` prints how many cuts were tried. All of them, which takes minutes:
//!
//! ```text
//! cargo test --release -p s3ota-sim --test link_faults_wire -- --ignored --nocapture
//! ```

use std::collections::BTreeMap;

use s3ota::Timeouts;
use scripted_server::bench::{Bench, NEW, image, timeouts};
use scripted_server::bucket::{Bucket, faulty};
use scripted_server::network::{Ending, Fault, Network, PORT, Traffic, Way};

/// A sector of flash: so much is written at once, and noted.
const BLOCK: usize = 4096;

/// The most bytes of a TLS record. One that has not arrived whole is lost.
const RECORD: usize = 16 * 1024 + 256;

/// Bytes of the image of these tests: more than a record, and no whole number of blocks.
const LENGTH: usize = 30_000;

/// A network on which the first connection is cut there.
fn cut(bucket: &Bucket, way: Way, after: usize, ending: Ending) -> Network {
    Network::new(faulty(bucket.clone(), Vec::new()))
        .with_faults(move |connection| (connection == 0).then_some(Fault::Cut(way, after, ending)))
}

fn fetched(traffic: &[Traffic]) -> usize {
    traffic.iter().map(|traffic| traffic.to_device).sum()
}

/// Cuts the line at each of these bytes: the sparse ones over the whole update, the dense ones as far as the manifest.
async fn cut_everywhere(dense: usize, sparse: usize) {
    let image = image(NEW, LENGTH);
    let bucket = Bucket::hashed(NEW, image.clone(), PORT);
    let whole = Network::new(faulty(bucket.clone(), Vec::new()));
    let mut bench = Bench::new();
    assert_eq!(bench.update(&whole, timeouts()).await.verdict(), "updated");
    let total = whole.traffic()[0];
    let overhead = total.to_device - image.len();

    let once = Timeouts {
        attempts: 1,
        ..timeouts()
    };
    let up = (0..total.to_server).step_by(dense);
    let down = (0..overhead)
        .step_by(dense)
        .chain((overhead..total.to_device).step_by(sparse));
    let places: Vec<_> = up
        .map(|at| (Way::ToServer, at))
        .chain(down.map(|at| (Way::ToDevice, at)))
        .collect();
    let mut ends = BTreeMap::new();
    let mut most_again = 0;
    let fresh = Bench::new();
    for &(way, at) in &places {
        for ending in [Ending::Fin, Ending::Reset, Ending::Silence] {
            let place = format!("{ending:?} after {at} bytes {way:?}");
            let mut bench = fresh.clone();
            let broken = cut(&bucket, way, at, ending);
            let attempt = bench.update(&broken, once).await;
            *ends.entry(attempt.verdict()).or_insert(0) += 1;
            let mut passed = fetched(&broken.traffic());
            if let Err(error) = &attempt.outcome {
                assert!(error.is_transient(), "{place}: {error}");
                assert_eq!(bench.unharmed(), Ok(()), "{place}");
                let next = Network::new(faulty(bucket.clone(), Vec::new()));
                let attempt = bench.update(&next, once).await;
                assert_eq!(
                    attempt.verdict(),
                    "updated",
                    "{place}: {:?}",
                    attempt.outcome
                );
                passed += fetched(&next.traffic());
            }
            assert_eq!(bench.runs(&image), Ok(()), "{place}");
            // Both connections have their handshake and their manifest; what is left was fetched twice.
            most_again = most_again.max(passed.saturating_sub(image.len() + 2 * overhead));
        }
    }
    let Traffic {
        to_server,
        to_device,
        ..
    } = total;
    println!(
        "{} cuts in {to_server} bytes up and {to_device} bytes down: {ends:?};",
        3 * places.len()
    );
    println!("at most {most_again} bytes of the image were fetched again");
    assert!(most_again <= BLOCK + RECORD, "{most_again} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_line_cut_anywhere_is_mended_by_the_next_attempt() {
    cut_everywhere(23, 1777).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes"]
async fn a_line_cut_at_every_byte_is_mended_by_the_next_attempt() {
    cut_everywhere(1, 7).await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_breaks_every_30_kilobytes_delivers_an_image_of_200() {
    let image = image(NEW, 200_000);
    let bucket = Bucket::bare(NEW, image.clone(), PORT);
    for ending in [Ending::Fin, Ending::Reset, Ending::Silence] {
        let network = Network::new(faulty(bucket.clone(), Vec::new()))
            .with_faults(move |_| Some(Fault::Cut(Way::ToDevice, 30_000, ending)));
        let mut bench = Bench::new();
        let attempt = bench.update(&network, timeouts()).await;
        assert_eq!(attempt.verdict(), "updated", "{:?}", attempt.outcome);
        bench.runs(&image).unwrap();
        let connections = network.traffic().len();
        println!(
            "{ending:?}: {connections} connections, {} bytes",
            fetched(&network.traffic())
        );
        assert!(connections > usize::from(timeouts().attempts));
    }
}
