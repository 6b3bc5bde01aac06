// A firmware without anything in it but a version, for the compilers of the chips: the linker must keep the marker.
#include "s3ota_version.h"

extern "C" {
unsigned strlen(const char* text);
const void* volatile seen;
void entry();
}

struct Ota {
  S3OTA_ALWAYS void begin(const char* url, const char* version) {
    seen = s3ota::mark(version);
    seen = url;
    seen = version;
  }
};

#ifdef BY_MACRO
#define GIVEN S3OTA_VERSION(VERSION)
#else
#define GIVEN VERSION
#endif

// Nothing calls it: what it has in it must not count.
extern "C" void dropped() {
  Ota ota;
  ota.begin("https://example.com/", "0.0.1-dropped");
}

extern "C" void entry() {
  Ota ota;
  ota.begin("https://example.com/", GIVEN);
}
