//! Flash that takes only the memory for what tells it from others, for thousands of devices in one process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

use super::{Flash, FlashError, SECTOR, WORD};

/// A flash in memory that shares with others of its kind what it has in common with them.
///
/// It keeps to the same rules as [`Flash`], and never fails. To boot from it, make a [`dense`](Self::dense) one of it, and
/// [`keep`](Self::keep) what the start has changed.
#[derive(Debug, Clone)]
pub struct SparseFlash {
    base: Arc<[u8]>,
    /// The sectors that differ.
    own: BTreeMap<usize, Box<[u8]>>,
}

impl SparseFlash {
    /// A flash that holds `base`, whose length must be a multiple of 4 KiB.
    pub fn new(base: Arc<[u8]>) -> Self {
        Self {
            base,
            own: BTreeMap::new(),
        }
    }

    /// How many bytes of memory are its own.
    pub fn own_bytes(&self) -> usize {
        self.own.len() * SECTOR
    }

    /// A flash with the same contents.
    pub fn dense(&self) -> Flash {
        let mut bytes = self.base.to_vec();
        for (&sector, own) in &self.own {
            bytes[sector * SECTOR..][..SECTOR].copy_from_slice(own);
        }
        Flash::in_memory(bytes)
    }

    /// Takes over the contents of a flash of the same size.
    pub fn keep(&mut self, flash: &Flash) {
        for (sector, bytes) in flash.bytes().chunks_exact(SECTOR).enumerate() {
            self.set(sector, bytes);
        }
    }

    fn set(&mut self, sector: usize, bytes: &[u8]) {
        if self.base.get(sector * SECTOR..(sector + 1) * SECTOR) == Some(bytes) {
            self.own.remove(&sector);
        } else {
            self.own.insert(sector, bytes.into());
        }
    }

    fn sector(&self, sector: usize) -> &[u8] {
        match self.own.get(&sector) {
            Some(own) => own,
            None => &self.base[sector * SECTOR..][..SECTOR],
        }
    }

    fn range(&self, offset: u32, length: usize, unit: usize) -> Result<Range<usize>, FlashError> {
        let start = offset as usize;
        let end = start.checked_add(length).ok_or(FlashError::OutOfBounds)?;
        if !start.is_multiple_of(unit) || !length.is_multiple_of(unit) {
            return Err(FlashError::NotAligned);
        }
        if end > self.base.len() {
            return Err(FlashError::OutOfBounds);
        }
        Ok(start..end)
    }
}

/// The parts of a range, sector by sector: the sector, and what of it.
fn parts(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    (range.start / SECTOR..range.end.div_ceil(SECTOR)).map(move |sector| {
        let begin = sector * SECTOR;
        let from = range.start.max(begin) - begin;
        let to = range.end.min(begin + SECTOR) - begin;
        (sector, from..to)
    })
}

impl ErrorType for SparseFlash {
    type Error = FlashError;
}

impl ReadNorFlash for SparseFlash {
    const READ_SIZE: usize = WORD;

    async fn read(&mut self, offset: u32, mut bytes: &mut [u8]) -> Result<(), FlashError> {
        for (sector, part) in parts(self.range(offset, bytes.len(), WORD)?) {
            let (now, later) = bytes.split_at_mut(part.len());
            now.copy_from_slice(&self.sector(sector)[part]);
            bytes = later;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.base.len()
    }
}

impl NorFlash for SparseFlash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let length = to.checked_sub(from).ok_or(FlashError::OutOfBounds)? as usize;
        for (sector, _) in parts(self.range(from, length, SECTOR)?) {
            self.set(sector, &[0xff; SECTOR]);
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let range = self.range(offset, bytes.len(), WORD)?;
        let held = parts(range.clone()).flat_map(|(sector, part)| &self.sector(sector)[part]);
        if let Some(dirty) = held.copied().position(|byte| byte != 0xff) {
            return Err(FlashError::NotErased {
                offset: offset + dirty as u32,
            });
        }
        let mut rest = bytes;
        for (sector, part) in parts(range) {
            let (now, later) = rest.split_at(part.len());
            let mut new = self.sector(sector).to_vec();
            new[part].copy_from_slice(now);
            self.set(sector, &new);
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use embassy_futures::block_on;

    use super::*;

    /// The same operations on both kinds of flash.
    #[test]
    fn it_does_what_a_dense_one_does() {
        let base: Arc<[u8]> = (0..4 * SECTOR)
            .map(|at| (at / SECTOR) as u8 | 0xfc)
            .collect();
        let mut sparse = SparseFlash::new(Arc::clone(&base));
        let mut dense = Flash::in_memory(base.to_vec());
        let mut step = |what: &dyn Fn(&mut dyn Both) -> Result<(), String>| {
            assert_eq!(what(&mut sparse), what(&mut dense));
            assert_eq!(sparse.dense().bytes(), dense.bytes());
        };
        step(&|it| it.erase_now(SECTOR as u32, 3 * SECTOR as u32));
        step(&|it| it.program_now(SECTOR as u32 + 4000, &[1; 200]));
        step(&|it| it.program_now(SECTOR as u32 + 4196, &[2; 4]));
        step(&|it| it.program_now(SECTOR as u32 + 4192, &[0; 8]));
        step(&|it| it.program_now(2, &[0; 4]));
        step(&|it| it.program_now(4 * SECTOR as u32 - 4, &[0; 8]));
        step(&|it| it.erase_now(0, 100));
        step(&|it| it.erase_now(0, 5 * SECTOR as u32));
        let mut read = [[0; 300]; 2];
        block_on(sparse.read(SECTOR as u32 + 3900, &mut read[0])).unwrap();
        block_on(dense.read(SECTOR as u32 + 3900, &mut read[1])).unwrap();
        assert_eq!(read[0], read[1]);
    }

    #[test]
    fn what_is_as_before_takes_no_memory() {
        let base: Arc<[u8]> = vec![0xff; 8 * SECTOR].into();
        let mut flash = SparseFlash::new(base);
        block_on(flash.write(SECTOR as u32 - 4, &[7; 8])).unwrap();
        assert_eq!(flash.own_bytes(), 2 * SECTOR);
        let dense = flash.dense();
        block_on(flash.erase(0, 2 * SECTOR as u32)).unwrap();
        assert_eq!(flash.own_bytes(), 0);
        flash.keep(&dense);
        assert_eq!(flash.dense().bytes(), dense.bytes());
        assert_eq!(flash.own_bytes(), 2 * SECTOR);
    }

    trait Both {
        fn erase_now(&mut self, from: u32, to: u32) -> Result<(), String>;
        fn program_now(&mut self, at: u32, bytes: &[u8]) -> Result<(), String>;
    }

    impl<T: NorFlash<Error = FlashError>> Both for T {
        fn erase_now(&mut self, from: u32, to: u32) -> Result<(), String> {
            block_on(NorFlash::erase(self, from, to)).map_err(|error| error.to_string())
        }

        fn program_now(&mut self, at: u32, bytes: &[u8]) -> Result<(), String> {
            block_on(NorFlash::write(self, at, bytes)).map_err(|error| error.to_string())
        }
    }
}
