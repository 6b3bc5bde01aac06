// What the class promises, called as nobody should.
#include <S3Ota.h>
#include <WiFi.h>

#define URL "https://updates.example.com/devices/lamp/stable.json"
#define VERSION "1.0.0"

SET_LOOP_TASK_STACK_SIZE(32 * 1024);

S3Ota ota;
int inCallback = 0;

void expect(bool holds, const char* what) {
  Serial.printf("%s: %s\n", holds ? "good" : "BAD", what);
  if (!holds) abort();
}

/* A call, until the task is not in the middle of a check. */
int patiently(int (*call)()) {
  int result;
  while ((result = call()) == S3OTA_ERR_BUSY) delay(10);
  return result;
}

void setup() {
  Serial.begin(115200);
  expect(S3Ota::bootResult() == S3OTA_CONFIRMED && !S3Ota::isOnTrial(), "a first firmware is confirmed");
  expect(S3Ota::trialBoot() == 0, "and has no boots of a trial");

  expect(ota.loop() == S3OTA_ERR_STATE && ota.update() == S3OTA_ERR_STATE && ota.check() == S3OTA_ERR_STATE, "nothing before begin");
  expect(ota.confirm() == S3OTA_ERR_STATE && !ota.startTask() && ota.end(), "nor anything else");
  ota.checkNow();
  ota.cancel();
  expect(!ota.begin(URL, nullptr), "no version");
  expect(ota.lastError() == S3OTA_ERR_TEXT && ota.lastErrorText().length() > 0, "is an error with a text");
  expect(!ota.begin(nullptr, VERSION), "no URL");

  expect(!ota.addRootCa("not PEM") && !ota.addRootCa("") && !ota.addRootCa(nullptr), "what is no certificate is refused");
  expect(!ota.addReleaseKey("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n"), "and what is no key");
  for (int i = 0; i < S3OTA_MAX_HEADERS; i++) expect(ota.addHeader("x-token", "1"), "a header");
  expect(!ota.addHeader("x-token", "1"), "one header too many");

  WiFi.begin("network", "password");
  while (WiFi.status() != WL_CONNECTED) delay(100);

  ota.restartWhenDone(false);
  expect(ota.begin(String(URL), VERSION), "a String is a URL, too");
  expect(!ota.clearRootCas(), "roots in use are not cleared");
  ota.mayStart([](const char*) {
    inCallback++;
    expect(ota.loop() == S3OTA_ERR_BUSY && ota.update() == S3OTA_ERR_BUSY && ota.confirm() == S3OTA_ERR_BUSY, "busy in a callback");
    expect(!ota.end() && !ota.begin(URL, VERSION), "and it cannot be ended there");
    ota.checkNow();
    return false;
  });
  String version;
  expect(ota.check(&version) == S3OTA_AVAILABLE && version == "1.1.0", "there is 1.1.0");
  expect(ota.update() == S3OTA_VETOED && inCallback == 1, "a veto");
  expect(ota.rollBack() == S3OTA_ERR_UPDATE_ROLLBACK && ota.lastErrorText().length() > 0, "there is nothing to go back to");
  expect(ota.confirm() == S3OTA_CONFIRMED, "it is confirmed already");
  expect(ota.begin(URL, VERSION), "begin again");

  expect(ota.startTask(), "a task");
  expect(!ota.startTask() && ota.loop() == S3OTA_ERR_BUSY, "one task, and no loop() beside it");
  expect(patiently([] { return ota.confirm(); }) == S3OTA_CONFIRMED, "the task answers that it is confirmed");
  expect(patiently([] { return ota.rollBack(); }) == S3OTA_ERR_UPDATE_ROLLBACK, "and that there is nothing to go back to");
  expect(ota.end() && ota.end(), "it can be ended while its task runs");
  expect(ota.begin(URL, VERSION) && ota.startTask() && ota.end(), "and at once after its begin");

  ota.mayStart(nullptr);
  S3Ota second;
  second.restartWhenDone(false);
  // No literal: the image has one version.
  expect(second.begin(URL, String("v1.9").c_str()), "another");
  expect(second.update() == S3OTA_ERR_RELEASE_DOWNGRADE, "an older release is refused");
  expect(second.end(), "and ended");

  expect(ota.begin(URL, VERSION), "begin");
  ota.checkNow();
  int result;
  do result = ota.loop();
  while (result == S3OTA_WORKING || result == S3OTA_WAITING);
  expect(result == S3OTA_INSTALLED && ota.loop() == S3OTA_INSTALLED, "installed, and it says so until the restart");
  Serial.println("API holds");
  ESP.restart();
}

void loop() {}
