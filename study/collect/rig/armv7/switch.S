/* SPDX-License-Identifier: MIT
 *
 * The world switch on ARMv7: from the host in Hyp mode into a guest at PL1 and back, with one of seven ways to treat the
 * debug registers. Section numbers are those of the ARM Architecture Reference Manual ARMv7-A/R, DDI 0406C.
 *
 * Registers inside the switch
 *      sp              the vcpu (layout.h); the host's own stack is kept in it
 *      r0, r1          arguments: where register contents go to, where they come from
 *      r2 - r9         scratch
 *      r10             the emulated value
 *      r11, r12        return addresses of routines that call another: r12 one level up, r11 two
 *
 * This file is assembled twice, as it is measured and as it counts itself: see shared/switch.inc.
 */
#include "switch.inc"

/* Registers of CP14 (C11.11) and CP15 (B4.1), as the operands of MRC and MCR; two words: of MRRC and MCRR. */
#define DBGDSCREXT(rt)          p14, 0, rt, c0, c2, 2
#define DBGDIDR(rt)             p14, 0, rt, c0, c0, 0
#define DBGVCR(rt)              p14, 0, rt, c0, c7, 0
#define TTBCR(rt)               p15, 0, rt, c2, c0, 2
#define DACR(rt)                p15, 0, rt, c3, c0, 0
#define HCR_REG(rt)             p15, 4, rt, c1, c1, 0
#define HDCR(rt)                p15, 4, rt, c1, c1, 1
#define HSR(rt)                 p15, 4, rt, c5, c2, 0
#define PMCCNTR(rt)             p15, 0, rt, c9, c13, 0
#define CNTPCT(low, high)       p15, 0, low, high, c14
#define VTTBR_REG(low, high)    p15, 6, low, high, c2

        .text

/* --- round trips -----------------------------------------------------------------------------------------------------
 *
 * uint32_t run(struct vcpu *, uint32_t round_trips, uint64_t window[3]): enter the guest so often and handle each exit.
 * window: instructions, cycles and counter ticks that this took. Returns 0, or why it stopped: the number of an HVC, by
 * which the guest says that it is done, or the HSR of something that no one expects.
 */
        .globl  SYM(run)
SYM(run):
        push    {r2, r4-r11, lr}
        mov     r4, r0
        mov     r5, r1
        mov     r0, #0
        isb                                     // a window begins and ends with all that was before it done
        mrrc    CNTPCT(r8, r9)
        mrc     PMCCNTR(r7)
        WINDOW_BEGINS r6, r4
        b       3f

1:      mov     r0, r4                          // a round trip
        bl      SYM(world_switch)
        lsr     r1, r0, #26                     // HSR.EC: why the guest was left
        cmp     r1, #EC_HVC
        bne     2f
        lsls    r0, r0, #16
        beq     3f                              // HVC #0 asks for nothing
        lsr     r0, r0, #16
        b       4f

2:      ldr     r3, [r4, #ELR]                  // the access is emulated: the guest goes on after it
        add     r3, r3, #4
        str     r3, [r4, #ELR]
        cmp     r1, #EC_STAGE2                  // a store to a device that ignores it
        beq     3f
        cmp     r1, #EC_CP15                    // a read of a register that reads as zero
        bne     4f
        ubfx    r1, r0, #5, #4
        mov     r0, #0
        str     r0, [r4, r1, lsl #2]

3:      subs    r5, r5, #1
        bpl     1b
        mov     r0, #0
4:      isb
        WINDOW_ENDS r1, r4
        mrc     PMCCNTR(r2)
        mrrc    CNTPCT(r10, r11)
        sub     r6, r1, r6                      // both counters are 32 bits wide
        sub     r2, r2, r7
        subs    r10, r10, r8
        sbc     r11, r11, r9
        mov     r7, #0
        mov     r3, #0
        pop     {r1}
        strd    r6, r7, [r1]
        strd    r2, r3, [r1, #8]
        strd    r10, r11, [r1, #16]
        pop     {r4-r11, pc}

/* --- the switch ------------------------------------------------------------------------------------------------------
 *
 * What KVM/ARM moves besides the general registers (arch/arm/kvm/interrupts_head.S, 2015): CP15's registers of PL1 and
 * PL0 and the registers that other modes have banked (B9.3.9, B9.3.11). LR_usr is none of those: it is Hyp mode's lr, and
 * so a general register here. In groups of twelve words, which is what fits into r2 to r12 and lr.
 */
.macro SYSTEM_1 do, do64, banked
        \do     p15, 0, r2, c1, c0, 0           // SCTLR
        \do     p15, 0, r3, c1, c0, 2           // CPACR
        \do64   p15, 0, r4, r5, c2              // TTBR0
        \do64   p15, 1, r6, r7, c2              // TTBR1
        \do     p15, 2, r8, c0, c0, 0           // CSSELR
        \do     p15, 0, r9, c13, c0, 1          // CONTEXTIDR
        \do     p15, 0, r10, c10, c2, 0         // PRRR
        \do     p15, 0, r11, c10, c2, 1         // NMRR
        \do     p15, 0, r12, c12, c0, 0         // VBAR
        \do     p15, 0, lr, c14, c1, 0          // CNTKCTL
.endm
.macro SYSTEM_2 do, do64, banked
        \do     p15, 0, r2, c5, c0, 0           // DFSR
        \do     p15, 0, r3, c5, c0, 1           // IFSR
        \do     p15, 0, r4, c5, c1, 0           // ADFSR
        \do     p15, 0, r5, c5, c1, 1           // AIFSR
        \do     p15, 0, r6, c6, c0, 0           // DFAR
        \do     p15, 0, r7, c6, c0, 2           // IFAR
        \do     p15, 0, r8, c10, c3, 0          // AMAIR0
        \do     p15, 0, r9, c10, c3, 1          // AMAIR1
        \do     p15, 0, r10, c13, c0, 2         // TPIDRURW
        \do     p15, 0, r11, c13, c0, 3         // TPIDRURO
        \do64   p15, 0, r12, lr, c7             // PAR
.endm
.macro SYSTEM_3 do, do64, banked
        \do     p15, 0, r2, c13, c0, 4          // TPIDRPRW
        \banked r3, SP_usr
        \banked r4, SP_svc
        \banked r5, LR_svc
        \banked r6, SPSR_svc
        \banked r7, SP_abt
        \banked r8, LR_abt
        \banked r9, SPSR_abt
        \banked r10, SP_und
        \banked r11, LR_und
        \banked r12, SPSR_und
        \banked lr, SP_irq
.endm
.macro SYSTEM_4 do, do64, banked
        \banked r2, LR_irq
        \banked r3, SPSR_irq
        \banked r4, R8_fiq
        \banked r5, R9_fiq
        \banked r6, R10_fiq
        \banked r7, R11_fiq
        \banked r8, R12_fiq
        \banked r9, SP_fiq
        \banked r10, LR_fiq
        \banked r11, SPSR_fiq
.endm
.macro READ_BANKED rt, name
        mrs     \rt, \name
.endm
.macro WRITE_BANKED rt, name
        msr     \name, \rt
.endm
.macro SAVE_SYSTEM
        .irp    group, 1, 2, 3
        SYSTEM_\group mrc, mrrc, READ_BANKED
        stmia   r0!, {r2-r12, lr}
        .endr
        SYSTEM_4 mrc, mrrc, READ_BANKED
        stmia   r0, {r2-r11}
.endm
.macro LOAD_SYSTEM
        .irp    group, 1, 2, 3
        ldmia   r1!, {r2-r12, lr}
        SYSTEM_\group mcr, mcrr, WRITE_BANKED
        .endr
        ldmia   r1, {r2-r11}
        SYSTEM_4 mcr, mcrr, WRITE_BANKED
.endm

/* TTBCR and DACR are the same for both most of the time, and are written only where they differ: a write makes an emulator
 * forget every translation, which takes far longer than the rest of a round trip. */
.macro SWAP_TTBCR out, in
        mrc     TTBCR(r2)
        mrc     DACR(r3)
        ldrd    r4, r5, [sp, #\in]
        strd    r2, r3, [sp, #\out]
        cmp     r2, r4
        mcrne   TTBCR(r4)
        cmp     r3, r5
        mcrne   DACR(r5)
.endm

SYM(world_switch):
        // The host's general registers: those that a call preserves. The others are the caller's loss.
        add     r1, r0, #HOST_GPR
        stmia   r1, {r4-r11, lr}
        str     sp, [r0, #HOST_SP]
        mov     sp, r0

        // PL1's system registers and the banked ones: the host's out, the guest's in.
        add     r0, sp, #HOST_SYS
        SAVE_SYSTEM
        add     r1, sp, #GUEST_SYS
        LOAD_SYSTEM
        SWAP_TTBCR HOST_TTBCR, GUEST_TTBCR

        // The debug registers, by the strategy.
        ldr     r9, [sp, #ENTRY]
        blx     r9

        // What traps, and the guest's memory.
        ldr     r1, [sp, #HCR]
        ldrd    r2, r3, [sp, #VTTBR]
        mcr     HCR_REG(r1)
        mcrr    VTTBR_REG(r2, r3)

        // Into the guest. ERET synchronises all of the above. In Hyp mode SPSR_hyp is called SPSR.
        ldrd    r0, r1, [sp, #ELR]
        msr     ELR_hyp, r0
        msr     spsr_cxsf, r1
        ldmia   sp, {r0-r12, lr}
        eret

SYM(from_guest):
        CLOSE   PART_BASE
        stmia   sp, {r0-r12, lr}

        // A trapped access to a debug register is the strategy's, and does not leave the guest for the host.
        mrc     HSR(r0)
        lsr     r1, r0, #26
        cmp     r1, #EC_CP14
        bne     1f
        EVENT   EVENT_TRAPS, 1
        ldr     r9, [sp, #TRAP]
        blx     r9
        ldmia   sp, {r0-r12, lr}
        CLOSE   PART_TRAP
        eret

        // Out of the guest.
1:      mrs     r2, ELR_hyp
        mrs     r3, spsr
        strd    r2, r3, [sp, #ELR]
        str     r0, [sp, #EXIT_REASON]

        // The debug registers, by the strategy.
        ldr     r9, [sp, #EXIT]
        blx     r9

        // What traps: nothing. The second stage may stay, since the host runs in Hyp mode, above it.
        ldr     r2, [sp, #HOST_HCR]
        mcr     HCR_REG(r2)

        // PL1's system registers and the banked ones: the guest's out, the host's in.
        add     r0, sp, #GUEST_SYS
        SAVE_SYSTEM
        add     r1, sp, #HOST_SYS
        LOAD_SYSTEM
        SWAP_TTBCR GUEST_TTBCR, HOST_TTBCR

        // The host's general registers and its stack.
        ldr     r0, [sp, #EXIT_REASON]
        add     r1, sp, #HOST_GPR
        ldmia   r1, {r4-r11, lr}
        ldr     sp, [sp, #HOST_SP]
        bx      lr

/* --- moving debug registers ------------------------------------------------------------------------------------------
 *
 * By chains (shared/switch.inc), whose first links DBGDIDR.BRPs and WRPs choose. PC is loaded with the entry itself.
 *
 * Two registers lie in memory in the order first, second: breakpoints downwards, watchpoints upwards (layout.h).
 */
.macro IN_ORDER do, kind, low, high
        .ifc    \kind, b
        \do     b, \high, \low
        .else
        \do     w, \low, \high
        .endif
.endm

/* The value register and the control register of a breakpoint or watchpoint: DBGBVRn and DBGBCRn, DBGWVRn and DBGWCRn. */
.macro VALUE op, kind, n, rt
        .ifc    \kind, b
        \op     p14, 0, \rt, c0, c\n, 4
        .else
        \op     p14, 0, \rt, c0, c\n, 6
        .endif
.endm
.macro CONTROL op, kind, n, rt
        .ifc    \kind, b
        \op     p14, 0, \rt, c0, c\n, 5
        .else
        \op     p14, 0, \rt, c0, c\n, 7
        .endif
.endm

/* Set value_at and control_at: where they lie in struct debug. */
.macro PLACE kind, n
        .ifc    \kind, b
        .set    control_at, -4 * (\n + (\n & 12)) - 4
        .set    value_at, control_at - 16
        .else
        .set    control_at, 4 * (\n + (\n & 12))
        .set    value_at, control_at + 16
        .endif
.endm

.macro END_OF_CHAIN kind, entries
        .ifc    \kind, b
        ldr     pc, [sp, #\entries + 4]
        .else
        CLOSE   PART_SWITCH
        bx      lr
        .endif
.endm

/* swap: what is in the registers goes to r0, what r1 holds goes into them. Both are struct debug. 12 instructions for two
 * registers: four reads and writes of each, a load and a store for two words. 18 for the first four, by one STM and one
 * LDM. All cores with Hyp mode have six breakpoints and four watchpoints, so 48 instructions for them and two jumps. */
.macro SWAP_TWO kind, first, second
        PLACE   \kind, \first
        VALUE   mrc, \kind, \first, r2
        VALUE   mrc, \kind, \second, r3
        CONTROL mrc, \kind, \first, r4
        CONTROL mrc, \kind, \second, r5
        ldrd    r6, r7, [r1, #value_at]
        ldrd    r8, r9, [r1, #control_at]
        strd    r2, r3, [r0, #value_at]
        strd    r4, r5, [r0, #control_at]
        VALUE   mcr, \kind, \first, r6
        VALUE   mcr, \kind, \second, r7
        CONTROL mcr, \kind, \first, r8
        CONTROL mcr, \kind, \second, r9
        EVENT_SWAPS 4
.endm
.macro SWAP_PAIR kind, low, high, left
SYM(swap_)\kind\()_\left:
        IN_ORDER SWAP_TWO, \kind, \low, \high
.endm
.macro FOUR_b op
        VALUE   \op, b, 3, r2
        VALUE   \op, b, 2, r3
        VALUE   \op, b, 1, r4
        VALUE   \op, b, 0, r5
        CONTROL \op, b, 3, r6
        CONTROL \op, b, 2, r7
        CONTROL \op, b, 1, r8
        CONTROL \op, b, 0, r9
.endm
.macro FOUR_w op
        CONTROL \op, w, 0, r2
        CONTROL \op, w, 1, r3
        CONTROL \op, w, 2, r4
        CONTROL \op, w, 3, r5
        VALUE   \op, w, 0, r6
        VALUE   \op, w, 1, r7
        VALUE   \op, w, 2, r8
        VALUE   \op, w, 3, r9
.endm
.macro SWAP_FOUR kind
SYM(swap_)\kind\()_4:
        FOUR_\kind mrc
        .ifc    \kind, b
        stmdb   r0, {r2-r9}
        ldmdb   r1, {r2-r9}
        .else
        stmia   r0, {r2-r9}
        ldmia   r1, {r2-r9}
        .endif
        FOUR_\kind mcr
        EVENT_SWAPS 8
.endm
/* An odd number of registers: the last alone, then what is below it. A CPU with two or three of a kind has no four to
 * move. */
.macro SWAP_ODD kind, low, high, left
SYM(swap_)\kind\()_\high:
        PLACE   \kind, \low
        VALUE   mrc, \kind, \low, r2
        CONTROL mrc, \kind, \low, r4
        ldr     r6, [r1, #value_at]
        ldr     r8, [r1, #control_at]
        str     r2, [r0, #value_at]
        str     r4, [r0, #control_at]
        VALUE   mcr, \kind, \low, r6
        CONTROL mcr, \kind, \low, r8
        EVENT_SWAPS 2
        b       SYM(swap_)\kind\()_\low
.endm

/* activate: the host's registers out, the guest's in, and the guest may use them. */
SYM(activate):
        mov     r2, #1
        str     r2, [sp, #LIVE]
        ldr     r2, [sp, #HDCR_OPEN]
        mcr     HDCR(r2)
SYM(eager_in):
        add     r0, sp, #HOST_DEBUG
        add     r1, sp, #GUEST_DEBUG
        EVENT   EVENT_SWITCHES, 1
SYM(swap):
        mrc     DBGDSCREXT(r2)
        ldr     r3, [r1, #DSCR]
        str     r2, [r0, #DSCR]
        mcr     DBGDSCREXT(r3)
        EVENT_SWAPS 1
        ldr     pc, [sp, #SWAP]
        .irp    kind, b, w
        EACH_UPPER_PAIR SWAP_PAIR, \kind
        SWAP_FOUR \kind
SYM(swap_)\kind\()_0:
        END_OF_CHAIN \kind, SWAP
        .endr
        EACH_PAIR SWAP_ODD, b
        EACH_PAIR SWAP_ODD, w
        .irp    kind, b, w
        SWAP_PAIR \kind, 0, 1, 2
        b       SYM(swap_)\kind\()_0
        .endr

/* deactivate: the guest's registers out, the host's in, and the guest's next access traps. The host may rely on its
 * breakpoints at once, so this ends with an ISB. */
SYM(deactivate):
        mov     r2, #0
        str     r2, [sp, #LIVE]
        ldr     r2, [sp, #HDCR_TRAP]
        mcr     HDCR(r2)
SYM(eager_out):
        mov     r12, lr
        add     r0, sp, #GUEST_DEBUG
        add     r1, sp, #HOST_DEBUG
        bl      SYM(swap)
        SYNC
        CLOSE   PART_SWITCH
        bx      r12

/* What only some CPUs have: DBGVCR (vector catch), and a DBGBXVR (a VMID) for each of the last breakpoints. Where a CPU
 * has them, they come before the breakpoints in swap, take and give, a jump after each (vcpu_fit in machine.c); elsewhere
 * they cost nothing. They follow the breakpoints and decide nothing: an enabled vector catch alone moves no register.
 * r3 is the set of take and give, and stays as it is. */
.macro EXTRA_SWAP chain, name, number, at, crn, crm, opc2
SYM(extra\chain\()_\name):
        mrc     p14, 0, r4, \crn, \crm, \opc2
        ldr     r6, [r1, #\at]
        str     r4, [r0, #\at]
        mcr     p14, 0, r6, \crn, \crm, \opc2
        EVENT_SWAPS 1
        ldr     pc, [sp, #NEXT + NEXT_SIZE * \chain + 4 * (\number)]
.endm
.macro EXTRA_GIVE chain, name, number, at, crn, crm, opc2
SYM(extra\chain\()_\name):
        ldr     r6, [r1, #\at]
        mcr     p14, 0, r6, \crn, \crm, \opc2
        EVENT   EVENT_WRITES, 1
        ldr     pc, [sp, #NEXT + NEXT_SIZE * \chain + 4 * (\number)]
.endm
.macro EACH_EXTRA do, chain
        \do     \chain, vcr, 0, VCR, c0, c7, 0
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        \do     \chain, \n, 1 + \n, BXVR + 4 * \n, c1, c\n, 1
        .endr
.endm
        EACH_EXTRA EXTRA_SWAP, 0
        EACH_EXTRA EXTRA_SWAP, 1
        EACH_EXTRA EXTRA_GIVE, 2
.macro EXTRA_ENTRIES chain
        .dc.a   SYM(extra\chain\()_vcr)
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        .dc.a   SYM(extra\chain\()_\n)
        .endr
.endm

/* scan: r2 |= the guest's control registers. r1 points to its struct debug. */
.macro SCAN_TWO kind, first, second
        PLACE   \kind, \first
        ldrd    r4, r5, [r1, #control_at]
        orr     r2, r2, r4
        orr     r2, r2, r5
.endm
.macro SCAN_PAIR kind, low, high, left
SYM(scan_)\kind\()_\left:
SYM(scan_)\kind\()_\high:
        IN_ORDER SCAN_TWO, \kind, \low, \high
.endm
.macro SCAN_ALL kind, load
        EACH_UPPER_PAIR SCAN_PAIR, \kind
        .irp    left, 4, 3, 2, 1
SYM(scan_)\kind\()_\left:
        .endr
        \load   r1, {r4-r7}
        orr     r2, r2, r4
        orr     r2, r2, r5
        orr     r2, r2, r6
        orr     r2, r2, r7
SYM(scan_)\kind\()_0:
.endm
        SCAN_ALL b, ldmdb
        ldr     pc, [sp, #SCAN + 4]
        SCAN_ALL w, ldmia
        bx      lr

/* SCAN_GUEST: NE if the guest has a breakpoint or watchpoint enabled. A single step is a breakpoint too (C3.2). */
.macro SCAN_GUEST
        add     r1, sp, #GUEST_DEBUG
        ldr     r9, [sp, #SCAN]
        mov     r2, #0
        blx     r9
        tst     r2, #1
.endm

/* Of a pair, the registers that are in the set r3: C and N say whether high and low are. */
.macro PAIR_OF_SET chain, one, kind, low, high, left
\chain\()_\kind\()_\left:
\chain\()_\kind\()_\high:
        lsls    r2, r3, #(31 - FIRST_\kind - \low)
        bcc     1f
        \one    \kind, \high
1:      bpl     2f
        \one    \kind, \low
2:
.endm

/* toggle: invert the enable bit of the host's registers that are in the set r3. */
.macro TOGGLE_ONE kind, n
        CONTROL mrc, \kind, \n, r4
        eor     r4, r4, #1
        CONTROL mcr, \kind, \n, r4
        EVENT_SWAPS 1
.endm
SYM(toggle):
        ldr     pc, [sp, #TOGGLE]
        CHAIN_OF_SET SYM(toggle), b, TOGGLE_ONE, TOGGLE
        CHAIN_OF_SET SYM(toggle), w, TOGGLE_ONE, TOGGLE

/* take: for the registers in the set r3, the host's out to r0, the guest's in from r1.
 * give: the host's in again, from r1. What the guest has in memory is what is in its registers: its writes all trap. */
.macro TAKE_ONE kind, n
        PLACE   \kind, \n
        VALUE   mrc, \kind, \n, r4
        CONTROL mrc, \kind, \n, r5
        ldr     r6, [r1, #value_at]
        ldr     r7, [r1, #control_at]
        str     r4, [r0, #value_at]
        str     r5, [r0, #control_at]
        VALUE   mcr, \kind, \n, r6
        CONTROL mcr, \kind, \n, r7
        EVENT_SWAPS 2
.endm
.macro GIVE_ONE kind, n
        PLACE   \kind, \n
        ldr     r6, [r1, #value_at]
        ldr     r7, [r1, #control_at]
        VALUE   mcr, \kind, \n, r6
        CONTROL mcr, \kind, \n, r7
        EVENT   EVENT_WRITES, 2
.endm
        CHAIN_OF_SET SYM(take), b, TAKE_ONE, TAKE
        CHAIN_OF_SET SYM(take), w, TAKE_ONE, TAKE
        CHAIN_OF_SET SYM(give), b, GIVE_ONE, GIVE
        CHAIN_OF_SET SYM(give), w, GIVE_ONE, GIVE

/* --- a trapped access ------------------------------------------------------------------------------------------------
 *
 * emulate: do in memory what the guest wanted to do with a register, and let it go on after the access.
 *      r0      in: the HSR (B3.13.6: opc2 19:17, opc1 16:14, CRn 13:10, Rt 8:5, CRm 4:1, direction 0: 1 is a read)
 *      r4      out: 0 if it was a write
 *      r5      out: the enable bit that was written; 0 if the register has none
 *      r6      out: the register's place in a set; negative if it has no enable bit
 * With CRn 0, DBGBVRn has opc2 4 and CRm n, DBGBCRn 5, DBGWVRn 6, DBGWCRn 7; DBGDSCRext has opc2 2 and CRm 2, DBGVCR 0 and
 * 7. DBGBXVRn has CRn 1, opc2 1. All other registers read as zero and ignore writes, as KVM has it. Rt must not be 13 or
 * 14, which are banked: 13 would be the guest's LR_usr, 14 a word that nothing reads.
 */
SYM(emulate):
        mrs     r8, ELR_hyp
        add     r8, r8, #4
        msr     ELR_hyp, r8
        ubfx    r2, r0, #1, #4                  // CRm
        ubfx    r3, r0, #5, #4                  // Rt
        and     r4, r0, #1
        mov     r5, #0
        mvn     r6, #0
        add     r8, sp, #GUEST_DEBUG
        tst     r0, #0x1fc00                    // opc1 and CRn
        bne     3f
        tst     r0, #1 << 19                    // opc2 is at least 4
        beq     3f

        // The control register's place, from the middle up for a watchpoint; for a breakpoint, down.
        and     r7, r2, #12
        add     r7, r7, r2
        lsls    r1, r0, #14                     // C: opc2<1>, it is a watchpoint. N: opc2<0>, it is a control register
        mvncc   r7, r7
        add     r8, r8, r7, lsl #2
        bpl     2f

        // A control register.
        addcs   r2, r2, #16
        mov     r6, r2
        cmp     r4, #0
        bne     1f
        ldr     r10, [sp, r3, lsl #2]
        str     r10, [r8]
        and     r5, r10, #1
        bx      lr

        // A value register, four words further out.
2:      addcs   r8, r8, #16
        subcc   r8, r8, #16
        cmp     r4, #0
        ldreq   r10, [sp, r3, lsl #2]
        streq   r10, [r8]
        bxeq    lr
1:      ldr     r10, [r8]
        str     r10, [sp, r3, lsl #2]
        bx      lr

        // DBGDSCRext, DBGVCR, DBGBXVR, or something else.
3:      ubfx    r1, r0, #10, #10                // opc2, opc1, CRn
        add     r7, r8, #DSCR
        cmp     r1, #2 << 7
        cmpeq   r2, #2
        beq     4f
        cmp     r1, #0                          // DBGDSCRint, which shows the same
        cmpeq   r2, #1
        cmpeq   r4, #1
        beq     4f
        cmp     r1, #0                          // DBGDIDR, which belongs to neither
        cmpeq   r2, #0
        cmpeq   r4, #1
        mrceq   DBGDIDR(r10)
        streq   r10, [sp, r3, lsl #2]
        bxeq    lr
        add     r7, r8, #VCR
        cmp     r1, #0
        cmpeq   r2, #7
        beq     4f
        add     r7, r8, #BXVR
        add     r7, r7, r2, lsl #2
        cmp     r1, #(1 << 7) + 1
        beq     4f
        cmp     r4, #0
        movne   r10, #0
        strne   r10, [sp, r3, lsl #2]
        bx      lr
4:      cmp     r4, #0
        ldreq   r10, [sp, r3, lsl #2]
        streq   r10, [r7]
        ldrne   r10, [r7]
        strne   r10, [sp, r3, lsl #2]
        bx      lr

/* --- the strategies --------------------------------------------------------------------------------------------------
 *
 * entry and exit are called in every world switch, trap after a trapped access; r0 is then its HSR. The traps of HDCR are
 * set whenever LIVE is not, so that an entry which switches nothing need not write it.
 */

// none: the floor. Guest and host share the registers.
SYM(none_entry):
SYM(none_exit):
SYM(none_trap):
        bx      lr

// eager: everything, always.
SYM(eager_entry):
        CLOSE   PART_BASE
        b       SYM(eager_in)
SYM(eager_exit):
        CLOSE   PART_BASE
        b       SYM(eager_out)

// lazy: for a guest with monitor debug mode on, or from its first trapped access on until it is left.
// The rule as posted lets the host's breakpoints fire in a guest that is clean; if the host has any enabled, the guest's
// DBGDSCR, in which monitor mode is off, takes the place of the host's meanwhile.
SYM(lazy_entry):
        CLOSE   PART_BASE
        ldr     r1, [sp, #GUEST_DEBUG + DSCR]
        tst     r1, #DSCR_MDBGEN
        bne     1f
        ldr     r3, [sp, #HOST_ENABLED]
        cmp     r3, #0
        bne     2f
        CLOSE   PART_SCAN
        bx      lr
1:      CLOSE   PART_SCAN
        b       SYM(activate)
2:      CLOSE   PART_SCAN
        mrc     DBGDSCREXT(r2)
        str     r2, [sp, #HOST_DEBUG + DSCR]
        mcr     DBGDSCREXT(r1)
        EVENT_SWAPS 1
        CLOSE   PART_SWITCH
        bx      lr
SYM(lazy_exit):
        CLOSE   PART_BASE
        ldr     r2, [sp, #LIVE]
        cmp     r2, #0
        bne     1f
        ldr     r3, [sp, #HOST_ENABLED]
        cmp     r3, #0
        bne     2f
        CLOSE   PART_SCAN
        bx      lr
1:      CLOSE   PART_SCAN
        b       SYM(deactivate)
2:      CLOSE   PART_SCAN
        ldr     r2, [sp, #HOST_DEBUG + DSCR]
        mcr     DBGDSCREXT(r2)
        EVENT   EVENT_WRITES, 1
        SYNC
        CLOSE   PART_SWITCH
        bx      lr
SYM(lazy_trap):                                 // the guest makes its access again, untrapped
        ldr     r3, [sp, #HOST_ENABLED]
        cmp     r3, #0
        beq     1f
        ldr     r2, [sp, #HOST_DEBUG + DSCR]
        mcr     DBGDSCREXT(r2)
        EVENT   EVENT_WRITES, 1
1:      CLOSE   PART_TRAP
        b       SYM(activate)

// control-scan: everything if the host or the guest has anything enabled, else nothing.
SYM(scan_entry):
        CLOSE   PART_BASE
        ldr     r2, [sp, #HOST_ENABLED]
        cmp     r2, #0
        bne     1f
        mov     r12, lr
        SCAN_GUEST
        mov     lr, r12
        bne     1f
        CLOSE   PART_SCAN
        bx      lr
1:      CLOSE   PART_SCAN
        b       SYM(activate)
SYM(scan_exit):
        CLOSE   PART_BASE
        ldr     r2, [sp, #LIVE]
        cmp     r2, #0
        CLOSE   PART_SCAN
        bne     SYM(deactivate)
        bx      lr
SYM(scan_trap):                                 // what is enabled now must be in the hardware now
        mov     r11, lr
        bl      SYM(emulate)
        mov     lr, r11
        cmp     r5, #0
        CLOSE   PART_TRAP
        bne     SYM(activate)
        bx      lr

// summary-scan: the answer of the scan is kept. It can only change when a trapped write enables something, while the
// guest owns its registers (so it is asked again when they are saved), and when the host changes its own set.
SYM(summary_entry):
        CLOSE   PART_BASE
        ldr     r2, [sp, #SUMMARY]
        cmp     r2, #0
        CLOSE   PART_SCAN
        bne     SYM(activate)
        bx      lr
SYM(summary_exit):
        CLOSE   PART_BASE
        ldr     r2, [sp, #LIVE]
        cmp     r2, #0
        CLOSE   PART_SCAN
        bne     1f
        bx      lr
1:      mov     r11, lr
        bl      SYM(deactivate)
        SCAN_GUEST
        ldr     r3, [sp, #SUMMARY]
        bfi     r3, r2, #0, #1
        str     r3, [sp, #SUMMARY]
        CLOSE   PART_SCAN
        bx      r11
SYM(summary_trap):
        mov     r11, lr
        bl      SYM(emulate)
        mov     lr, r11
        cmp     r5, #0
        bne     1f
        bx      lr
1:      str     r5, [sp, #SUMMARY]              // nothing was enabled before, or it would not have trapped
        CLOSE   PART_TRAP
        b       SYM(activate)

// host-mask: everything if the guest has anything enabled; else the host's enable bits are cleared meanwhile.
SYM(mask_entry):
        CLOSE   PART_BASE
        mov     r12, lr
        SCAN_GUEST
        mov     lr, r12
        bne     1f
        ldr     r3, [sp, #HOST_ENABLED]
        str     r3, [sp, #SWITCHED]
        cmp     r3, #0
        CLOSE   PART_SCAN
        bne     SYM(toggle)
        bx      lr
1:      CLOSE   PART_SCAN
        b       SYM(activate)
SYM(mask_exit):
        CLOSE   PART_BASE
        ldr     r2, [sp, #LIVE]
        cmp     r2, #0
        bne     1f
        ldr     r3, [sp, #SWITCHED]
        cmp     r3, #0
        bne     2f
        CLOSE   PART_SCAN
        bx      lr
1:      CLOSE   PART_SCAN
        b       SYM(deactivate)
2:      CLOSE   PART_SCAN
        mov     r12, lr
        bl      SYM(toggle)
        SYNC
        CLOSE   PART_SWITCH
        bx      r12
SYM(mask_trap):
        mov     r11, lr
        bl      SYM(emulate)
        mov     lr, r11
        cmp     r5, #0
        bne     1f
        bx      lr
1:      ldr     r3, [sp, #SWITCHED]
        cmp     r3, #0
        CLOSE   PART_TRAP
        beq     SYM(activate)
        bl      SYM(toggle)                     // the host's registers are saved as the host knows them
        mov     lr, r11
        b       SYM(activate)

// partial: only registers that the host or the guest has enabled. The guest's other registers are in memory alone, so
// all of its accesses trap, always.
SYM(partial_entry):
        CLOSE   PART_BASE
SYM(partial_in):
        ldrd    r2, r3, [sp, #HOST_ENABLED]     // and GUEST_ENABLED
        orrs    r3, r3, r2
        str     r3, [sp, #SWITCHED]
        CLOSE   PART_SCAN
        bne     1f
        bx      lr
1:      EVENT   EVENT_SWITCHES, 1
        add     r0, sp, #HOST_DEBUG
        add     r1, sp, #GUEST_DEBUG
        mrc     DBGDSCREXT(r2)
        ldr     r4, [r1, #DSCR]
        str     r2, [r0, #DSCR]
        mcr     DBGDSCREXT(r4)
        EVENT_SWAPS 1
        ldr     pc, [sp, #TAKE]
SYM(partial_exit):
        CLOSE   PART_BASE
        ldr     r3, [sp, #SWITCHED]
        cmp     r3, #0
        CLOSE   PART_SCAN
        bne     1f
        bx      lr
1:      mrc     DBGDSCREXT(r2)                  // a debug exception has left in it which one it was: DBGDSCR.MOE
        str     r2, [sp, #GUEST_DEBUG + DSCR]
        EVENT   EVENT_READS, 1
SYM(partial_out):
        mov     r12, lr
        add     r1, sp, #HOST_DEBUG
        ldr     r2, [r1, #DSCR]
        mcr     DBGDSCREXT(r2)
        EVENT   EVENT_WRITES, 1
        ldr     r9, [sp, #GIVE]
        blx     r9
        SYNC
        CLOSE   PART_SWITCH
        bx      r12
SYM(partial_trap):
        mov     r11, lr
        ldr     r3, [sp, #SWITCHED]
        cmp     r3, #0
        beq     1f
        mrc     DBGDSCREXT(r2)                  // as above, before the guest reads or writes it
        str     r2, [sp, #GUEST_DEBUG + DSCR]
        EVENT   EVENT_READS, 1
1:      bl      SYM(emulate)
        mov     lr, r11
        cmp     r4, #0
        bne     3f
        cmp     r6, #0
        bmi     2f
        mov     r2, #1                          // the guest's set follows the register
        ldr     r3, [sp, #GUEST_ENABLED]
        bic     r3, r3, r2, lsl r6
        orr     r3, r3, r5, lsl r6
        str     r3, [sp, #GUEST_ENABLED]
2:      CLOSE   PART_TRAP                       // and so does the hardware
        ldr     r3, [sp, #SWITCHED]
        cmp     r3, #0
        blne    SYM(partial_out)
        bl      SYM(partial_in)
        mov     lr, r11
3:      bx      lr

#include "switcher.inc"

/* The exception vectors of Hyp mode (B1.8.1): all but what a guest causes is a mistake of ours. */
        .text
        .balign 32
SYM(vectors):
        .irp    number, 0, 1, 2, 3, 4
        b       SYM(wrong_\number)
        .endr
        b       SYM(from_guest)                 // Hyp trap, and HVC
        b       SYM(wrong_6)
        b       SYM(wrong_7)
        .irp    number, 0, 1, 2, 3, 4, 6, 7
SYM(wrong_\number):
        push    {r0}
        mov     r0, #\number
        b       wrong
        .endr
