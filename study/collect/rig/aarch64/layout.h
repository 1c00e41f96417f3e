/* SPDX-License-Identifier: MIT
 *
 * Where everything of a vcpu lies, for the assembler and for C. While a guest is entered, runs and is left, SP_EL2 points
 * to its vcpu, so that each field is one load away; what is moved in pairs lies within reach of LDP and STP (504 bytes).
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "vcpu.h"

#define WORD            8

/* The guest's general registers: x0 to x30, and a slot 31 that stands for XZR. */
#define GPR             0x000
/* Where and how the guest goes on: ELR_EL2 and SPSR_EL2. */
#define ELR             0x100
/* What is kept of the host in a world switch: x19 to x30, and its stack. */
#define HOST_GPR        0x110
#define HOST_SP         0x170
/* The strategy, the chains, and what the strategies remember: see vcpu.h. */
#define ENTRY           0x178
#define SWAP            0x190
/* MDCR_EL2 with and without TDA. */
#define MDCR_OPEN       0x1e0
#define MDCR_TRAP       0x1e8
/* HCR_EL2 and VTTBR_EL2 of the guest. */
#define HCR             0x1f0
#define VTTBR           0x1f8
#define LIVE            0x200
#define HOST_HCR        0x230
/* System registers of EL1, and the debug registers: struct debug. */
#define GUEST_SYS       0x240
#define HOST_SYS        0x300
#define GUEST_DEBUG     0x400
#define HOST_DEBUG      0x600
/* What the counting variant of the switch writes. */
#define TALLY_SCRATCH   0x800
#define TALLY_PARTS     0x818
#define TALLY_EVENTS    0x838
#define VCPU_SIZE       0x880

/* struct debug: control registers lie together, so that a scan reads four of them with one LDP. */
#define BCR             0x000
#define WCR             0x040
#define BVR             0x080
#define WVR             0x100
#define MDSCR           0x180
#define DEBUG_SIZE      0x200

#define MDSCR_SS        (1 << 0)
#define MDSCR_KDE       (1 << 13)
#define MDSCR_MDE       (1 << 15)
#define MONITOR         (MDSCR_KDE | MDSCR_MDE)

#define EC_TRAPPED      0x18    /* MSR, MRC, ... (Arm ARM D17.2.37, ISS of a trapped system register) */
#define EC_HVC          0x16
#define EC_STAGE2       0x24    /* data abort from a lower exception level */

#endif
