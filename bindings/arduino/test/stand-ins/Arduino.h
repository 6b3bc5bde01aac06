/* A stand-in for the Arduino core's header: see README.md. */
#pragma once

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "esp_system.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#ifdef __cplusplus
#include <algorithm>
#include <cmath>

#include "Esp.h"
#include "HardwareSerial.h"
#include "IPAddress.h"
#include "Print.h"
#include "WString.h"

using std::max;
using std::min;
#endif

#define LOW 0x0
#define HIGH 0x1
#define INPUT 0x01
#define OUTPUT 0x03
#define INPUT_PULLUP 0x05
#define LED_BUILTIN 2
#define PROGMEM
#define F(text) (text)
#define IRAM_ATTR

typedef uint8_t byte;
typedef bool boolean;

#ifdef __cplusplus
extern "C" {
#endif

unsigned long millis(void);
unsigned long micros(void);
void delay(uint32_t ms);
void delayMicroseconds(uint32_t us);
void yield(void);
void pinMode(uint8_t pin, uint8_t mode);
void digitalWrite(uint8_t pin, uint8_t value);
int digitalRead(uint8_t pin);
void configTime(long gmtOffset, int daylightOffset, const char* server1, const char* server2, const char* server3);

#ifdef __cplusplus
}

inline void configTime(long gmtOffset, int daylightOffset, const char* server) {
  configTime(gmtOffset, daylightOffset, server, nullptr, nullptr);
}

size_t getArduinoLoopTaskStackSize();
#define SET_LOOP_TASK_STACK_SIZE(size) \
  size_t getArduinoLoopTaskStackSize() { return size; }

long random(long end);
long random(long begin, long end);

void setup();
void loop();
#endif
