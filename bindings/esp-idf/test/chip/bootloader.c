/*
 * Which image a start loads: the rules of ESP-IDF's bootloader (components/bootloader_support/src/bootloader_utility.c and
 * bootloader_common.c, release 5.3), for a table of two slots and no factory app. It looks at an image's first byte alone; the
 * real one verifies it, and so does the emulator's run.
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "board.h"

static uint32_t crc32(uint32_t crc, const uint8_t *bytes, size_t length)
{
    crc = ~crc;
    while (length-- > 0) {
        crc ^= *bytes++;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

record_t record_in(unsigned sector)
{
    record_t record;
    memcpy(&record, flash() + layout()->otadata + sector * SECTOR, sizeof record);
    return record;
}

void rewrite_record(unsigned sector, record_t record)
{
    erase_flash(layout()->otadata + sector * SECTOR, SECTOR);
    write_flash(layout()->otadata + sector * SECTOR, &record, sizeof record);
}

static bool is_valid(record_t record)
{
    uint8_t sequence[4];
    memcpy(sequence, &record.sequence, sizeof sequence);
    return record.sequence != UINT32_MAX && record.state != STATE_INVALID && record.state != STATE_ABORTED &&
           record.crc == crc32(UINT32_MAX, sequence, sizeof sequence);
}

int deciding_sector(void)
{
    record_t first = record_in(0);
    record_t second = record_in(1);
    if (is_valid(first) && is_valid(second)) {
        return second.sequence > first.sequence;
    }
    return is_valid(first) ? 0 : is_valid(second) ? 1 : -1;
}

static bool has_app_rollback(void)
{
    const char *kind = getenv("CHIP_BOOTLOADER");
    return kind != NULL && strcmp(kind, "rollback") == 0;
}

static uint32_t load(void)
{
    if (has_app_rollback()) {
        for (unsigned sector = 0; sector < 2; sector++) {
            record_t record = record_in(sector);
            if (record.state == STATE_PENDING) {
                record.state = STATE_ABORTED;
                rewrite_record(sector, record);
            }
        }
    }
    int sector = deciding_sector();
    uint32_t first = 0;
    if (sector >= 0) {
        record_t record = record_in((unsigned)sector);
        first = (record.sequence - 1) % layout()->slot_count;
        if (has_app_rollback() && record.state == STATE_NEW) {
            record.state = STATE_PENDING;
            rewrite_record((unsigned)sector, record);
        }
    }
    for (uint32_t i = 0; i < layout()->slot_count; i++) {
        uint32_t slot = (first + i) % layout()->slot_count;
        if (flash()[layout()->slots[slot]] == 0xe9) {
            return slot;
        }
    }
    fprintf(stderr, "no image boots\n");
    _exit(ENDED_WITHOUT_IMAGE);
}

uint32_t booted_slot(void)
{
    static uint32_t slot = UINT32_MAX;
    if (slot == UINT32_MAX) {
        slot = load();
    }
    return slot;
}

/* --- ESP-IDF's functions ------------------------------------------------------------------------------------------------ */

uint32_t esp_rom_crc32_le(uint32_t crc, const uint8_t *bytes, uint32_t length)
{
    return crc32(crc, bytes, length);
}

const esp_app_desc_t *esp_app_get_description(void)
{
    static esp_app_desc_t description;
    /* Behind the image's header, its first segment's, and the descriptor's first four words. */
    const uint8_t *from = flash() + layout()->slots[booted_slot()] + 24 + 8 + 16;
    memcpy(description.version, from, sizeof description.version);
    memcpy(description.project_name, from + 32, sizeof description.project_name);
    return &description;
}
