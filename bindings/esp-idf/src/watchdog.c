/* The RTC watchdog, which goes on whatever the program does: interrupts off, tasks starved, the other core hung. */

#include "hal/wdt_hal.h"
#include "soc/rtc.h"

#include "internal.h"

void s3ota_watchdog_arm(uint32_t seconds)
{
    uint32_t clock = rtc_clk_slow_freq_get_hz();
    uint32_t most = UINT32_MAX / clock;
    wdt_hal_context_t watchdog = RWDT_HAL_CONTEXT_DEFAULT();
    wdt_hal_init(&watchdog, WDT_RWDT, 0, false);
    wdt_hal_write_protect_disable(&watchdog);
    wdt_hal_config_stage(&watchdog, WDT_STAGE0, (seconds < most ? seconds : most) * clock, WDT_STAGE_ACTION_RESET_RTC);
    wdt_hal_enable(&watchdog);
    wdt_hal_feed(&watchdog);
    wdt_hal_write_protect_enable(&watchdog);
}

void s3ota_watchdog_off(void)
{
    wdt_hal_context_t watchdog = RWDT_HAL_CONTEXT_DEFAULT();
    wdt_hal_write_protect_disable(&watchdog);
    wdt_hal_disable(&watchdog);
    wdt_hal_write_protect_enable(&watchdog);
}
