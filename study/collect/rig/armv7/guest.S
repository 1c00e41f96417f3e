/* SPDX-License-Identifier: MIT
 *
 * The guest's register accesses and exception vectors. Its loops, which make the accesses, are shared/guest.inc; the rest of
 * the guest is shared/guest.c.
 *
 * The guest runs in Supervisor mode, whose r13 and r14 are banked: a trapped access that names them would be emulated on
 * the User mode's, so none here does (debug.c goes through r0).
 */
#include "dialect.inc"

#define WRITE_TOUCHED   mcr     p14, 0, r2, c0, c0, 4   // DBGBVR0
#define READ_TOUCHED    mrc     p14, 0, r12, c0, c0, 4
#define READ_TRAPPED    mrc     p15, 0, r12, c1, c0, 1  // ACTLR; HCR.TAC traps it
#include "guest.inc"

/* The guest's exception vectors (B1.8.1): a debug exception is noted, and the instruction that took it is passed over. */
        .balign 32
        .globl  guest_vectors
guest_vectors:
        b       surprise                        // reset
        b       surprise                        // undefined instruction
        b       surprise                        // supervisor call
        b       breakpoint                      // prefetch abort
        b       watchpoint                      // data abort
        b       surprise                        // not used
        b       surprise                        // IRQ
        b       surprise                        // FIQ
surprise:
        hvc     #2                              // the host will say what happened
        b       surprise

/* The address of what was hit is in r3. */
.macro NOTE hits
        ADDRESS r1, \hits
        ldr     r2, [r1]                        // how many
        add     r2, r2, #1
        stmia   r1, {r2, r3}                    // and where the last
.endm
.macro DEBUG_EXCEPTION_ONLY
        movw    r2, #0x40f                      // the fault status, in bits 10 and 3:0: 2 is a debug event
        and     r1, r1, r2
        cmp     r1, #2
        bne     surprise
.endm
breakpoint:                                     // LR_abt is the instruction's address + 4
        push    {r0-r3}
        mrc     p15, 0, r1, c5, c0, 1           // IFSR
        DEBUG_EXCEPTION_ONLY
        sub     r3, lr, #4
        NOTE    guest_hits
        pop     {r0-r3}
        movs    pc, lr
watchpoint:                                     // LR_abt is the instruction's address + 8
        push    {r0-r3}
        mrc     p15, 0, r1, c5, c0, 0           // DFSR
        DEBUG_EXCEPTION_ONLY
        mrc     p15, 0, r3, c6, c0, 0           // DFAR
        NOTE    guest_hits + 8
        pop     {r0-r3}
        subs    pc, lr, #4
