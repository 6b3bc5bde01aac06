#pragma once
#include "esp_flash.h"
