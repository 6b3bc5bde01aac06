#pragma once
#include "Print.h"

class HardwareSerial : public Print {
 public:
  void begin(unsigned long baud) { (void)baud; }
  void flush() {}
  int available() { return 0; }
  int read() { return -1; }
  void setDebugOutput(bool on) { (void)on; }
  explicit operator bool() const { return true; }
  size_t write(uint8_t byte) override;
  size_t write(const uint8_t* bytes, size_t length) override;
};

extern HardwareSerial Serial;
