/* SPDX-License-Identifier: MIT
 *
 * What differs between architectures, for the C code that they share.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdint.h>

#include "layout.h"

#define ARCHITECTURE    "aarch64"
#define HYP_LEVEL       2
#define HYP_NAME        "EL2"
#define MONITOR_ON      MONITOR
typedef uint64_t word;

/* The debug registers, for debug.c. */
#define FIRST_REGISTER  "x0"
#define DEBUG_READ(register) "mrs %0, " register
#define DEBUG_WRITE(register) "msr " register ", %0"
#define DEBUG_bvr(n)    "dbgbvr" #n "_el1"
#define DEBUG_bcr(n)    "dbgbcr" #n "_el1"
#define DEBUG_wvr(n)    "dbgwvr" #n "_el1"
#define DEBUG_wcr(n)    "dbgwcr" #n "_el1"
#define DEBUG_monitor   "mdscr_el1"
#define DEBUG_identity  "id_aa64dfr0_el1"

/* See layout.h. */

struct debug {
        uint32_t bcr[16], wcr[16];
        word bvr[16], wvr[16];
        uint32_t mdscr;
        uint32_t rest[31];
};

struct vcpu {
        word gpr[32];
        word elr, spsr;
        word host_gpr[12], host_sp;
        word entry, exit, trap;
        word swap[2], scan[2], toggle[2], take[2], give[2];
        word trap_off, trap_on;
        word hcr, vttbr;
        word live, summary, host_enabled, guest_enabled, switched, exit_reason;
        word host_hcr, unused;
        word guest_sys[24], host_sys[24];
        word unused2[8];
        struct debug guest_debug, host_debug;
        word scratch[2], last, parts[4], events[5], unused3[4];
} __attribute__((aligned(64)));

#define AT(field, offset) _Static_assert(__builtin_offsetof(struct vcpu, field) == (offset), #field)
AT(elr, ELR); AT(host_gpr, HOST_GPR); AT(host_sp, HOST_SP); AT(entry, ENTRY); AT(swap, SWAP); AT(give, GIVE);
AT(trap_off, MDCR_OPEN); AT(hcr, HCR); AT(live, LIVE); AT(exit_reason, EXIT_REASON); AT(host_hcr, HOST_HCR);
AT(guest_sys, GUEST_SYS); AT(host_sys, HOST_SYS); AT(guest_debug, GUEST_DEBUG); AT(host_debug, HOST_DEBUG);
AT(scratch, TALLY_SCRATCH); AT(parts, TALLY_PARTS); AT(events, TALLY_EVENTS);
_Static_assert(sizeof(struct vcpu) == VCPU_SIZE && sizeof(struct debug) == DEBUG_SIZE, "layout.h");

#endif
