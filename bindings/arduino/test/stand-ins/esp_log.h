#pragma once
#include <stdio.h>
#define ESP_LOGE(tag, ...) ESP_LOG_STAND_IN("E", tag, __VA_ARGS__)
#define ESP_LOGW(tag, ...) ESP_LOG_STAND_IN("W", tag, __VA_ARGS__)
#define ESP_LOGI(tag, ...) ESP_LOG_STAND_IN("I", tag, __VA_ARGS__)
#define ESP_LOGD(tag, ...) ESP_LOG_STAND_IN("D", tag, __VA_ARGS__)
#define ESP_LOG_STAND_IN(level, tag, ...)   \
  do {                                      \
    printf(level " (%s) ", tag);            \
    printf(__VA_ARGS__);                    \
    printf("\n");                           \
    fflush(stdout);                         \
  } while (0)
