// An ESP32 that keeps itself up to date from an S3 bucket.
//
//   1. s3ota bucket init s3://my-bucket/lamp --region eu-central-1
//   2. put the URL that it prints, and your Wi-Fi, into this sketch, and upload it by cable
//   3. raise VERSION, Sketch > Export Compiled Binary, and
//      s3ota publish build/*/Simple.ino.bin s3://my-bucket/lamp
//   The board has the new version within the hour, or at its next start.
#include <S3Ota.h>
#include <WiFi.h>

#define VERSION "1.0.0"
#define MANIFEST_URL "https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json"

const char* WIFI_NAME = "my network";
const char* WIFI_PASSWORD = "its password";

// An update needs 14 KB of stack; the Arduino task has 8 by default.
SET_LOOP_TASK_STACK_SIZE(16 * 1024);

S3Ota ota;

void setup() {
  Serial.begin(115200);
  Serial.println("This is " VERSION);
  WiFi.begin(WIFI_NAME, WIFI_PASSWORD);
  if (!ota.begin(MANIFEST_URL, VERSION)) Serial.println(ota.lastErrorText());
}

void loop() {
  ota.loop();
  // Your own code. Let it come back here within a second or so.
}
