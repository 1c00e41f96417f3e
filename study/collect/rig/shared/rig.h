/* SPDX-License-Identifier: MIT
 *
 * What the rig's parts know of each other. The measured code is in <architecture>/switch.S, with macros of switch.inc.
 */
#ifndef RIG_H
#define RIG_H

#include <stddef.h>
#include <stdint.h>

#include "machine.h"

enum kind { BREAK_VALUE, BREAK_CONTROL, WATCH_VALUE, WATCH_CONTROL, MONITOR_CONTROL, IDENTITY };

#define MOST_REGISTERS  16
#define STRATEGIES      7
#define MOST_OPERATIONS 4096
#define LANDMARKS       32
#define MOST_LOOPS      1000000u        /* so that a 32-bit counter does not wrap within a value */
#define MOST_VALUES     1000u

/* One variant of the switch, as measured or counting; switcher.inc. */
struct switcher {
        word (*run)(struct vcpu *, word round_trips, uint64_t window[3]);
        word vectors;
        word swap[2][MOST_REGISTERS + 1], scan[2][MOST_REGISTERS + 1], toggle[2][MOST_REGISTERS + 1];
        word take[2][MOST_REGISTERS + 1], give[2][MOST_REGISTERS + 1];
#ifdef EXTRA_CHAINS
        word extra[EXTRA_CHAINS][MOST_REGISTERS + 1];
#endif
        struct { word trap_first, entry, exit, trap; } strategies[STRATEGIES];
};
extern const struct switcher plain_switcher, tally_switcher;

/* What the machine is. */
struct machine {
        unsigned breakpoints, watchpoints, contexts;
        word identity, frequency, started, mmio, trap_off, trap_on;
        const char *extra;              /* debug registers beyond those that every CPU has, as JSON */
};
extern struct machine machine;

/* One step of a script: who does what with which register. */
struct operation {
        uint8_t guest, what, kind, number;
        uint32_t times;
        word value;
};
enum { DO_WRITE, DO_READ, DO_HVC, DO_SYSREG, DO_MMIO, DO_FIRE, DO_FIRE_ALL };

/* <architecture>/machine.c and start.S */
extern char _start[], _code_end[], _end[];
void machine_start(void);
void counters_reset(void);
void use_vectors(word vectors);
void trap_accesses(int on);
void vcpu_start(struct vcpu *vcpu);
void vcpu_fit(struct vcpu *vcpu, const struct switcher *variant);
void vcpu_call(struct vcpu *vcpu, const void *function, word first, word second, word third);
_Noreturn void power_off(void);

/* memory.c: page tables */
extern uint64_t level1[], guest_level1[];
void memory_map(void);

/* debug.c: the debug registers by number */
#define ISB() __asm__ volatile("isb" : : : "memory")
#define EACH_NUMBER(do, name) \
        do(name, 0) do(name, 1) do(name, 2) do(name, 3) do(name, 4) do(name, 5) do(name, 6) do(name, 7) \
        do(name, 8) do(name, 9) do(name, 10) do(name, 11) do(name, 12) do(name, 13) do(name, 14) do(name, 15)
word debug_read(enum kind kind, unsigned n);
void debug_write(enum kind kind, unsigned n, word value);

/* guest.inc, <architecture>/guest.S and guest.c */
extern char landmarks[];
extern uint64_t baits[];
extern char guest_stack[8192];
void guest_operations(struct operation *first, word count, word mmio);
struct hits { word count, where; };
extern struct hits guest_hits[2];

/* serial.c: the line to whoever asks */
void serial_start(const char *bootargs);
char *read_line(void);
void answer_begin(void);
void say(const char *text);
void say_quoted(const char *text);
void say_number(uint64_t number);
void say_hex(uint64_t number);
void answer_end(uint64_t id, uint32_t heard, const char *error);
void announce(const char *text);
uint32_t crc(const char *data, size_t size);

/* virtio.c: the same line, to an emulator */
int virtio_start(void);
void virtio_put(char c);
char virtio_get(void);

/* tree.c: the device tree */
const char *tree_property(const void *tree, const char *node, const char *property);

/* command.c: what the host is asked */
struct plan {
        uint64_t loops, values, warmups, touch;
        int strategy, exit, access;
};
struct command {
        uint64_t id;
        enum { NO_COMMAND = -1, FACTS, SCRIPT, MEASURE, OFF } verb;
        struct plan plan;
        unsigned steps;
        const char *complaint;
};
extern const char *const strategy_names[STRATEGIES];
struct command parse(char *line, struct operation *operations);
size_t length_of(const char *text);
int same(const char *one, const char *other);

#endif
