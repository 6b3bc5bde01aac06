/* What the library is told: menuconfig's settings, those of the application, and what only the chip knows. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "esp_app_desc.h"
#include "esp_efuse.h"
#include "esp_log.h"
#include "esp_mac.h"
#include "hal/efuse_hal.h"
#include "hal/efuse_ll.h"
#include "sdkconfig.h"

#include "internal.h"

/* A minute before the watchdog, the agent itself ends a trial boot: that is no crash. */
#define BEFORE_WATCHDOG_MS UINT32_C(60000)

#if S3OTA_HAS_RELEASE_KEY
extern const char release_key_pem[] asm("_binary_s3ota_release_key_pem_start");
#else
#define release_key_pem NULL
#endif

#if S3OTA_HAS_ROOT_CA
extern const char root_ca_pem[] asm("_binary_s3ota_root_ca_pem_start");
#else
#define root_ca_pem NULL
#endif

static const char *running_version = "";

const char *s3ota_running_version(void)
{
    return running_version;
}

static const char *text_or(const char *text, const char *other)
{
    return text != NULL ? text : other;
}

/* NULL where menuconfig has nothing: "". */
static const char *set(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

/* Takes the PEM blocks of a text: their DER bytes go to `*room`, which moves on, and where they are to `items`. */
static esp_err_t take_pem(const char *pem, const char *what, uint8_t **room, const uint8_t *end, s3ota_bytes *items,
                          size_t most, size_t *count)
{
    *count = 0;
    if (pem == NULL) {
        return ESP_OK;
    }
    for (;;) {
        int32_t length = s3ota_pem(&pem, *room, (size_t)(end - *room));
        if (length < 0) {
            ESP_LOGE(TAG, "%s cannot be read (%s)", what, s3ota_error_name(length));
            return ESP_ERR_INVALID_ARG;
        }
        if (length == 0) {
            break;
        }
        if (*count == most) {
            ESP_LOGE(TAG, "%s: more than %u", what, (unsigned)most);
            return ESP_ERR_INVALID_ARG;
        }
        items[*count].data = *room;
        items[*count].len = (size_t)length;
        *room += length;
        *count += 1;
    }
    if (*count == 0) {
        ESP_LOGE(TAG, "%s: there is none in the text", what);
        return ESP_ERR_INVALID_ARG;
    }
    return ESP_OK;
}

/* Roots and release keys, from PEM to DER. */
static esp_err_t take_certificates(s3ota_settings *settings, const s3ota_esp_idf_config_t *config)
{
    const char *roots = text_or(config->roots_pem, root_ca_pem);
    const char *keys = text_or(config->release_keys_pem, release_key_pem);
    /* DER is three quarters of PEM. */
    size_t size = (roots != NULL ? strlen(roots) : 0) + (keys != NULL ? strlen(keys) : 0);
    if (size == 0) {
        return ESP_OK;
    }
    settings->der = malloc(size);
    if (settings->der == NULL) {
        return ESP_ERR_NO_MEM;
    }
    uint8_t *room = settings->der;
    const uint8_t *end = room + size;
    esp_err_t taken = take_pem(roots, "the root certificates", &room, end, settings->roots, S3OTA_MAX_ROOTS,
                               &settings->root_count);
    if (taken == ESP_OK) {
        taken = take_pem(keys, "the release keys", &room, end, settings->keys, S3OTA_MAX_RELEASE_KEYS,
                         &settings->key_count);
    }
    return taken;
}

/* The eFuses that the bootloader holds an image against. By the functions below efuse_hal.h, which all of ESP-IDF 5.1 to 6 have:
 * efuse_hal_blk_version came with 5.1.1, and efuse_hal_get_disable_blk_version_major with 5.1.7, 5.2.3 and 5.3.2. */
static void take_hardware(s3ota_config *library)
{
    library->hardware_known = S3OTA_HARDWARE_REVISION;
    library->hardware_revision = (uint16_t)efuse_hal_chip_revision();
#if !CONFIG_IDF_TARGET_ESP32
    /* The ESP32's eFuse block has no revision, and no bit that lets newer ones pass. */
    library->hardware_known |= S3OTA_HARDWARE_BLOCK_REVISION;
    library->hardware_block_revision = (uint16_t)(efuse_ll_get_blk_version_major() * 100 + efuse_ll_get_blk_version_minor());
    if (efuse_ll_get_disable_wafer_version_major()) {
        library->hardware_known |= S3OTA_HARDWARE_ANY_MAX_REVISION;
    }
    if (efuse_ll_get_disable_blk_version_major()) {
        library->hardware_known |= S3OTA_HARDWARE_ANY_MAX_BLOCK_REVISION;
    }
#endif
#if CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK
    library->hardware_known |= S3OTA_HARDWARE_SECURE_VERSION;
    library->hardware_secure_version = esp_efuse_read_secure_version();
#endif
}

/* Twelve hexadecimal digits: the MAC address that every chip has from the factory. */
static esp_err_t take_device_id(char id[13])
{
    uint8_t mac[8] = {0};
    esp_err_t read = esp_efuse_mac_get_default(mac);
    if (read != ESP_OK) {
        return read;
    }
    /* By hand: snprintf takes 6 KB, where the application does not use it. */
    for (size_t i = 0; i < 12; i++) {
        unsigned byte = mac[i / 2];
        id[i] = "0123456789abcdef"[i % 2 == 0 ? byte >> 4 : byte & 15];
    }
    id[12] = '\0';
    return ESP_OK;
}

static void take_schedule(s3ota_config *library, const s3ota_esp_idf_config_t *config)
{
    library->confirm =
        config->confirm_by_application ? S3OTA_CONFIRM_BY_APPLICATION : S3OTA_CONFIRM_WHEN_SERVER_REACHED;
    library->every_ms = config->every_ms != 0 ? config->every_ms : UINT32_C(60000) * CONFIG_S3OTA_CHECK_EVERY_MINUTES;
    library->first_ms = config->first_ms;
    uint32_t left = s3ota_trial_left_ms();
    if (left != UINT32_MAX) {
        library->trial_time_ms = left > BEFORE_WATCHDOG_MS ? left - BEFORE_WATCHDOG_MS : S3OTA_NONE;
    }
}

esp_err_t s3ota_settings_make(s3ota_settings *settings, s3ota_config *library, const s3ota_esp_idf_config_t *config)
{
    memset(settings, 0, sizeof *settings);
    memset(library, 0, sizeof *library);
    library->size = sizeof *library;

    const char *url = text_or(config->manifest_url, CONFIG_S3OTA_MANIFEST_URL);
    if (url[0] == '\0') {
        ESP_LOGE(TAG, "there is no manifest URL: set it in menuconfig under s3ota, or in the configuration");
        return ESP_ERR_INVALID_ARG;
    }
    if (config->device_id == NULL && take_device_id(settings->device_id) != ESP_OK) {
        ESP_LOGE(TAG, "the chip has no MAC address in its eFuses: set device_id");
        return ESP_ERR_INVALID_ARG;
    }
    esp_err_t taken = take_certificates(settings, config);
    if (taken != ESP_OK) {
        s3ota_settings_free(settings);
        return taken;
    }
    library->manifest_url = url;
    running_version = text_or(config->version, esp_app_get_description()->version);
    library->version = running_version;
    library->chip = CONFIG_IDF_TARGET;
    library->device_id = text_or(config->device_id, settings->device_id);
    library->board = text_or(config->board, set(CONFIG_S3OTA_BOARD));
    library->channel = config->channel;
    library->renamed_to = config->renamed_to;
    library->roots = settings->roots;
    library->root_count = settings->root_count;
    library->release_keys = settings->keys;
    library->release_key_count = settings->key_count;
    library->headers = config->headers;
    library->header_count = config->header_count;
    library->built_at = S3OTA_BUILT_AT;
#if !CONFIG_S3OTA_BUILT_IN_ROOTS
    library->no_built_in_roots = 1;
#endif
#if !CONFIG_S3OTA_SEND_DEVICE_ID
    library->hide_device_id = 1;
#else
    library->id_key.data = (const uint8_t *)CONFIG_S3OTA_DEVICE_ID_KEY;
    library->id_key.len = strlen(CONFIG_S3OTA_DEVICE_ID_KEY);
#endif
    library->partition_table = CONFIG_PARTITION_TABLE_OFFSET;
    take_hardware(library);
    take_schedule(library, config);
    return ESP_OK;
}

void s3ota_settings_free(s3ota_settings *settings)
{
    free(settings->der);
    settings->der = NULL;
}
