/* The flash chip and the running partition. */

#include <inttypes.h>

#include "esp_flash.h"
#include "esp_log.h"
#include "esp_partition.h"
#include "spi_flash_mmap.h"

#include "internal.h"

static int32_t flash_read(void *ctx, uint32_t offset, void *to, uint32_t len)
{
    (void)ctx;
    return esp_flash_read(NULL, to, offset, len) == ESP_OK ? 0 : S3OTA_PORT_FAILED;
}

static int32_t flash_write(void *ctx, uint32_t offset, const void *from, uint32_t len)
{
    (void)ctx;
    return esp_flash_write(NULL, from, offset, len) == ESP_OK ? 0 : S3OTA_PORT_FAILED;
}

static int32_t flash_erase(void *ctx, uint32_t offset, uint32_t len)
{
    (void)ctx;
    return esp_flash_erase_region(NULL, offset, len) == ESP_OK ? 0 : S3OTA_PORT_FAILED;
}

/*
 * The flash offset of the partition that this code runs from, by the mapping of the cache; UINT32_MAX if it is unknown.
 *
 * As esp_ota_get_running_partition finds it (ESP-IDF, components/app_update/esp_ota_ops.c), which aborts where the partition
 * table cannot be read. In the boot guard that would be a crash which nobody counts.
 */
static uint32_t running_partition(void)
{
    size_t here = spi_flash_cache2phys((const void *)(uintptr_t)running_partition);
    if (here == SPI_FLASH_CACHE2PHYS_FAIL) {
        return UINT32_MAX;
    }
    uint32_t found = UINT32_MAX;
    esp_partition_iterator_t it = esp_partition_find(ESP_PARTITION_TYPE_APP, ESP_PARTITION_SUBTYPE_ANY, NULL);
    while (it != NULL) {
        const esp_partition_t *app = esp_partition_get(it);
        if (here >= app->address && here - app->address < app->size) {
            found = app->address;
        }
        it = esp_partition_next(it);
    }
    return found;
}

bool s3ota_port_set_flash(s3ota_port *port)
{
    if (esp_flash_get_size(NULL, &port->flash_size) != ESP_OK) {
        ESP_LOGE(TAG, "the flash chip's size is not known");
        return false;
    }
    port->running = running_partition();
    port->flash_read = flash_read;
    port->flash_write = flash_write;
    port->flash_erase = flash_erase;
    return true;
}
