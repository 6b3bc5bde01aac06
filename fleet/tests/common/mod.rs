//! Logs as S3 writes them.

#![allow(dead_code, reason = "each test program uses a part of it")]

use s3ota_fleet::sources::time;

/// The beginning of all tests: a Friday.
pub const START: u32 = 1_795_132_800;

/// An hour.
pub const HOUR: u32 = 3600;

/// A day.
pub const DAY: u32 = 24 * HOUR;

/// A request of a device: when, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub at: u32,
    pub key: &'static str,
    pub agent: String,
}

/// A device asks for the manifest.
pub fn asks(at: u32, says: &str) -> Request {
    Request {
        at,
        key: "lamp/stable.json",
        agent: format!("s3ota/0.1.0 {says}"),
    }
}

/// Its line in the log.
pub fn line(request: &Request) -> String {
    let Request { at, key, agent } = request;
    let text = time::written(*at);
    let (date, clock) = text.trim_end_matches('Z').split_once('T').unwrap();
    let month = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ][date[5..7].parse::<usize>().unwrap() - 1];
    let time = format!("{}/{month}/{}:{clock} +0000", &date[8..], &date[..4]);
    format!(
        "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be my-bucket [{time}] 192.0.2.3 - 3E57427F3EXAMPLE \
         REST.GET.OBJECT {key} \"GET /{key} HTTP/1.1\" 200 - 512 512 7 6 \"-\" \"{agent}\" - \
         s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234= - TLS_AES_128_GCM_SHA256 - \
         my-bucket.s3.eu-central-1.amazonaws.com TLSv1.3 - -\n"
    )
}

/// A small fleet with all that can happen, in the order of time.
pub fn fleet() -> Vec<Request> {
    let mut requests = Vec::new();
    for device in 0..12u32 {
        for check in 0..20 * 4 {
            let at = START + device * 97 + check * 6 * HOUR;
            let day = check / 4;
            // The last two fall silent.
            if device >= 10 && day > 5 {
                continue;
            }
            let says = match (device, day) {
                (_, 0..3) => "fw=1.0.0 state=valid".to_owned(),
                (_, 3) => format!("fw=1.1.0 state=trial:{}/4", check % 4 + 1),
                // One goes back, and one cannot install the next one.
                (3, _) => "fw=1.0.0 state=back:1.1.0 last=boot.trial@1.1.0".to_owned(),
                (_, 4..9) => "fw=1.1.0 state=valid last=ok@1.1.0".to_owned(),
                (5, 9..14) if check % 2 == 0 => {
                    "fw=1.1.0 state=stuck:net.dns last=net.dns@1.2.0".to_owned()
                }
                (5, _) => "fw=1.1.0 state=valid last=image.digest@1.2.0".to_owned(),
                _ => "fw=1.2.0 state=valid last=ok@1.2.0".to_owned(),
            };
            let chip = if device % 2 == 0 {
                "esp32c3"
            } else {
                "esp32s3"
            };
            requests.push(asks(
                at,
                &format!("dev=d{device:02} {says} chip={chip} boot=plain"),
            ));
            if check % 4 == 3 {
                requests.push(Request {
                    at: at + 2,
                    key: "lamp/images/1.2.0-0123456789ab.bin",
                    agent: format!(
                        "s3ota/0.1.0 dev=d{device:02} {says} chip={chip} boot=plain image=whole"
                    ),
                });
            }
        }
    }
    requests.push(asks(START + 7, "fw=1.0.0 state=valid"));
    requests.push(asks(START + 8, "fw=1.0.0 state=valid"));
    requests.sort_by_key(|it| it.at);
    requests
}

/// The same in another order, by a seed.
pub fn shuffled<T>(mut things: Vec<T>, mut seed: u64) -> Vec<T> {
    for at in (1..things.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let other = usize::try_from(seed >> 33).unwrap() % (at + 1);
        things.swap(at, other);
    }
    things
}
