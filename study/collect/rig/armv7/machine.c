/* SPDX-License-Identifier: MIT
 *
 * ARMv7's part of the rig that is not measured: memory, counters, a guest's first state.
 * Section numbers are those of the ARM Architecture Reference Manual ARMv7-A/R, DDI 0406C; system registers are described
 * in B4.1, debug registers in C11.11, each in alphabetical order.
 */
#include "rig.h"

/* A register is named as MRC and MCR name it: p15, opc1, then CRn, CRm, opc2. */
#define READ(coprocessor, opc1, name) ({ \
        uint32_t value_; \
        __asm__ volatile("mrc " #coprocessor ", " #opc1 ", %0, " name : "=r"(value_)); \
        value_; })
#define WRITE(coprocessor, opc1, name, value) \
        __asm__ volatile("mcr " #coprocessor ", " #opc1 ", %0, " name : : "r"((uint32_t)(value)) : "memory")
#define WRITE64(opc1, name, value) \
        __asm__ volatile("mcrr p15, " #opc1 ", %0, %1, " name : : "r"((uint32_t)(value)), "r"(0) : "memory")

#define MIDR            "c0, c0, 0"
#define SCTLR           "c1, c0, 0"
#define TTBCR           "c2, c0, 2"
#define DACR            "c3, c0, 0"
#define HSCTLR          "c1, c0, 0"     /* opc1 4, as for the other registers of Hyp mode */
#define HCR_            "c1, c1, 0"
#define HDCR            "c1, c1, 1"
#define HCPTR           "c1, c1, 2"
#define HSTR            "c1, c1, 3"
#define HTCR            "c2, c0, 2"
#define VTCR            "c2, c1, 2"
#define HMAIR0          "c10, c2, 0"
#define HVBAR           "c12, c0, 0"
#define CNTHCTL         "c14, c1, 0"
#define CNTFRQ          "c14, c0, 0"
#define PMCR            "c9, c12, 0"
#define PMCNTENSET      "c9, c12, 1"
#define PMSELR          "c9, c12, 5"
#define PMXEVTYPER      "c9, c13, 1"
#define DBGDIDR         "c0, c0, 0"
#define DBGOSLAR        "c1, c0, 4"
#define DBGOSDLR        "c1, c3, 4"

#define NORMAL          0xffu           /* HMAIR0: attribute 0 is write-back memory; attribute 1 is 0, strongly ordered */
#define SCTLR_PL1       0x00c51078      /* the bits that are one; stage 1 off, instructions from the cache */

struct machine machine;

static void map(void)
{
        memory_map();
        WRITE(p15, 4, HMAIR0, NORMAL);
        WRITE(p15, 4, HTCR, 1u << 31 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8);
        WRITE64(4, "c2", level1);               /* HTTBR */
        WRITE(p15, 4, VTCR, 1u << 31 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6);
        /* What was written so far went past the caches: nothing older may be in them. DCIMVAC, by lines of CTR.DminLine. */
        uint32_t begin = (uint32_t)_start, end = (uint32_t)_end, line = 4u << (READ(p15, 0, "c0, c0, 1") >> 16 & 15);
        for (uint32_t at = begin & ~(line - 1); at < end; at += line)
                WRITE(p15, 0, "c7, c6, 1", at);
        __asm__ volatile("dsb" : : : "memory");
        WRITE(p15, 4, "c8, c7, 0", 0);          /* TLBIALLH */
        WRITE(p15, 4, "c8, c7, 4", 0);          /* TLBIALLNSNH */
        WRITE(p15, 0, "c7, c5, 0", 0);          /* ICIALLU */
        __asm__ volatile("dsb; isb" : : : "memory");
        WRITE(p15, 4, HSCTLR, 0x30c50838u | 1 << 12 | 1 << 2 | 1);
        ISB();
}

/* Count instructions (event 8) in event counter 0, and cycles, in all modes (C12). PMSELR stays on counter 0. */
static void count(void)
{
        uint32_t counters = READ(p15, 0, PMCR) >> 11 & 31, hyp_too = 1u << 27;
        machine.trap_off = counters;            /* HDCR.HPMN: all counters are PL1's, and none stops in Hyp mode */
        machine.trap_on = counters | 7 << 9;    /* TDA; it needs TDRA and TDOSA beside it */
        WRITE(p15, 4, HDCR, machine.trap_off);
        WRITE(p15, 0, PMSELR, 31);              /* the cycle counter's filter */
        ISB();
        WRITE(p15, 0, PMXEVTYPER, hyp_too);
        WRITE(p15, 0, PMSELR, 0);
        ISB();
        WRITE(p15, 0, PMXEVTYPER, 8 | hyp_too);
        WRITE(p15, 0, PMCNTENSET, 1u << 31 | 1);
        counters_reset();
}

/* Does this read go through? Its operands are r1, which it may change, and r0, which is 0 afterwards if it was UNDEFINED. */
#define DEFINED(instruction, content) ({ \
        register uint32_t defined_ __asm__("r0") = 1; \
        register uint32_t content_ __asm__("r1") = *(content); \
        __asm__ volatile(instruction : "+r"(defined_), "+r"(content_)); \
        *(content) = content_; \
        defined_; })

#define PROBE_ONE(name, n) case n: return DEFINED("mrc p14, 0, r1, c1, c" #n ", 1", &content);

static int has_bxvr(unsigned n)
{
        uint32_t content = 0;
        switch (n) { EACH_NUMBER(PROBE_ONE, bxvr) }
        return 0;
}

/* An emulator may take DBGVCR for a no-op: then a read leaves its register as it was. */
static int has_vcr(void)
{
        uint32_t one = 1, two = 2;
        return DEFINED("mrc p14, 0, r1, c0, c7, 0", &one) && DEFINED("mrc p14, 0, r1, c0, c7, 0", &two) && one == two;
}

static int vector_catch, extended_values;

/* What not every CPU has, or not every emulator. Exceptions of Hyp mode go to probe_vectors meanwhile. */
static void probe(void)
{
        static const char *const found[] = { "[]", "[\"DBGVCR\"]", "[\"DBGBXVR\"]", "[\"DBGBXVR\",\"DBGVCR\"]" };
        extern char probe_vectors[];
        word vectors = READ(p15, 4, HVBAR);
        use_vectors((word)probe_vectors);
        vector_catch = has_vcr();
        extended_values = has_bxvr(machine.breakpoints - 1);
        use_vectors(vectors);
        machine.extra = found[2 * extended_values + vector_catch];
}

void machine_start(void)
{
        uint32_t features = READ(p14, 0, DBGDIDR);
        machine.breakpoints = (features >> 24 & 15) + 1;
        machine.watchpoints = (features >> 28 & 15) + 1;
        machine.contexts = (features >> 20 & 15) + 1;
        machine.identity = READ(p15, 0, MIDR);
        machine.frequency = READ(p15, 0, CNTFRQ);
        uint32_t low, high;
        __asm__ volatile("mrrc p15, 0, %0, %1, c14" : "=r"(low), "=r"(high));
        machine.started = low;
        map();
        count();
        WRITE(p14, 0, DBGOSLAR, 0);             /* a locked OS Lock keeps debug exceptions from coming */
        WRITE(p14, 0, DBGOSDLR, 0);
        WRITE(p15, 4, HCR_, 0);
        WRITE(p15, 0, SCTLR, SCTLR_PL1);        /* the host does not use PL1, but switches what is there */
        WRITE(p15, 0, TTBCR, 0);
        WRITE(p15, 0, DACR, 0);
        WRITE(p15, 4, HCPTR, 0x33ff);
        WRITE(p15, 4, HSTR, 0);
        WRITE(p15, 4, CNTHCTL, 3);
        ISB();
        probe();
}

void counters_reset(void)
{
        WRITE(p15, 0, PMCR, 7);                 /* reset; enable */
        ISB();
}

void use_vectors(word vectors)
{
        WRITE(p15, 4, HVBAR, vectors);
        ISB();
}

/* Places in guest_sys, as SYSTEM_1 and the others in switch.S have them. */
enum { SYS_SCTLR = 0, SYS_VBAR = 10, SYS_SP_SVC = 26, SYS_LR_SVC = 27, SYS_SP_ABT = 29 };
#define ABORT_STACK     64              /* the last bytes of the guest's stack are its Abort mode's */

void vcpu_start(struct vcpu *vcpu)
{
        extern char guest_vectors[];
        vcpu->hcr = 1 << 21 | 1 << 12 | 1;                      /* TAC, DC, VM */
        vcpu->host_hcr = vcpu->hcr & ~(1u << 21);
        vcpu->vttbr[0] = (word)guest_level1;
        vcpu->guest_sys[SYS_SCTLR] = SCTLR_PL1;
        vcpu->guest_sys[SYS_VBAR] = (word)guest_vectors;
        vcpu->trap_off = machine.trap_off;
        vcpu->trap_on = machine.trap_on;
}

void vcpu_call(struct vcpu *vcpu, const void *function, word first, word second, word third)
{
        extern char guest_done[];
        word stack = (word)(guest_stack + sizeof(guest_stack));
        vcpu->gpr[0] = first;
        vcpu->gpr[1] = second;
        vcpu->gpr[2] = third;
        vcpu->guest_sys[SYS_SP_ABT] = stack;
        vcpu->guest_sys[SYS_SP_SVC] = stack - ABORT_STACK;
        vcpu->guest_sys[SYS_LR_SVC] = (word)guest_done;
        vcpu->elr = (word)function;
        vcpu->spsr = 0x1d3;                     /* Supervisor mode, ARM instructions; asynchronous exceptions masked */
}

void trap_accesses(int on)
{
        WRITE(p15, 4, HDCR, on ? machine.trap_on : machine.trap_off);
        ISB();
}

/* Before the breakpoints come the registers that only some CPUs have: each link knows from next where to go on. */
void vcpu_fit(struct vcpu *vcpu, const struct switcher *variant)
{
        word *const chains[EXTRA_CHAINS] = { vcpu->swap, vcpu->take, vcpu->give };
        for (unsigned chain = 0; chain < EXTRA_CHAINS; chain++) {
                word *slot = &chains[chain][0], breakpoints = *slot;
                if (vector_catch) {
                        *slot = variant->extra[chain][0];
                        slot = &vcpu->next[chain][0];
                }
                for (unsigned n = 0; extended_values && n < machine.contexts; n++) {
                        unsigned number = machine.breakpoints - 1 - n;
                        *slot = variant->extra[chain][1 + number];
                        slot = &vcpu->next[chain][1 + number];
                }
                *slot = breakpoints;
        }
}
