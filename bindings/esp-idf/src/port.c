/* The port: flash and network from the files beside this one; time and randomness. */

#include <string.h>
#include <time.h>

#include "esp_random.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#if CONFIG_S3OTA_ENTROPY_ADC
#include "bootloader_random.h"
#endif

#include "internal.h"

/* Microseconds of the RTC's timer, which goes on through deep sleep and through restarts that are not by power. In the headers
 * <chip>/rtc.h (ESP-IDF 5) and esp_rtc_time.h (6). */
extern uint64_t esp_rtc_get_time_us(void);

/* The longest that a firmware is expected to be in use: 30 years. Later dates are not believed. */
#define LIFETIME_S (INT64_C(30) * 365 * 24 * 60 * 60)

static uint64_t uptime_ms(void *ctx)
{
    (void)ctx;
    return (uint64_t)esp_timer_get_time() / 1000;
}

static uint64_t since_power_on_ms(void *ctx)
{
    (void)ctx;
    return esp_rtc_get_time_us() / 1000;
}

static int64_t unix_time(void *ctx)
{
    (void)ctx;
    int64_t now = (int64_t)time(NULL);
    bool believed = now >= S3OTA_BUILT_AT && now < S3OTA_BUILT_AT + LIFETIME_S;
    return believed ? now : -1;
}

static void sleep_ms(void *ctx, uint32_t ms)
{
    (void)ctx;
    TickType_t ticks = pdMS_TO_TICKS(ms);
    vTaskDelay(ticks > 0 ? ticks : 1);
}

static void fill_random(void *ctx, void *to, uint32_t len)
{
    (void)ctx;
#if CONFIG_S3OTA_ENTROPY_ADC
    /* Without a radio, noise of the ADC feeds the generator while this is on (ESP-IDF, "Random Number Generation"). */
    bootloader_random_enable();
    esp_fill_random(to, len);
    bootloader_random_disable();
#else
    esp_fill_random(to, len);
#endif
}

bool s3ota_port_make(s3ota_port *port)
{
    memset(port, 0, sizeof *port);
    port->size = sizeof *port;
    s3ota_port_set_network(port);
    port->uptime_ms = uptime_ms;
    port->unix_time = unix_time;
    port->since_power_on_ms = since_power_on_ms;
    port->sleep_ms = sleep_ms;
    port->random = fill_random;
    return s3ota_port_set_flash(port);
}
