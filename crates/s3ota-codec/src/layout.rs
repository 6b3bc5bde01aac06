//! Where the segments of an app image lie, in the file and in the chip's memory.
//!
//! What of an image follows from its layout is not sent: the segments' headers, the checksum and the digest.

use crate::isa::{Isa, word};
use crate::model::Number;
use crate::range::Coder;

/// `ESP_IMAGE_MAX_SEGMENTS` of ESP-IDF's `esp_image_format.h`.
pub(crate) const MAX_SEGMENTS: usize = 16;

/// Bytes before the first segment's header.
pub(crate) const HEADER: u32 = 24;

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER: u32 = 8;

/// Bytes of the digest that an image may end with.
pub(crate) const DIGEST: u32 = 32;

/// A segment's data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// In the image.
    pub(crate) offset: u32,
    pub(crate) length: u32,
    /// In memory.
    pub(crate) address: u32,
    /// It holds instructions.
    pub(crate) code: bool,
}

impl Segment {
    const NONE: Segment = Segment {
        offset: 0,
        length: 0,
        address: 0,
        code: false,
    };

    pub(crate) fn end(&self) -> u32 {
        self.offset.saturating_add(self.length)
    }
}

/// The segments of an image. Empty for what is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) isa: Isa,
    segments: [Segment; MAX_SEGMENTS],
    count: usize,
    /// Bytes of the image, whatever it holds.
    pub(crate) size: u32,
    /// Segments that the header announces.
    announced: usize,
}

/// What lies at a place of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Instructions, and the address of the region's first byte.
    Code(u32),
    /// Data in a segment, and the address of the region's first byte.
    Data(u32),
    /// What is in no segment.
    Other,
    /// The header of the segment with this number.
    Header(usize),
    /// Padding and checksum, and a digest where there is one.
    Trailer,
}

/// A stretch of an image that holds one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) kind: Kind,
}

impl Layout {
    pub(crate) const fn empty(size: u32) -> Layout {
        Layout {
            isa: Isa::None,
            segments: [Segment::NONE; MAX_SEGMENTS],
            count: 0,
            size,
            announced: 0,
        }
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        self.segments.get(..self.count).unwrap_or(&[])
    }

    /// Where the next header lies, and how long it is, while a layout is read from an image.
    pub(crate) fn next_header(&self) -> Option<(u32, u32)> {
        let (at, length) = if self.isa == Isa::None {
            (0, HEADER)
        } else if self.count < self.announced {
            (self.data_end(), SEGMENT_HEADER)
        } else {
            return None;
        };
        (at.checked_add(length)? <= self.size).then_some((at, length))
    }

    /// Takes the header that [`Layout::next_header`] asked for. False if it is none: then there is nothing more to read.
    pub(crate) fn take_header(&mut self, bytes: &[u8]) -> bool {
        if self.isa == Isa::None {
            let [0xe9, count, ..] = bytes else {
                return false;
            };
            let chip = word(bytes.get(12..14).unwrap_or(&[])) as u16;
            self.isa = Isa::of_chip(chip);
            self.announced = usize::from(*count).min(MAX_SEGMENTS);
            return self.isa != Isa::None;
        }
        let address = word(bytes);
        let length = word(bytes.get(4..).unwrap_or(&[]));
        let offset = self.data_end().saturating_add(SEGMENT_HEADER);
        let fits = offset
            .checked_add(length)
            .is_some_and(|end| end <= self.size);
        if !fits || address.checked_add(length).is_none() {
            self.announced = self.count;
            return false;
        }
        self.push(address, length);
        true
    }

    fn push(&mut self, address: u32, length: u32) {
        let offset = self.data_end().saturating_add(SEGMENT_HEADER);
        if let Some(segment) = self.segments.get_mut(self.count) {
            *segment = Segment {
                offset,
                length,
                address,
                code: false,
            };
            self.count += 1;
        }
    }

    /// The layout of an image that is there as a whole.
    #[cfg(feature = "encode")]
    pub(crate) fn of(image: &[u8]) -> Layout {
        let mut layout = Layout::empty(image.len() as u32);
        while let Some((at, length)) = layout.next_header() {
            let header = image.get(at as usize..(at + length) as usize);
            if !layout.take_header(header.unwrap_or(&[])) {
                break;
            }
        }
        layout
    }

    #[cfg(feature = "encode")]
    pub(crate) fn segments_mut(&mut self) -> &mut [Segment] {
        self.segments.get_mut(..self.count).unwrap_or(&mut [])
    }

    /// The end of the last segment's data.
    pub(crate) fn data_end(&self) -> u32 {
        self.segments().last().map_or(HEADER, Segment::end)
    }

    /// Where the checksum's block of 16 bytes ends, the digest not counted.
    pub(crate) fn checksum_end(&self) -> u32 {
        (self.data_end() & !15).saturating_add(16)
    }

    /// The offset in the image of what lies at this address. The end of a segment counts as in it.
    pub(crate) fn offset_of(&self, address: u32) -> Option<u32> {
        let mut end = None;
        for segment in self.segments() {
            let at = address.wrapping_sub(segment.address);
            if at < segment.length {
                return Some(segment.offset + at);
            }
            if at == segment.length {
                end = Some(segment.offset + at);
            }
        }
        end
    }

    /// Whether this may be an address: it is within 512 KiB of memory that a segment is in.
    pub(crate) fn is_address(&self, word: u32) -> bool {
        self.segments().iter().any(|segment| {
            word.wrapping_sub(segment.address) < segment.length
                || (word ^ segment.address) >> 19 == 0
        })
    }

    /// The address of what lies at this offset in the image. The end of a segment counts as in it.
    pub(crate) fn address_of(&self, offset: u32) -> Option<u32> {
        let at = |s: &&Segment| offset >= s.offset && offset <= s.end();
        let segment = self.segments().iter().find(at)?;
        Some(segment.address.wrapping_add(offset - segment.offset))
    }

    /// The region of what lies at `at`, which is below the size.
    pub(crate) fn region(&self, at: u32, trailer: Option<u32>) -> Region {
        let mut start = 0;
        for (i, segment) in self.segments().iter().enumerate() {
            let header = segment.offset - SEGMENT_HEADER;
            if at < header {
                return Region {
                    start,
                    end: header,
                    kind: Kind::Other,
                };
            }
            if at < segment.offset {
                return Region {
                    start: header,
                    end: segment.offset,
                    kind: Kind::Header(i),
                };
            }
            if at < segment.end() {
                let kind = if segment.code {
                    Kind::Code(segment.address)
                } else {
                    Kind::Data(segment.address)
                };
                return Region {
                    start: segment.offset,
                    end: segment.end(),
                    kind,
                };
            }
            start = segment.end();
        }
        if let Some(end) = trailer {
            if at < end {
                return Region {
                    start,
                    end,
                    kind: Kind::Trailer,
                };
            }
            start = end;
        }
        Region {
            start,
            end: self.size,
            kind: Kind::Other,
        }
    }

    /// Codes which segments hold instructions.
    pub(crate) fn code_kinds<C: Coder>(&mut self, coder: &mut C) {
        for segment in self.segments.iter_mut().take(self.count) {
            segment.code = coder.code(segment.code, 1 << 15);
        }
    }

    /// Whether [`Layout::code`] can say where the segments lie: no address differs from its counterpart's by half of what there is.
    #[cfg(feature = "encode")]
    pub(crate) fn can_be_coded(&self, base: &Layout) -> bool {
        let mut pairs = self.segments.iter().zip(&base.segments);
        pairs.all(|(new, old)| new.address.wrapping_sub(old.address) != 1 << 31)
    }

    /// Codes the layout, as what is different from `base`. In a decoder `self` is empty. False if there is no such layout.
    pub(crate) fn code<C: Coder>(&mut self, coder: &mut C, base: &Layout) -> bool {
        let mut numbers = [Number::NEW; 3];
        let told = *self;
        let isa = match told.isa {
            Isa::None => 0,
            Isa::Riscv => 1,
            Isa::Xtensa => 2,
        };
        let [count, address, length] = &mut numbers;
        let isa = count.code(coder, isa);
        let segments = count.code(coder, told.count as u32) as usize;
        *self = Layout::empty(self.size);
        self.isa = match isa {
            1 => Isa::Riscv,
            2 => Isa::Xtensa,
            _ => Isa::None,
        };
        if segments > MAX_SEGMENTS {
            return false;
        }
        for i in 0..segments {
            let segment = told.segments.get(i).copied().unwrap_or(Segment::NONE);
            let like = base.segments.get(i).copied().unwrap_or(Segment::NONE);
            let difference = segment.address.wrapping_sub(like.address) as i32;
            let difference = address.code_signed(coder, difference);
            let at = like.address.wrapping_add(difference as u32);
            let difference = segment.length.wrapping_sub(like.length) as i32;
            let difference = length.code_signed(coder, difference);
            let bytes = like.length.wrapping_add(difference as u32);
            let end = self
                .data_end()
                .saturating_add(SEGMENT_HEADER)
                .saturating_add(bytes);
            if end > self.size || at.checked_add(bytes).is_none() {
                return false;
            }
            self.push(at, bytes);
            if let Some(new) = self.segments.get_mut(i) {
                new.code = coder.code(segment.code, 1 << 15);
            }
        }
        true
    }
}
