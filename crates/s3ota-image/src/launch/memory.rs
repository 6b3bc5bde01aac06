//! Where things lie on a chip, and how its flash cache is set up.

use core::ops::Range;

use super::PAGE;
use crate::Chip;

/// What a launch must know about a chip.
///
/// | field | source in ESP-IDF |
/// |---|---|
/// | `places`: mapped, `entries`, `valid`, `invalid` | `components/soc/CHIP/include/soc/ext_mem_defs.h` |
/// | `table` | `components/hal/CHIP/include/hal/mmu_ll.h` (`mmu_ll_write_entry`, `mmu_ll_set_entry_invalid`) |
/// | `places`: RAM and RTC memory, `above` | `components/soc/CHIP/include/soc/soc.h` (`SOC_DRAM_LOW` …); esptool, `esptool/targets/CHIP.py`, `MEMORY_MAP` |
/// | `loader`, `rom` | `components/bootloader/subproject/main/ld/CHIP/bootloader.memory.ld.in`, in older versions `bootloader.ld` |
/// | `disable`, `enable` | `components/esp_rom/CHIP/ld/CHIP.rom.ld`; what they do: `components/esp_rom/CHIP/include/CHIP/rom/cache.h` |
/// | `buses` | `components/hal/CHIP/include/hal/cache_ll.h` (`cache_ll_l1_enable_bus`) |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// The chip.
    pub chip: Chip,
    /// Where an image may have something. Empty where there is no such memory.
    pub places: &'static Places,
    /// How far the second addresses of RAM are above the first ones, by which `loader` and `rom` are given.
    pub above: u32,
    /// Where the bootloader's own code and data lie while it loads an image. It loads no image that has something here, and
    /// linker scripts leave it free. The stub of a launch lies here.
    pub loader: Range<u32>,
    /// The mask ROM's first stack and its data, which its functions use. No image has something here.
    pub rom: Range<u32>,
    /// Entries of the table.
    pub entries: u32,
    /// What an entry has besides its page.
    pub valid: u32,
    /// The first entry of a table that maps nothing. Each next one is higher by one, which no bit that counts shows.
    pub invalid: u32,
    /// How entries are written.
    pub table: Table,
    /// The mask ROM's function that switches the cache off and drops what is in it. It returns the argument of `enable`.
    pub disable: u32,
    /// The one that switches it on.
    pub enable: u32,
    /// The register whose bits 0 and 1 shut the cache's buses.
    pub buses: u32,
}

/// Where an image may have something.
///
/// | index | |
/// |---|---|
/// | 0, 1 | addresses that the cache maps to flash; all share one table |
/// | 2, 3 | RAM below [`Memory::loader`], as images address it, which may be in two ways |
/// | 4 | RTC memory |
pub type Places = [Range<u32>; 5];

/// How entries of the cache's table are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// The words of a table that begins here.
    Direct(u32),
    /// By two registers: one for which entry, one for its content.
    Indexed {
        /// Which entry.
        index: u32,
        /// Its content.
        content: u32,
    },
}

/// `DR_REG_MMU_TABLE` (`reg_base.h` of the ESP32-C2 and -C3).
const MMU_TABLE: Table = Table::Direct(0x600C_5000);

/// `SPI_MEM_MMU_ITEM_INDEX_REG(0)` and `SPI_MEM_MMU_ITEM_CONTENT_REG(0)` (`spi_mem_reg.h` of the ESP32-C5, -C6, and -H2).
const MMU_ITEM: Table = Table::Indexed {
    index: 0x6000_2380,
    content: 0x6000_237C,
};

impl Memory {
    /// The first of [`places`](Self::places) that is not mapped but copied to.
    pub const COPIED: usize = 2;

    /// The one that is RTC memory.
    pub const RTC: usize = 4;

    /// The ESP32-C3's. A launch has run in the emulator.
    ///
    /// The first 16 KiB of `SOC_IRAM_LOW..SOC_IRAM_HIGH` are the cache's own, so they are no RAM here. Bus registers:
    /// `EXTMEM_ICACHE_CTRL1_REG`.
    pub const ESP32C3: Memory = Memory {
        chip: Chip::Esp32C3,
        places: &[
            0x3C00_0000..0x3C80_0000,
            0x4200_0000..0x4280_0000,
            0x3FC8_0000..0x3FCC_E710,
            0x4038_0000..0x403C_E710,
            0x5000_0000..0x5000_2000,
        ],
        above: 0x70_0000,
        loader: 0x3FCC_E710..0x3FCD_C710,
        rom: 0x3FCD_C710..0x3FCE_0000,
        entries: 128,
        valid: 0,
        invalid: 1 << 8,
        table: MMU_TABLE,
        disable: 0x4000_051C,
        enable: 0x4000_0520,
        buses: 0x600C_4004,
    };

    /// The ESP32-C2's. Nothing has run with these constants.
    pub const ESP32C2: Memory = Memory {
        chip: Chip::Esp32C2,
        places: &[
            0x3C00_0000..0x3C40_0000,
            0x4200_0000..0x4240_0000,
            0x3FCA_0000..0x3FCC_EB70,
            0x4038_0000..0x403A_EB70,
            NONE,
        ],
        above: 0x6E_0000,
        loader: 0x3FCC_EB70..0x3FCD_CB70,
        rom: 0x3FCD_CB70..0x3FCE_0000,
        entries: 64,
        valid: 0,
        invalid: 1 << 6,
        table: MMU_TABLE,
        disable: 0x4000_071C,
        enable: 0x4000_0720,
        buses: 0x600C_4004,
    };

    /// The ESP32-C6's. Nothing has run with these constants.
    ///
    /// Instructions and data have the same addresses. Bus register: `EXTMEM_L1_CACHE_CTRL_REG`.
    pub const ESP32C6: Memory = Memory {
        chip: Chip::Esp32C6,
        places: &[
            0x4200_0000..0x4300_0000,
            NONE,
            0x4080_0000..0x4086_E610,
            NONE,
            0x5000_0000..0x5000_4000,
        ],
        above: 0,
        loader: 0x4086_E610..0x4087_C610,
        rom: 0x4087_C610..0x4088_0000,
        entries: 256,
        valid: 1 << 9,
        invalid: 0,
        table: MMU_ITEM,
        disable: 0x4000_0690,
        enable: 0x4000_0694,
        buses: 0x600C_8004,
    };

    /// The ESP32-H2's. Nothing has run with these constants.
    ///
    /// As on the ESP32-C6.
    pub const ESP32H2: Memory = Memory {
        chip: Chip::Esp32H2,
        places: &[
            0x4200_0000..0x4300_0000,
            NONE,
            0x4080_0000..0x4083_EFD0,
            NONE,
            0x5000_0000..0x5000_1000,
        ],
        above: 0,
        loader: 0x4083_EFD0..0x4084_CFD0,
        rom: 0x4084_CFD0..0x4085_0000,
        entries: 256,
        valid: 1 << 9,
        invalid: 0,
        table: MMU_ITEM,
        disable: 0x4000_0664,
        enable: 0x4000_0668,
        buses: 0x600C_8004,
    };

    /// The ESP32-C5's. Nothing has run with these constants.
    ///
    /// As on the ESP32-C6, with another bit for valid entries. The ROM functions are `Cache_Disable_Cache` and
    /// `Cache_Enable_Cache`, the bus register is `CACHE_L1_CACHE_CTRL_REG`.
    pub const ESP32C5: Memory = Memory {
        chip: Chip::Esp32C5,
        places: &[
            0x4200_0000..0x4400_0000,
            NONE,
            0x4080_0000..0x4084_E5A0,
            NONE,
            0x5000_0000..0x5000_4000,
        ],
        above: 0,
        loader: 0x4084_E5A0..0x4085_C5A0,
        rom: 0x4085_C5A0..0x4086_0000,
        entries: 512,
        valid: 1 << 10,
        invalid: 0,
        table: MMU_ITEM,
        disable: 0x4000_06AC,
        enable: 0x4000_06B0,
        buses: 0x600C_8004,
    };

    /// The entry for the page of flash that an offset is on.
    pub const fn content(&self, at: u32) -> u32 {
        (at / PAGE) | self.valid
    }

    /// Whether an entry maps a page: by the bit that says so, or by the one that says that it does not
    /// (`mmu_ll_check_entry_valid`).
    #[cfg(test)]
    pub(super) fn is_valid(&self, entry: u32) -> bool {
        match self.valid {
            0 => entry & self.invalid == 0,
            valid => entry & valid != 0,
        }
    }

    /// All of them.
    pub const ALL: [&'static Memory; 5] = [
        &Memory::ESP32C2,
        &Memory::ESP32C3,
        &Memory::ESP32C5,
        &Memory::ESP32C6,
        &Memory::ESP32H2,
    ];
}

/// An empty range.
const NONE: Range<u32> = 0..0;

#[cfg(test)]
mod tests {
    use super::*;

    fn length(range: &Range<u32>) -> u32 {
        range.end - range.start
    }

    #[test]
    fn the_mapped_addresses_are_as_many_as_the_table_has_entries_for() {
        for memory in Memory::ALL {
            let [mapped @ .., _, _, _] = memory.places;
            for mapped in mapped {
                assert!(mapped.is_empty() || length(mapped) == memory.entries * PAGE);
                assert_eq!(mapped.start % (memory.entries * PAGE), 0);
            }
            assert!(memory.entries.is_power_of_two());
        }
    }

    #[test]
    fn a_table_that_is_cleared_maps_nothing_and_every_page_can_be_mapped() {
        for memory in Memory::ALL {
            for n in 0..memory.entries {
                assert!(!memory.is_valid(memory.invalid + n));
                assert!(memory.is_valid(memory.content(n * PAGE)));
            }
        }
    }

    #[test]
    fn both_addresses_of_ram_are_the_same_bytes_and_the_bootloader_lies_behind_them_below_the_rom()
    {
        for memory in Memory::ALL {
            let [.., first, second, _] = memory.places;
            assert_eq!(second.is_empty(), memory.above == 0);
            if !second.is_empty() {
                assert_eq!(second.start - memory.above, first.start);
                assert_eq!(second.end - memory.above, first.end);
            }
            assert_eq!(first.end, memory.loader.start);
            assert_eq!(memory.loader.end, memory.rom.start);
            // As much as the bootloader's linker scripts say: 0x2000 + 0x5000 + 0x7000.
            assert_eq!(length(&memory.loader), 0xE000);
        }
    }
}
