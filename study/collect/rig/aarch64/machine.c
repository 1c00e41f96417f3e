/* SPDX-License-Identifier: MIT
 *
 * AArch64's part of the rig that is not measured: memory, counters, a guest's first state.
 * Section numbers are those of the Arm Architecture Reference Manual, DDI 0487J.
 */
#include "rig.h"

#define READ(name) ({ uint64_t value_; __asm__ volatile("mrs %0, " #name : "=r"(value_)); value_; })
#define WRITE(name, value) __asm__ volatile("msr " #name ", %0" : : "r"((uint64_t)(value)) : "memory")

#define NORMAL          0xffull         /* MAIR: write-back, attribute 0; device, attribute 1 */
#define SCTLR_EL1       0x30d01800      /* RES1, stage 1 off, instructions from the cache (D17.2.118) */

struct machine machine;

static void map(void)
{
        memory_map();
        WRITE(mair_el2, NORMAL);
        WRITE(tcr_el2, 1ull << 31 | 1 << 23 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 25);
        WRITE(ttbr0_el2, level1);
        WRITE(vtcr_el2, 1ull << 31 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 25);
        // What was written so far went past the caches: nothing older may be in them.
        uint64_t begin = (uint64_t)_start, end = (uint64_t)_end, line = 4ull << (READ(ctr_el0) >> 16 & 15);
        for (uint64_t at = begin & ~(line - 1); at < end; at += line)
                __asm__ volatile("dc ivac, %0" : : "r"(at) : "memory");
        __asm__ volatile("dsb sy; ic iallu; tlbi alle2; tlbi alle1; dsb sy; isb" : : : "memory");
        WRITE(sctlr_el2, 0x30c50830ull | 1 << 12 | 1 << 2 | 1);
        ISB();
}

/* Count instructions (event 8) in event counter 0, and cycles, at EL1 and EL2 (D13). */
static void count(void)
{
        uint64_t counters = READ(pmcr_el0) >> 11 & 31, below_el2 = 1 << 27;
        machine.trap_off = counters;            /* MDCR_EL2.HPMN: all counters are EL1's, and none stops at EL2 */
        machine.trap_on = counters | 1 << 9;    /* TDA */
        WRITE(mdcr_el2, machine.trap_off);
        WRITE(pmevtyper0_el0, 8 | below_el2);
        WRITE(pmccfiltr_el0, below_el2);
        WRITE(pmcntenset_el0, 1ull << 31 | 1);
        WRITE(pmcr_el0, 1 << 6 | 7);            /* 64-bit cycles; reset; enable */
        ISB();
}

void machine_start(void)
{
        uint64_t features = READ(id_aa64dfr0_el1);
        machine.breakpoints = (features >> 12 & 15) + 1;
        machine.watchpoints = (features >> 20 & 15) + 1;
        machine.contexts = (features >> 28 & 15) + 1;
        machine.identity = READ(midr_el1);
        machine.frequency = READ(cntfrq_el0);
        machine.started = READ(cntpct_el0);
        WRITE(hcr_el2, 1ull << 31);             /* first: with E2H or TGE, EL2's other registers mean something else */
        ISB();
        map();
        count();
        WRITE(oslar_el1, 0);                    /* a locked OS Lock keeps debug exceptions from coming (H2.4) */
        WRITE(osdlr_el1, 0);
        WRITE(sctlr_el1, SCTLR_EL1);            /* the host does not use EL1, but switches what is there */
        WRITE(tcr_el1, 0);
        WRITE(cptr_el2, 0x33ff);
        WRITE(cnthctl_el2, 3);
        ISB();
}

void counters_reset(void)
{
        WRITE(pmcr_el0, 1 << 6 | 7);
        ISB();
}

void use_vectors(word vectors)
{
        WRITE(vbar_el2, vectors);
        ISB();
}

void vcpu_start(struct vcpu *vcpu)
{
        extern char guest_vectors[];
        vcpu->hcr = 1ull << 31 | 1 << 21 | 1 << 12 | 1;         /* RW, TACR, DC, VM (D17.2.48) */
        vcpu->host_hcr = vcpu->hcr & ~(1ull << 21);
        vcpu->vttbr = (uint64_t)guest_level1;
        vcpu->guest_sys[0] = SCTLR_EL1;
        vcpu->guest_sys[10] = (word)guest_vectors;              /* VBAR_EL1 */
        vcpu->trap_off = machine.trap_off;
        vcpu->trap_on = machine.trap_on;
}

void vcpu_call(struct vcpu *vcpu, const void *function, word first, word second, word third)
{
        extern char guest_done[];
        vcpu->gpr[0] = first;
        vcpu->gpr[1] = second;
        vcpu->gpr[2] = third;
        vcpu->gpr[30] = (word)guest_done;
        vcpu->guest_sys[16] = (word)(guest_stack + sizeof(guest_stack));      /* SP_EL1 */
        vcpu->elr = (word)function;
        vcpu->spsr = 0x1c5;                                     /* EL1h; interrupts masked, debug exceptions not */
}

void trap_accesses(int on)
{
        WRITE(mdcr_el2, on ? machine.trap_on : machine.trap_off);
        ISB();
}

/* AArch64 has no chains beyond those that every architecture has. */
void vcpu_fit(struct vcpu *vcpu, const struct switcher *variant)
{
        (void)vcpu;
        (void)variant;
}
