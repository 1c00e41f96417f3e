/* SPDX-License-Identifier: MIT
 *
 * A command: one line, which the host answers.
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

const char *const strategy_names[STRATEGIES] = {
        "none", "eager", "lazy", "control-scan", "host-mask", "partial", "summary-scan",
};
static const char *const exits[] = { "hvc", "sysreg", "mmio" };
static const char *const accesses[] = { "write", "read" };
static const char *const verbs[] = { "facts", "script", "measure", "off" };

int same(const char *one, const char *other)
{
        while (*one && *one == *other)
                one++, other++;
        return *one == *other;
}

size_t length_of(const char *text)
{
        size_t length = 0;
        while (text[length])
                length++;
        return length;
}

/* The rest of a word that begins so, or nothing. */
static const char *after(const char *text, const char *beginning)
{
        while (*beginning && *text == *beginning)
                text++, beginning++;
        return *beginning ? NULL : text;
}

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

/* One step of a script; returns what is wrong with it. */
static const char *parse_step(const char *text, int guest, struct operation *step)
{
        const char *complaint = NULL;
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
                return NULL;
        } else if (*at == 'x' || *at == 's' || *at == 'd' || *at == 'f') {
                step->what = *at == 'f' ? DO_FIRE : *at == 'x' ? DO_HVC : *at == 's' ? DO_SYSREG : DO_MMIO;
                at++;
                if (!number_in(&at, 10, &number) || *at || (step->what == DO_FIRE ? number >= LANDMARKS : number > MOST_LOOPS / 2))
                        complaint = "this is no step of a script";
                step->number = number;
                step->times = number;
                return complaint;
        } else {
                int kind = 0;
                while (kind < 4 && (at[0] != kinds[2 * kind] || at[1] != kinds[2 * kind + 1]))
                        kind++;
                if (kind == 4)
                        return "this is no step of a script";
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
        return *at ? "this is no step of a script" : complaint;
}

static int choose(const char *text, const char *const *from, int count)
{
        for (int n = 0; n < count; n++)
                if (same(text, from[n]))
                        return n;
        return -1;
}

struct command parse(char *line, struct operation *operations)
{
        struct command command = { .verb = NO_COMMAND, .plan = { .loops = 1000, .values = 1, .strategy = -1 } };
        struct plan *plan = &command.plan;
        const struct { const char *name; uint64_t *value, most; } numbers[] = {
                { "loops=", &plan->loops, MOST_LOOPS }, { "values=", &plan->values, MOST_VALUES },
                { "warmups=", &plan->warmups, MOST_VALUES }, { "touch=", &plan->touch, MOST_LOOPS / 16 },
        };
        const struct { const char *name; int *value; const char *const *from; int count; } choices[] = {
                { "strategy=", &plan->strategy, strategy_names, STRATEGIES }, { "exit=", &plan->exit, exits, 3 },
                { "access=", &plan->access, accesses, 2 },
        };
        int guest = 0;
        for (char *text; (text = next_word(&line)) && !command.complaint;) {
                const char *rest = after(text, "id=");
                if (rest) {
                        if (!number_in(&rest, 10, &command.id) || *rest)
                                command.complaint = "the id is no number";
                        continue;
                }
                if (command.verb == NO_COMMAND) {
                        command.verb = choose(text, verbs, 4);
                        if (command.verb == NO_COMMAND)
                                command.complaint = "this is no command: facts, script, measure or off";
                        continue;
                }
                int known = 0;
                for (unsigned n = 0; n < 4 && !known; n++) {
                        if (!(rest = after(text, numbers[n].name)))
                                continue;
                        if (!number_in(&rest, 10, numbers[n].value) || *rest || *numbers[n].value > numbers[n].most)
                                command.complaint = "a number is none, or too large: at most 1000000 loops and 1000 values";
                        known = 1;
                }
                for (unsigned n = 0; n < 3 && !known; n++) {
                        if (!(rest = after(text, choices[n].name)))
                                continue;
                        *choices[n].value = choose(rest, choices[n].from, choices[n].count);
                        if (*choices[n].value < 0)
                                command.complaint = "a strategy, exit or access is unknown";
                        known = 1;
                }
                if (known)
                        continue;
                if (same(text, "H") || same(text, "G"))
                        guest = *text == 'G';
                else if (command.steps == MOST_OPERATIONS)
                        command.complaint = "a script has at most 4096 steps";
                else
                        command.complaint = parse_step(text, guest, &operations[command.steps++]);
        }
        if ((command.verb == SCRIPT || command.verb == MEASURE) && plan->strategy < 0 && !command.complaint)
                command.complaint = "a strategy must be named";
        return command;
}
