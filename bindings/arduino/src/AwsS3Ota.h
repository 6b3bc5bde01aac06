/*
 * AwsS3Ota.h: for sketches written for the library AwsS3Ota.
 *
 * The class AwsOta has the methods, callbacks and defaults of AwsS3Ota 2, and those of 1 under the name AwsS3Ota. The work is
 * done by S3Ota: strict TLS 1.3, resumed downloads, trial boots and rollback. What differs is in README.md. New sketches
 * should use S3Ota.h.
 */
#ifndef S3OTA_AWS_S3_OTA_H
#define S3OTA_AWS_S3_OTA_H

#include <Arduino.h>

#if !defined(ESP32)
#error "AwsS3Ota is for the ESP32 family: choose such a board"
#endif

#include <WiFi.h>
// Sketches may rely on what the header of that library included. This library itself needs none of it.
#ifndef S3OTA_LIBRARY_ITSELF
#include <HTTPClient.h>
#include <Update.h>
#include <WiFiClientSecure.h>
#endif
#include <freertos/FreeRTOS.h>
#include <freertos/semphr.h>
#include <freertos/task.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <vector>

#include "S3Ota.h"

typedef std::function<void(void)> OtaEventCallback_t;
typedef std::function<void(const char* message)> OtaErrorCallback_t;
typedef std::function<void(int progress)> OtaProgressCallback_t;
typedef std::function<bool(void)> OtaTaskControlCallback_t;
typedef std::function<bool(void)> OtaCheckCallback_t;

class AwsOta {
 public:
  AwsOta();
  ~AwsOta();
  AwsOta(const AwsOta&) = delete;
  AwsOta& operator=(const AwsOta&) = delete;

  /* The URL of the manifest, the sketch's version, and the roots to trust, as PEM; nullptr for Amazon's, which are built in. A
   * firmware on trial is confirmed from here on, as soon as it reaches its server. All three are copied. */
  S3OTA_ALWAYS void begin(const char* manifestUrl, const char* currentVersion, const char* rootCa) {
    _marker = currentVersion != nullptr ? s3ota::mark(currentVersion) : nullptr;
    configure(manifestUrl, "", currentVersion, rootCa);
  }
  /* AwsS3Ota 1: the URL in two parts. */
  S3OTA_ALWAYS void begin(const char* apiBaseUrl, const char* firmwareEndpoint, const char* currentVersion,
                          const char* rootCa) {
    _marker = currentVersion != nullptr ? s3ota::mark(currentVersion) : nullptr;
    configure(apiBaseUrl, firmwareEndpoint, currentVersion, rootCa);
  }

  /* Checks once, so many seconds after the network is there, in a task. */
  void checkOnBoot(int delaySeconds = 10);
  /* Checks again and again, the first time so many milliseconds after the network is there, in a task. */
  void checkEvery(unsigned long intervalMs);
  /* Checks now, and waits for the end. The chip restarts if there is a new firmware; false if there is none, or if a check is
   * under way. */
  bool checkNow();

  /* Accepted; no task is suspended, with true or false. */
  void setAutoTaskSuspend(bool enabled) { _autoTaskSuspend = enabled; }
  /* Prints to Serial what happens. */
  void setDebug(bool enabled) { _debug = enabled; }
  /* Attempts for an update. */
  void setMaxRetries(int retries);
  /* The longest silence on a connection. */
  void setHttpTimeout(int timeoutSeconds);

  /* They run in the library's task. onStart comes at the begin of each check. */
  void onStart(OtaEventCallback_t cb) { set(_onStart, cb); }
  /* Percent, in tens. */
  void onProgress(OtaProgressCallback_t cb) { set(_onProgress, cb); }
  void onComplete(OtaEventCallback_t cb) { set(_onComplete, cb); }
  void onError(OtaErrorCallback_t cb) { set(_onError, cb); }
  void onNoUpdate(OtaEventCallback_t cb) { set(_onNoUpdate, cb); }

  /* --- AwsS3Ota 1 --- */

  /* As checkNow. */
  bool checkAndUpdate(bool userInitiated = false);
  /* As checkOnBoot, after setStartupDelay. The stack is made as large as an update needs. */
  void startBootCheckTask(const char* taskName = "otaCheckTask", uint32_t stackSize = 8192, UBaseType_t priority = 1);
  void setStartupDelay(unsigned long delayMs) { _startupDelayMs = delayMs; }
  /* false: no check now. */
  void onCheckStart(OtaCheckCallback_t cb) { set(_onCheckStart, cb); }
  /* Before a check; false ends it. And after it, unless the chip restarts. */
  void onSuspendTasks(OtaTaskControlCallback_t cb) { set(_onSuspendTasks, cb); }
  void onResumeTasks(OtaTaskControlCallback_t cb) { set(_onResumeTasks, cb); }
  void onOtaStarted(OtaEventCallback_t cb) { set(_onOtaStarted, cb); }
  void onOtaFinished(OtaEventCallback_t cb) { set(_onOtaFinished, cb); }
  void onOtaFailed(OtaErrorCallback_t cb) { set(_onOtaFailed, cb); }
  void onOtaUpToDate(OtaEventCallback_t cb) { set(_onOtaUpToDate, cb); }
  void onOtaProgress(OtaEventCallback_t cb) { set(_onOtaProgress, cb); }

  /* --- What AwsS3Ota did not have --- */

  /* The library below, for its settings: release keys, board, headers. They count from the next check on. */
  S3Ota& library() { return _ota; }

 private:
  /* The task may be at work while the sketch sets what it uses. */
  template <typename T>
  void set(T& to, const T& value) {
    std::lock_guard<std::mutex> held(_sharing);
    to = value;
  }
  template <typename T>
  T shared(const T& value) {
    std::lock_guard<std::mutex> held(_sharing);
    return value;
  }
  void tell(const OtaEventCallback_t& event);
  void configure(const char* base, const char* endpoint, const char* version, const char* rootCa);
  bool wake(const char* name, uint32_t stack, UBaseType_t priority);
  static void begun(void* self);
  void wakeOnTrial();
  static void task(void* self);
  void work();
  bool rest(uint32_t ms);
  bool restUntilDue();
  void onTrial();
  bool isIdle();
  bool attempt();
  bool prepare();
  bool answer(int result);
  bool failed(const char* text);
  void progress(size_t written, size_t total);
  void log(const char* format, ...) __attribute__((format(printf, 2, 3)));

  S3Ota _ota;
  const s3ota::VersionMarker* volatile _marker;
  std::mutex _sharing;
  String _url, _version, _rootCa;
  std::atomic<bool> _debug, _autoTaskSuspend;
  std::atomic<int> _maxRetries, _httpTimeout;
  unsigned long _startupDelayMs;

  /* Between the sketch's tasks and the one below. */
  SemaphoreHandle_t _lock, _answered;
  std::atomic<TaskHandle_t> _task;
  std::atomic<bool> _bootPending, _asked, _working, _ending, _beginning, _result;
  std::atomic<uint32_t> _bootDelayMs, _intervalMs;

  /* Of the task. */
  bool _wasOnline;
  uint32_t _onlineSince, _lastCheck;
  int _tens;
  String _problem;

  OtaEventCallback_t _onStart, _onComplete, _onNoUpdate;
  OtaErrorCallback_t _onError;
  OtaProgressCallback_t _onProgress;
  OtaCheckCallback_t _onCheckStart;
  OtaTaskControlCallback_t _onSuspendTasks, _onResumeTasks;
  OtaEventCallback_t _onOtaStarted, _onOtaFinished, _onOtaUpToDate, _onOtaProgress;
  OtaErrorCallback_t _onOtaFailed;
};

/* The name of the class in AwsS3Ota 1. */
typedef AwsOta AwsS3Ota;

#endif
