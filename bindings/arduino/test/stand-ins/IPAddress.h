#pragma once
#include <stdint.h>

#include "WString.h"

class IPAddress {
 public:
  IPAddress() : _bytes{0, 0, 0, 0} {}
  IPAddress(uint8_t a, uint8_t b, uint8_t c, uint8_t d) : _bytes{a, b, c, d} {}
  String toString() const {
    return String(_bytes[0]) + "." + String(_bytes[1]) + "." + String(_bytes[2]) + "." + String(_bytes[3]);
  }

 private:
  uint8_t _bytes[4];
};
