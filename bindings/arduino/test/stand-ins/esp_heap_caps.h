#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#define MALLOC_CAP_8BIT 4
#define MALLOC_CAP_INTERNAL 2048
#define heap_caps_aligned_alloc(alignment, size, caps) aligned_alloc(alignment, size)
#define heap_caps_free(memory) free(memory)
