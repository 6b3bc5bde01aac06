//! A new device's flash: partition table and first firmware, everything else erased.

use std::fmt;

use s3ota_image::Chip;
use s3ota_image::ImageError;
use s3ota_image::app::Verifier;
use s3ota_image::partition::{CsvError, PartitionError, PartitionTable, TABLE_SIZE, TableBuilder};

/// Two OTA slots on 4 MB. With the table at its usual offset they lie where the examples have them.
const DEFAULT_PARTITIONS: &str = "\
# Name,   Type, SubType, Offset,   Size
nvs,      data, nvs,             , 0x4000
otadata,  data, ota,             , 0x2000
phy_init, data, phy,             , 0x1000
ota_0,    app,  ota_0,           , 0x1f0000
ota_1,    app,  ota_1,           , 0x1f0000
";

/// The largest flash that a virtual device has, in bytes.
const MAX_FLASH: usize = 128 << 20;

/// What to put on a new device's flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    table: TableBuilder,
}

/// Why a flash cannot be set up.
#[derive(Debug)]
pub enum SetupError {
    /// The CSV text is not a partition table.
    Csv(CsvError),
    /// The partition table is not valid.
    Partitions(PartitionError),
    /// The table has no app partition.
    NoApp,
    /// The firmware is not a valid app image.
    Image(ImageError),
    /// The partitions need more flash than any chip has.
    Flash {
        /// Where the last partition ends.
        end: usize,
    },
    /// The firmware does not fit its partition.
    TooLarge {
        /// Bytes of the firmware.
        image: usize,
        /// Bytes of the partition.
        partition: u32,
    },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Csv(error) => write!(f, "the partition table: {error}"),
            Self::Partitions(error) => write!(f, "the partition table: {error}"),
            Self::NoApp => write!(
                f,
                "the partition table has no app partition: it needs ota_0 and ota_1"
            ),
            Self::Image(error) => write!(f, "the firmware: {error}"),
            Self::Flash { end } => write!(
                f,
                "the partition table ends at {end:#x}, beyond the {} MiB of the largest flash",
                MAX_FLASH >> 20
            ),
            Self::TooLarge { image, partition } => {
                write!(
                    f,
                    "the firmware has {image} bytes, but its partition only {partition}"
                )
            }
        }
    }
}

impl std::error::Error for SetupError {}

impl From<CsvError> for SetupError {
    fn from(error: CsvError) -> Self {
        Self::Csv(error)
    }
}

impl From<PartitionError> for SetupError {
    fn from(error: PartitionError) -> Self {
        Self::Partitions(error)
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            table: TableBuilder::from_csv(DEFAULT_PARTITIONS)
                .expect("the built-in partition table is valid"),
        }
    }
}

impl Setup {
    /// A setup with the partition table of a CSV text in ESP-IDF's format.
    ///
    /// # Errors
    ///
    /// [`SetupError::Csv`].
    pub fn from_csv(csv: &str) -> Result<Self, SetupError> {
        Ok(Self {
            table: TableBuilder::from_csv(csv)?,
        })
    }

    /// A setup for this chip with the partition table at `table_offset`: that of a CSV text, which may leave the bootloader's
    /// place to the build, or else the usual two slots.
    ///
    /// # Errors
    ///
    /// [`SetupError::Csv`].
    pub fn at(
        table_offset: u32,
        csv: Option<&str>,
        chip: Option<Chip>,
    ) -> Result<Self, SetupError> {
        let csv = csv.unwrap_or(DEFAULT_PARTITIONS);
        let bootloader = chip.map(Chip::bootloader_offset);
        Ok(Self {
            table: TableBuilder::from_csv_at(csv, table_offset, bootloader)?,
        })
    }

    /// The partition table's bytes.
    ///
    /// # Errors
    ///
    /// [`SetupError::Partitions`].
    pub fn table(&self) -> Result<Vec<u8>, SetupError> {
        Ok(self.table.to_bytes()?)
    }

    /// The contents of a flash with `firmware` where the bootloader looks first: in the factory partition if there is one,
    /// otherwise in `ota_0`. The chip is as large as the table needs, at least 4 MB.
    ///
    /// # Errors
    ///
    /// The firmware is not an app image, or does not fit.
    pub fn flash(&self, firmware: &[u8]) -> Result<Vec<u8>, SetupError> {
        let mut verifier = Verifier::new();
        verifier
            .update(firmware)
            .and_then(|()| verifier.finish().map(drop))
            .map_err(SetupError::Image)?;
        let bytes = self.table.to_bytes()?;
        let table_offset = self.table.table_offset();
        let table = PartitionTable::parse_at(&bytes, table_offset)?;
        let partition = table
            .factory()
            .or_else(|| table.ota_slots().next())
            .ok_or(SetupError::NoApp)?;
        if firmware.len() > partition.size as usize {
            return Err(SetupError::TooLarge {
                image: firmware.len(),
                partition: partition.size,
            });
        }
        let end = table.end().max(table_offset + TABLE_SIZE) as usize;
        if end > MAX_FLASH {
            return Err(SetupError::Flash { end });
        }
        let mut flash = vec![0xff; end.max(4 << 20).next_power_of_two()];
        flash[table_offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        flash[partition.offset as usize..][..firmware.len()].copy_from_slice(firmware);
        Ok(flash)
    }
}
