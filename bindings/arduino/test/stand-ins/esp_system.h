#pragma once
#include "esp_err.h"
/* Ends the program: its caller starts it again. */
#ifdef __cplusplus
extern "C"
#endif
void esp_restart(void) __attribute__((noreturn));
