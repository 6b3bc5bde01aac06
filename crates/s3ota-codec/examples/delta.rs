//! Makes an artefact, decodes it, and says what it costs: `delta OLD NEW [FILE]`, `-` for no base.

use std::time::Instant;

use s3ota_codec::{Decoder, Memory, encode};

fn main() {
    let mut args = std::env::args().skip(1);
    let old = args.next().expect("OLD");
    let new = args.next().expect("NEW");
    let base = if old == "-" {
        Vec::new()
    } else {
        std::fs::read(&old).expect("OLD can be read")
    };
    let result = std::fs::read(&new).expect("NEW can be read");
    let start = Instant::now();
    let encoded = encode::encode(&base, &result, &mut |_| ()).expect("it can be encoded");
    let took = start.elapsed();
    let report = encoded.report;
    println!(
        "{} bytes, {:.4} of {}, {:.1} s",
        encoded.bytes.len(),
        encoded.bytes.len() as f64 / result.len() as f64,
        result.len(),
        took.as_secs_f64()
    );
    println!(
        "  header {}, table {} ({} blocks)",
        report.header, report.table, report.blocks
    );
    for (name, cost) in [
        ("copied code", report.copied_code),
        ("copied data", report.copied_data),
        ("repeated", report.repeated),
        ("new code", report.new_code),
        ("new data", report.new_data),
    ] {
        println!("  {name:12} {:8} for {:8}", cost.bytes(), cost.result);
    }
    let start = Instant::now();
    let made = encode::apply(&base, &encoded.bytes).expect("it can be decoded");
    assert!(made == result, "it decodes to something else");
    println!(
        "  decoded in {:.2} s, memory {}",
        start.elapsed().as_secs_f64(),
        size_of::<Memory>() + size_of::<Decoder>()
    );
    if let Some(file) = args.next() {
        std::fs::write(file, encoded.bytes).expect("FILE can be written");
    }
}
