/* A plugin of QEMU that counts the instructions of a program, and says how many there were, on standard error. With the argument
 * `profile` it also says how often each block of them ran: address, instructions, times.
 *
 *   cc -shared -fPIC -O2 -DAPI=1 count.c -o count.so && qemu-riscv32 -plugin ./count.so -d plugin program
 *
 * API is the version that this QEMU takes: 1 up to 8.2, later ones the one that they name. These are the parts of its
 * qemu-plugin.h that are needed; Debian has no package of it. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef API
#define API 1
#endif

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t id_t_;
struct qemu_plugin_tb;

void qemu_plugin_register_vcpu_tb_trans_cb(id_t_ id, void (*cb)(id_t_, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*cb)(unsigned, void *), int flags, void *data);
void qemu_plugin_register_atexit_cb(id_t_ id, void (*cb)(id_t_, void *), void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

EXPORT int qemu_plugin_version = API;

struct block {
    struct block *next;
    uint64_t address, instructions, times;
};

static struct block *blocks;
static bool profile;

static void executed(unsigned cpu, void *data)
{
    (void)cpu;
    ((struct block *)data)->times++;
}

static void translated(id_t_ id, struct qemu_plugin_tb *tb)
{
    (void)id;
    struct block *block = calloc(1, sizeof *block);
    block->address = qemu_plugin_tb_vaddr(tb);
    block->instructions = qemu_plugin_tb_n_insns(tb);
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
}

static void ended(id_t_ id, void *data)
{
    (void)id;
    (void)data;
    uint64_t sum = 0;
    for (struct block *block = blocks; block; block = block->next) {
        sum += block->instructions * block->times;
        if (profile)
            fprintf(stderr, "block %" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block->address, block->instructions, block->times);
    }
    fprintf(stderr, "instructions %" PRIu64 "\n", sum);
}

EXPORT int qemu_plugin_install(id_t_ id, const void *info, int argc, char **argv)
{
    (void)info;
    profile = argc > 0 && strncmp(argv[0], "profile", 7) == 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
