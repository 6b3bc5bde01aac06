// The Arduino task's stack as it is by default is too small: the library says so, and does not crash.
#include <S3Ota.h>
#include <WiFi.h>

S3Ota ota;

void setup() {
  WiFi.begin("network", "password");
  ota.onError([](int code, const char* text, uint32_t) { Serial.printf("error %s: %s\n", S3Ota::name(code), text); });
  ota.begin("https://updates.example.com/devices/lamp/stable.json", "1.0.0");
}

void loop() {
  static int turns = 0;
  if (ota.loop() != S3OTA_ERR_MEMORY || ota.update() != S3OTA_ERR_MEMORY || ota.rollBack() != S3OTA_ERR_MEMORY) abort();
  if (++turns == 10) Serial.println("it was refused ten times");
  delay(10);
}
