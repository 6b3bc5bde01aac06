// The same with all that one may want: a task of its own, signed releases, a say in when to update, a self-test that confirms
// new firmware, a button that checks at once, and a word about each step.
#include <S3Ota.h>
#include <WiFi.h>

#define VERSION "1.0.0"
#define MANIFEST_URL "https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json"
#define BUTTON 0
#define LED 2

const char* WIFI_NAME = "my network";
const char* WIFI_PASSWORD = "its password";

// Put the text of release.key.pub here, which `s3ota keygen` wrote. From then on this device installs only what you signed:
//   s3ota publish Advanced.ino.bin s3://my-bucket/lamp --key release.key --expires 90d
const char* RELEASE_KEY = nullptr;

S3Ota ota;

// Whatever shows that this firmware does what it is for.
bool selfTest() { return WiFi.status() == WL_CONNECTED; }

void setup() {
  Serial.begin(115200);
  pinMode(BUTTON, INPUT_PULLUP);
  pinMode(LED, OUTPUT);
  Serial.printf("This is %s, %s\n", VERSION, S3Ota::name(S3Ota::bootResult()));
  if (S3Ota::isOnTrial()) {
    Serial.printf("on trial: boot %u of %u\n", (unsigned)S3Ota::trialBoot(), (unsigned)S3Ota::trialBoots());
  }
  WiFi.begin(WIFI_NAME, WIFI_PASSWORD);
  // A device that knows the date refuses what has expired.
  configTime(0, 0, "pool.ntp.org");

  ota.setLog(Serial);
  if (RELEASE_KEY != nullptr) ota.addReleaseKey(RELEASE_KEY);
  ota.setInterval(6 * 60 * 60 * 1000UL);
  ota.confirmBySketch(true);

  ota.mayStart([](const char* version) {
    Serial.printf("there is %s\n", version);
    return true;  // false: not now, ask me at the next check
  });
  ota.onStart([](const char* version) {
    Serial.printf("installing %s\n", version);
    digitalWrite(LED, HIGH);
  });
  ota.onProgress([](size_t written, size_t total) {
    static unsigned tens = 0;
    const unsigned now = total > 0 ? (unsigned)(written * 10ULL / total) : 0;
    if (now != tens) Serial.printf("%u%%\n", now * 10);
    tens = now;
  });
  ota.onNoUpdate([](int code) { Serial.printf("no update: %s\n", S3Ota::name(code)); });
  ota.onError([](int code, const char* text, uint32_t retryMs) {
    Serial.printf("%s: %s\n", S3Ota::name(code), text);
    if (retryMs != S3OTA_NONE) Serial.printf("again in %u s\n", (unsigned)(retryMs / 1000));
  });
  ota.onStop([]() { digitalWrite(LED, LOW); });
  ota.onComplete([](const char* version) { Serial.printf("%s is installed\n", version); });
  ota.beforeRestart([](int) { Serial.println("restarting"); });

  if (!ota.begin(MANIFEST_URL, VERSION) || !ota.startTask()) Serial.println(ota.lastErrorText());
}

void loop() {
  if (S3Ota::isOnTrial() && selfTest() && ota.confirm() == S3OTA_OK) Serial.println("this firmware stays");
  if (digitalRead(BUTTON) == LOW) ota.checkNow();
  delay(200);
}
