#pragma once
#include <stdint.h>

#include "sdkconfig.h"

typedef int BaseType_t;
typedef unsigned int UBaseType_t;
typedef uint32_t TickType_t;

#define pdTRUE 1
#define pdFALSE 0
#define pdPASS 1
#define pdFAIL 0
#define portMAX_DELAY 0xffffffffu
#define configTICK_RATE_HZ CONFIG_FREERTOS_HZ
/* With ESP-IDF's overflow. */
#define pdMS_TO_TICKS(ms) ((TickType_t)(((TickType_t)(ms) * (TickType_t)configTICK_RATE_HZ) / (TickType_t)1000U))
#define portTICK_PERIOD_MS ((TickType_t)1000 / configTICK_RATE_HZ)
#define configMAX_PRIORITIES 25
#define tskNO_AFFINITY 0x7fffffff
