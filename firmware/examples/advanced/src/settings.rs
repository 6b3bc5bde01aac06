//! The application's own data on flash, beside the updater: a key-value store in the partition `nvs`.
//!
//! [`sequential-storage`](https://docs.rs/sequential-storage) keeps it, in a format of its own. Updates and rollbacks leave the
//! partition alone, so every firmware finds it there.

use core::ops::Range;

use esp_bootloader_esp_idf::partitions::{PARTITION_TABLE_MAX_LEN, read_partition_table};
use s3ota_esp::{Flash, SharedFlash};
use sequential_storage::cache::Cache;
use sequential_storage::map::{MapConfig, MapStorage};

/// The key of the number of starts. The Wi-Fi credentials are in the same map, with a key below 16.
const STARTS: u8 = 16;

/// Counts a start, and says how many there were. `None` if flash has no place for it, or does not take it.
///
/// It has the flash while it runs, across every await: the updater waits, and other tasks go on.
pub async fn count_start(flash: SharedFlash) -> Option<u32> {
    let mut flash = flash.0.lock().await;
    let config = MapConfig::try_new(partition(&mut flash)?).ok()?;
    let mut map = MapStorage::<u8, _, _>::new(&mut *flash, config, Cache::new_uncached());
    let mut buffer = [0; 32];
    let before: Option<u32> = map.fetch_item(&mut buffer, &STARTS).await.ok()?;
    let starts = before.unwrap_or(0).saturating_add(1);
    map.store_item(&mut buffer, &STARTS, &starts).await.ok()?;
    Some(starts)
}

/// Where the partition is on flash.
#[inline(never)]
fn partition(flash: &mut Flash) -> Option<Range<u32>> {
    let mut buffer = [0; PARTITION_TABLE_MAX_LEN];
    let table = read_partition_table(flash.storage(), &mut buffer).ok()?;
    let entry = table.iter().find(|entry| entry.label_as_str() == "nvs")?;
    Some(entry.offset()..entry.offset().checked_add(entry.len())?)
}
