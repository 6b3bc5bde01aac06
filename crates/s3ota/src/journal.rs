//! How far an image has come: a journal in the last sector of the slot it is being written to.
//!
//! ```text
//! 0x000  "goal"    the release's id (12 bytes), the image's size in bytes or 0xFFFFFFFF (4)
//! 0x020  "etag" 3× the entity tag the server gave the image, 72 bytes in all, filled up with 0xFF
//! 0x080  "head" 2× the first 32 bytes of the image, which are written to their place last
//! 0x0c0  "have"    so many bytes are on flash (4), the first 20 bytes of their SHA-256
//! 0x0e0  "have"    …
//!        "done"    the same, of the whole image: it passed every check
//! ```
//!
//! It is a [log](crate::flash_log): nothing in it is ever rewritten. An update that was cut off, by the network or by
//! the power, goes on from the last entry whose hash is that of what lies on flash. The sector is erased before the
//! first byte of another image is written, and where the image needs it itself, which is the last thing it needs.

use embedded_storage_async::nor_flash::NorFlash;
use heapless::String;
use s3ota_image::otadata::SECTOR_SIZE;

use crate::Error;
use crate::error::flash as flash_error;
use crate::flash_log::{Entry, Kind, Log, VALUE_LEN, Value, is_blank, value};
use crate::http::MAX_ETAG;
use crate::layout::Slot;
use crate::release::ReleaseId;
use crate::slot::{BLOCK, WITHHELD};

const GOAL: Kind = *b"goal";
const ETAG: Kind = *b"etag";
const HEAD: Kind = *b"head";
const HAVE: Kind = *b"have";
const DONE: Kind = *b"done";

const ETAG_AT: u32 = 1;
const ETAG_PARTS: usize = MAX_ETAG / VALUE_LEN;
const HEAD_AT: u32 = ETAG_AT + ETAG_PARTS as u32;
const HEAD_PARTS: usize = WITHHELD.div_ceil(VALUE_LEN);
const MARKS_AT: u32 = HEAD_AT + HEAD_PARTS as u32;

const _: () = assert!(
    ETAG_PARTS * VALUE_LEN == MAX_ETAG,
    "an entity tag fills its entries"
);

/// How many marks an image without cuts leaves at most. The rest of the sector is for those that were torn.
const MARKS: u32 = 100;

/// A size nobody knows.
const UNKNOWN: u32 = u32::MAX;

/// The first bytes of a SHA-256, as many as an entry has room for.
pub(crate) type ShortDigest = [u8; VALUE_LEN - 4];

/// What is being fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) release: ReleaseId,
    /// Its image's size in bytes, if known.
    pub(crate) total: Option<u32>,
    /// The strong entity tag the server gave it, if any.
    pub(crate) etag: Option<String<MAX_ETAG>>,
}

/// How much of an image lies on flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Bytes from its start on.
    pub(crate) length: u32,
    /// Of the SHA-256 of these bytes.
    pub(crate) digest: ShortDigest,
    /// Whether it is all of it.
    pub(crate) done: bool,
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) goal: Goal,
    pub(crate) head: [u8; WITHHELD],
    pub(crate) mark: Mark,
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
    /// Nothing more is written: the sector is worn, full or needed.
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
    pub(crate) async fn read<F: NorFlash>(
        &mut self,
        flash: &mut F,
        release: ReleaseId,
    ) -> Result<Option<Found>, Error> {
        let Some(found) = self.parse(flash).await? else {
            return Ok(None);
        };
        if found.goal.release != release {
            return Ok(None);
        }
        self.state = State::Open;
        Ok(Some(found))
    }

    async fn parse<F: NorFlash>(&self, flash: &mut F) -> Result<Option<Found>, Error> {
        let log = self.log();
        let Entry::Whole(GOAL, goal) = log.get(flash, 0).await? else {
            return Ok(None);
        };
        let mut etag = [0xff; MAX_ETAG];
        let mut head = [0; HEAD_PARTS * VALUE_LEN];
        if !collect(&log, flash, ETAG, ETAG_AT, &mut etag).await?
            || !collect(&log, flash, HEAD, HEAD_AT, &mut head).await?
        {
            return Ok(None);
        }
        let mut mark = None;
        for index in MARKS_AT..log.capacity() {
            match log.get(flash, index).await? {
                Entry::Blank => break,
                Entry::Whole(HAVE, value) => mark = Some(parse_mark(&value, false)),
                Entry::Whole(DONE, value) => mark = Some(parse_mark(&value, true)),
                Entry::Whole(..) | Entry::Torn => {}
            }
        }
        let (release, rest) = split(&goal);
        let (total, _) = split(rest);
        let total = u32::from_le_bytes(total);
        let etag = etag.split(|&byte| byte == 0xff).next().unwrap_or_default();
        let (head, _) = split(&head);
        Ok(mark.map(|mark| Found {
            goal: Goal {
                release: ReleaseId::from_bytes(release),
                total: Some(total).filter(|&total| total != UNKNOWN),
                etag: core::str::from_utf8(etag)
                    .ok()
                    .and_then(|tag| String::try_from(tag).ok())
                    .filter(|tag| !tag.is_empty()),
            },
            head,
            mark,
        }))
    }

    /// Makes sure that nothing is said of any image. Before anything else in the slot is touched.
    pub(crate) async fn clear<F: NorFlash>(&self, flash: &mut F) -> Result<(), Error> {
        let end = self.start + SECTOR_SIZE;
        let mut bytes = [0; 64];
        for at in (self.start..end).step_by(bytes.len()) {
            flash.read(at, &mut bytes).await.map_err(flash_error)?;
            if !is_blank::<F>(&bytes) {
                return flash.erase(self.start, end).await.map_err(flash_error);
            }
        }
        Ok(())
    }

    /// Says no more: the sector is the image's from now on.
    pub(crate) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Appends a mark, and before the first one what is being fetched.
    ///
    /// A journal that takes no more is no reason to stop: it only spares fetching something twice.
    pub(crate) async fn note<F: NorFlash>(
        &mut self,
        flash: &mut F,
        goal: &Goal,
        head: &[u8; WITHHELD],
        mark: Mark,
    ) -> Result<(), Error> {
        if self.state == State::Empty {
            self.state = if self.open(flash, goal, head).await? {
                State::Open
            } else {
                State::Closed
            };
        }
        if self.state == State::Open {
            let kind = if mark.done { DONE } else { HAVE };
            let length = mark.length.to_le_bytes();
            let value = value(length.iter().chain(&mark.digest));
            if !self.log().append(flash, kind, value).await? {
                self.close();
            }
        }
        Ok(())
    }

    async fn open<F: NorFlash>(
        &self,
        flash: &mut F,
        goal: &Goal,
        head: &[u8; WITHHELD],
    ) -> Result<bool, Error> {
        let log = self.log();
        let total = goal.total.unwrap_or(UNKNOWN).to_le_bytes();
        let first = value(goal.release.as_bytes().iter().chain(&total));
        let etag = goal.etag.as_deref().unwrap_or_default().as_bytes();
        Ok(log.put(flash, 0, GOAL, first).await?
            && spread(&log, flash, ETAG, ETAG_AT, ETAG_PARTS, etag).await?
            && spread(&log, flash, HEAD, HEAD_AT, HEAD_PARTS, head).await?)
    }

    fn log(&self) -> Log {
        Log::new(self.start, SECTOR_SIZE)
    }
}

/// Where a slot's journal lies, an offset in the slot: its last sector.
pub(crate) fn journal_offset(slot: Slot) -> u32 {
    slot.size.saturating_sub(SECTOR_SIZE)
}

/// How many bytes of an image of `total` bytes lie between two marks: as few sectors as leave room for all marks.
pub(crate) fn step(total: u32) -> u32 {
    let mut step = BLOCK as u32;
    while total / step > MARKS {
        step = step.saturating_mul(2);
    }
    step
}

fn parse_mark(value: &Value, done: bool) -> Mark {
    let (length, rest) = split(value);
    let (digest, _) = split(rest);
    Mark {
        length: u32::from_le_bytes(length),
        digest,
        done,
    }
}

/// The first `N` bytes and the rest. Bytes that are missing are 0xFF.
fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    match bytes.split_first_chunk() {
        Some((first, rest)) => (*first, rest),
        None => ([0xff; N], &[]),
    }
}

/// Writes `bytes` to as many entries as they take.
async fn spread<F: NorFlash>(
    log: &Log,
    flash: &mut F,
    kind: Kind,
    first: u32,
    entries: usize,
    bytes: &[u8],
) -> Result<bool, Error> {
    let mut parts = bytes.chunks(VALUE_LEN);
    for index in (first..).take(entries) {
        let part = value(parts.next().unwrap_or_default());
        if !log.put(flash, index, kind, part).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads what [`spread`] wrote.
async fn collect<F: NorFlash>(
    log: &Log,
    flash: &mut F,
    kind: Kind,
    first: u32,
    into: &mut [u8],
) -> Result<bool, Error> {
    for (index, part) in (first..).zip(into.chunks_mut(VALUE_LEN)) {
        match log.get(flash, index).await? {
            Entry::Whole(found, value) if found == kind => {
                part.iter_mut().zip(value).for_each(|(to, from)| *to = from);
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}
