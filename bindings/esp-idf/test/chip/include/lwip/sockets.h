#include <sys/select.h>
#include <sys/socket.h>
#include <netinet/in.h>
