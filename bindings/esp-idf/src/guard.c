/*
 * The boot guard: counts this boot before the application runs.
 *
 * It is a constructor of the highest priority that a program may use, so it runs before those of C++. (ESP-IDF 5 does not sort
 * those with a priority of their own on RISC-V: components/esp_system/ld/esp32c3/sections.ld.in.) ESP-IDF calls them when
 * heap, log and flash are set up and before the second core runs and the scheduler starts (components/esp_system/startup.c,
 * start_cpu0_default): the last moment, by the comment there, at which flash may be written without the other core's help. What
 * crashes earlier is ESP-IDF's own startup, which the image has in common with the one that runs.
 *
 * The stack of that moment is the mask ROM's, 8 KB with ESP-IDF's own part in it (SOC_ROM_STACK_SIZE in soc.h): the guard takes
 * one from the heap. With Xtensa's register windows a stack is not changed that easily. There a task has it, which runs
 * when the scheduler starts, before app_main: the constructors of C++ are not counted.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_rom_sys.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#include "internal.h"

/* How long the guard and the rest of ESP-IDF's startup may take. The bootloader's own limit is 9 seconds. */
#define STARTUP_S 10

/* What the guard was made for: GuardMarker in crates/s3ota-image/src/app/marker.rs has the kinds. Arduino's settings say 3. */
#ifndef S3OTA_GUARD_KIND
#define S3OTA_GUARD_KIND 2
#endif
#define S3OTA_GUARD_VERSION 1

/* That an image has a boot guard: `s3ota publish` looks for these bytes, and so does a device before it gives its own guard up for
 * another image. */
static const uint8_t marker[20] = {0xF3, 's', '3', 'o', 't', 'a', '-', 'b', 'o', 'o', 't', '-', 'g', 'u', 'a', 'r', 'd',
                                   S3OTA_GUARD_KIND, S3OTA_GUARD_VERSION, S3OTA_GUARD_KIND ^ S3OTA_GUARD_VERSION ^ 0x2A};

/* The guard's stack: it takes 6.7 KB on the ESP32-C3. */
#define STACK_SIZE 10240

static s3ota_esp_idf_boot_t boot = {.running = UINT32_MAX};

/* Whether the firmware is on trial. */
static volatile bool on_trial;

/* The uptime at which the watchdog ends this boot, in microseconds; 0 if none does. */
static int64_t ends_at;

/* The linker takes this file because of it: see CMakeLists.txt. */
void s3ota_esp_idf_include_guard(void)
{
}

/* What the ROM's number for the reset says of the firmware that ran before. It means the same on all chips that have it
 * (ESP-IDF, components/soc/<chip>/include/soc/reset_reasons.h). */
static uint8_t reset_reason(void)
{
    switch ((unsigned)esp_rom_get_reset_reason(0)) {
    case 0x01: /* power on, or the reset pin */
    case 0x0f: /* brown-out */
    case 0x15: /* the cable: USB UART, */
    case 0x16: /* USB JTAG, */
    case 0x18: /* JTAG */
    case 0x17: /* a glitch of the power supply, */
    case 0x19: /* or of its efuses' */
        return S3OTA_RESET_POWER_ON;
    case 0x05:
        return S3OTA_RESET_WAKE;
    default: /* watchdogs, software, a lockup of the CPU, and what is not known */
        return S3OTA_RESET_CRASH;
    }
}

static int32_t count_boot(const s3ota_port *port, s3ota_guard *guard)
{
    memset(guard, 0, sizeof *guard);
    guard->size = sizeof *guard;
    guard->partition_table = CONFIG_PARTITION_TABLE_OFFSET;
    guard->reset = reset_reason();
    guard->trial_boots = CONFIG_S3OTA_TRIAL_BOOTS;
    return s3ota_boot_guard(port, guard);
}

/*
 * Under a bootloader with app rollback a trial has one boot: at the next, whatever its reason, the bootloader gives up what is
 * "pending verify". This firmware has come as far as its guard, so the bootloader has done its part. It is told "valid", and
 * from here on the guard counts, as under any other bootloader. The record says to s3ota that the trial goes on: it goes by the
 * label that it wrote, not by the state.
 *
 * Writing the record erases its sector, and the count of this boot with it, so it is counted again. Should power fail in
 * between, the other record is in force, and the old firmware boots.
 */
static int32_t take_over(const s3ota_port *port, s3ota_guard *guard)
{
#if CONFIG_S3OTA_TRIAL_TAKES_OVER
    if (!s3ota_otadata_mark_valid(port)) {
        ESP_LOGW(TAG, "the bootloader's rollback cannot be taken over: this trial has one boot");
        return S3OTA_ON_TRIAL;
    }
    return count_boot(port, guard);
#else
    (void)port;
    (void)guard;
    return S3OTA_ON_TRIAL;
#endif
}

/* Whether a firmware may be on trial though the guard failed. It is not where the library cannot have begun a trial. */
static bool is_in_doubt(int32_t result)
{
    return result < 0 && result != S3OTA_ERR_FLASH_LAYOUT;
}

static void tell(const s3ota_guard *guard, int32_t result)
{
    if (result < 0) {
        ESP_LOGE(TAG, "the boot guard could do nothing (%s)", s3ota_error_name(result));
    } else if (result == S3OTA_ON_TRIAL) {
        ESP_LOGI(TAG, "on trial, boot %" PRIu32 " of %u", guard->boot, guard->of);
    } else if (result == S3OTA_FELL_BACK) {
        ESP_LOGW(TAG, "the bootloader refused the new firmware, and booted this one");
    }
}

static void guard_boot(void)
{
    /* The linker keeps what is used. */
    __asm__ volatile("" : : "r"(marker));
    s3ota_port port;
    memset(&port, 0, sizeof port);
    port.size = sizeof port;
    s3ota_guard guard = {0};
    int32_t result = S3OTA_ERR_FLASH_IO;
    if (s3ota_port_set_flash(&port)) {
        boot.running = port.running;
        result = count_boot(&port, &guard);
    }
    if (result == S3OTA_ON_TRIAL && guard.bootloader == S3OTA_BOOTLOADER_APP_ROLLBACK) {
        result = take_over(&port, &guard);
    }
    if (result == S3OTA_GIVEN_UP) {
        ESP_LOGE(TAG, "given up: going back to the old firmware");
        esp_restart();
    }
    boot.boot = guard.boot;
    boot.of = guard.of;
    on_trial = result == S3OTA_ON_TRIAL;
    if (on_trial || is_in_doubt(result)) {
        uint32_t seconds = CONFIG_S3OTA_TRIAL_MINUTES * 60;
        s3ota_watchdog_arm(seconds);
        ends_at = esp_timer_get_time() + (int64_t)seconds * 1000000;
    } else {
        s3ota_watchdog_off();
    }
    tell(&guard, result);
    boot.result = result;
}

#if __riscv

/* Calls a function on another stack. */
__attribute__((noinline)) static void call_on_stack(void (*function)(void), void *top)
{
    __asm__ volatile("mv s1, sp\n"
                     "mv sp, %1\n"
                     "jalr %0\n"
                     "mv sp, s1\n"
                     :
                     : "r"(function), "r"(top)
                     : "s1", "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7",
                       "memory");
}

static void begin(void)
{
    uint8_t *stack = heap_caps_aligned_alloc(16, STACK_SIZE, MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT);
    if (stack == NULL) {
        abort();
    }
    call_on_stack(guard_boot, stack + STACK_SIZE);
    heap_caps_free(stack);
}

#elif __XTENSA__

static void guard_task(void *unused)
{
    (void)unused;
    guard_boot();
    vTaskDelete(NULL);
}

/* On the core of app_main, and before it: nothing has a higher priority. */
static void begin(void)
{
    if (xTaskCreatePinnedToCore(guard_task, "s3ota_guard", STACK_SIZE, NULL, configMAX_PRIORITIES - 1, NULL, 0) != pdPASS) {
        abort();
    }
}

#else

/* This machine, in a test. */
static void begin(void)
{
    guard_boot();
}

#endif

__attribute__((constructor(101))) static void guard_first(void)
{
    s3ota_watchdog_arm(STARTUP_S);
    begin();
}

const s3ota_esp_idf_boot_t *s3ota_esp_idf_boot(void)
{
    return &boot;
}

bool s3ota_esp_idf_is_on_trial(void)
{
    return on_trial;
}

uint32_t s3ota_trial_left_ms(void)
{
    if (ends_at == 0) {
        return UINT32_MAX;
    }
    int64_t left = (ends_at - esp_timer_get_time()) / 1000;
    return left > 0 ? (uint32_t)left : 0;
}

void s3ota_trial_is_over(void)
{
    on_trial = false;
    ends_at = 0;
    s3ota_watchdog_off();
}
