// A sketch as people wrote it for AwsS3Ota 1: its class, the URL in two parts, callbacks that are functions further down.
#include <AwsS3Ota.h>

#define FIRMWARE_VERSION "0.9.3"

const char* API = "https://abc123.execute-api.us-east-1.amazonaws.com";
const char* ENDPOINT = "/prod/firmware";
const char* AWS_ROOT = nullptr;

AwsS3Ota ota;
TaskHandle_t mainTask = NULL;

void setup() {
  Serial.begin(115200);
  mainTask = xTaskGetCurrentTaskHandle();
  WiFi.begin("network", "password");

  ota.setDebug(true);
  ota.setStartupDelay(3000);
  ota.setMaxRetries(3);
  ota.onCheckStart(mayCheck);
  ota.onSuspendTasks(suspendTasks);
  ota.onResumeTasks(resumeTasks);
  ota.onOtaStarted(started);
  ota.onOtaProgress([]() {
    static int calls = 0;
    if (++calls == 1) Serial.println("progress");
  });
  ota.onOtaFailed(failed);
  ota.onOtaFinished([]() { Serial.println("finished"); });
  ota.onOtaUpToDate([]() { Serial.println("up to date"); });
  ota.begin(API, ENDPOINT, FIRMWARE_VERSION, AWS_ROOT);
  ota.startBootCheckTask("otaCheckTask", 8192, 1);
}

void loop() { vTaskDelay(pdMS_TO_TICKS(50)); }

bool mayCheck() {
  Serial.println("may check");
  return true;
}

bool suspendTasks() {
  Serial.println("suspend");
  vTaskSuspend(mainTask);
  return true;
}

bool resumeTasks() {
  Serial.println("resume");
  vTaskResume(mainTask);
  return true;
}

void started() { Serial.println("started"); }

void failed(const char* reason) { Serial.printf("failed: %s\n", reason); }
