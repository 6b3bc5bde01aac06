/* What the example's owner has, for the test: the settings of the test device. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os.h"
#include "port.h"

static struct port port;
static s3ota_port made;
static s3ota_bytes root;
static const char *url, *version;

static const char *argument(char **argv, int argc, const char *name)
{
    size_t len = strlen(name);
    for (int at = 1; at < argc; at++) {
        if (strncmp(argv[at], name, len) == 0 && argv[at][len] == '=')
            return argv[at] + len + 1;
    }
    exit(2);
}

/* glibc gives what runs before main its arguments. */
__attribute__((constructor)) static void before_main(int argc, char **argv)
{
    port.flash = os_map(argument(argv, argc, "flash"), &port.flash_size, 1);
    made = port_of(&port, (uint32_t)strtoul(argument(argv, argc, "running"), NULL, 10));
    url = argument(argv, argc, "url");
    version = argument(argv, argc, "version");
    uint32_t len;
    const char *pem = (const char *)os_map(argument(argv, argc, "root"), &len, 0);
    uint8_t *der = malloc(len);
    root = (s3ota_bytes){der, (size_t)s3ota_pem(&pem, der, len)};
}

const s3ota_port *my_port(void)
{
    return &made;
}

const char *my_manifest_url(void)
{
    return url;
}

const char *my_version(void)
{
    return version;
}

const s3ota_bytes *my_root(void)
{
    return &root;
}

void restart(void)
{
    _exit(0);
}
