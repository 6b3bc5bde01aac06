// 1.1.0 of this crashes, and 1.2.0 never reaches its server.
#include <S3Ota.h>
#include <WiFi.h>

SET_LOOP_TASK_STACK_SIZE(16 * 1024);

#define VERSION "1.0.0"

S3Ota ota;

void setup() {
  Serial.begin(115200);
  Serial.printf("%s: %s\n", VERSION, S3Ota::name(S3Ota::bootResult()));
  // By a String, so that the compiler does not know: it would drop what follows, and the marker of the version with it.
  const String version(VERSION);
  if (version == "1.1.0") abort();
  if (version != "1.2.0") WiFi.begin("network", "password");
  ota.setInterval(20 * 1000, 1000);
  ota.onNoUpdate([](int code) { Serial.printf("no update: %s\n", S3Ota::name(code)); });
  ota.onError([](int code, const char* text, uint32_t) { Serial.printf("error %s: %s\n", S3Ota::name(code), text); });
  ota.onConfirmed([]() { Serial.println("confirmed"); });
  ota.beforeRestart([](int why) { Serial.printf("before restart: %s\n", S3Ota::name(why)); });
  ota.begin("https://updates.example.com/devices/lamp/stable.json", S3OTA_VERSION(VERSION));
}

void loop() {
  ota.loop();
  delay(1);
}
