/* What is wrong with a release: a constructor without a priority, as those of C++ are. It runs right behind the boot guard. */

#include <stdlib.h>

void s3ota_include_faults(void)
{
}

__attribute__((constructor)) static void fail(void)
{
#if S3OTA_FAULT_panic
    abort();
#elif S3OTA_FAULT_hang
    for (;;) {
    }
#else
#error "S3OTA_FAULT is panic or hang"
#endif
}
