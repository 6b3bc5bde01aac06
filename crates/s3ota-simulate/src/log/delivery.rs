//! The objects in which lines are delivered: late, several at once, not in order, and some of them twice
//! ([S3 User Guide](https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerLogs.html): best effort, most records within a few
//! hours, rarely one twice).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::line::{Line, Writer};
use crate::scenario::Bucket;
use crate::time::rfc3339;

/// The account of the bucket.
const ACCOUNT: &str = "111122223333";

/// How many of S3's servers write logs of their own.
const SERVERS: usize = 4;

/// Seconds between two objects of one server, from and to.
const PERIOD: (u64, u64) = (15 * 60, 65 * 60);

/// One line in so many is delivered much later.
const LATE: u32 = 400;

/// How much later, in seconds, from and to.
const DELAY: (u64, u64) = (2 * 60 * 60, 30 * 60 * 60);

/// How many late lines come together at most.
const LATE_TOGETHER: usize = 200;

/// One line in so many is delivered once more.
const TWICE: u32 = 20_000;

/// Lines within so many of each other change places.
const WINDOW: usize = 16;

/// A folder of log objects that grows.
#[derive(Debug)]
pub struct LogFolder {
    root: PathBuf,
    /// The day whose folder was made last.
    day: String,
    servers: Vec<Batch>,
    late: Vec<Batch>,
    rng: Xoshiro256PlusPlus,
    writer: Writer,
    line: Vec<u8>,
    written: Written,
    failure: Option<io::Error>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Objects.
    pub objects: u64,
    /// Lines; one that came twice counts twice.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Lines that wait to be delivered.
#[derive(Debug, Default)]
struct Batch {
    /// When, in seconds since 1970.
    due: u64,
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Batch {
    fn due(due: u64) -> Self {
        Self {
            due,
            ..Self::default()
        }
    }

    fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }
}

impl LogFolder {
    /// A folder for log objects: `DIR/<account>/<region>/<bucket>/…`. Nothing is written yet.
    pub fn new(dir: &Path, bucket: &Bucket, seed: u64) -> Self {
        Self {
            root: dir.join(ACCOUNT).join(&bucket.region).join(&bucket.name),
            day: String::new(),
            servers: (0..SERVERS).map(|_| Batch::default()).collect(),
            late: Vec::new(),
            rng: Xoshiro256PlusPlus::seed_from_u64(!seed),
            writer: Writer::new(bucket),
            line: Vec::new(),
            written: Written::default(),
            failure: None,
        }
    }

    /// Takes a line, at about the time `now`. `may_repeat` says whether it may be delivered twice.
    pub(crate) fn add(&mut self, now: u64, line: &Line<'_>, may_repeat: bool) {
        self.deliver(now);
        self.line.clear();
        self.writer.write(line, &mut self.rng, &mut self.line);
        if self.rng.next_u32().is_multiple_of(LATE) {
            self.add_late(now);
        } else {
            let server = self.rng.gen_range(0..SERVERS);
            let period = self.rng.gen_range(PERIOD.0..PERIOD.1);
            let batch = &mut self.servers[server];
            if batch.ends.is_empty() {
                batch.due = now + period;
            }
            batch.push(&self.line);
        }
        if may_repeat && self.rng.next_u32().is_multiple_of(TWICE) {
            self.add_late(now);
        }
    }

    fn add_late(&mut self, now: u64) {
        let delay = self.rng.gen_range(DELAY.0..DELAY.1);
        match self.late.last_mut() {
            Some(batch) if batch.ends.len() < LATE_TOGETHER => batch.push(&self.line),
            _ => {
                let mut batch = Batch::due(now + delay);
                batch.push(&self.line);
                self.late.push(batch);
            }
        }
    }

    /// Delivers what is due.
    fn deliver(&mut self, now: u64) {
        for server in 0..SERVERS {
            let batch = &mut self.servers[server];
            if batch.due <= now && !batch.ends.is_empty() {
                let batch = std::mem::take(batch);
                self.write(batch);
            }
        }
        while let Some(at) = self.late.iter().position(|batch| batch.due <= now) {
            let batch = self.late.remove(at);
            self.write(batch);
        }
    }

    fn write(&mut self, batch: Batch) {
        if self.failure.is_none() && !batch.ends.is_empty() {
            self.failure = self.try_write(&batch).err();
        }
    }

    fn try_write(&mut self, batch: &Batch) -> io::Result<()> {
        let mut start = 0;
        let mut lines: Vec<_> = batch
            .ends
            .iter()
            .map(|&end| std::mem::replace(&mut start, end)..end)
            .collect();
        for window in lines.chunks_mut(WINDOW) {
            window.shuffle(&mut self.rng);
        }
        let mut object = Vec::with_capacity(batch.bytes.len());
        for line in &lines {
            object.extend_from_slice(&batch.bytes[line.clone()]);
        }
        let date = rfc3339(batch.due);
        let part = |range: std::ops::Range<usize>| date.get(range).unwrap_or_default();
        let (day, time) = (part(0..10), part(11..19));
        let folder = self.root.join(day.replace('-', "/"));
        if day != self.day {
            fs::create_dir_all(&folder)?;
            self.day = day.to_owned();
        }
        let unique = self.rng.next_u64();
        let name = format!("{day}-{}-{unique:016X}", time.replace(':', "-"));
        fs::write(folder.join(name), &object)?;
        self.written.objects += 1;
        self.written.lines += lines.len() as u64;
        self.written.bytes += object.len() as u64;
        Ok(())
    }

    /// Delivers all that is left.
    ///
    /// # Errors
    ///
    /// The first error of the file system.
    pub fn finish(mut self) -> io::Result<Written> {
        let servers = std::mem::take(&mut self.servers);
        for batch in servers.into_iter().chain(std::mem::take(&mut self.late)) {
            self.write(batch);
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.written),
        }
    }

    /// Whether the file system has failed, so that there is no use in going on.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }
}
