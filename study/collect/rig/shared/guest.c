/* SPDX-License-Identifier: MIT
 *
 * The guest's side of a script: it runs in the guest, one level below the host.
 */
#include "rig.h"

/* On a page of their own, too: an emulator looks twice at every access to the page of a watchpoint. */
uint64_t baits[4096 / sizeof(uint64_t)] __attribute__((aligned(4096)));
char guest_stack[8192] __attribute__((aligned(16)));
struct hits guest_hits[2];

void leave_hvc(word nothing, word mmio);
void leave_sysreg(word nothing, word mmio);
void leave_mmio(word nothing, word mmio);

/* Run over landmark n, or read bait n: 1 if the breakpoint or watchpoint there fired, 4 if one fired elsewhere. */
static word run_over(unsigned baited, unsigned n)
{
        word landmark = (word)landmarks + 8 * n, bait = (word)&baits[n];
        guest_hits[0] = guest_hits[1] = (struct hits){ 0, 0 };
        if (baited)
                (void)*(volatile uint32_t *)bait;
        else
                ((void (*)(void))landmark)();
        struct hits hits = guest_hits[baited], stray = guest_hits[!baited];
        if (!hits.count && !stray.count)
                return 0;
        return hits.count == 1 && !stray.count && hits.where == (baited ? bait : landmark) ? 1 : 4;
}

/* All landmarks or all baits: a bit for each; nothing but ones if anything fired elsewhere. */
static word run_over_all(unsigned baited)
{
        word seen = 0;
        for (unsigned n = 0; n < LANDMARKS; n++) {
                word one = run_over(baited, n);
                if (one == 4)
                        return ~(word)0;
                seen |= one << n;
        }
        return seen;
}

void guest_operations(struct operation *first, word count, word mmio)
{
        static void (*const leave[])(word, word) = { leave_hvc, leave_sysreg, leave_mmio };
        for (struct operation *step = first; step < first + count; step++) {
                switch (step->what) {
                case DO_WRITE:
                        debug_write(step->kind, step->number, step->value);
                        break;
                case DO_READ:
                        step->value = debug_read(step->kind, step->number);
                        break;
                case DO_FIRE:
                        step->value = run_over(0, step->number) | run_over(1, step->number) << 1;
                        break;
                case DO_FIRE_ALL:
                        step->value = run_over_all(step->number);
                        break;
                default:
                        for (uint32_t n = 0; n < step->times; n++)
                                leave[step->what - DO_HVC](0, mmio);
                }
        }
}
