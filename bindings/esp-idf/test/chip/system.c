/* Time, restarts, the RTC watchdog, log lines; and app_main. */

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "board.h"

void app_main(void);

/* --- Log lines ---------------------------------------------------------------------------------------------------------- */

void chip_log(char level, const char *tag, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    printf("%c (%lld) %s: %s\n", level, (long long)(esp_timer_get_time() / 1000), tag, line);
    fflush(stdout);
}

const char *esp_err_to_name(esp_err_t code)
{
    static char text[16];
    snprintf(text, sizeof text, "%#x", (unsigned)code);
    return text;
}

void check_failed(esp_err_t code, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, esp_err_to_name(code));
    abort();
}

/* --- Time and randomness ------------------------------------------------------------------------------------------------ */

static int64_t microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t esp_timer_get_time(void)
{
    static int64_t began;
    if (began == 0) {
        began = microseconds() - 1;
    }
    return microseconds() - began;
}

uint64_t esp_rtc_get_time_us(void);
uint64_t esp_rtc_get_time_us(void)
{
    return (uint64_t)microseconds();
}

void esp_fill_random(void *to, size_t length)
{
    uint8_t *at = to;
    while (length > 0) {
        ssize_t got = getrandom(at, length, 0);
        if (got <= 0) {
            abort();
        }
        at += got;
        length -= (size_t)got;
    }
}

void bootloader_random_enable(void)
{
}

void bootloader_random_disable(void)
{
}

/* --- What the chip says of itself ---------------------------------------------------------------------------------------- */

/* CHIP_RESET is the ROM's number for the reset's reason. */
int esp_rom_get_reset_reason(int cpu)
{
    (void)cpu;
    const char *reason = getenv("CHIP_RESET");
    return reason != NULL ? (int)strtol(reason, NULL, 0) : 1;
}

esp_err_t esp_efuse_mac_get_default(uint8_t *mac)
{
    static const uint8_t own[6] = {0xa0, 0xb1, 0xc2, 0xd3, 0xe4, 0xf5};
    memcpy(mac, own, sizeof own);
    return ESP_OK;
}

uint32_t esp_efuse_read_secure_version(void)
{
    return 0;
}

uint32_t efuse_hal_chip_revision(void)
{
    return 3;
}

uint32_t efuse_ll_get_blk_version_major(void)
{
    return 1;
}

uint32_t efuse_ll_get_blk_version_minor(void)
{
    return 0;
}

bool efuse_ll_get_disable_wafer_version_major(void)
{
    return false;
}

bool efuse_ll_get_disable_blk_version_major(void)
{
    return false;
}

void *heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps)
{
    (void)caps;
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void heap_caps_free(void *memory)
{
    free(memory);
}

/* --- The RTC watchdog: CHIP_WATCHDOG_SPEED makes its minutes shorter ------------------------------------------------------ */

static pthread_mutex_t watchdog_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t watchdog_ticks;
static bool watchdog_runs;
static int64_t fed_at;

static void *watch(void *unused)
{
    const char *speed = getenv("CHIP_WATCHDOG_SPEED");
    int64_t factor = speed != NULL ? atoll(speed) : 1;
    for (;;) {
        usleep(10000);
        pthread_mutex_lock(&watchdog_lock);
        int64_t limit = (int64_t)watchdog_ticks * 1000000 / rtc_clk_slow_freq_get_hz();
        /* Not the seconds of the startup. */
        limit /= limit > 60000000 ? factor : 1;
        bool bites = watchdog_runs && microseconds() - fed_at > limit;
        pthread_mutex_unlock(&watchdog_lock);
        if (bites) {
            printf("the RTC watchdog resets the chip\n");
            fflush(stdout);
            _exit(ENDED_BY_WATCHDOG);
        }
    }
    return unused;
}

uint32_t rtc_clk_slow_freq_get_hz(void)
{
    return 136000;
}

void wdt_hal_init(wdt_hal_context_t *hal, int instance, uint32_t prescaler, bool enable_interrupt)
{
    (void)hal;
    (void)instance;
    (void)prescaler;
    (void)enable_interrupt;
    static pthread_t watcher;
    if (watcher == 0) {
        pthread_create(&watcher, NULL, watch, NULL);
    }
}

void wdt_hal_write_protect_disable(wdt_hal_context_t *hal)
{
    (void)hal;
    pthread_mutex_lock(&watchdog_lock);
}

void wdt_hal_write_protect_enable(wdt_hal_context_t *hal)
{
    (void)hal;
    pthread_mutex_unlock(&watchdog_lock);
}

void wdt_hal_config_stage(wdt_hal_context_t *hal, int stage, uint32_t ticks, int action)
{
    (void)hal;
    (void)stage;
    (void)action;
    watchdog_ticks = ticks;
}

void wdt_hal_enable(wdt_hal_context_t *hal)
{
    (void)hal;
    watchdog_runs = true;
}

void wdt_hal_disable(wdt_hal_context_t *hal)
{
    (void)hal;
    watchdog_runs = false;
}

void wdt_hal_feed(wdt_hal_context_t *hal)
{
    (void)hal;
    fed_at = microseconds();
}

/* --- The end, and the beginning ------------------------------------------------------------------------------------------ */

void esp_restart(void)
{
    fflush(stdout);
    _exit(ENDED_BY_RESTART);
}

/* What becomes of a firmware: CHIP_FAULTS is a list such as `4.0.0=panic,5.0.0=hang,6.0.0=dead`. */
static bool has_fault(const char *kind)
{
    char entry[64];
    snprintf(entry, sizeof entry, "%s=%s", esp_app_get_description()->version, kind);
    const char *faults = getenv("CHIP_FAULTS");
    return faults != NULL && strstr(faults, entry) != NULL;
}

/* Before all other constructors: ESP-IDF's own startup, which an image may die in. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wprio-ctor-dtor"
__attribute__((constructor(100))) static void start_up(void)
{
    if (has_fault("dead")) {
        abort();
    }
}
#pragma GCC diagnostic pop

/* ESP-IDF runs it after the constructors. */
int main(void)
{
    ESP_LOGI("chip", "%s %s runs from slot %u", esp_app_get_description()->project_name,
             esp_app_get_description()->version, (unsigned)booted_slot());
    if (has_fault("panic")) {
        ESP_LOGE("chip", "panic");
        abort();
    }
    while (has_fault("hang")) {
        pause();
    }
    app_main();
    for (;;) {
        pause();
    }
}
