/* SPDX-License-Identifier: MIT
 *
 * The host: it prepares guests, runs them, and answers commands (command.c), one line each.
 */
#include "rig.h"

extern char loop_hvc[], loop_hvc_write[], loop_hvc_read[], loop_sysreg[], loop_sysreg_write[], loop_sysreg_read[];
extern char loop_mmio[], loop_mmio_write[], loop_mmio_read[];
static const void *const loops[3][3] = {
        { loop_hvc, loop_hvc_write, loop_hvc_read },
        { loop_sysreg, loop_sysreg_write, loop_sysreg_read },
        { loop_mmio, loop_mmio_write, loop_mmio_read },
};

static struct vcpu vcpu;
static struct operation operations[MOST_OPERATIONS];
static const char *complaint;
static const char *bootargs, *model;

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

/* --- answers ------------------------------------------------------------------------------------------------------ */

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
                say_quoted(strategy_names[n]);
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
        uint32_t heard = crc(line, length_of(line));
        answer_begin();
        struct command command = parse(line, operations);
        complaint = command.complaint;
        if (command.verb == NO_COMMAND && !complaint)
                return;
        if (!complaint && command.verb == FACTS)
                facts();
        if (!complaint && (command.verb == SCRIPT || command.verb == MEASURE)) {
                new_guest(command.plan.strategy);
                if (command.verb == SCRIPT)
                        script(command.steps);
                else
                        measure(&command.plan, command.steps);
        }
        if (!complaint && command.verb == OFF)
                say("{}");
        answer_end(command.id, heard, complaint);
        if (command.verb == OFF && !complaint)
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
