/* The RTC watchdog ends the program, as a reset would. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
typedef struct {
  uint32_t ticks;
} wdt_hal_context_t;
#define RWDT_HAL_CONTEXT_DEFAULT() {0}
#define WDT_RWDT 0
#define WDT_STAGE0 0
#define WDT_STAGE_ACTION_RESET_RTC 3
#ifdef __cplusplus
extern "C" {
#endif
void wdt_hal_init(wdt_hal_context_t* hal, int instance, uint32_t prescaler, bool interrupt);
void wdt_hal_config_stage(wdt_hal_context_t* hal, int stage, uint32_t ticks, int action);
void wdt_hal_write_protect_disable(wdt_hal_context_t* hal);
void wdt_hal_write_protect_enable(wdt_hal_context_t* hal);
void wdt_hal_enable(wdt_hal_context_t* hal);
void wdt_hal_disable(wdt_hal_context_t* hal);
void wdt_hal_feed(wdt_hal_context_t* hal);
#ifdef __cplusplus
}
#endif
