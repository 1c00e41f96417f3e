/* SPDX-License-Identifier: MIT
 *
 * What every vcpu has, for the assembler and for C. An architecture's layout.h says where each group begins, and how many
 * bytes a WORD has.
 */
#ifndef VCPU_H
#define VCPU_H

/* Where and how the guest goes on, ELR, is followed by its state. */
#define SPSR            (ELR + WORD)
/* The strategy: what it does on entry, ENTRY, on exit, and when a debug register access traps. */
#define EXIT            (ENTRY + WORD)
#define TRAP            (ENTRY + 2 * WORD)
/* Where to jump into each chain, SWAP first, for breakpoints and for watchpoints: as many links as the CPU has registers. */
#define SCAN            (SWAP + 2 * WORD)
#define TOGGLE          (SWAP + 4 * WORD)
#define TAKE            (SWAP + 6 * WORD)
#define GIVE            (SWAP + 8 * WORD)
/* What the strategies remember. LIVE: the guest's registers are in the hardware, and its accesses do not trap. Sets of
 * registers have a bit each: 0-15 breakpoints, 16-31 watchpoints, and 32 MDSCR_EL1.SS where words have it. */
#define SUMMARY         (LIVE + WORD)           /* bit 0: the guest has something enabled; bit 1: the host has */
#define HOST_ENABLED    (LIVE + 2 * WORD)       /* which registers the host has enabled, kept by the host itself */
#define GUEST_ENABLED   (LIVE + 3 * WORD)       /* which the guest has enabled, kept by partial's trap handler */
#define SWITCHED        (LIVE + 4 * WORD)       /* which are masked (host-mask) or switched (partial) during this entry */
#define EXIT_REASON     (LIVE + 5 * WORD)       /* the syndrome */
/* What the counting variant of the switch writes. */
#define TALLY_LAST      (TALLY_SCRATCH + 2 * WORD)

/* Parts of a round trip, and events. */
#define PART_BASE       0
#define PART_SCAN       1
#define PART_SWITCH     2
#define PART_TRAP       3
#define EVENT_READS     0
#define EVENT_WRITES    1
#define EVENT_TRAPS     2
#define EVENT_ISBS      3
#define EVENT_SWITCHES  4

#endif
