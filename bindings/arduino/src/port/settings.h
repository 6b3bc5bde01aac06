/*
 * What ESP-IDF's component is told by menuconfig, for Arduino. `stage` puts it before the component's internal.h, which all
 * files of the port include.
 */
#ifndef S3OTA_ARDUINO_SETTINGS_H
#define S3OTA_ARDUINO_SETTINGS_H

#include <stdint.h>

#include "sdkconfig.h"

#ifndef CONFIG_PARTITION_TABLE_OFFSET
#define CONFIG_PARTITION_TABLE_OFFSET 0x8000
#endif

/* The kind of the boot guard in the image's marker. */
#define S3OTA_GUARD_KIND 3

/* A trial: so many boots of so many minutes. Under a bootloader with app rollback, too. */
#define CONFIG_S3OTA_TRIAL_BOOTS 3
#define CONFIG_S3OTA_TRIAL_MINUTES 15
#define CONFIG_S3OTA_TRIAL_TAKES_OVER 1

#ifdef __cplusplus
extern "C" {
#endif

/* No earlier date is believed: that of the sketch's build, from begin() on. */
extern int64_t s3ota_arduino_built_at;
#define S3OTA_BUILT_AT s3ota_arduino_built_at

#ifdef __cplusplus
}
#endif

#endif
