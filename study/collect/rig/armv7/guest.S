/* SPDX-License-Identifier: MIT
 *
 * The guest's code that is measured or that debug exceptions aim at; the rest of the guest is shared/guest.c.
 *
 * The emulator charges a trapped register access with all that follows it in its block of translated code. A block ends
 * with a page, so an access that is measured is the last instruction of one: then the count is exact.
 *
 * The guest runs in Supervisor mode, whose r13 and r14 are banked: a trapped access that names them would be emulated on
 * the User mode's, so none here does (machine.c goes through r0).
 */
        .text
.macro LAST_OF_PAGE
        .balign 4096
        .skip   4092
.endm
        LAST_OF_PAGE
touch_write:
        mcr     p14, 0, r2, c0, c0, 4           // DBGBVR0
        bx      lr
        LAST_OF_PAGE
touch_read:
        mrc     p14, 0, r12, c0, c0, 4
        bx      lr
        LAST_OF_PAGE
leave_by_sysreg:
        mrc     p15, 0, r12, c1, c0, 1          // ACTLR; HCR.TAC traps it
        bx      lr

/* Loops: one exit in each round, and a touch in every r0-th. r1: an address that no memory backs; r2: what to write. */
.macro BY_hvc
        hvc     #0
.endm
.macro BY_sysreg
        bl      leave_by_sysreg
.endm
.macro BY_mmio
        str     r2, [r1]
.endm
.macro LOOP exit
        .balign 64
        .globl  loop_\exit, loop_\exit\()_write, loop_\exit\()_read
loop_\exit:
        BY_\exit
        b       loop_\exit
        .irp    touch, write, read
        .balign 64
loop_\exit\()_\touch:
        mov     r3, r0
1:      subs    r3, r3, #1
        bne     2f
        mov     r3, r0
        bl      touch_\touch
2:      BY_\exit
        b       1b
        .endr
.endm
        LOOP    hvc
        LOOP    sysreg
        LOOP    mmio

/* void leave_hvc(uint32_t, uintptr_t mmio), and so on: one exit. */
        .globl  leave_hvc, leave_sysreg, leave_mmio, guest_done
leave_hvc:
        hvc     #0
        bx      lr
leave_sysreg:
        b       leave_by_sysreg
leave_mmio:
        str     r0, [r1]
        bx      lr

/* Where a guest function returns to: the host has its answer. */
guest_done:
        hvc     #1
        b       guest_done

/* Thirty-two places for breakpoints to aim at, on a page of their own: an emulator takes every step on the page of a
 * breakpoint by itself. */
        .balign 4096
        .globl  landmarks
landmarks:
        .rept   32
        nop
        bx      lr
        .endr
        .balign 4096

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
        movw    r1, #:lower16:(\hits - (9f + 8))
        movt    r1, #:upper16:(\hits - (9f + 8))
9:      add     r1, pc, r1
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
