/* SPDX-License-Identifier: MIT
 *
 * The guest's register accesses and exception vectors. Its loops, which make the accesses, are shared/guest.inc; the rest of
 * the guest is shared/guest.c.
 */
#include "dialect.inc"

#define WRITE_TOUCHED   msr     dbgbvr0_el1, x2
#define READ_TOUCHED    mrs     x4, dbgbvr0_el1
#define READ_TRAPPED    mrs     x4, actlr_el1   // HCR_EL2.TACR traps it
#include "guest.inc"

/* The guest's exception vectors: a debug exception is noted, and the instruction that took it is passed over. */
        .balign 2048
        .globl  guest_vectors
guest_vectors:
        .rept   4
        .balign 128
        b       surprise
        .endr
        .balign 128
        b       synchronous
        .rept   11
        .balign 128
        b       surprise
        .endr
synchronous:
        stp     x0, x1, [sp, #-32]!
        stp     x2, x3, [sp, #16]
        mrs     x0, esr_el1
        lsr     x0, x0, #26
        cmp     x0, #0x31                       // breakpoint, same exception level
        b.eq    1f
        cmp     x0, #0x35                       // watchpoint, same exception level
        b.eq    2f
surprise:
        hvc     #2                              // the host will say what happened
        b       surprise
1:      ADDRESS x1, guest_hits
        mrs     x3, elr_el1
        b       3f
2:      ADDRESS x1, guest_hits + 16
        mrs     x3, far_el1
3:      ldr     x2, [x1]                        // how many
        add     x2, x2, #1
        stp     x2, x3, [x1]                    // and where the last
        mrs     x0, elr_el1
        add     x0, x0, #4
        msr     elr_el1, x0
        ldp     x2, x3, [sp, #16]
        ldp     x0, x1, [sp], #32
        eret
