//! Instructions, as far as a codec must know them: how long they are, and what they refer to.

pub(crate) mod absolute;
pub(crate) mod riscv;
pub(crate) mod xtensa;

/// The instruction set of an image's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Not known: all is data.
    None,
    /// RV32IMC and RV32IMAC.
    Riscv,
    /// LX6 and LX7.
    Xtensa,
}

/// What an instruction refers to, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference {
    /// For the statistics: references of a kind go wrong alike. Below [`KINDS`].
    pub(crate) kind: u8,
    /// The address.
    pub(crate) target: u32,
}

/// How many kinds of references there are, 0 for none.
pub(crate) const KINDS: usize = 16;

/// The kind of a pointer in data.
pub(crate) const POINTER: u8 = 15;

/// Data that is no pointer.
pub(crate) const DATA: u8 = 14;

impl Isa {
    /// The instruction set of the chips with this id in an image's header.
    pub(crate) fn of_chip(id: u16) -> Isa {
        // ESP-IDF `components/bootloader_support/include/esp_app_format.h`, `esp_chip_id_t`.
        match id {
            0x0000 | 0x0002 | 0x0009 => Isa::Xtensa,
            0x0005 | 0x000c | 0x000d | 0x0010 | 0x0012 | 0x0014 | 0x0017 | 0x0019 | 0x001c => {
                Isa::Riscv
            }
            _ => Isa::None,
        }
    }

    /// Instructions begin at multiples of this.
    pub(crate) fn unit(self) -> u32 {
        match self {
            Isa::Riscv => 2,
            Isa::None | Isa::Xtensa => 1,
        }
    }

    /// Bytes of the instruction that begins so.
    pub(crate) fn length(self, first: u8) -> usize {
        match self {
            Isa::Riscv => riscv::length(first),
            Isa::Xtensa => xtensa::length(first),
            Isa::None => 1,
        }
    }

    /// Bytes of the instruction at the offset `at`, of which `code` holds what follows. Where a function begins in the middle, it is no
    /// instruction, but data before the function.
    pub(crate) fn length_at(self, code: &[u8], at: u32) -> usize {
        let length = self.length(code.first().copied().unwrap_or(0));
        if self != Isa::Xtensa {
            return length;
        }
        let next = (4 - (at & 3)) as usize;
        match code.get(next..next + 2) {
            Some([first, second]) if next < length && xtensa::begins_function(*first, *second) => {
                next
            }
            _ => length,
        }
    }
}

/// The bytes of an instruction as a number, those that are missing as zero.
pub(crate) fn word(bytes: &[u8]) -> u32 {
    let [a, b, c, d] = match bytes {
        [a, b, c, d, ..] => [*a, *b, *c, *d],
        [a, b, c] => [*a, *b, *c, 0],
        [a, b] => [*a, *b, 0, 0],
        [a] => [*a, 0, 0, 0],
        [] => [0; 4],
    };
    u32::from_le_bytes([a, b, c, d])
}
