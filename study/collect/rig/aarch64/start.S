/* SPDX-License-Identifier: MIT
 *
 * From a boot loader to C: the arm64 Image header (Documentation/arch/arm64/booting.rst), relocation to wherever the
 * image was put, a stack.
 */
#include "dialect.inc"

        .section .head, "ax"
        .globl  _start
_start:
        b       start
        .long   0
        .quad   0                               // text_offset
        .quad   _end - _start                   // image_size
        .quad   0xa                             // flags: little endian, 4 KiB pages, anywhere in memory
        .quad   0, 0, 0
        .ascii  "ARM\x64"
        .long   0

start:
        mov     x19, x0                         // the device tree
        // The image was linked at 0: add to each address in it where it is now.
        adrp    x1, _start
        ADDRESS x2, _rela
        ADDRESS x3, _rela_end
1:      cmp     x2, x3
        b.hs    2f
        ldp     x4, x5, [x2], #16               // r_offset, r_info: all are R_AARCH64_RELATIVE
        ldr     x6, [x2], #8                    // r_addend
        add     x6, x6, x1
        str     x6, [x1, x4]
        b       1b
2:      // Memory that starts as zero.
        ADDRESS x2, _bss
        ADDRESS x3, _end
3:      cmp     x2, x3
        b.hs    4f
        str     xzr, [x2], #8
        b       3b
4:      ADDRESS x2, stack_end
        msr     spsel, #1
        mov     sp, x2
        mov     x0, x19
        mrs     x1, currentel
        lsr     x1, x1, #2
        bl      start_c
5:      wfe
        b       5b

/* Nothing but a guest should bring us here: say so and stop. x0: which vector; the stack holds the old x0. */
        .text
        .globl  wrong
wrong:
        mrs     x1, esr_el2
        mrs     x2, elr_el2
        mrs     x3, far_el2
        ADDRESS x4, stack_end
        mov     sp, x4
        b       wrong_exception

/* void power_off(void): PSCI SYSTEM_OFF (Arm DEN 0022) by SMC; by HVC there would be no one below us to hear it. */
        .globl  power_off
power_off:
        mov     x0, #0x84000000
        add     x0, x0, #8
        smc     #0
1:      wfe
        b       1b

        .bss
        .balign 16
        .skip   16384
stack_end:
