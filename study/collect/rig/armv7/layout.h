/* SPDX-License-Identifier: MIT
 *
 * Where everything of a vcpu lies, for the assembler and for C. While a guest is entered, runs and is left, SP_hyp points
 * to its vcpu, so that each field is one load away; what is moved in pairs lies within reach of LDRD and STRD (255 bytes).
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "vcpu.h"

#define WORD            4

/* The guest's general registers, as one LDM and STM move them: r0 to r12, then LR_usr, which Hyp mode shares. Two spare
 * words follow, so that whatever number a trapped access names (its Rt) is a word of this array. */
#define GPR             0x000
/* Where and how the guest goes on: ELR_hyp and SPSR_hyp. */
#define ELR             0x040
/* What is kept of the host in a world switch: r4 to r11 and lr, and its stack. */
#define HOST_GPR        0x048
#define HOST_SP         0x06c
/* The strategy, the chains, and what the strategies remember: see vcpu.h. */
#define ENTRY           0x070
#define SWAP            0x080
/* HDCR with and without its traps. */
#define HDCR_OPEN       0x0a8
#define HDCR_TRAP       0x0ac
/* HCR while the host runs; HCR and VTTBR of the guest. */
#define HOST_HCR        0x0b0
#define HCR             0x0b4
#define VTTBR           0x0b8
#define LIVE            0x0c0
/* TTBCR and DACR. */
#define GUEST_TTBCR     0x0d8
#define HOST_TTBCR      0x0e0
/* Where each extra link of swap, take and give goes on: 17 words for each of the three, used where a CPU has it. */
#define EXTRA_CHAINS    3       /* DBGVCR, then DBGBXVR0 to 15 */
#define NEXT            0x0e8
#define NEXT_SIZE       0x044
/* System and banked registers of the guest's modes, and the debug registers: struct debug, by its middle. */
#define GUEST_SYS       0x1c0
#define HOST_SYS        0x280
#define GUEST_DEBUG     0x3c0
#define HOST_DEBUG      0x540
/* What the counting variant of the switch writes. */
#define TALLY_SCRATCH   0x640
#define TALLY_PARTS     0x650
#define TALLY_EVENTS    0x660
#define VCPU_SIZE       0x680

/* struct debug is addressed by its middle: breakpoints lie below it and watchpoints above, lower numbers nearer, in groups
 * of four control registers and then their four value registers. So one STM or LDM moves all that the first four are, and
 * a scan reads their control registers with one LDM.
 *
 *      -20..-32        DBGBVR0..3              +16..+28        DBGWVR0..3
 *       -4..-16        DBGBCR0..3                0..+12        DBGWCR0..3
 */
#define DEBUG_BELOW     0x080
#define DSCR            0x080
#define VCR             0x084
#define BXVR            0x088
#define DEBUG_SIZE      0x180

#define DSCR_MDBGEN     (1 << 15)

#define EC_CP15         0x03    /* MCR or MRC to CP15 (B3.13.6, use of the HSR) */
#define EC_CP14         0x05    /* MCR or MRC to CP14 */
#define EC_HVC          0x12
#define EC_STAGE2       0x24    /* data abort from a mode other than Hyp */

#endif
