/* SPDX-License-Identifier: MIT
 *
 * The guest's code that is measured or that debug exceptions aim at; the rest of the guest is shared/guest.c.
 *
 * The emulator charges a trapped register access with all that follows it in its block of translated code. A block ends
 * with a page, so an access that is measured is the last instruction of one: then the count is exact.
 */
        .text
.macro LAST_OF_PAGE
        .balign 4096
        .skip   4092
.endm
        LAST_OF_PAGE
touch_write:
        msr     dbgbvr0_el1, x2
        ret
        LAST_OF_PAGE
touch_read:
        mrs     x4, dbgbvr0_el1
        ret
        LAST_OF_PAGE
leave_by_sysreg:
        mrs     x4, actlr_el1                   // HCR_EL2.TACR traps it
        ret

/* Loops: one exit in each round, and a touch in every x0-th. x1: an address that no memory backs; x2: what to write. */
.macro BY_hvc
        hvc     #0
.endm
.macro BY_sysreg
        bl      leave_by_sysreg
.endm
.macro BY_mmio
        str     w2, [x1]
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
        mov     x3, x0
1:      subs    x3, x3, #1
        b.ne    2f
        mov     x3, x0
        bl      touch_\touch
2:      BY_\exit
        b       1b
        .endr
.endm
        LOOP    hvc
        LOOP    sysreg
        LOOP    mmio

/* void leave_hvc(uint64_t, uintptr_t mmio), and so on: one exit. */
        .globl  leave_hvc, leave_sysreg, leave_mmio, guest_done
leave_hvc:
        hvc     #0
        ret
leave_sysreg:
        b       leave_by_sysreg
leave_mmio:
        str     w0, [x1]
        ret

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
        ret
        .endr
        .balign 4096

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
1:      adrp    x1, guest_hits
        add     x1, x1, :lo12:guest_hits
        mrs     x3, elr_el1
        b       3f
2:      adrp    x1, guest_hits + 16
        add     x1, x1, :lo12:guest_hits + 16
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
