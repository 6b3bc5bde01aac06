#pragma once
#include <stddef.h>
#define SPI_FLASH_SEC_SIZE 4096
#define SPI_FLASH_CACHE2PHYS_FAIL ((size_t)-1)
#ifdef __cplusplus
extern "C"
#endif
size_t spi_flash_cache2phys(const void* address);
