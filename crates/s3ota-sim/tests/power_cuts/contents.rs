//! What a flash holds, in sectors that many of them share.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use s3ota_sim::Operation;
use sha2::{Digest as _, Sha256};

/// The unit of erasing.
pub const SECTOR: usize = 4096;

/// Bytes, in short: what has the same digest is the same.
pub type Digest = [u8; 16];

/// The contents of a flash.
#[derive(Clone)]
pub struct Contents {
    sectors: Rc<[Rc<Sector>]>,
    digest: Digest,
}

/// A sector of it.
pub struct Sector {
    bytes: Box<[u8]>,
    digest: Digest,
    /// Digests of parts of it, which are asked for again and again.
    parts: RefCell<Vec<(Range<u32>, Digest)>>,
}

thread_local! {
    static BLANK: Rc<Sector> = Rc::new(Sector::new(&[0xff; SECTOR]));
}

fn digest(bytes: &[u8]) -> Digest {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    *digest.first_chunk().unwrap()
}

impl Sector {
    fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.into(),
            digest: digest(bytes),
            parts: RefCell::default(),
        }
    }

    fn of(bytes: &[u8]) -> Rc<Self> {
        match bytes.iter().all(|&byte| byte == 0xff) {
            true => Self::blank(),
            false => Rc::new(Self::new(bytes)),
        }
    }

    fn blank() -> Rc<Self> {
        BLANK.with(Rc::clone)
    }

    /// The digest of a part of it.
    fn part(&self, range: Range<u32>) -> Digest {
        if range.len() == SECTOR {
            return self.digest;
        }
        let mut parts = self.parts.borrow_mut();
        if let Some((_, digest)) = parts.iter().find(|(part, _)| *part == range) {
            return *digest;
        }
        let digest = digest(&self.bytes[range.start as usize..range.end as usize]);
        parts.push((range, digest));
        digest
    }

    /// The same after an operation, as far as that is one on it. It begins at offset `at`.
    pub fn after(&self, at: u32, operation: &Operation) -> Rc<Self> {
        match operation {
            Operation::Erase { .. } => Self::blank(),
            Operation::Program {
                at: first,
                bytes: new,
            } => {
                let mut bytes = self.bytes.clone();
                for (place, new) in (*first..).zip(new) {
                    if let Some(byte) = bytes.get_mut(place.wrapping_sub(at) as usize) {
                        *byte &= new;
                    }
                }
                Self::of(&bytes)
            }
        }
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Contents {
    pub fn new(bytes: &[u8]) -> Self {
        Self::of(bytes.chunks(SECTOR).map(Sector::of).collect())
    }

    fn of(sectors: Rc<[Rc<Sector>]>) -> Self {
        let digests = sectors.iter().map(|sector| sector.digest);
        let digest = digest(digests.collect::<Vec<_>>().as_flattened());
        Self { sectors, digest }
    }

    /// The same with what `bytes`, the contents of a whole flash, has in this range.
    pub fn with(&self, range: Range<u32>, bytes: &[u8]) -> Self {
        self.changed(range, |index, old| {
            let new = &bytes[index * SECTOR..][..SECTOR];
            match *old.bytes == *new {
                true => old.clone(),
                false => Sector::of(new),
            }
        })
    }

    /// The same with these sectors, those in the range, made new.
    pub fn changed(
        &self,
        range: Range<u32>,
        mut change: impl FnMut(usize, &Rc<Sector>) -> Rc<Sector>,
    ) -> Self {
        let mut sectors = self.sectors.to_vec();
        let places = range.start as usize / SECTOR..(range.end as usize).div_ceil(SECTOR);
        for (index, sector) in (places.start..).zip(&mut sectors[places]) {
            *sector = change(index, sector);
        }
        Self::of(sectors.into())
    }

    /// The digest of all of it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest of a part, which does not reach beyond a sector.
    pub fn part(&self, range: &Range<u32>) -> Digest {
        let index = range.start as usize / SECTOR;
        let start = (index * SECTOR) as u32;
        self.sectors[index].part(range.start - start..range.end - start)
    }

    /// Whether these are all bytes.
    pub fn are(&self, bytes: &[u8]) -> bool {
        let mut sectors = self.sectors.iter().zip(bytes.chunks(SECTOR));
        bytes.len() == self.sectors.len() * SECTOR
            && sectors.all(|(sector, bytes)| *sector.bytes == *bytes)
    }

    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.sectors.len() * SECTOR);
        for sector in self.sectors.iter() {
            bytes.extend_from_slice(&sector.bytes);
        }
        bytes
    }
}
