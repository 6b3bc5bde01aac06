#pragma once
#include <stdint.h>

class EspClass {
 public:
  uint32_t getFreeHeap() { return 200000; }
  uint32_t getMaxAllocHeap() { return 110000; }
  uint64_t getEfuseMac();
  const char* getChipModel() { return "ESP32"; }
  void restart() __attribute__((noreturn));
};

extern EspClass ESP;
