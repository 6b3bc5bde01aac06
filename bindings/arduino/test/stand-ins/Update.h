#pragma once
#include "Arduino.h"

/* Nothing that is tested uses it: it is there to be included. */
class UpdateClass {};
