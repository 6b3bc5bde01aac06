//! What a month on S3 costs.

use serde::Serialize;

use crate::scenario::DAY;

/// Where the prices are from: S3 Standard in us-east-1, and data transfer out to the internet. In the price list for programs
/// (<https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/price-changes.html>) they are the usage types `Requests-Tier1`,
/// `Requests-Tier2`, `TimedStorage-ByteHrs` and `DataTransfer-Out-Bytes`.
pub const PRICES_FROM: &str = "https://aws.amazon.com/s3/pricing/";
/// When they were looked up.
pub const PRICES_AS_OF: &str = "2026-11-29";

/// A GET request, in dollars: 0.0004 for 1,000. A 304 and a 404 cost as much. Strangers are not billed: nearly all they get is a 403
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/ErrorCodeBilling.html>).
const GET: f64 = 0.000_4 / 1000.0;
/// A PUT request: 0.005 for 1,000.
const PUT: f64 = 0.005 / 1000.0;
/// A GB in S3 Standard for a month, of the first 50 TB.
const STORAGE: f64 = 0.023;
/// Data transfer out: so many GB a month of each tier at this price. The first 100 GB are free, over all services and regions.
const EGRESS: [(f64, f64); 5] = [
    (100.0, 0.0),
    (10.0 * 1024.0, 0.09),
    (40.0 * 1024.0, 0.085),
    (100.0 * 1024.0, 0.07),
    (f64::INFINITY, 0.05),
];

/// Bytes of a GB on the bill.
pub const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Bytes of the head of an answer, which are transferred too: S3's headers of an object.
const HEAD: u64 = 450;

/// What was asked for and sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Requests of devices for the manifest that brought it.
    pub manifests: u64,
    /// Those answered 304: nothing new.
    pub not_modified: u64,
    /// Requests of devices for images and what makes them.
    pub images: u64,
    /// Requests of devices answered with an error.
    pub errors: u64,
    /// Requests of others.
    pub foreign: u64,
    /// Uploads of the publisher.
    pub uploads: u64,
    /// Bytes of the bodies that were sent to devices.
    pub sent: u64,
    /// What these would have been if every device fetched whole images.
    pub sent_if_whole: u64,
    /// And compressed images.
    pub sent_if_compressed: u64,
    /// Bytes in the bucket: images, and what makes them.
    pub stored: u64,
    /// Bytes of logs.
    pub logs: u64,
}

/// A month's bill, in dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Bill {
    /// Requests.
    pub requests: f64,
    /// Data transfer out to the internet.
    pub egress: f64,
    /// Data transfer out if every device fetched whole images.
    pub egress_if_whole: f64,
    /// Data transfer out if every device fetched compressed images.
    pub egress_if_compressed: f64,
    /// Storage of the images, for the month.
    pub storage: f64,
    /// Storage of the month's logs, for a month.
    pub logs: f64,
    /// All of it, as it is.
    pub total: f64,
}

impl Traffic {
    /// Requests of devices.
    pub fn requests(&self) -> u64 {
        self.manifests + self.not_modified + self.images + self.errors
    }

    /// The bill of thirty days, if they are like these seconds.
    pub fn bill(&self, seconds: u64) -> Bill {
        let month = (30 * DAY) as f64 / seconds.max(1) as f64;
        let heads = (self.requests() * HEAD) as f64;
        let out = |bytes: u64| egress((bytes as f64 + heads) / GIB * month);
        let gets = self.requests() as f64;
        let mut bill = Bill {
            requests: (gets * GET + self.uploads as f64 * PUT) * month,
            egress: out(self.sent),
            egress_if_whole: out(self.sent_if_whole),
            egress_if_compressed: out(self.sent_if_compressed),
            storage: self.stored as f64 / GIB * STORAGE,
            logs: self.logs as f64 / GIB * month * STORAGE,
            total: 0.0,
        };
        bill.total = bill.requests + bill.egress + bill.storage + bill.logs;
        bill
    }
}

/// What so many GB cost.
fn egress(mut gigabytes: f64) -> f64 {
    let mut cost = 0.0;
    for (tier, price) in EGRESS {
        let of = gigabytes.min(tier);
        cost += of * price;
        gigabytes -= of;
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_is_billed_by_tiers() {
        assert!(egress(100.0).abs() < 1e-9);
        assert!((egress(200.0) - 9.0).abs() < 1e-9);
        // The first 100 GB, 10 TB, and 1 TB of the next tier.
        let most = 100.0 + 11.0 * 1024.0;
        assert!((egress(most) - (10_240.0 * 0.09 + 1024.0 * 0.085)).abs() < 1e-6);
    }

    #[test]
    fn a_month_of_requests_costs_what_the_price_list_says() {
        let traffic = Traffic {
            not_modified: 1_200_000,
            ..Traffic::default()
        };
        assert!((traffic.bill(30 * DAY).requests - 0.48).abs() < 1e-9);
        assert!((traffic.bill(15 * DAY).requests - 0.96).abs() < 1e-9);
    }
}
