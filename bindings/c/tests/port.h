/* The test device's port: a virtual flash in a file, real sockets, and what can go wrong with them. */
#ifndef PORT_H
#define PORT_H

#include "s3ota.h"

struct port {
    uint8_t *flash;
    uint32_t flash_size;

    /* What goes wrong. 0 is nothing. */
    uint32_t dies_at_write;   /* the process ends in this write, after half of it */
    uint32_t fails_at_write;  /* this write, and each later one, fails */
    uint32_t lies_at_write;   /* the next write of a sector from this one on leaves a bit that is not what was written */
    int is_deaf;              /* nothing is ever received, and a wait takes all its time */
    int is_mute;              /* nothing is ever received, and nothing waits */
    int only_ipv6;            /* names have no IPv4 address */
    int has_no_date;
    uint64_t offline_until;   /* until this uptime there is no network */

    /* What was done. */
    uint32_t writes, erased, sockets, open, calls;
    uint64_t waited_ms;
};

/* A port. `running` is where the firmware runs. */
s3ota_port port_of(struct port *port, uint32_t running);

#endif
