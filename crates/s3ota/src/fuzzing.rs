//! A narrow door to private parts, for the fuzz targets in `fuzz/` (feature `fuzzing`). No part of the public interface.

use core::time::Duration;

use embedded_io_async::{ErrorType, Read};
use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::otadata::SECTOR_SIZE;
use s3ota_image::partition::TABLE_OFFSET;

use crate::boot::on_flash::OnFlash;
use crate::boot::trial;
use crate::error::Error;
use crate::flash::release::ReleaseId;
use crate::install::wear::Wear;
use crate::install::writer::{Budget, Known, SlotWriter};
use crate::net::http::{Body, Head, MAX_HEAD};

/// A response whose body is still to be read.
#[derive(Debug)]
pub struct Response<'b> {
    /// What its head says.
    pub head: Head,
    /// The Location field's value.
    pub location: Option<&'b str>,
    /// The bytes of the body that arrived together with the head.
    pub early: &'b [u8],
}

impl<'b> Response<'b> {
    /// Reads the head of a response, as a session does.
    ///
    /// # Errors
    ///
    /// What the session would end with.
    pub async fn read<IO>(io: &mut IO, buffer: &'b mut [u8; MAX_HEAD]) -> Result<Self, Error>
    where
        IO: Read,
        Error: From<IO::Error>,
    {
        let head = Head::read(io, buffer).await?;
        let buffer: &'b [u8] = buffer;
        let part = |(start, end): (usize, usize)| buffer.get(start..end);
        Ok(Self {
            location: head
                .location
                .and_then(part)
                .and_then(|value| core::str::from_utf8(value).ok()),
            early: part(head.body).unwrap_or_default(),
            head,
        })
    }

    /// Reads the body in pieces that fit into `buffer`, and asks once more behind its end.
    ///
    /// # Errors
    ///
    /// What the session would end with.
    pub async fn body<IO>(
        &self,
        io: &mut IO,
        buffer: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Error>
    where
        IO: Read,
        Error: From<IO::Error>,
    {
        let mut io = self.behind(io);
        let mut body = Body::new(&mut io, &self.head);
        loop {
            let n = body.read(buffer).await?;
            each(buffer.get(..n).unwrap_or_default());
            if n == 0 {
                return body.read(buffer).await.map(|n| {
                    debug_assert_eq!(n, 0, "bytes behind the end of a body");
                });
            }
        }
    }

    /// Reads over a body of at most `most` bytes. Whether that was all of it.
    ///
    /// # Errors
    ///
    /// What the session would end with.
    pub async fn drain<IO>(&self, io: &mut IO, most: usize) -> Result<bool, Error>
    where
        IO: Read,
        Error: From<IO::Error>,
    {
        Body::new(&mut self.behind(io), &self.head)
            .drain(most)
            .await
    }

    /// What is behind the head: first what came with it.
    fn behind<'r, IO>(&self, io: &'r mut IO) -> Behind<'b, 'r, IO> {
        Behind {
            early: self.early,
            io,
        }
    }
}

struct Behind<'b, 'r, IO> {
    early: &'b [u8],
    io: &'r mut IO,
}

impl<IO: ErrorType> ErrorType for Behind<'_, '_, IO> {
    type Error = IO::Error;
}

impl<IO: Read> Read for Behind<'_, '_, IO> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, IO::Error> {
        if self.early.is_empty() {
            return self.io.read(buffer).await;
        }
        // From a slice nothing can fail.
        Ok(self.early.read(buffer).await.unwrap_or(0))
    }
}

/// An image that is to be installed.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// The release's id.
    pub id: [u8; 12],
    /// The image's bytes.
    pub image: &'a [u8],
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// Whether the running firmware launches it.
    pub launches: bool,
}

impl Release<'_> {
    /// Installs the release beside what runs from the offset `running`, from the partition table to the switch, as an
    /// update does that gets every byte it asks for. Returns how many bytes were on flash already.
    ///
    /// # Errors
    ///
    /// What the update would end with; an image that is refused is erased.
    pub async fn install<F: NorFlash>(
        &self,
        flash: &mut F,
        running: u32,
        block: &mut [u8; SECTOR_SIZE as usize],
    ) -> Result<u32, Error> {
        let mut on_flash = OnFlash::read(flash, TABLE_OFFSET, running)?;
        let slot = on_flash.layout.target(on_flash.running)?;
        if self.launches {
            trial::clear_way(flash, &mut on_flash)?;
        }
        let release = ReleaseId::from_bytes(self.id);
        let size = u32::try_from(self.image.len()).unwrap_or(u32::MAX);

        let (mut wear, mut known) = (Wear::default(), Known::default());
        let budget = Budget {
            wear: &mut wear,
            now: &|| Duration::ZERO,
            known: &mut known,
        };
        let mut writer = SlotWriter::new(slot, block, release, budget);
        writer.resume(flash).await?;
        if !writer.is_complete() {
            // What a server says of a part that its image does not have.
            let is_there =
                |from, total: Option<u32>| from < size && total.is_none_or(|total| total == size);
            if writer
                .missing()
                .0
                .is_some_and(|part| !is_there(part.from, part.total))
            {
                writer.begin_again();
            }
            writer.expect(Some(size), None);
        }
        let resumed = writer.written();
        let verified = match self.feed(flash, &mut writer).await {
            Ok(()) => writer.verify(flash, Some(size), Some(self.sha256)).await,
            Err(error) => Err(error),
        };
        let verified = match verified {
            Err(error @ Error::Image(_)) => {
                writer.wipe(flash).await?;
                return Err(error);
            }
            verified => verified?,
        };
        let image = verified.complete(flash, block, release)?;
        trial::switch(flash, TABLE_OFFSET, running, image, self.launches)?;
        Ok(resumed)
    }

    async fn feed<F: NorFlash>(
        &self,
        flash: &mut F,
        writer: &mut SlotWriter<'_>,
    ) -> Result<(), Error> {
        if writer.is_complete() {
            return Ok(());
        }
        let mut rest = self
            .image
            .get(writer.written() as usize..)
            .unwrap_or_default();
        while !rest.is_empty() {
            let room = writer.room();
            let (now, later) = rest.split_at(room.len().min(rest.len()));
            room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            writer.received_more(now.len())?;
            rest = later;
            if writer.is_block_full() {
                writer.write_block(flash).await?;
            }
        }
        Ok(())
    }
}
