/* SPDX-License-Identifier: MIT
 *
 * The host: it answers commands, one line each.
 *
 *      id=1 facts
 *      id=2 script strategy=lazy STEPS
 *      id=3 measure strategy=lazy exit=hvc loops=4000 values=5 warmups=1 touch=0 access=write STEPS
 *      id=4 off
 *
 * STEPS prepare guest and host, or ask them: H and G say who acts from here on; bv3=1f0 writes a breakpoint's value
 * register, bc, wv and wc likewise, m the register that turns monitor debug mode on; bv3 reads, and so does i, the register
 * that says how many there are; x5, s5 and d5 let the guest make five exits: a hypercall, a trapped system register, a
 * device; f3 lets it run over landmark 3 and read bait 3, F0 run over all landmarks, F1 read all baits.
 * script answers with what was read, in order; measure does the steps, then runs the guest in a loop.
 */
#include "rig.h"

static const char *const names[STRATEGIES] = {
        "none", "eager", "lazy", "control-scan", "host-mask", "partial", "summary-scan",
};
static const char *const exits[] = { "hvc", "sysreg", "mmio" };
extern char loop_hvc[], loop_hvc_write[], loop_hvc_read[], loop_sysreg[], loop_sysreg_write[], loop_sysreg_read[];
extern char loop_mmio[], loop_mmio_write[], loop_mmio_read[];
static const void *const loops[3][3] = {
        { loop_hvc, loop_hvc_write, loop_hvc_read },
        { loop_sysreg, loop_sysreg_write, loop_sysreg_read },
        { loop_mmio, loop_mmio_write, loop_mmio_read },
};

#define MOST_LOOPS 1000000u     /* so that a 32-bit counter does not wrap within a value */
#define MOST_VALUES 1000u

static struct vcpu vcpu;
static struct operation operations[MOST_OPERATIONS];
static const char *complaint;
static const char *bootargs, *model;

int same(const char *one, const char *other)
{
        while (*one && *one == *other)
                one++, other++;
        return *one == *other;
}

void *memset(void *to, int value, size_t size)
{
        for (char *at = to; size--;)
                *at++ = value;
        return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
        const char *source = from;
        for (char *at = to; size--;)
                *at++ = *source++;
        return to;
}

/* --- guests ------------------------------------------------------------------------------------------------------- */

static void fit(const struct switcher *variant, unsigned strategy)
{
        unsigned counts[2] = { machine.breakpoints, machine.watchpoints };
        for (int kind = 0; kind < 2; kind++) {
                unsigned n = counts[kind];
                vcpu.swap[kind] = variant->swap[kind][n];
                vcpu.scan[kind] = variant->scan[kind][n];
                vcpu.toggle[kind] = variant->toggle[kind][n];
                vcpu.take[kind] = variant->take[kind][n];
                vcpu.give[kind] = variant->give[kind][n];
        }
        vcpu_fit(&vcpu, variant);
        vcpu.entry = variant->strategies[strategy].entry;
        vcpu.exit = variant->strategies[strategy].exit;
        vcpu.trap = variant->strategies[strategy].trap;
        use_vectors(variant->vectors);
}

static void new_guest(unsigned strategy)
{
        memset(&vcpu, 0, sizeof(vcpu));
        for (unsigned n = 0; n < machine.breakpoints; n++) {
                debug_write(BREAK_CONTROL, n, 0);
                debug_write(BREAK_VALUE, n, 0);
        }
        for (unsigned n = 0; n < machine.watchpoints; n++) {
                debug_write(WATCH_CONTROL, n, 0);
                debug_write(WATCH_VALUE, n, 0);
        }
        debug_write(MONITOR_CONTROL, 0, 0);
        vcpu_start(&vcpu);
        fit(&plain_switcher, strategy);
        trap_accesses(plain_switcher.strategies[strategy].trap_first);
}

/* The host changes a register, and knows what it has enabled. */
static void host_write(const struct operation *step)
{
        if (step->kind == MONITOR_CONTROL && step->value & ~(word)MONITOR_ON) {
                complaint = "the host only turns monitor debug mode on and off: it does not step";
                return;
        }
        debug_write(step->kind, step->number, step->value);
        if (step->kind != BREAK_CONTROL && step->kind != WATCH_CONTROL)
                return;
        word bit = (word)1 << (step->number + (step->kind == WATCH_CONTROL ? 16 : 0));
        vcpu.host_enabled = step->value & 1 ? vcpu.host_enabled | bit : vcpu.host_enabled & ~bit;
        vcpu.summary = (vcpu.summary & 1) | (vcpu.host_enabled ? 2 : 0);
}

static void run_steps(unsigned count)
{
        uint64_t window[3];
        for (unsigned n = 0; n < count && !complaint;) {
                if (!operations[n].guest) {
                        if (operations[n].what == DO_WRITE)
                                host_write(&operations[n]);
                        else if (operations[n].what == DO_READ)
                                operations[n].value = debug_read(operations[n].kind, operations[n].number);
                        else
                                complaint = "only the guest exits and fires";
                        n++;
                        continue;
                }
                unsigned first = n;
                while (n < count && operations[n].guest)
                        n++;
                vcpu_call(&vcpu, guest_operations, (word)&operations[first], n - first, machine.mmio);
                word reason = plain_switcher.run(&vcpu, MOST_LOOPS, window);
                if (reason != 1)
                        complaint = reason ? "the guest failed" : "the guest never came to an end";
        }
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static char *next_word(char **rest)
{
        char *word = *rest;
        while (*word == ' ')
                word++;
        if (!*word)
                return NULL;
        char *end = word;
        while (*end && *end != ' ')
                end++;
        *rest = *end ? end + 1 : end;
        *end = 0;
        return word;
}

static int number_in(const char **text, unsigned base, uint64_t *value)
{
        int digits = 0;
        for (*value = 0;; (*text)++, digits++) {
                char c = **text;
                unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 99;
                if (digit >= base || digits == 16)
                        return digits;
                *value = *value * base + digit;
        }
}

/* One step of a script; complains if it is none. */
static void parse_step(const char *text, int guest, struct operation *step)
{
        static const char kinds[] = "bvbcwvwc";
        uint64_t number = 0;
        *step = (struct operation){ .guest = guest };
        const char *at = text;
        if (*at == 'm' || *at == 'i') {
                step->kind = *at == 'm' ? MONITOR_CONTROL : IDENTITY;
                at++;
        } else if (*at == 'F' && (at[1] == '0' || at[1] == '1') && !at[2]) {
                step->what = DO_FIRE_ALL;
                step->number = at[1] - '0';
                return;
        } else if (*at == 'x' || *at == 's' || *at == 'd' || *at == 'f') {
                step->what = *at == 'f' ? DO_FIRE : *at == 'x' ? DO_HVC : *at == 's' ? DO_SYSREG : DO_MMIO;
                at++;
                if (!number_in(&at, 10, &number) || *at || (step->what == DO_FIRE ? number >= LANDMARKS : number > MOST_LOOPS / 2))
                        complaint = "this is no step of a script";
                step->number = number;
                step->times = number;
                return;
        } else {
                int kind = 0;
                while (kind < 4 && (at[0] != kinds[2 * kind] || at[1] != kinds[2 * kind + 1]))
                        kind++;
                if (kind == 4) {
                        complaint = "this is no step of a script";
                        return;
                }
                at += 2;
                step->kind = kind;
                unsigned most = kind < WATCH_VALUE ? machine.breakpoints : machine.watchpoints;
                if (!number_in(&at, 10, &number) || number >= most)
                        complaint = "this machine has no such register";
                step->number = number;
        }
        step->what = DO_READ;
        if (*at == '=' && step->kind != IDENTITY) {
                at++;
                step->what = DO_WRITE;
                if (!number_in(&at, 16, &number))
                        complaint = "a value is missing";
                step->value = number;
        }
        if (*at)
                complaint = "this is no step of a script";
}

static int choose(const char *text, const char *const *from, int count)
{
        for (int n = 0; n < count; n++)
                if (same(text, from[n]))
                        return n;
        return -1;
}

static void facts(void)
{
        say("{\"architecture\":\"" ARCHITECTURE "\",\"level\":\"" HYP_NAME "\",\"identity\":");
        say_hex(machine.identity);
        say(",\"breakpoints\":");
        say_number(machine.breakpoints);
        say(",\"watchpoints\":");
        say_number(machine.watchpoints);
        say(",\"contexts\":");
        say_number(machine.contexts);
        say(",\"extra\":");
        say(machine.extra ? machine.extra : "[]");
        say(",\"code\":");
        say_hex(crc(_start, (size_t)(_code_end - _start)));
        say(",\"debug\":");
        say_hex(debug_read(IDENTITY, 0));
        say(",\"frequency\":");
        say_number(machine.frequency);
        say(",\"started\":");
        say_hex(machine.started);
        say(",\"landmarks\":");
        say_hex((word)landmarks);
        say(",\"baits\":");
        say_hex((word)baits);
        say(",\"loaded\":");
        say_hex((word)_start);
        say(",\"model\":");
        say_quoted(model);
        say(",\"bootargs\":");
        say_quoted(bootargs);
        say(",\"strategies\":[");
        for (int n = 0; n < STRATEGIES; n++) {
                say(n ? "," : "");
                say_quoted(names[n]);
        }
        say("]}");
}

static void script(unsigned count)
{
        run_steps(count);
        say("{\"reads\":[");
        const char *comma = "";
        for (unsigned n = 0; n < count; n++) {
                if (operations[n].what >= DO_HVC && operations[n].what <= DO_MMIO)
                        continue;
                if (operations[n].what == DO_WRITE)
                        continue;
                say(comma);
                say_hex(operations[n].value);
                comma = ",";
        }
        say("]}");
}

static void say_window(const uint64_t window[3])
{
        say("[");
        for (int n = 0; n < 3; n++) {
                say(n ? "," : "");
                say_number(window[n]);
        }
        say("]");
}

struct plan {
        uint64_t loops, values, warmups, touch;
        int strategy, exit, access;
};

static void measure(const struct plan *plan, unsigned count)
{
        static const char *const parts[] = { "base", "scan", "switch", "trap" };
        static const char *const events[] = { "reads", "writes", "traps", "isbs", "switches" };
        uint64_t window[3];
        run_steps(count);
        if (complaint)
                return;
        vcpu_call(&vcpu, loops[plan->exit][plan->touch ? 1 + plan->access : 0], plan->touch ? plan->touch : 1, machine.mmio, 0);
        plain_switcher.run(&vcpu, plan->touch ? plan->touch : 1, window);       /* into the loop */
        counters_reset();
        plain_switcher.run(&vcpu, 0, window);
        say("{\"empty\":");
        say_window(window);
        say(",\"loops\":");
        say_number(plan->loops);
        say(",\"values\":[");
        for (uint64_t n = 0; n < plan->warmups + plan->values && !complaint; n++) {
                counters_reset();
                if (plain_switcher.run(&vcpu, plan->loops, window))
                        complaint = "the guest left its loop";
                if (n < plan->warmups)
                        continue;
                say(n > plan->warmups ? "," : "");
                say_window(window);
        }
        uint64_t rounds = 16 * (plan->touch ? plan->touch : 1);
        counters_reset();
        fit(&tally_switcher, plan->strategy);
        tally_switcher.run(&vcpu, 0, window);
        word empty = vcpu.parts[0];
        vcpu.parts[0] = 0;
        if (tally_switcher.run(&vcpu, rounds, window))
                complaint = "the guest left its loop";
        vcpu.parts[0] -= empty;
        fit(&plain_switcher, plan->strategy);
        say("],\"tally\":{\"loops\":");
        say_number(rounds);
        for (int n = 0; n < 4; n++) {
                say(",");
                say_quoted(parts[n]);
                say(":");
                say_number(vcpu.parts[n]);
        }
        for (int n = 0; n < 5; n++) {
                say(",");
                say_quoted(events[n]);
                say(":");
                say_number(vcpu.events[n]);
        }
        say("}}");
}

static void obey(char *line)
{
        struct plan plan = { .loops = 1000, .values = 1, .strategy = -1 };
        struct { const char *name; uint64_t *value, most; } numbers[] = {
                { "loops=", &plan.loops, MOST_LOOPS }, { "values=", &plan.values, MOST_VALUES },
                { "warmups=", &plan.warmups, MOST_VALUES }, { "touch=", &plan.touch, MOST_LOOPS / 16 },
        };
        static const char *const accesses[] = { "write", "read" };
        struct { const char *name; int *value; const char *const *from; int count; } choices[] = {
                { "strategy=", &plan.strategy, names, STRATEGIES }, { "exit=", &plan.exit, exits, 3 },
                { "access=", &plan.access, accesses, 2 },
        };
        static const char *const verbs[] = { "facts", "script", "measure", "off" };
        uint64_t id = 0;
        unsigned count = 0;
        int verb = -1, guest = 0;
        size_t length_of_line = 0;
        while (line[length_of_line])
                length_of_line++;
        uint32_t heard = crc(line, length_of_line);
        complaint = NULL;
        answer_begin();
        for (char *text; (text = next_word(&line)) && !complaint;) {
                if (*text == 'i' && text[1] == 'd' && text[2] == '=') {
                        const char *digits = text + 3;
                        if (!number_in(&digits, 10, &id) || *digits)
                                complaint = "the id is no number";
                        continue;
                }
                if (verb < 0) {
                        verb = choose(text, verbs, 4);
                        if (verb < 0)
                                complaint = "this is no command: facts, script, measure or off";
                        continue;
                }
                int known = 0;
                for (unsigned n = 0; n < 4; n++) {
                        size_t length = 0;
                        while (numbers[n].name[length] && text[length] == numbers[n].name[length])
                                length++;
                        if (numbers[n].name[length])
                                continue;
                        const char *digits = text + length;
                        if (!number_in(&digits, 10, numbers[n].value) || *digits || *numbers[n].value > numbers[n].most)
                                complaint = "a number is none, or too large: at most 1000000 loops and 1000 values";
                        known = 1;
                }
                if (known)
                        continue;
                for (unsigned n = 0; n < 3; n++) {
                        size_t length = 0;
                        while (choices[n].name[length] && text[length] == choices[n].name[length])
                                length++;
                        if (choices[n].name[length])
                                continue;
                        *choices[n].value = choose(text + length, choices[n].from, choices[n].count);
                        if (*choices[n].value < 0)
                                complaint = "a strategy, exit or access is unknown";
                        known = 1;
                }
                if (known)
                        continue;
                if (same(text, "H") || same(text, "G")) {
                        guest = *text == 'G';
                        continue;
                }
                if (count == MOST_OPERATIONS)
                        complaint = "a script has at most 4096 steps";
                else
                        parse_step(text, guest, &operations[count++]);
        }
        if (verb < 0 && !complaint)
                return;                         /* an empty line */
        if (verb > 0 && verb < 3 && plan.strategy < 0 && !complaint)
                complaint = "a strategy must be named";
        if (!complaint && verb == 0)
                facts();
        if (!complaint && (verb == 1 || verb == 2)) {
                new_guest(plan.strategy);
                if (verb == 1)
                        script(count);
                else
                        measure(&plan, count);
        }
        if (!complaint && verb == 3)
                say("{}");
        answer_end(id, heard, complaint);
        if (verb == 3 && !complaint)
                power_off();
}

void wrong_exception(word vector, word syndrome, word where, word address)
{
        answer_begin();
        say("{\"vector\":");
        say_number(vector);
        say(",\"syndrome\":");
        say_hex(syndrome);
        say(",\"where\":");
        say_hex(where - (word)_start);
        say(",\"address\":");
        say_hex(address);
        say("}");
        answer_end(0, 0, NULL);
        for (;;)
                ;
}

void start_c(const void *tree, unsigned level)
{
        bootargs = tree_property(tree, "chosen", "bootargs");
        model = tree_property(tree, "", "compatible");
        serial_start(bootargs);
        if (level != HYP_LEVEL) {
                announce("{\"rig\":\"failed\",\"why\":\"it was not started at " HYP_NAME
                         ": the firmware kept it, or QEMU lacks -M virtualization=on\"}");
                for (;;)
                        ;
        }
        use_vectors(plain_switcher.vectors);
        machine_start();
        announce("{\"rig\":\"ready\",\"architecture\":\"" ARCHITECTURE "\"}");
        for (;;)
                obey(read_line());
}
