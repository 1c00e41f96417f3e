/* SPDX-License-Identifier: MIT
 *
 * The guest's side of a script: it runs in the guest, one level below the host.
 */
#include "rig.h"

uint64_t baits[LANDMARKS] __attribute__((aligned(64)));
char guest_stack[8192] __attribute__((aligned(16)));
struct hits guest_hits[2];

void leave_hvc(word nothing, word mmio);
void leave_sysreg(word nothing, word mmio);
void leave_mmio(word nothing, word mmio);

/* Run over a landmark and read a bait: 1 if the breakpoint fired, 2 if the watchpoint, 4 if either fired elsewhere. */
static word fire(unsigned n)
{
        word landmark = (word)landmarks + 8 * n, bait = (word)&baits[n];
        guest_hits[0] = guest_hits[1] = (struct hits){ 0, 0 };
        ((void (*)(void))landmark)();
        (void)*(volatile uint32_t *)bait;
        word seen = 0;
        for (int which = 0; which < 2; which++) {
                struct hits hits = guest_hits[which];
                if (hits.count)
                        seen |= hits.count == 1 && hits.where == (which ? bait : landmark) ? 1 << which : 4;
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
                        step->value = fire(step->number);
                        break;
                default:
                        for (uint32_t n = 0; n < step->times; n++)
                                leave[step->what - DO_HVC](0, mmio);
                }
        }
}
