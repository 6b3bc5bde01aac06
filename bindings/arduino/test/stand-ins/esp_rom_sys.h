#pragma once
/* The number S3OTA_SIM_RESET. */
#ifdef __cplusplus
extern "C"
#endif
int esp_rom_get_reset_reason(int cpu);
