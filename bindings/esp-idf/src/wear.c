/* What updates have cost the flash: kept in the RTC's memory, through deep sleep and every restart but power-on. */

#include "esp_attr.h"
#include "sdkconfig.h"
#include "soc/soc_caps.h"

#include "internal.h"

#if SOC_RTC_MEM_SUPPORTED

/* "wear". */
#define MAGIC UINT32_C(0x77656172)

static RTC_NOINIT_ATTR uint32_t words[S3OTA_WEAR_WORDS];
static RTC_NOINIT_ATTR uint32_t check;

static uint32_t check_of_words(void)
{
    uint32_t sum = MAGIC;
    for (size_t i = 0; i < S3OTA_WEAR_WORDS; i++) {
        sum = (sum << 5 | sum >> 27) ^ words[i];
    }
    return sum;
}

void s3ota_wear_load(s3ota_state *state)
{
    if (check == check_of_words()) {
        (void)s3ota_set_wear(state, words);
    }
}

void s3ota_wear_save(s3ota_state *state)
{
    if (s3ota_wear(state, words) == S3OTA_OK) {
        check = check_of_words();
    }
}

#else

/* The ESP32-C2 has no such memory. */
void s3ota_wear_load(s3ota_state *state)
{
    (void)state;
}

void s3ota_wear_save(s3ota_state *state)
{
    (void)state;
}

#endif
