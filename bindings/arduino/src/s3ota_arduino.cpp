/*
 * What makes a sketch with this library one that can be rolled back. It is in a source file of its own, which the Arduino IDE
 * and PlatformIO link as an object: the linker would not take an archive's member for what the core defines weakly.
 */
#include <stdint.h>

extern "C" {
#include "port/internal.h"

/* 2026-01-01: this library is not older. */
int64_t s3ota_arduino_built_at = INT64_C(1767225600);

/*
 * The core asks before setup() whether it is to confirm the firmware itself (initArduino in cores/esp32/esp32-hal-misc.c). It
 * is not: the library does, when the firmware has shown that it could be updated.
 */
bool verifyRollbackLater() { return true; }
}
