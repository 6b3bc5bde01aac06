// A sketch as people write it for AwsS3Ota 2: with all of its methods and callbacks.
#include <AwsS3Ota.h>

#define FIRMWARE_VERSION "2.4.1"

const char* ROOT_CA = "";  // the test puts a PEM text here

AwsOta updater;
int checks = 0;

void setup() {
  Serial.begin(115200);
  Serial.println("kettle " FIRMWARE_VERSION);
  WiFi.begin("network", "password");
  while (WiFi.status() != WL_CONNECTED) delay(250);

  updater.setDebug(true);
  updater.setAutoTaskSuspend(false);
  updater.setMaxRetries(2);
  updater.setHttpTimeout(30);
  updater.onStart([]() { Serial.printf("check %d\n", ++checks); });
  updater.onProgress([](int percent) { Serial.printf("progress %d\n", percent); });
  updater.onComplete([]() { Serial.println("complete"); });
  updater.onError([](const char* message) { Serial.printf("error: %s\n", message); });
  updater.onNoUpdate([]() { Serial.println("no update"); });
  updater.begin("https://updates.example.com/devices/kettle/stable.json", FIRMWARE_VERSION, ROOT_CA);
  updater.checkOnBoot();
  updater.checkEvery(15 * 60 * 1000UL);
}

void loop() {
  static bool pressed = false;
  if (digitalRead(0) == LOW && !pressed) {
    pressed = true;
    Serial.println(updater.checkNow() ? "updated" : "not updated");
  }
  delay(100);
}
