/* SPDX-License-Identifier: MIT
 *
 * The world switch on AArch64: from the host at EL2 into a guest at EL1 and back, with one of seven ways to treat the
 * debug registers. Section numbers are those of the Arm Architecture Reference Manual, DDI 0487J.
 *
 * Registers inside the switch
 *      sp              the vcpu (layout.h); the host's own stack is kept in it
 *      x0, x1          arguments: where register contents go to, where they come from
 *      x2 - x15        scratch
 *      x16, x17        return addresses of routines that call another
 *
 * This file is assembled twice, as it is measured and as it counts itself: see shared/switch.inc.
 */
#include "switch.inc"

        .text

/* --- round trips -----------------------------------------------------------------------------------------------------
 *
 * uint64_t run(struct vcpu *, uint64_t round_trips, uint64_t window[3]): enter the guest so often and handle each exit.
 * window: instructions, cycles and counter ticks that this took. Returns 0, or the ESR of the exit at which it stopped:
 * HVC with a number, by which the guest says that it is done, or something that no one expects.
 */
        .globl  SYM(run)
SYM(run):
        stp     x29, x30, [sp, #-112]!
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        stp     x25, x26, [sp, #64]
        stp     x27, x28, [sp, #80]
        str     x2, [sp, #96]
        mov     x19, x0
        mov     x20, x1
        mov     x0, xzr
        isb                                     // a window begins and ends with all that was before it done
        mrs     x23, cntpct_el0
        mrs     x22, pmccntr_el0
        WINDOW_BEGINS x21, x19
        b       3f

1:      mov     x0, x19                         // a round trip
        bl      SYM(world_switch)
        lsr     x1, x0, #26                     // ESR.EC: why the guest was left
        cmp     x1, #EC_HVC
        b.ne    2f
        ands    x0, x0, #0xffff                 // HVC #0 asks for nothing
        b.ne    4f
        b       3f

2:      ldr     x3, [x19, #ELR]                 // the access is emulated: the guest goes on after it
        add     x3, x3, #4
        str     x3, [x19, #ELR]
        cmp     x1, #EC_STAGE2                  // a store to a device that ignores it
        b.eq    3f
        cmp     x1, #EC_TRAPPED                 // a read of a register that reads as zero
        b.ne    4f
        ubfx    x1, x0, #5, #5
        str     xzr, [x19, x1, lsl #3]
        mov     x0, xzr

3:      subs    x20, x20, #1
        b.pl    1b
        mov     x0, xzr
4:      isb
        WINDOW_ENDS x1, x19
        mrs     x2, pmccntr_el0
        mrs     x3, cntpct_el0
        ldr     x4, [sp, #96]
        sub     x1, x1, x21
        sub     x2, x2, x22
        sub     x3, x3, x23
        and     x1, x1, #0xffffffff             // PMEVCNTR is 32 bits wide
        stp     x1, x2, [x4]
        str     x3, [x4, #16]
        ldp     x27, x28, [sp, #80]
        ldp     x25, x26, [sp, #64]
        ldp     x23, x24, [sp, #48]
        ldp     x21, x22, [sp, #32]
        ldp     x19, x20, [sp, #16]
        ldp     x29, x30, [sp], #112
        ret

/* --- the switch ------------------------------------------------------------------------------------------------------
 *
 * EL1 system registers that KVM moves (arch/arm64/kvm/hyp/include/hyp/sysreg-sr.h), MDSCR_EL1 apart, which is a debug
 * register here. FIRST and SECOND are moved as a pair.
 */
.macro FOR_EACH_SYSTEM_PAIR do
        \do     sctlr_el1, cpacr_el1, 0
        \do     ttbr0_el1, ttbr1_el1, 16
        \do     mair_el1, amair_el1, 32
        \do     esr_el1, far_el1, 48
        \do     afsr0_el1, afsr1_el1, 64
        \do     vbar_el1, contextidr_el1, 80
        \do     cntkctl_el1, par_el1, 96
        \do     tpidr_el0, tpidrro_el0, 112
        \do     sp_el1, elr_el1, 128
        \do     spsr_el1, sp_el0, 144
        \do     tpidr_el1, csselr_el1, 160
.endm
/* TCR_EL1 is the same register for both most of the time, and is written only where it differs: a write makes an emulator
 * forget every translation, which took four times as long as the rest of a round trip. */
#define TCR     176
.macro SWAP_TCR out, in
        mrs     x2, tcr_el1
        ldr     x3, [sp, #\in + TCR]
        str     x2, [sp, #\out + TCR]
        cmp     x2, x3
        b.eq    1f
        msr     tcr_el1, x3
1:
.endm
.macro SAVE_PAIR first, second, at
        mrs     x2, \first
        mrs     x3, \second
        stp     x2, x3, [x0, #\at]
.endm
.macro LOAD_PAIR first, second, at
        ldp     x2, x3, [x1, #\at]
        msr     \first, x2
        msr     \second, x3
.endm

/* The guest's general registers: STP or LDP, and STR or LDR for the last. */
.macro MOVE_GENERAL pair, single
        .set    at, GPR
        .irp    two, "x0, x1", "x2, x3", "x4, x5", "x6, x7", "x8, x9", "x10, x11", "x12, x13", "x14, x15", \
                     "x16, x17", "x18, x19", "x20, x21", "x22, x23", "x24, x25", "x26, x27", "x28, x29"
        \pair   \two, [sp, #at]
        .set    at, at + 16
        .endr
        \single x30, [sp, #at]
.endm
/* The host's: those that a call preserves. The others are the caller's loss. */
.macro MOVE_PRESERVED pair, vcpu
        .set    at, HOST_GPR
        .irp    two, "x19, x20", "x21, x22", "x23, x24", "x25, x26", "x27, x28", "x29, x30"
        \pair   \two, [\vcpu, #at]
        .set    at, at + 16
        .endr
.endm

SYM(world_switch):
        // The host's general registers and its stack.
        MOVE_PRESERVED stp, x0
        mov     x1, sp
        str     x1, [x0, #HOST_SP]
        mov     sp, x0

        // EL1's system registers: the host's out, the guest's in.
        add     x0, sp, #HOST_SYS
        FOR_EACH_SYSTEM_PAIR SAVE_PAIR
        add     x1, sp, #GUEST_SYS
        FOR_EACH_SYSTEM_PAIR LOAD_PAIR
        SWAP_TCR HOST_SYS, GUEST_SYS

        // The debug registers, by the strategy.
        ldr     x9, [sp, #ENTRY]
        blr     x9

        // What traps, and the guest's memory (D17.2.48 HCR_EL2, D17.2.152 VTTBR_EL2).
        ldp     x0, x1, [sp, #HCR]
        msr     hcr_el2, x0
        msr     vttbr_el2, x1

        // Into the guest. ERET synchronises all of the above (D1.3.2).
        ldp     x0, x1, [sp, #ELR]
        msr     elr_el2, x0
        msr     spsr_el2, x1
        MOVE_GENERAL ldp, ldr
        eret

SYM(from_guest):
        CLOSE   PART_BASE
        MOVE_GENERAL stp, str

        // A trapped access to a debug register (op0 = 2) is the strategy's, and does not leave the guest for the host.
        mrs     x0, esr_el2
        lsr     w1, w0, #26
        cmp     w1, #EC_TRAPPED
        b.ne    1f
        ubfx    w1, w0, #20, #2
        cmp     w1, #2
        b.ne    1f
        EVENT   EVENT_TRAPS, 1
        ldr     x9, [sp, #TRAP]
        blr     x9
        MOVE_GENERAL ldp, ldr
        CLOSE   PART_TRAP
        eret

        // Out of the guest.
1:      mrs     x2, elr_el2
        mrs     x3, spsr_el2
        stp     x2, x3, [sp, #ELR]
        str     x0, [sp, #EXIT_REASON]

        // The debug registers, by the strategy.
        ldr     x9, [sp, #EXIT]
        blr     x9

        // What traps: nothing. The second stage may stay, since the host runs at EL2, above it.
        ldr     x2, [sp, #HOST_HCR]
        msr     hcr_el2, x2

        // EL1's system registers: the guest's out, the host's in.
        add     x0, sp, #GUEST_SYS
        FOR_EACH_SYSTEM_PAIR SAVE_PAIR
        add     x1, sp, #HOST_SYS
        FOR_EACH_SYSTEM_PAIR LOAD_PAIR
        SWAP_TCR GUEST_SYS, HOST_SYS

        // The host's general registers and its stack.
        mov     x9, sp
        ldr     x0, [x9, #EXIT_REASON]
        MOVE_PRESERVED ldp, x9
        ldr     x1, [x9, #HOST_SP]
        mov     sp, x1
        ret

/* --- moving debug registers ------------------------------------------------------------------------------------------
 *
 * By chains (shared/switch.inc), whose first links ID_AA64DFR0_EL1.BRPs and WRPs choose (D17.2.59). x9 is the entry into the
 * chain of watchpoints.
 */
        .set    VALUE_b, BVR
        .set    VALUE_w, WVR
        .set    CONTROL_b, BCR
        .set    CONTROL_w, WCR

.macro END_OF_CHAIN kind, entries
        .ifc    \kind, b
        br      x9
        .else
        CLOSE   PART_SWITCH
        ret
        .endif
.endm

/* swap: what is in the registers goes to x0, what x1 holds goes into them. Both are struct debug. 12 instructions for two
 * registers, which is the least: four reads and writes of each pair, and a load and a store for each two. */
.macro SWAP_PAIR kind, low, high, left
SYM(swap_)\kind\()_\left:
        mrs     x2, dbg\kind\()vr\low\()_el1
        mrs     x3, dbg\kind\()vr\high\()_el1
        mrs     x4, dbg\kind\()cr\low\()_el1
        mrs     x5, dbg\kind\()cr\high\()_el1
        ldp     x6, x7, [x1, #VALUE_\kind + 8 * \low]
        ldp     w10, w11, [x1, #CONTROL_\kind + 4 * \low]
        stp     x2, x3, [x0, #VALUE_\kind + 8 * \low]
        stp     w4, w5, [x0, #CONTROL_\kind + 4 * \low]
        msr     dbg\kind\()vr\low\()_el1, x6
        msr     dbg\kind\()vr\high\()_el1, x7
        msr     dbg\kind\()cr\low\()_el1, x10
        msr     dbg\kind\()cr\high\()_el1, x11
        EVENT_SWAPS 4
.endm
/* An odd number of registers: the last alone, then the pairs below it. */
.macro SWAP_ODD kind, low, high, left
SYM(swap_)\kind\()_\high:
        mrs     x2, dbg\kind\()vr\low\()_el1
        mrs     x4, dbg\kind\()cr\low\()_el1
        ldr     x6, [x1, #VALUE_\kind + 8 * \low]
        ldr     w10, [x1, #CONTROL_\kind + 4 * \low]
        str     x2, [x0, #VALUE_\kind + 8 * \low]
        str     w4, [x0, #CONTROL_\kind + 4 * \low]
        msr     dbg\kind\()vr\low\()_el1, x6
        msr     dbg\kind\()cr\low\()_el1, x10
        EVENT_SWAPS 2
        b       SYM(swap_)\kind\()_\low
.endm

/* activate: the host's registers out, the guest's in, and the guest may use them. */
SYM(activate):
        mov     x2, #1
        str     x2, [sp, #LIVE]
        ldr     x2, [sp, #MDCR_OPEN]
        msr     mdcr_el2, x2
SYM(eager_in):
        add     x0, sp, #HOST_DEBUG
        add     x1, sp, #GUEST_DEBUG
        EVENT   EVENT_SWITCHES, 1
SYM(swap):
        ldp     x8, x9, [sp, #SWAP]
        mrs     x2, mdscr_el1
        ldr     w3, [x1, #MDSCR]
        str     w2, [x0, #MDSCR]
        msr     mdscr_el1, x3
        EVENT_SWAPS 1
        br      x8
        .irp    kind, b, w
        EACH_PAIR SWAP_PAIR, \kind
SYM(swap_)\kind\()_0:
        END_OF_CHAIN \kind
        .endr
        EACH_PAIR SWAP_ODD, b
        EACH_PAIR SWAP_ODD, w

/* deactivate: the guest's registers out, the host's in, and the guest's next access traps. The host may rely on its
 * breakpoints at once, so this ends with an ISB (D2.11.3). */
SYM(deactivate):
        str     xzr, [sp, #LIVE]
        ldr     x2, [sp, #MDCR_TRAP]
        msr     mdcr_el2, x2
SYM(eager_out):
        mov     x16, x30
        add     x0, sp, #GUEST_DEBUG
        add     x1, sp, #HOST_DEBUG
        bl      SYM(swap)
        SYNC
        CLOSE   PART_SWITCH
        ret     x16

/* scan: x2 |= the guest's control registers, two in each half. x1 points to its struct debug. */
.macro SCAN_FOUR kind, first, links:vararg
        .irp    left, \links
SYM(scan_)\kind\()_\left:
        .endr
        ldp     x3, x4, [x1, #CONTROL_\kind + 4 * \first]
        orr     x2, x2, x3
        orr     x2, x2, x4
.endm
.macro SCAN_ALL kind
        SCAN_FOUR \kind, 12, 13, 14, 15, 16
        SCAN_FOUR \kind, 8, 9, 10, 11, 12
        SCAN_FOUR \kind, 4, 5, 6, 7, 8
        SCAN_FOUR \kind, 0, 1, 2, 3, 4
SYM(scan_)\kind\()_0:
.endm
        SCAN_ALL b
        br      x9
        SCAN_ALL w
        ret

/* SCAN_GUEST: NE if the guest has a breakpoint or watchpoint enabled, or steps: MDSCR_EL1.SS is bit 0, as the enable bits
 * are, and so it joins the same OR. */
.macro SCAN_GUEST
        add     x1, sp, #GUEST_DEBUG
        ldp     x8, x9, [sp, #SCAN]
        ldr     w2, [x1, #MDSCR]
        blr     x8
        tst     x2, #0x100000001
.endm

/* Of a pair, the registers that are in the set x3. */
.macro PAIR_OF_SET chain, one, kind, low, high, left
\chain\()_\kind\()_\left:
        tbz     x3, #FIRST_\kind + \high, 1f
        \one    \kind, \high
1:
\chain\()_\kind\()_\high:
        tbz     x3, #FIRST_\kind + \low, 1f
        \one    \kind, \low
1:
.endm

/* toggle: invert the enable bit of the host's registers that are in the set x3. */
.macro TOGGLE_ONE kind, n
        mrs     x2, dbg\kind\()cr\n\()_el1
        eor     x2, x2, #1
        msr     dbg\kind\()cr\n\()_el1, x2
        EVENT_SWAPS 1
.endm
SYM(toggle):
        ldp     x8, x9, [sp, #TOGGLE]
        br      x8
        CHAIN_OF_SET SYM(toggle), b, TOGGLE_ONE, TOGGLE
        CHAIN_OF_SET SYM(toggle), w, TOGGLE_ONE, TOGGLE

/* take: for the registers in the set x3, the host's out to x0, the guest's in from x1.
 * give: the host's in again, from x1. What the guest has in memory is what is in its registers: its writes all trap. */
.macro TAKE_ONE kind, n
        mrs     x4, dbg\kind\()vr\n\()_el1
        mrs     x5, dbg\kind\()cr\n\()_el1
        ldr     x6, [x1, #VALUE_\kind + 8 * \n]
        ldr     w7, [x1, #CONTROL_\kind + 4 * \n]
        str     x4, [x0, #VALUE_\kind + 8 * \n]
        str     w5, [x0, #CONTROL_\kind + 4 * \n]
        msr     dbg\kind\()vr\n\()_el1, x6
        msr     dbg\kind\()cr\n\()_el1, x7
        EVENT_SWAPS 2
.endm
.macro GIVE_ONE kind, n
        ldr     x6, [x1, #VALUE_\kind + 8 * \n]
        ldr     w7, [x1, #CONTROL_\kind + 4 * \n]
        msr     dbg\kind\()vr\n\()_el1, x6
        msr     dbg\kind\()cr\n\()_el1, x7
        EVENT   EVENT_WRITES, 2
.endm
        CHAIN_OF_SET SYM(take), b, TAKE_ONE, TAKE
        CHAIN_OF_SET SYM(take), w, TAKE_ONE, TAKE
        CHAIN_OF_SET SYM(give), b, GIVE_ONE, GIVE
        CHAIN_OF_SET SYM(give), w, GIVE_ONE, GIVE

/* --- a trapped access ------------------------------------------------------------------------------------------------
 *
 * emulate: do in memory what the guest wanted to do with a register, and let it go on after the access.
 *      x0      in: the ESR (D17.2.37: op2 19:17, Rt 9:5, CRm 4:1, direction 0: 1 is a read)
 *      w4      out: 1 if it was a write
 *      w5      out: the enable bit that was written; 0 if the register has none
 *      x6      out: the register's place in a set; negative if it has no enable bit
 * DBGBVRn_EL1 has op2 4 and CRm n, DBGBCRn_EL1 5, DBGWVRn_EL1 6, DBGWCRn_EL1 7; MDSCR_EL1 has op2 2 and CRm 2. All other
 * registers read as zero and ignore writes, as KVM has it.
 */
SYM(emulate):
        mrs     x8, elr_el2
        add     x8, x8, #4
        msr     elr_el2, x8
        ubfx    w1, w0, #17, #3                 // op2
        ubfx    w2, w0, #1, #4                  // CRm
        ubfx    w3, w0, #5, #5                  // Rt
        add     x8, sp, #GUEST_DEBUG
        eor     w4, w0, #1
        and     w4, w4, #1
        mov     w5, wzr
        mov     x6, #-1
        tbz     w1, #2, 3f
        ubfx    w7, w1, #1, #1                  // 0: breakpoint, 1: watchpoint
        tbz     w1, #0, 2f

        // A control register.
        add     x6, x2, x7, lsl #4
        add     x8, x8, x6, lsl #2
        cbz     w4, 1f
        ldr     x1, [sp, x3, lsl #3]
        str     w1, [x8]
        and     w5, w1, #1
        ret
1:      ldr     w1, [x8]
        str     x1, [sp, x3, lsl #3]
        str     xzr, [sp, #GPR + 8 * 31]
        ret

        // A value register.
2:      add     x7, x2, x7, lsl #4
        add     x8, x8, x7, lsl #3
        cbz     w4, 1f
        ldr     x1, [sp, x3, lsl #3]
        str     x1, [x8, #BVR]
        ret
1:      ldr     x1, [x8, #BVR]
        str     x1, [sp, x3, lsl #3]
        str     xzr, [sp, #GPR + 8 * 31]
        ret

        // MDSCR_EL1, or something else.
3:      cmp     w1, #2
        ccmp    w2, #2, #0, eq
        mov     x1, xzr
        b.ne    1f
        cbz     w4, 2f
        ldr     x1, [sp, x3, lsl #3]
        str     w1, [x8, #MDSCR]
        and     w5, w1, #MDSCR_SS
        mov     x6, #32
        ret
2:      ldr     w1, [x8, #MDSCR]
1:      cbnz    w4, 4f
        str     x1, [sp, x3, lsl #3]
        str     xzr, [sp, #GPR + 8 * 31]
4:      ret

/* --- the strategies --------------------------------------------------------------------------------------------------
 *
 * entry and exit are called in every world switch, trap after a trapped access; x0 is then its ESR. TDA (MDCR_EL2, D17.3.15)
 * is set whenever LIVE is not, so that an entry which switches nothing need not write it.
 */

// none: the floor. Guest and host share the registers.
SYM(none_entry):
SYM(none_exit):
SYM(none_trap):
        ret

// eager: everything, always.
SYM(eager_entry):
        CLOSE   PART_BASE
        b       SYM(eager_in)
SYM(eager_exit):
        CLOSE   PART_BASE
        b       SYM(eager_out)

// lazy: for a guest with monitor debug mode on, or from its first trapped access on until it is left.
// The rule as posted lets the host's breakpoints fire in a guest that is clean; if the host has any enabled, the guest's
// MDSCR_EL1, in which monitor mode is off, takes the place of the host's meanwhile.
SYM(lazy_entry):
        CLOSE   PART_BASE
        ldr     w1, [sp, #GUEST_DEBUG + MDSCR]
        mov     w2, #(MONITOR | MDSCR_SS)
        tst     w1, w2
        b.ne    1f
        ldr     x3, [sp, #HOST_ENABLED]
        cbnz    x3, 2f
        CLOSE   PART_SCAN
        ret
1:      CLOSE   PART_SCAN
        b       SYM(activate)
2:      CLOSE   PART_SCAN
        mrs     x2, mdscr_el1
        str     w2, [sp, #HOST_DEBUG + MDSCR]
        msr     mdscr_el1, x1
        EVENT_SWAPS 1
        CLOSE   PART_SWITCH
        ret
SYM(lazy_exit):
        CLOSE   PART_BASE
        ldr     x2, [sp, #LIVE]
        cbnz    x2, 1f
        ldr     x3, [sp, #HOST_ENABLED]
        cbnz    x3, 2f
        CLOSE   PART_SCAN
        ret
1:      CLOSE   PART_SCAN
        b       SYM(deactivate)
2:      CLOSE   PART_SCAN
        ldr     w2, [sp, #HOST_DEBUG + MDSCR]
        msr     mdscr_el1, x2
        EVENT   EVENT_WRITES, 1
        SYNC
        CLOSE   PART_SWITCH
        ret
SYM(lazy_trap):                                 // the guest makes its access again, untrapped
        ldr     x3, [sp, #HOST_ENABLED]
        cbz     x3, 1f
        ldr     w2, [sp, #HOST_DEBUG + MDSCR]
        msr     mdscr_el1, x2
        EVENT   EVENT_WRITES, 1
1:      CLOSE   PART_TRAP
        b       SYM(activate)

// control-scan: everything if the host or the guest has anything enabled, else nothing.
SYM(scan_entry):
        CLOSE   PART_BASE
        ldr     x2, [sp, #HOST_ENABLED]
        cbnz    x2, 1f
        mov     x16, x30
        SCAN_GUEST
        mov     x30, x16
        b.ne    1f
        CLOSE   PART_SCAN
        ret
1:      CLOSE   PART_SCAN
        b       SYM(activate)
SYM(scan_exit):
        CLOSE   PART_BASE
        ldr     x2, [sp, #LIVE]
        CLOSE   PART_SCAN
        cbnz    x2, SYM(deactivate)
        ret
SYM(scan_trap):                                 // what is enabled now must be in the hardware now
        mov     x17, x30
        bl      SYM(emulate)
        mov     x30, x17
        CLOSE   PART_TRAP
        cbnz    w5, SYM(activate)
        ret

// summary-scan: the answer of the scan is kept. It can only change when a trapped write enables something, while the
// guest owns its registers (so it is asked again when they are saved), and when the host changes its own set.
SYM(summary_entry):
        CLOSE   PART_BASE
        ldr     x2, [sp, #SUMMARY]
        CLOSE   PART_SCAN
        cbnz    x2, SYM(activate)
        ret
SYM(summary_exit):
        CLOSE   PART_BASE
        ldr     x2, [sp, #LIVE]
        CLOSE   PART_SCAN
        cbnz    x2, 1f
        ret
1:      mov     x17, x30
        bl      SYM(deactivate)
        SCAN_GUEST
        cset    x2, ne
        ldr     x3, [sp, #SUMMARY]
        bfi     x3, x2, #0, #1
        str     x3, [sp, #SUMMARY]
        CLOSE   PART_SCAN
        ret     x17
SYM(summary_trap):
        mov     x17, x30
        bl      SYM(emulate)
        mov     x30, x17
        cbnz    w5, 1f
        ret
1:      str     x5, [sp, #SUMMARY]              // nothing was enabled before, or it would not have trapped
        CLOSE   PART_TRAP
        b       SYM(activate)

// host-mask: everything if the guest has anything enabled; else the host's enable bits are cleared meanwhile.
SYM(mask_entry):
        CLOSE   PART_BASE
        mov     x16, x30
        SCAN_GUEST
        mov     x30, x16
        b.ne    1f
        ldr     x3, [sp, #HOST_ENABLED]
        str     x3, [sp, #SWITCHED]
        CLOSE   PART_SCAN
        cbnz    x3, SYM(toggle)
        ret
1:      CLOSE   PART_SCAN
        b       SYM(activate)
SYM(mask_exit):
        CLOSE   PART_BASE
        ldr     x2, [sp, #LIVE]
        cbnz    x2, 1f
        ldr     x3, [sp, #SWITCHED]
        cbnz    x3, 2f
        CLOSE   PART_SCAN
        ret
1:      CLOSE   PART_SCAN
        b       SYM(deactivate)
2:      CLOSE   PART_SCAN
        mov     x16, x30
        bl      SYM(toggle)
        SYNC
        CLOSE   PART_SWITCH
        ret     x16
SYM(mask_trap):
        mov     x17, x30
        bl      SYM(emulate)
        mov     x30, x17
        cbnz    w5, 1f
        ret
1:      ldr     x3, [sp, #SWITCHED]
        CLOSE   PART_TRAP
        cbz     x3, SYM(activate)
        bl      SYM(toggle)                     // the host's registers are saved as the host knows them
        mov     x30, x17
        b       SYM(activate)

// partial: only registers that the host or the guest has enabled. The guest's other registers are in memory alone, so
// all of its accesses trap, always.
SYM(partial_entry):
        CLOSE   PART_BASE
SYM(partial_in):
        ldr     x3, [sp, #GUEST_ENABLED]
        ldr     x2, [sp, #HOST_ENABLED]
        orr     x3, x3, x2
        str     x3, [sp, #SWITCHED]
        CLOSE   PART_SCAN
        cbnz    x3, 1f
        ret
1:      EVENT   EVENT_SWITCHES, 1
        add     x0, sp, #HOST_DEBUG
        add     x1, sp, #GUEST_DEBUG
        mrs     x2, mdscr_el1
        ldr     w4, [x1, #MDSCR]
        str     w2, [x0, #MDSCR]
        msr     mdscr_el1, x4
        EVENT_SWAPS 1
        ldp     x8, x9, [sp, #TAKE]
        br      x8
SYM(partial_exit):
        CLOSE   PART_BASE
SYM(partial_out):
        ldr     x3, [sp, #SWITCHED]
        CLOSE   PART_SCAN
        cbnz    x3, 1f
        ret
1:      mov     x16, x30
        add     x1, sp, #HOST_DEBUG
        ldr     w2, [x1, #MDSCR]
        msr     mdscr_el1, x2
        EVENT   EVENT_WRITES, 1
        ldp     x8, x9, [sp, #GIVE]
        blr     x8
        SYNC
        CLOSE   PART_SWITCH
        ret     x16
SYM(partial_trap):
        mov     x17, x30
        bl      SYM(emulate)
        mov     x30, x17
        cbz     w4, 2f
        tbnz    x6, #63, 1f
        mov     x2, #1                          // the guest's set follows the register
        lsl     x2, x2, x6
        ldr     x3, [sp, #GUEST_ENABLED]
        bic     x3, x3, x2
        lsl     x2, x5, x6
        orr     x3, x3, x2
        str     x3, [sp, #GUEST_ENABLED]
1:      CLOSE   PART_TRAP                       // and so does the hardware
        bl      SYM(partial_out)
        bl      SYM(partial_in)
        mov     x30, x17
2:      ret

#include "switcher.inc"

/* The exception vectors of EL2 (D1.3.1.3): all but what a guest causes is a mistake of ours. */
.macro VECTOR target, number
        .balign 128
        .ifc    \target, wrong
        str     x0, [sp, #-16]!
        mov     x0, #\number
        .endif
        b       \target
.endm
        .text
        .balign 2048
SYM(vectors):
        .irp    number, 0, 1, 2, 3, 4, 5, 6, 7
        VECTOR  wrong, \number
        .endr
        .balign 128
        b       SYM(from_guest)
        .irp    number, 9, 10, 11, 12, 13, 14, 15
        VECTOR  wrong, \number
        .endr
