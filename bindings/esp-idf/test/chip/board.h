/* What the files of the virtual chip share. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>
#include <stdlib.h>

#include "chip.h"

#define FLASH_SIZE (4u << 20)
#define SECTOR 4096u

/* How a program ends: what the harness takes for the reset's reason of the next start. */
enum { ENDED_BY_RESTART = 10, ENDED_BY_WATCHDOG = 11, ENDED_WITHOUT_IMAGE = 12 };

/* The flash, a file that is mapped: what was written stays, however the process ends. CHIP_FLASH names it. */
uint8_t *flash(void);

/* The partition table's app slots and otadata. */
typedef struct {
    uint32_t otadata;
    uint32_t slots[16];
    uint32_t sizes[16];
    uint32_t slot_count;
} layout_t;
const layout_t *layout(void);

/* Loads an image as ESP-IDF's bootloader does, once for each start; the slot that it came from. CHIP_BOOTLOADER is `plain` or
 * `rollback`. */
uint32_t booted_slot(void);

uint32_t read32(const uint8_t *from);
void write_flash(uint32_t at, const void *from, uint32_t length);
void erase_flash(uint32_t at, uint32_t length);

/* One of the two records of otadata. */
typedef struct {
    uint32_t sequence;
    uint8_t label[20];
    uint32_t state;
    uint32_t crc;
} record_t;
enum { STATE_NEW = 0, STATE_PENDING = 1, STATE_VALID = 2, STATE_INVALID = 3, STATE_ABORTED = 4 };
record_t record_in(unsigned sector);
void rewrite_record(unsigned sector, record_t record);
/* The sector whose record decides, -1 if none does. */
int deciding_sector(void);

#endif /* BOARD_H */
