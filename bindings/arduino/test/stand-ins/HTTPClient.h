#pragma once
#include "WiFiClientSecure.h"

/* Nothing that is tested uses it: it is there to be included. */
class HTTPClient {};
