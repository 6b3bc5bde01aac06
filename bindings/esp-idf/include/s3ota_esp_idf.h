/*
 * s3ota_esp_idf.h: updates over the air from an S3 bucket, for firmware built with ESP-IDF.
 *
 *     void app_main(void)
 *     {
 *         // …bring up the network…
 *         ESP_ERROR_CHECK(s3ota_esp_idf_start(NULL));
 *     }
 *
 * That is all: the settings are in `idf.py menuconfig`, under "s3ota", and the version is the project's. A task checks after
 * boot and every hour, installs what there is, restarts the chip, and confirms a new firmware that has shown that it can be
 * updated.
 *
 * The boot guard needs no call. It runs before app_main, and on chips with RISC-V cores before the constructors of C++: it counts
 * the boots of a firmware on trial, arms the RTC watchdog for it, and goes back to the old firmware when the trial has failed.
 *
 * Its task has the stack for all of this: the calls below need little, but for s3ota_esp_idf_install_from.
 *
 * This is for one device and starts one task. The library below it, with all that it can do, is s3ota.h.
 */
#ifndef S3OTA_ESP_IDF_H
#define S3OTA_ESP_IDF_H

#include <stdbool.h>
#include <stdint.h>

#include "esp_err.h"
#include "s3ota.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- The boot --------------------------------------------------------------------------------------------------------- */

/* What the boot guard has found, before app_main. */
typedef struct s3ota_esp_idf_boot {
    /* S3OTA_CONFIRMED, S3OTA_ON_TRIAL, S3OTA_FELL_BACK; or an error, S3OTA_ERR_…: there are no updates then. */
    int32_t result;
    /* On trial: which boot this is, from 1, and after how many without confirmation the firmware is given up. */
    uint32_t boot;
    uint32_t of;
    /* The flash offset of the running firmware's partition; 0xffffffff if it is unknown. */
    uint32_t running;
} s3ota_esp_idf_boot_t;

/* What the boot guard has found. Never NULL. From any task. */
const s3ota_esp_idf_boot_t *s3ota_esp_idf_boot(void);

/* Whether the running firmware is on trial: true from the boot until it is confirmed. From any task. */
bool s3ota_esp_idf_is_on_trial(void);

/* --- Updates ---------------------------------------------------------------------------------------------------------- */

/*
 * What differs from the settings in menuconfig. Begin with S3OTA_ESP_IDF_CONFIG_DEFAULT(), which changes nothing.
 *
 * The struct is copied. What it points to must stay until s3ota_esp_idf_stop, but for the PEM texts, which are copied.
 */
typedef struct s3ota_esp_idf_config {
    const char *manifest_url; /* NULL: CONFIG_S3OTA_MANIFEST_URL */
    const char *version;      /* NULL: that of esp_app_get_description(), which `s3ota publish` reads, too */
    const char *device_id;    /* NULL: the MAC address from the eFuses, twelve hexadecimal digits */
    const char *board;        /* NULL: CONFIG_S3OTA_BOARD */
    const char *channel;      /* NULL: that of the manifest's URL */
    const char *renamed_to;   /* the name that the project has from some release on, or NULL */

    /* Keys that may sign releases, the newest first: PEM files, one behind the other. NULL: CONFIG_S3OTA_RELEASE_KEY_FILE. */
    const char *release_keys_pem;
    /* Roots to trust besides those built in: PEM files, one behind the other. NULL: CONFIG_S3OTA_ROOT_CA_FILE. */
    const char *roots_pem;

    const s3ota_header *headers; /* sent to the manifest's server, and to no other */
    size_t header_count;

    /* Nothing is installed until s3ota_esp_idf_confirm is called, after the application's own tests. */
    bool confirm_by_application;

    uint32_t every_ms; /* the time between checks. 0: CONFIG_S3OTA_CHECK_EVERY_MINUTES */
    uint32_t first_ms; /* from the start to the first check. 0: 10 seconds, and up to as much again at random */

    /* Where the application has its say; see s3ota.h. They run in the task of the updates. NULL: none. Copied. */
    const s3ota_hooks *hooks;
} s3ota_esp_idf_config_t;

/* All 0, in a way that neither language warns of. */
#ifdef __cplusplus
#define S3OTA_ESP_IDF_CONFIG_DEFAULT() {}
#else
#define S3OTA_ESP_IDF_CONFIG_DEFAULT() {0}
#endif

/*
 * Starts the task that keeps this device up to date. NULL for the settings of menuconfig alone.
 *
 * Call it when the network has been set up (esp_netif_init, and the driver); it need not be connected, and on trial you
 * should not wait for that: a firmware that has not called this cannot be confirmed, and goes back when its boots are used up.
 *
 * ESP_OK
 * ESP_ERR_INVALID_STATE  it was called already
 * ESP_ERR_INVALID_ARG    a setting cannot be used; the log says which
 * ESP_ERR_NOT_FOUND      the partition table does not allow updates: flash one with otadata, ota_0 and ota_1
 * ESP_ERR_NOT_SUPPORTED  the flash is encrypted, or cannot be read
 * ESP_ERR_NO_MEM         there is no memory for the state (s3ota_size()) or the task
 */
esp_err_t s3ota_esp_idf_start(const s3ota_esp_idf_config_t *config);

/* Ends the task, within a second or the time of one operation, and frees its memory. A download that is under way goes on
 * where it was after the next start. ESP_OK; ESP_ERR_INVALID_STATE if it does not run, or from a hook. */
esp_err_t s3ota_esp_idf_stop(void);

/* Checks now, whatever the schedule says. From any task, not from an interrupt. ESP_OK; ESP_ERR_INVALID_STATE if the task
 * does not run. */
esp_err_t s3ota_esp_idf_check_now(void);

/*
 * Ends the trial of the running firmware: it stays, and its watchdog is switched off. For confirm_by_application; otherwise
 * the task confirms. Use this in place of esp_ota_mark_app_valid_cancel_rollback, which s3ota does not take for a
 * confirmation.
 *
 * ESP_OK, also if it is confirmed already. ESP_ERR_INVALID_STATE if the task does not run, or from a hook.
 * ESP_ERR_NOT_FINISHED while the task is in the middle of a check: try again. ESP_FAIL if flash cannot be written; the trial
 * goes on.
 */
esp_err_t s3ota_esp_idf_confirm(void);

/*
 * Gives the running firmware up, on trial or not, and restarts into the one that it replaced; on trial, unless its version is
 * known to be earlier. The release is not installed again. Use this in place of esp_ota_mark_app_invalid_rollback_and_reboot.
 *
 * Does not return if it succeeds. ESP_ERR_NOT_FOUND if there is no other firmware. The others as s3ota_esp_idf_confirm.
 */
esp_err_t s3ota_esp_idf_roll_back(void);

/*
 * Installs an image that the application has: from an SD card, over Bluetooth, from a server in the local network. It is
 * s3ota_install_from of s3ota.h, with the same checks, and is done by the calling task, which needs 12 KB of stack for it; the task of
 * the updates waits meanwhile.
 *
 * S3OTA_INSTALLED: call esp_restart, the new firmware boots next. S3OTA_UP_TO_DATE … or an error, as s3ota_install_from has them.
 * S3OTA_ERR_STATE if the task does not run, or from a hook or the source. S3OTA_ERR_BUSY while the task is in the middle of a check:
 * try again.
 */
int32_t s3ota_esp_idf_install_from(const void *manifest, size_t manifest_len, const s3ota_source *source);

#ifdef __cplusplus
}
#endif

#endif /* S3OTA_ESP_IDF_H */
