//! How many requests there are in a second.

use serde::Serialize;

/// What S3 serves of one prefix, in GET requests a second, before it answers 503 and scales
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>).
pub(crate) const S3_LIMIT: u32 = 5_500;

/// Seconds after the power is back that are looked at.
const WINDOW: u64 = 10 * 60;

/// Requests a second, over the whole time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// On average.
    pub average: f64,
    /// In the busiest second, but for the return after a power failure.
    pub busiest: Moment,
    /// What S3 serves of one prefix before it slows down.
    pub limit: u32,
    /// After the power failure.
    pub power_failure: Option<Return>,
}

/// A second, and how many requests came in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Seconds since 1970.
    pub at: u64,
    /// Requests.
    pub requests: u32,
}

/// How devices come back when the power does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Return {
    /// When the power was back, in seconds since 1970.
    pub at: u64,
    /// How many devices came back.
    pub devices: u32,
    /// Requests in the busiest second.
    pub peak: u32,
    /// After how many seconds that was.
    pub peak_after: u64,
    /// After how many seconds half of the devices, 90 % and 99 % had asked.
    pub asked: [u64; 3],
    /// Requests by second, from the power's return on.
    pub curve: Vec<u32>,
}

/// Counts.
#[derive(Debug)]
pub(crate) struct Counter {
    start: u64,
    seconds: Vec<u16>,
    returns: Option<u64>,
    curve: Vec<u32>,
    /// Seconds after which each device that was hit asked first.
    first: Vec<u64>,
    known: Vec<bool>,
}

impl Counter {
    pub(crate) fn new(start: u64, seconds: u64, devices: u32, returns: Option<u64>) -> Self {
        Self {
            start,
            seconds: vec![0; seconds as usize],
            returns,
            curve: vec![0; WINDOW as usize],
            first: Vec::new(),
            known: vec![
                false;
                if returns.is_some() {
                    devices as usize
                } else {
                    0
                }
            ],
        }
    }

    /// A request of a device, which the power failure may have hit.
    pub(crate) fn count(&mut self, at: u64, device: u32, was_hit: bool) {
        if let Some(returns) = self.returns.filter(|_| was_hit)
            && let Some(after) = at.checked_sub(returns)
            && let Some(count) = self.curve.get_mut(after as usize)
        {
            *count += 1;
            if let Some(known) = self.known.get_mut(device as usize)
                && !std::mem::replace(known, true)
            {
                self.first.push(after);
            }
            return;
        }
        if let Some(count) = self.seconds.get_mut(at as usize) {
            *count = count.saturating_add(1);
        }
    }

    pub(crate) fn load(mut self) -> Load {
        let all: u64 = self.seconds.iter().map(|count| u64::from(*count)).sum();
        let all = all
            + self
                .curve
                .iter()
                .map(|count| u64::from(*count))
                .sum::<u64>();
        let busiest = (0..).zip(&self.seconds).max_by_key(|(at, count)| {
            // The first of those.
            (**count, std::cmp::Reverse(*at))
        });
        self.first.sort_unstable();
        let quantile = |share: f64| {
            let last = self.first.len().saturating_sub(1);
            let index = (self.first.len() as f64 * share) as usize;
            self.first.get(index.min(last)).copied().unwrap_or(0)
        };
        let curve = (0..).zip(self.curve.iter().copied());
        let peak = curve.max_by_key(|&(at, count)| (count, std::cmp::Reverse(at)));
        let asked = [quantile(0.5), quantile(0.9), quantile(0.99)];
        Load {
            average: all as f64 / self.seconds.len().max(1) as f64,
            busiest: busiest.map_or_else(Moment::default, |(at, requests)| Moment {
                at: self.start + at,
                requests: (*requests).into(),
            }),
            limit: S3_LIMIT,
            power_failure: self.returns.map(|returns: u64| Return {
                at: self.start + returns,
                devices: self.first.len() as u32,
                peak: peak.map_or(0, |(_, count)| count),
                peak_after: peak.map_or(0, |(at, _): (u64, _)| at),
                asked,
                curve: self.curve,
            }),
        }
    }
}
