/* The flash is the file S3OTA_SIM_FLASH. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif
typedef struct esp_flash_t esp_flash_t;
esp_err_t esp_flash_get_size(esp_flash_t* chip, uint32_t* size);
esp_err_t esp_flash_read(esp_flash_t* chip, void* to, uint32_t at, uint32_t length);
esp_err_t esp_flash_write(esp_flash_t* chip, const void* from, uint32_t at, uint32_t length);
esp_err_t esp_flash_erase_region(esp_flash_t* chip, uint32_t at, uint32_t length);
bool esp_flash_encryption_enabled(void);
#ifdef __cplusplus
}
#endif
