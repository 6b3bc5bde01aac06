#pragma once
#include <atomic>

#include "Arduino.h"

typedef enum {
  WL_NO_SHIELD = 255,
  WL_IDLE_STATUS = 0,
  WL_NO_SSID_AVAIL = 1,
  WL_CONNECTED = 3,
  WL_CONNECT_FAILED = 4,
  WL_CONNECTION_LOST = 5,
  WL_DISCONNECTED = 6
} wl_status_t;

typedef enum { WIFI_OFF = 0, WIFI_STA = 1, WIFI_AP = 2, WIFI_AP_STA = 3 } wifi_mode_t;

/* Connected a moment after begin, unless S3OTA_SIM_WIFI is `off`. */
class WiFiClass {
 public:
  wl_status_t begin(const char* ssid, const char* password = nullptr);
  wl_status_t status();
  bool mode(wifi_mode_t mode) { return mode <= WIFI_AP_STA; }
  bool isConnected() { return status() == WL_CONNECTED; }
  bool disconnect(bool off = false);
  void setAutoReconnect(bool on) { (void)on; }
  void setSleep(bool on) { (void)on; }
  IPAddress localIP() { return IPAddress(192, 168, 4, 2); }
  int32_t RSSI() { return -50; }
  String SSID() { return String("stand-in"); }
  String macAddress() { return String("AA:BB:CC:DD:EE:FF"); }

 private:
  std::atomic<unsigned long> _since{0};
  std::atomic<bool> _begun{false};
};

extern WiFiClass WiFi;

class WiFiClient {};
