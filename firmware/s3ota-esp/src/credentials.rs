//! The Wi-Fi credentials of this device, in a flash partition of their own: not in the image, which anyone may read who can read
//! the bucket.
//!
//! They are in the table's first `nvs` partition. Updates and rollbacks touch only otadata and the slots, so every firmware of the
//! device finds them there. [`sequential-storage`](https://docs.rs/sequential-storage) keeps them: a power cut while they are saved
//! leaves the old ones or the new ones. That is not the format of ESP-IDF's NVS. A partition that holds ESP-IDF's data is left as it
//! is, because a device that goes back to such a firmware needs it.
//!
//! They are not encrypted: who can read the flash can read the password.

use core::fmt;

use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::partition::{ENTRY_LEN, Kind, Partition, TABLE_OFFSET, TABLE_SIZE};
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::{MapConfig, MapStorage};

/// The longest name of a network, in bytes (IEEE 802.11).
pub const LONGEST_SSID: usize = 32;

/// The longest password: 63 characters of a passphrase, or a key as 64 hexadecimal digits.
pub const LONGEST_PASSWORD: usize = 64;

/// The key of the credentials in the map.
const KEY: u8 = 1;

/// The first byte of the value: its layout.
const LAYOUT: u8 = 1;

/// Layout, two lengths, name, password.
const LONGEST_VALUE: usize = 3 + LONGEST_SSID + LONGEST_PASSWORD;

/// Room for the key and the value, in whole words.
const BUFFER: usize = 128;

/// Credentials are read once and seldom written.
type NoCache = Cache<Uncached, Uncached, Uncached, u8>;

/// Name and password of a Wi-Fi network. Its `Debug` has no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    ssid: heapless::Vec<u8, LONGEST_SSID>,
    password: heapless::Vec<u8, LONGEST_PASSWORD>,
}

impl Credentials {
    /// The credentials of a network, which is open if the password is empty. `None` if there is no name, or if one of them is too
    /// long.
    pub fn new(ssid: &[u8], password: &[u8]) -> Option<Self> {
        if ssid.is_empty() {
            return None;
        }
        Some(Self {
            ssid: heapless::Vec::from_slice(ssid).ok()?,
            password: heapless::Vec::from_slice(password).ok()?,
        })
    }

    /// The network's name, usually UTF-8.
    pub fn ssid(&self) -> &[u8] {
        &self.ssid
    }

    /// The password.
    pub fn password(&self) -> &[u8] {
        &self.password
    }

    fn to_bytes(&self) -> heapless::Vec<u8, LONGEST_VALUE> {
        let mut bytes = heapless::Vec::new();
        for part in [&self.ssid[..], &self.password] {
            // At most 64, and there is room for all of it.
            let length = u8::try_from(part.len()).unwrap_or_default();
            if bytes.is_empty() {
                let _ = bytes.push(LAYOUT);
            }
            let _ = bytes.push(length);
            let _ = bytes.extend_from_slice(part);
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (layout, rest) = bytes.split_first()?;
        if *layout != LAYOUT {
            return None;
        }
        let (ssid, rest) = counted(rest)?;
        let (password, rest) = counted(rest)?;
        rest.is_empty().then(|| Self::new(ssid, password))?
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = core::str::from_utf8(&self.ssid).unwrap_or("a name that is not UTF-8");
        f.debug_tuple("Credentials").field(&name).finish()
    }
}

/// Bytes after their number, and what follows.
pub(crate) fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// Why credentials cannot be read or saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CredentialsError {
    /// The partition table has no `nvs` partition of two sectors or more.
    NoPartition,
    /// The `nvs` partition holds data of ESP-IDF.
    OfEspIdf,
    /// Flash cannot be read or written.
    Flash,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPartition => "the partition table has no nvs partition of 8 KiB or more",
            Self::OfEspIdf => {
                "the nvs partition holds ESP-IDF's data; if no firmware needs it any more, erase it: espflash erase-parts nvs"
            }
            Self::Flash => "the nvs partition cannot be read or written",
        })
    }
}

impl core::error::Error for CredentialsError {}

/// The saved credentials, if there are any.
///
/// # Errors
///
/// [`CredentialsError`]. Nothing has been changed then.
pub async fn load<F: NorFlash>(flash: &mut F) -> Result<Option<Credentials>, CredentialsError> {
    let mut buffer = [0; BUFFER];
    let mut map = map(flash).await?;
    let value: Option<&[u8]> = map
        .fetch_item(&mut buffer, &KEY)
        .await
        .map_err(|_| CredentialsError::Flash)?;
    Ok(value.and_then(Credentials::from_bytes))
}

/// Saves credentials in place of those that are there.
///
/// # Errors
///
/// [`CredentialsError`]. The old credentials are still there then.
pub async fn save<F: NorFlash>(
    flash: &mut F,
    credentials: &Credentials,
) -> Result<(), CredentialsError> {
    let mut buffer = [0; BUFFER];
    let value = credentials.to_bytes();
    let mut map = map(flash).await?;
    map.store_item(&mut buffer, &KEY, &&value[..])
        .await
        .map_err(|_| CredentialsError::Flash)
}

/// Forgets the credentials, and erases them from flash: before a device is given away.
///
/// # Errors
///
/// [`CredentialsError`].
pub async fn forget<F: NorFlash>(flash: &mut F) -> Result<(), CredentialsError> {
    let mut map = map(flash).await?;
    map.erase_all().await.map_err(|_| CredentialsError::Flash)
}

/// The map in the `nvs` partition.
async fn map<F: NorFlash>(
    flash: &mut F,
) -> Result<MapStorage<u8, &mut F, NoCache>, CredentialsError> {
    let partition = partition(flash).await?;
    let end = partition.end().ok_or(CredentialsError::NoPartition)?;
    if is_of_esp_idf(flash, partition.offset, end).await? {
        return Err(CredentialsError::OfEspIdf);
    }
    let config = MapConfig::try_new(partition.offset..end);
    let config = config.map_err(|_| CredentialsError::NoPartition)?;
    Ok(MapStorage::new(flash, config, Cache::new_uncached()))
}

/// The table's first `nvs` partition.
async fn partition<F: NorFlash>(flash: &mut F) -> Result<Partition, CredentialsError> {
    let mut entry = [0; ENTRY_LEN];
    let entries = (TABLE_OFFSET..TABLE_OFFSET + TABLE_SIZE as u32).step_by(ENTRY_LEN);
    for offset in entries {
        read(flash, offset, &mut entry).await?;
        let Some(partition) = Partition::parse(&entry) else {
            break;
        };
        let is_on_flash = partition
            .end()
            .and_then(|end| usize::try_from(end).ok())
            .is_some_and(|end| end <= flash.capacity());
        if partition.kind == Kind::NVS && is_on_flash {
            return Ok(partition);
        }
    }
    Err(CredentialsError::NoPartition)
}

/// Whether a page of ESP-IDF's NVS is there: its header has a state that has lost one bit for each step, a sequence number, a version
/// and nineteen unused bytes (ESP-IDF `components/nvs_flash/src/nvs_page.hpp`).
async fn is_of_esp_idf<F: NorFlash>(
    flash: &mut F,
    from: u32,
    to: u32,
) -> Result<bool, CredentialsError> {
    const STATES: [[u8; 4]; 3] = [
        [0xFE, 0xFF, 0xFF, 0xFF],
        [0xFC, 0xFF, 0xFF, 0xFF],
        [0xF8, 0xFF, 0xFF, 0xFF],
    ];
    let mut header = [0; 28];
    for page in (from..to).step_by(F::ERASE_SIZE) {
        read(flash, page, &mut header).await?;
        let [a, b, c, d, sequence @ .., _] = &header;
        let (sequence, rest) = sequence.split_at(4);
        let has_version = rest.first().is_some_and(|version| *version >= 0xFE);
        let is_unused = rest.iter().skip(1).all(|byte| *byte == 0xFF);
        if STATES.contains(&[*a, *b, *c, *d]) && sequence != [0xFF; 4] && has_version && is_unused {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn read<F: NorFlash>(
    flash: &mut F,
    offset: u32,
    bytes: &mut [u8],
) -> Result<(), CredentialsError> {
    let read = flash.read(offset, bytes).await;
    read.map_err(|_| CredentialsError::Flash)
}

#[cfg(test)]
mod tests {
    use embassy_futures::block_on;
    use embedded_storage_async::nor_flash::{
        ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
    };
    use s3ota_image::partition::TableBuilder;

    use super::*;

    const NVS: usize = 0x9000;

    /// Flash that loses power after so many words or sectors.
    struct Ram {
        bytes: Vec<u8>,
        power: usize,
        erased: usize,
    }

    #[derive(Debug)]
    struct Off;

    impl NorFlashError for Off {
        fn kind(&self) -> NorFlashErrorKind {
            NorFlashErrorKind::Other
        }
    }

    impl ErrorType for Ram {
        type Error = Off;
    }

    impl ReadNorFlash for Ram {
        const READ_SIZE: usize = 1;

        async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Off> {
            let at = offset as usize;
            bytes.copy_from_slice(&self.bytes[at..at + bytes.len()]);
            Ok(())
        }

        fn capacity(&self) -> usize {
            self.bytes.len()
        }
    }

    impl NorFlash for Ram {
        const WRITE_SIZE: usize = 4;
        const ERASE_SIZE: usize = 4096;

        async fn erase(&mut self, from: u32, to: u32) -> Result<(), Off> {
            self.power = self.power.checked_sub(1).ok_or(Off)?;
            self.erased += 1;
            self.bytes[from as usize..to as usize].fill(0xFF);
            Ok(())
        }

        async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Off> {
            for (index, word) in bytes.chunks(4).enumerate() {
                self.power = self.power.checked_sub(1).ok_or(Off)?;
                for (at, byte) in (offset as usize + index * 4..).zip(word) {
                    self.bytes[at] &= byte;
                }
            }
            Ok(())
        }
    }

    const TABLE: &str = include_str!("../../partitions/4mb.csv");

    fn flash_with(table: &str) -> Ram {
        let mut bytes = vec![0xFF; 0x1_0000];
        let table = TableBuilder::from_csv(table).unwrap().to_bytes().unwrap();
        bytes[0x8000..0x8000 + table.len()].copy_from_slice(&table);
        Ram {
            bytes,
            power: usize::MAX,
            erased: 0,
        }
    }

    fn home(password: &str) -> Credentials {
        Credentials::new(b"home", password.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_saved_is_there_and_nothing_else_is_touched() {
        let mut flash = flash_with(TABLE);
        let before = flash.bytes.clone();
        assert_eq!(block_on(load(&mut flash)), Ok(None));
        let longest = Credentials::new(&[0xE4; 32], &[b'p'; 64]).unwrap();
        for credentials in [home("secret"), home(""), longest] {
            // More often than one sector has room for.
            for _ in 0..100 {
                block_on(save(&mut flash, &credentials)).unwrap();
                assert_eq!(block_on(load(&mut flash)), Ok(Some(credentials.clone())));
            }
        }
        assert_eq!(flash.bytes[..NVS], before[..NVS]);
        assert_eq!(flash.bytes[NVS + 0x4000..], before[NVS + 0x4000..]);

        block_on(forget(&mut flash)).unwrap();
        assert_eq!(block_on(load(&mut flash)), Ok(None));
        assert!(!flash.bytes.windows(8).any(|window| window == [b'p'; 8]));
    }

    #[test]
    fn a_power_cut_leaves_the_old_or_the_new_ones() {
        let mut flash = flash_with(TABLE);
        let mut old = home("the first password");
        block_on(save(&mut flash, &old)).unwrap();
        // Until the partition has been full.
        for n in 0..450 {
            let new = home(&format!("password {n}"));
            let before = flash.bytes.clone();
            for power in 0.. {
                flash.bytes.clone_from(&before);
                flash.power = power;
                let saved = block_on(save(&mut flash, &new));
                flash.power = usize::MAX;
                let found = block_on(load(&mut flash)).unwrap();
                if saved.is_ok() {
                    assert_eq!(found.as_ref(), Some(&new));
                    break;
                }
                let is_whole = found.as_ref() == Some(&old) || found.as_ref() == Some(&new);
                assert!(is_whole, "{n}, {power}: {found:?}");
                // And the next attempt succeeds.
                block_on(save(&mut flash, &new)).unwrap();
                assert_eq!(block_on(load(&mut flash)).unwrap().as_ref(), Some(&new));
            }
            old = new;
        }
        assert!(flash.erased > 0);
    }

    #[test]
    fn data_of_esp_idf_is_left_alone() {
        let mut flash = flash_with(TABLE);
        // The header of an active page, with its sequence number and CRC, as nvs_partition_gen.py writes it.
        let header = [
            &[0xFE, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFE][..],
            &[0xFF; 19],
            &[1, 2, 3, 4],
        ]
        .concat();
        flash.bytes[NVS + 4096..NVS + 4096 + 32].copy_from_slice(&header);
        let before = flash.bytes.clone();
        assert_eq!(block_on(load(&mut flash)), Err(CredentialsError::OfEspIdf));
        assert_eq!(
            block_on(save(&mut flash, &home("secret"))),
            Err(CredentialsError::OfEspIdf)
        );
        assert_eq!(
            block_on(forget(&mut flash)),
            Err(CredentialsError::OfEspIdf)
        );
        assert!(flash.bytes == before);
    }

    #[test]
    fn a_table_without_room_for_them_is_named() {
        let without = TABLE.replace("nvs,       data, nvs, ", "other,     data, fat, ");
        let small = TABLE.replace("0x9000,    0x4000", "0x9000,    0x1000");
        for table in [without, small] {
            let mut flash = flash_with(&table);
            assert_eq!(
                block_on(load(&mut flash)),
                Err(CredentialsError::NoPartition)
            );
        }
        let mut erased = flash_with(TABLE);
        erased.bytes.fill(0xFF);
        assert_eq!(
            block_on(load(&mut erased)),
            Err(CredentialsError::NoPartition)
        );
    }

    #[test]
    fn junk_in_the_partition_is_no_credentials_and_no_panic() {
        let mut random = 1u32;
        for _ in 0..200 {
            let mut flash = flash_with(TABLE);
            for byte in &mut flash.bytes[NVS..NVS + 0x4000] {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (random >> 24) as u8;
            }
            if let Ok(Some(found)) = block_on(load(&mut flash)) {
                panic!("{found:?}");
            }
            block_on(save(&mut flash, &home("secret"))).ok();
        }
    }

    #[test]
    fn a_password_is_not_in_debug_texts() {
        assert_eq!(format!("{:?}", home("secret")), "Credentials(\"home\")");
        assert_eq!(Credentials::new(b"", b"secret"), None);
        assert_eq!(Credentials::new(&[b'n'; 33], b""), None);
        assert_eq!(Credentials::new(b"n", &[b'p'; 65]), None);
    }
}
