/*
 * The record in otadata by which the bootloader chose this firmware (ESP-IDF, components/bootloader_support).
 *
 * esp_ota_mark_app_valid_cancel_rollback does the same, and links all of esp_ota_ops.c, which can verify images: 15 KB of flash
 * and 1.6 KB of RAM, with the drivers of SHA and DMA.
 */

#include "esp_flash_partitions.h"
#include "esp_partition.h"
#include "esp_rom_crc.h"
#include "spi_flash_mmap.h"

#include "internal.h"

/* As bootloader_common_ota_select_valid of bootloader_common.c. */
static bool counts(const esp_ota_select_entry_t *record)
{
    return record->ota_seq != UINT32_MAX && record->ota_state != ESP_OTA_IMG_INVALID && record->ota_state != ESP_OTA_IMG_ABORTED &&
           record->crc == esp_rom_crc32_le(UINT32_MAX, (const uint8_t *)&record->ota_seq, sizeof record->ota_seq);
}

bool s3ota_otadata_mark_valid(const s3ota_port *port)
{
    const esp_partition_t *otadata = esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_DATA_OTA, NULL);
    if (otadata == NULL) {
        return false;
    }
    /* A record in each of two sectors: the greater sequence decides. */
    esp_ota_select_entry_t decides = {.ota_seq = 0};
    uint32_t place = 0;
    for (uint32_t sector = 0; sector < 2; sector++) {
        uint32_t at = otadata->address + sector * SPI_FLASH_SEC_SIZE;
        esp_ota_select_entry_t record;
        if (port->flash_read(port->ctx, at, &record, sizeof record) != 0) {
            return false;
        }
        if (counts(&record) && record.ota_seq > decides.ota_seq) {
            decides = record;
            place = at;
        }
    }
    if (place == 0 || decides.ota_state != ESP_OTA_IMG_PENDING_VERIFY) {
        return false;
    }
    decides.ota_state = ESP_OTA_IMG_VALID;
    return port->flash_erase(port->ctx, place, SPI_FLASH_SEC_SIZE) == 0 &&
           port->flash_write(port->ctx, place, &decides, sizeof decides) == 0;
}
