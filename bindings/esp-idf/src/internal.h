/* What the files of this component share. Nothing of it is for applications. */
#ifndef S3OTA_ESP_IDF_INTERNAL_H
#define S3OTA_ESP_IDF_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"
#include "s3ota_esp_idf.h"

/* The tag of all log lines. */
#define TAG "s3ota"

/* --- flash.c, network.c, port.c: the port --------------------------------------------------------------------------- */

/* Sets the flash functions of a port, its size and the running partition. The boot guard needs no more. False if the flash
 * chip is not known. */
bool s3ota_port_set_flash(s3ota_port *port);

/* Sets the sockets and the names. */
void s3ota_port_set_network(s3ota_port *port);

/* The whole port. False if the flash chip is not known. */
bool s3ota_port_make(s3ota_port *port);

/* --- otadata.c --------------------------------------------------------------------------------------------------------- */

/* Tells a bootloader with app rollback that this firmware, which it has booted once, is valid. False if that is not what the record
 * is about, or the flash fails. The record's sector is erased. */
bool s3ota_otadata_mark_valid(const s3ota_port *port);

/* --- watchdog.c: the RTC watchdog ------------------------------------------------------------------------------------- */

/* Resets the chip in so many seconds, whatever the program does. At most 4 hours: a 32-bit counter of up to 150 kHz. */
void s3ota_watchdog_arm(uint32_t seconds);

void s3ota_watchdog_off(void);

/* --- guard.c ---------------------------------------------------------------------------------------------------------- */

/* Milliseconds that the watchdog leaves this boot; UINT32_MAX if it is not limited. */
uint32_t s3ota_trial_left_ms(void);

/* The trial is over, and with it the watchdog. */
void s3ota_trial_is_over(void);

/* --- settings.c: what the library is told ----------------------------------------------------------------------------- */

/* DER bytes of certificates and keys, and what else must stay as long as the state. Freed by s3ota_settings_free. */
typedef struct s3ota_settings {
    char device_id[13];
    s3ota_bytes roots[S3OTA_MAX_ROOTS];
    size_t root_count;
    s3ota_bytes keys[S3OTA_MAX_RELEASE_KEYS];
    size_t key_count;
    uint8_t *der; /* what roots and keys point into */
} s3ota_settings;

/* Fills the library's configuration from menuconfig and `config`. ESP_OK, ESP_ERR_INVALID_ARG, ESP_ERR_NO_MEM. */
esp_err_t s3ota_settings_make(s3ota_settings *settings, s3ota_config *library, const s3ota_esp_idf_config_t *config);

void s3ota_settings_free(s3ota_settings *settings);

/* The version of the running firmware, as the library was told it. */
const char *s3ota_running_version(void);

/* --- hooks.c ---------------------------------------------------------------------------------------------------------- */

/* Fills the library's hooks: they log, end the trial, and call the application's, which may be NULL. */
void s3ota_hooks_make(s3ota_hooks *hooks, const s3ota_hooks *of_application);

/* --- wear.c: what updates have cost the flash, kept across restarts and deep sleep ------------------------------------- */

void s3ota_wear_load(s3ota_state *state);
void s3ota_wear_save(s3ota_state *state);

#endif /* S3OTA_ESP_IDF_INTERNAL_H */
