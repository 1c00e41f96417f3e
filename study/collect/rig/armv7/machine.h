/* SPDX-License-Identifier: MIT
 *
 * What differs between architectures, for the C code that they share.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdint.h>

#include "layout.h"

#define ARCHITECTURE    "armv7"
#define HYP_LEVEL       0x1a    /* CPSR.M (B1.3.1) */
#define HYP_NAME        "Hyp mode"
#define MONITOR_ON      DSCR_MDBGEN
typedef uint32_t word;

/* The debug registers, for debug.c: CRn, CRm, opc2 in CP14 (C11.11). */
#define FIRST_REGISTER  "r0"
#define DEBUG_READ(register) "mrc p14, 0, %0, " register
#define DEBUG_WRITE(register) "mcr p14, 0, %0, " register
#define DEBUG_bvr(n)    "c0, c" #n ", 4"
#define DEBUG_bcr(n)    "c0, c" #n ", 5"
#define DEBUG_wvr(n)    "c0, c" #n ", 6"
#define DEBUG_wcr(n)    "c0, c" #n ", 7"
#define DEBUG_monitor   "c0, c2, 2"     /* DBGDSCRext */
#define DEBUG_identity  "c0, c0, 0"     /* DBGDIDR */

/* Addressed by &above[0], see layout.h. */
struct debug {
        uint32_t below[32], above[32];
        uint32_t dscr, vcr, bxvr[16];
        uint32_t rest[14];
};

struct vcpu {
        word gpr[16];
        word elr, spsr;
        word host_gpr[9], host_sp;
        word entry, exit, trap, unused;
        word swap[2], scan[2], toggle[2], take[2], give[2];
        word trap_off, trap_on;
        word host_hcr, hcr, vttbr[2];
        word live, summary, host_enabled, guest_enabled, switched, exit_reason;
        word guest_ttbcr[2], host_ttbcr[2];
        word next[EXTRA_CHAINS][17], unused2[3];
        word guest_sys[48], host_sys[48];
        struct debug guest_debug, host_debug;
        word scratch[2], last, unused3, parts[4], events[5], unused4[3];
} __attribute__((aligned(64)));

#define AT(field, offset) _Static_assert(__builtin_offsetof(struct vcpu, field) == (offset), #field)
AT(elr, ELR); AT(host_gpr, HOST_GPR); AT(host_sp, HOST_SP); AT(entry, ENTRY); AT(swap, SWAP); AT(give, GIVE);
AT(trap_off, HDCR_OPEN); AT(host_hcr, HOST_HCR); AT(hcr, HCR); AT(vttbr, VTTBR); AT(live, LIVE);
AT(exit_reason, EXIT_REASON); AT(guest_ttbcr, GUEST_TTBCR);
AT(host_ttbcr, HOST_TTBCR); AT(next, NEXT);
AT(next[1], NEXT + NEXT_SIZE); AT(guest_sys, GUEST_SYS); AT(host_sys, HOST_SYS);
AT(guest_debug.above, GUEST_DEBUG); AT(guest_debug.dscr, GUEST_DEBUG + DSCR); AT(guest_debug.bxvr, GUEST_DEBUG + BXVR);
AT(host_debug.above, HOST_DEBUG); AT(scratch, TALLY_SCRATCH); AT(parts, TALLY_PARTS); AT(events, TALLY_EVENTS);
_Static_assert(sizeof(struct vcpu) == VCPU_SIZE && sizeof(struct debug) == DEBUG_SIZE, "layout.h");

#endif
