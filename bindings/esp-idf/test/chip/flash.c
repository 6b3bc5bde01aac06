/* NOR flash in a file, and the partition table on it. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "board.h"

uint8_t *flash(void)
{
    static uint8_t *mapped;
    if (mapped == NULL) {
        const char *path = getenv("CHIP_FLASH");
        int file = path != NULL ? open(path, O_RDWR) : -1;
        void *at = file >= 0 ? mmap(NULL, FLASH_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
        if (at == MAP_FAILED) {
            fprintf(stderr, "CHIP_FLASH is no file of 4 MB\n");
            _exit(ENDED_WITHOUT_IMAGE);
        }
        mapped = at;
    }
    return mapped;
}

uint32_t read32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

void write_flash(uint32_t at, const void *from, uint32_t length)
{
    const uint8_t *bytes = from;
    for (uint32_t i = 0; i < length; i++) {
        flash()[at + i] &= bytes[i];
    }
}

void erase_flash(uint32_t at, uint32_t length)
{
    memset(flash() + at, 0xff, length);
}

/* CHIP_SECTOR_US is how long a sector takes that is written or erased: long enough for power to fail meanwhile. */
static void take_time(uint32_t length)
{
    const char *time = getenv("CHIP_SECTOR_US");
    if (time != NULL) {
        usleep((useconds_t)(strtoul(time, NULL, 10) * length / SECTOR));
    }
}

const layout_t *layout(void)
{
    static layout_t found;
    if (found.slot_count == 0) {
        for (const uint8_t *entry = flash() + 0x8000; entry[0] == 0xaa && entry[1] == 0x50; entry += 32) {
            uint32_t offset = read32(entry + 4);
            if (entry[2] == 1 && entry[3] == 0) {
                found.otadata = offset;
            } else if (entry[2] == 0 && entry[3] >= 0x10 && entry[3] < 0x20) {
                found.slots[found.slot_count] = offset;
                found.sizes[found.slot_count] = read32(entry + 8);
                found.slot_count++;
            }
        }
    }
    return &found;
}

/* --- ESP-IDF's functions ------------------------------------------------------------------------------------------------ */

static bool is_within(uint32_t address, uint32_t length)
{
    return address <= FLASH_SIZE && length <= FLASH_SIZE - address;
}

esp_err_t esp_flash_get_size(esp_flash_t *chip, uint32_t *size)
{
    (void)chip;
    *size = FLASH_SIZE;
    return ESP_OK;
}

esp_err_t esp_flash_read(esp_flash_t *chip, void *to, uint32_t address, uint32_t length)
{
    (void)chip;
    if (!is_within(address, length)) {
        return ESP_ERR_INVALID_ARG;
    }
    memcpy(to, flash() + address, length);
    return ESP_OK;
}

esp_err_t esp_flash_write(esp_flash_t *chip, const void *from, uint32_t address, uint32_t length)
{
    (void)chip;
    if (!is_within(address, length) || address % 4 != 0 || length % 4 != 0) {
        return ESP_ERR_INVALID_ARG;
    }
    write_flash(address, from, length);
    take_time(length);
    return ESP_OK;
}

esp_err_t esp_flash_erase_region(esp_flash_t *chip, uint32_t address, uint32_t length)
{
    (void)chip;
    if (!is_within(address, length) || address % SECTOR != 0 || length % SECTOR != 0) {
        return ESP_ERR_INVALID_ARG;
    }
    erase_flash(address, length);
    take_time(length);
    return ESP_OK;
}

bool esp_flash_encryption_enabled(void)
{
    return false;
}

struct chip_iterator {
    uint32_t slot;
    esp_partition_t partition;
};

static esp_partition_iterator_t partition_at(esp_partition_iterator_t it, uint32_t slot)
{
    if (slot >= layout()->slot_count) {
        free(it);
        return NULL;
    }
    it->slot = slot;
    it->partition.address = layout()->slots[slot];
    it->partition.size = layout()->sizes[slot];
    return it;
}

esp_partition_iterator_t esp_partition_find(esp_partition_type_t type, esp_partition_subtype_t subtype, const char *label)
{
    (void)type;
    (void)subtype;
    (void)label;
    return partition_at(calloc(1, sizeof(struct chip_iterator)), 0);
}

const esp_partition_t *esp_partition_find_first(esp_partition_type_t type, esp_partition_subtype_t subtype, const char *label)
{
    static esp_partition_t otadata = {.size = 2 * SECTOR};
    (void)label;
    otadata.address = layout()->otadata;
    return type == ESP_PARTITION_TYPE_DATA && subtype == ESP_PARTITION_SUBTYPE_DATA_OTA ? &otadata : NULL;
}

const esp_partition_t *esp_partition_get(esp_partition_iterator_t it)
{
    return &it->partition;
}

esp_partition_iterator_t esp_partition_next(esp_partition_iterator_t it)
{
    return partition_at(it, it->slot + 1);
}

size_t spi_flash_cache2phys(const void *cached)
{
    (void)cached;
    /* Somewhere in the image's code. */
    return layout()->slots[booted_slot()] + 0x1234;
}
