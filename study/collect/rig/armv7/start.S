/* SPDX-License-Identifier: MIT
 *
 * From a boot loader to C: the zImage header (Documentation/arm/booting.rst), relocation to wherever the image was put,
 * a stack. The image must be put at a multiple of 4 KiB.
 */
#include "dialect.inc"

        .section .head, "ax"
        .globl  _start
_start:
        .rept   8                               // boot loaders may enter at any of these
        nop
        .endr
        b       start
        .long   0x016f2818                      // magic, at 0x24
        .long   0                               // where it is linked: anywhere
        .long   _loaded - _start                // how long it is
        .long   0x04030201                      // little endian

start:
        cpsid   aif
        mov     r8, r2                          // the device tree
        // The image was linked at 0: add to each address in it where it is now.
        ADDRESS r1, _start
        ADDRESS r2, _rela
        ADDRESS r3, _rela_end
1:      cmp     r2, r3
        bhs     2f
        ldmia   r2!, {r4, r5}                   // r_offset, r_info: all are R_ARM_RELATIVE, with the addend in place
        ldr     r6, [r1, r4]
        add     r6, r6, r1
        str     r6, [r1, r4]
        b       1b
2:      // Memory that starts as zero.
        ADDRESS r2, _bss
        ADDRESS r3, _end
        mov     r4, #0
3:      cmp     r2, r3
        bhs     4f
        str     r4, [r2], #4
        b       3b
4:      ADDRESS r2, stack_end
        mov     sp, r2
        mov     r0, r8
        mrs     r1, cpsr
        and     r1, r1, #0x1f
        bl      start_c
5:      wfe
        b       5b

/* Nothing but a guest should bring us here: say so and stop. r0: which vector; the stack holds the old r0. */
        .text
        .globl  wrong
wrong:
        mrc     p15, 4, r1, c5, c2, 0           // HSR
        mrs     r2, ELR_hyp
        mrc     p15, 4, r3, c6, c0, 0           // HDFAR
        ADDRESS r4, stack_end
        mov     sp, r4
        b       wrong_exception

/* The exception vectors while C asks whether a register exists: an UNDEFINED instruction is passed over, with r0 = 0. */
        .balign 32
        .globl  probe_vectors
probe_vectors:
        b       wrong
        b       undefined
        .rept   6
        b       wrong
        .endr
undefined:
        mrs     r0, ELR_hyp
        add     r0, r0, #4
        msr     ELR_hyp, r0
        mov     r0, #0
        eret

/* void power_off(void): PSCI SYSTEM_OFF (Arm DEN 0022) by SMC; by HVC there would be no one below us to hear it. */
        .globl  power_off
power_off:
        movw    r0, #0x0008
        movt    r0, #0x8400
        smc     #0
1:      wfe
        b       1b

        .bss
        .balign 16
        .skip   16384
stack_end:
