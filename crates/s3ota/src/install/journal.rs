//! How far an image has come: a journal in the last sector of the slot it is being written to.
//!
//! ```text
//! 0x000  "goal"     the release's id (12 bytes), the image's size in bytes or 0xFFFFFFFF (4)
//! 0x020  "etag" 3×  the entity tag the server gave the image, or what makes it, 72 bytes in all, filled up with 0xFF
//! 0x080  "head" 2×  the first 32 bytes of the image, which are written to their place last
//! 0x0c0  marks      of 4 bytes (as many as flash writes at once, if more): mark n says that the first n + 1 steps are
//!                   on flash, by the first bytes of their SHA-256
//! 0xfe0  "done"     the whole image passed every check: its length (4), the first 20 bytes of its SHA-256
//! ```
//!
//! All but the marks are entries of a [log](crate::flash::log). Nothing is ever rewritten. A step is one sector, or more
//! where the image has more sectors than there is room for marks: 968 without flash encryption, 3.8 MiB.
//!
//! An update that was cut off, by the network or by a power cut, resumes at the last mark that is the hash of what
//! lies on flash. The sector is erased before the first byte of another image is written, and where the image needs it
//! itself, which is the last thing it needs.

use embedded_storage_async::nor_flash::NorFlash;
use heapless::String;
use s3ota_image::otadata::SECTOR_SIZE;

use crate::bytes;
use crate::error::FlashFault;
use crate::flash::access as flash;
use crate::flash::log::{ENTRY_LEN, Entry, Kind, Log, VALUE_LEN, is_blank, kind, value};
use crate::flash::partitions::Slot;
use crate::flash::release::ReleaseId;
use crate::install::{BLOCK, WITHHELD};
use crate::net::http::MAX_ETAG;

const GOAL: Kind = kind(b"goal");
const ETAG: Kind = kind(b"etag");
const HEAD: Kind = kind(b"head");
const DONE: Kind = kind(b"done");

const ETAG_AT: u32 = 1;
const ETAG_PARTS: usize = MAX_ETAG / VALUE_LEN;
const HEAD_AT: u32 = ETAG_AT + ETAG_PARTS as u32;
const HEAD_PARTS: usize = WITHHELD.div_ceil(VALUE_LEN);
const DONE_AT: u32 = SECTOR_SIZE / ENTRY_LEN as u32 - 1;

/// The marks lie between the entries.
const MARKS_START: u32 = (HEAD_AT + HEAD_PARTS as u32) * ENTRY_LEN as u32;
const MARKS_END: u32 = DONE_AT * ENTRY_LEN as u32;

const _: () = assert!(
    ETAG_PARTS * VALUE_LEN == MAX_ETAG,
    "an entity tag fills its entries"
);

/// A size that is not known.
const UNKNOWN: u32 = u32::MAX;

/// The first bytes of a SHA-256, as many as an entry has room for.
type ShortDigest = [u8; VALUE_LEN - 4];

/// What is being fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) release: ReleaseId,
    /// Its image's size in bytes, if known.
    pub(crate) total: Option<u32>,
    /// The strong entity tag the server gave it, if any.
    pub(crate) etag: Option<String<MAX_ETAG>>,
}

/// A whole image on flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// Its length in bytes.
    pub(crate) length: u32,
    digest: ShortDigest,
}

impl Done {
    pub(crate) fn new(length: u32, sha256: &[u8; 32]) -> Self {
        let (digest, _) = split(sha256);
        Self { length, digest }
    }
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) goal: Goal,
    pub(crate) head: [u8; WITHHELD],
    /// Set once all of the image is on flash.
    pub(crate) done: Option<Done>,
}

/// The journal of one slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Journal {
    /// Where its sector begins on flash.
    start: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Erased, or about to be.
    Empty,
    /// The goal is written, and marks may follow.
    Open,
    /// Nothing more is written: the sector is worn, or the image needs it.
    Closed,
}

impl Journal {
    /// The journal of `slot`. Nothing is read yet.
    pub(crate) fn of(slot: Slot) -> Self {
        Self {
            start: slot.offset + journal_offset(slot),
            state: State::Empty,
        }
    }

    /// Reads what was written for `release`, if anything.
    pub(crate) fn read<F: NorFlash>(
        &mut self,
        flash: &mut F,
        release: ReleaseId,
    ) -> Result<Option<Found>, FlashFault> {
        let Some(found) = self.parse(flash)? else {
            return Ok(None);
        };
        if found.goal.release != release {
            return Ok(None);
        }
        self.state = State::Open;
        Ok(Some(found))
    }

    fn parse<F: NorFlash>(&self, flash: &mut F) -> Result<Option<Found>, FlashFault> {
        let log = self.log();
        let Entry::Whole(GOAL, goal) = log.get(flash, 0)? else {
            return Ok(None);
        };
        let mut etag = [0xff; MAX_ETAG];
        let mut head = [0; HEAD_PARTS * VALUE_LEN];
        if !collect(log, flash, ETAG, ETAG_AT, &mut etag)?
            || !collect(log, flash, HEAD, HEAD_AT, &mut head)?
        {
            return Ok(None);
        }
        let done = match log.get(flash, DONE_AT)? {
            Entry::Whole(DONE, value) => {
                let (length, rest) = split(&value);
                let (digest, _) = split(rest);
                Some(Done {
                    length: u32::from_le_bytes(length),
                    digest,
                })
            }
            _ => None,
        };
        let (release, rest) = split(&goal);
        let (total, _) = split(rest);
        let total = u32::from_le_bytes(total);
        let etag = etag.split(|&byte| byte == 0xff).next().unwrap_or_default();
        let (head, _) = split(&head);
        Ok(Some(Found {
            goal: Goal {
                release: ReleaseId::from_bytes(release),
                total: Some(total).filter(|&total| total != UNKNOWN),
                etag: core::str::from_utf8(etag)
                    .ok()
                    .and_then(|tag| String::try_from(tag).ok())
                    .filter(|tag| !tag.is_empty()),
            },
            head,
            done,
        }))
    }

    /// Erases the journal, unless it is blank. Before anything else in the slot is touched.
    pub(crate) fn clear<F: NorFlash>(&self, flash: &mut F) -> Result<(), FlashFault> {
        let end = self.start + SECTOR_SIZE;
        let mut bytes = [0; 64];
        for at in (self.start..end).step_by(bytes.len()) {
            flash::read(flash, at, &mut bytes)?;
            if !is_blank::<F>(&bytes) {
                return flash::erase_sector(flash, self.start);
            }
        }
        Ok(())
    }

    /// Writes no more: the sector is the image's from now on.
    pub(crate) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Notes that the first `steps` steps of the image are on flash, and their SHA-256; before that, once, what is
    /// being fetched.
    ///
    /// A journal that takes no more is no reason to stop: it only saves a second download.
    pub(crate) fn mark<F: NorFlash>(
        &mut self,
        flash: &mut F,
        goal: &Goal,
        head: &[u8; WITHHELD],
        steps: u32,
        sha256: &[u8; 32],
    ) -> Result<(), FlashFault> {
        if !self.is_open(flash, goal, head)? || steps == 0 || steps > marks::<F>() {
            return Ok(());
        }
        let (at, unit) = (self.mark_at::<F>(steps), mark_len::<F>());
        let mut before = [0; ENTRY_LEN];
        let before = before.get_mut(..unit).unwrap_or_default();
        flash::read(flash, at, before)?;
        // One that was torn stays so: the next one says all that it would have said.
        if is_blank::<F>(before) || F::WRITE_SIZE >= 16 {
            let mark = sha256.get(..unit).unwrap_or_default();
            flash::write(flash, at, mark)?;
        }
        Ok(())
    }

    /// Notes that all of the image is on flash and passed every check.
    pub(crate) fn finish<F: NorFlash>(
        &mut self,
        flash: &mut F,
        goal: &Goal,
        head: &[u8; WITHHELD],
        done: Done,
    ) -> Result<(), FlashFault> {
        if self.is_open(flash, goal, head)? {
            let length = done.length.to_le_bytes();
            let value = value(&[&length, &done.digest]);
            let log = self.log();
            log.put(flash, DONE_AT, DONE, value)?;
        }
        Ok(())
    }

    /// How many steps may be on flash at most: up to the last mark that is not blank.
    pub(crate) fn steps<F: NorFlash>(&self, flash: &mut F) -> Result<u32, FlashFault> {
        let mut steps = 0;
        let mut bytes = [0; ENTRY_LEN];
        for at in (MARKS_START..MARKS_END).step_by(ENTRY_LEN) {
            flash::read(flash, self.start + at, &mut bytes)?;
            if is_blank::<F>(&bytes) {
                break;
            }
            let unit = mark_len::<F>();
            let marked = bytes.chunks(unit).rposition(|mark| !is_blank::<F>(mark));
            let before = (at - MARKS_START) / unit as u32;
            steps = before + marked.map_or(0, |last| last as u32 + 1);
        }
        Ok(steps)
    }

    /// Whether the mark for the first `steps` steps is of this SHA-256.
    pub(crate) fn has<F: NorFlash>(
        &self,
        flash: &mut F,
        steps: u32,
        sha256: &[u8; 32],
    ) -> Result<bool, FlashFault> {
        let mut mark = [0; ENTRY_LEN];
        let mark = mark.get_mut(..mark_len::<F>()).unwrap_or_default();
        flash::read(flash, self.mark_at::<F>(steps), mark)?;
        Ok(sha256.starts_with(mark))
    }

    fn mark_at<F: NorFlash>(&self, steps: u32) -> u32 {
        let index = steps.clamp(1, marks::<F>()) - 1;
        self.start + MARKS_START + index * mark_len::<F>() as u32
    }

    /// Whether the goal is written, now if it was not before.
    fn is_open<F: NorFlash>(
        &mut self,
        flash: &mut F,
        goal: &Goal,
        head: &[u8; WITHHELD],
    ) -> Result<bool, FlashFault> {
        if self.state == State::Empty {
            self.state = if self.open(flash, goal, head)? {
                State::Open
            } else {
                State::Closed
            };
        }
        Ok(self.state == State::Open)
    }

    fn open<F: NorFlash>(
        &self,
        flash: &mut F,
        goal: &Goal,
        head: &[u8; WITHHELD],
    ) -> Result<bool, FlashFault> {
        let log = self.log();
        let total = goal.total.unwrap_or(UNKNOWN).to_le_bytes();
        let first = value(&[goal.release.as_bytes(), &total]);
        let etag = goal.etag.as_deref().unwrap_or_default().as_bytes();
        Ok(log.put(flash, 0, GOAL, first)?
            && spread(log, flash, ETAG, ETAG_AT, ETAG_PARTS, etag)?
            && spread(log, flash, HEAD, HEAD_AT, HEAD_PARTS, head)?)
    }

    fn log(&self) -> Log {
        Log::new(self.start, SECTOR_SIZE)
    }
}

/// Where a slot's journal lies, an offset in the slot: its last sector.
pub(crate) fn journal_offset(slot: Slot) -> u32 {
    slot.size.saturating_sub(SECTOR_SIZE)
}

/// Bytes of a mark.
fn mark_len<F: NorFlash>() -> usize {
    F::WRITE_SIZE.clamp(4, ENTRY_LEN)
}

/// How many marks there is room for.
fn marks<F: NorFlash>() -> u32 {
    (MARKS_END - MARKS_START) / mark_len::<F>() as u32
}

/// How many bytes of an image of `total` bytes lie between two marks: as few sectors as there is room for.
pub(crate) fn step<F: NorFlash>(total: u32) -> u32 {
    let mut step = BLOCK as u32;
    while total / step > marks::<F>() {
        step = step.saturating_mul(2);
    }
    step
}

/// The first `N` bytes and the rest. Bytes that are missing are 0xFF.
fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    match bytes.split_first_chunk() {
        Some((first, rest)) => (*first, rest),
        None => ([0xff; N], &[]),
    }
}

/// Writes `bytes` to as many entries as they take.
fn spread<F: NorFlash>(
    log: Log,
    flash: &mut F,
    kind: Kind,
    first: u32,
    entries: usize,
    bytes: &[u8],
) -> Result<bool, FlashFault> {
    let mut parts = bytes.chunks(VALUE_LEN);
    for index in (first..).take(entries) {
        let part = value(&[parts.next().unwrap_or_default()]);
        if !log.put(flash, index, kind, part)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads what [`spread`] wrote.
fn collect<F: NorFlash>(
    log: Log,
    flash: &mut F,
    kind: Kind,
    first: u32,
    into: &mut [u8],
) -> Result<bool, FlashFault> {
    for (index, part) in (first..).zip(into.chunks_mut(VALUE_LEN)) {
        match log.get(flash, index)? {
            Entry::Whole(found, value) if found == kind => {
                bytes::copy(&[&value], part);
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}
