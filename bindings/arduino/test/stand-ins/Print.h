#pragma once
#include <stddef.h>
#include <stdint.h>

#include "WString.h"

class IPAddress;

class Print {
 public:
  virtual ~Print() {}
  virtual size_t write(uint8_t byte) = 0;
  virtual size_t write(const uint8_t* bytes, size_t length);
  size_t print(const char* text);
  size_t print(const String& text) { return print(text.c_str()); }
  size_t print(char character);
  size_t print(int number);
  size_t print(unsigned int number);
  size_t print(long number);
  size_t print(unsigned long number);
  size_t print(double number, int digits = 2);
  size_t print(const IPAddress& address);
  size_t println() { return print("\r\n"); }
  template <typename T>
  size_t println(const T& value) {
    const size_t length = print(value);
    return length + println();
  }
  size_t printf(const char* format, ...) __attribute__((format(printf, 2, 3)));
};
