// SPDX-License-Identifier: GPL-2.0
/*
 * Loops of accesses to the debug registers, for `study prices`: what they cost is counted from outside, by perf.
 *
 * Each loop is there twice, with n of a thing in its body and with 2n. Whoever runs both and subtracts has the cost of n of it in each
 * turn: all else (the system call, the bursts, the counting down) is in both. Bodies are straight code, of one instruction for each
 * access, and begin at a cache line.
 *
 * Parameter "run", write only: "NAME TWICE BURSTS", such as "write_dbgbvr 1 32": so many bursts of TURNS turns. A burst has
 * interrupts off, for about a tenth of a millisecond; between two of them the CPU may do other things.
 *
 * What is safe: a burst reads the registers that it will write, on the CPU that it runs on, and writes nothing but what was
 * there: nothing is enabled or disabled. The first breakpoint and the first watchpoint are on every CPU, for there are two of each at
 * least (ID_AA64DFR0_EL1.BRPs and WRPs, of which 0 is reserved).
 *
 * A trap: HVC from EL1 with the number of a function of the hypervisor's stub that KVM does not have. KVM's vector (nVHE, host.S) hands all
 * stub functions to __kvm_handle_stub_hvc(), which compares the number with those of soft restart and of reset vectors and returns
 * HVC_STUB_ERR. The number is that of HVC_FINALISE_EL2, so that nothing breaks where KVM has left the CPU to the stub: every CPU made
 * that call when it was brought up, and stayed at EL1. KVM keeps its vectors only while there is a VM: who runs this loop must have one.
 */
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <asm/barrier.h>
#include <asm/sysreg.h>
#include <asm/virt.h>

#define TURNS 64
#define MOST_BURSTS 4096
#define STUB_FUNCTION 3			/* HVC_FINALISE_EL2 */

/* What the registers hold. */
struct values {
	u64 bvr, bcr, wvr, wcr, mdscr;
};

#define ISB "\n	isb"
#define READ(reg) "	mrs %[got], " reg
#define WRITE(reg, value) "	msr " reg ", %[" value "]"
/* 16 writes, as many as a world switch of four breakpoints and four watchpoints has, and what is behind each. */
#define FOUR(behind) WRITE("dbgbvr0_el1", "bvr") behind "\n" WRITE("dbgbcr0_el1", "bcr") behind "\n" \
	WRITE("dbgwvr0_el1", "wvr") behind "\n" WRITE("dbgwcr0_el1", "wcr") behind "\n"
#define SIXTEEN(behind) FOUR(behind) FOUR(behind) FOUR(behind) FOUR(behind)

/* Name, how many of it the shorter body has, and what it is. */
#define LOOPS(_) \
	_(isb, 16, "	isb") \
	_(read_dbgbvr, 16, READ("dbgbvr0_el1")) \
	_(read_dbgbcr, 16, READ("dbgbcr0_el1")) \
	_(read_dbgwvr, 16, READ("dbgwvr0_el1")) \
	_(read_dbgwcr, 16, READ("dbgwcr0_el1")) \
	_(read_mdscr, 16, READ("mdscr_el1")) \
	_(write_dbgbvr, 16, WRITE("dbgbvr0_el1", "bvr")) \
	_(write_dbgbcr, 16, WRITE("dbgbcr0_el1", "bcr")) \
	_(write_dbgwvr, 16, WRITE("dbgwvr0_el1", "wvr")) \
	_(write_dbgwcr, 16, WRITE("dbgwcr0_el1", "wcr")) \
	_(write_mdscr, 16, WRITE("mdscr_el1", "mdscr")) \
	_(read_dbgbvr_isb, 16, READ("dbgbvr0_el1") ISB) \
	_(read_dbgbcr_isb, 16, READ("dbgbcr0_el1") ISB) \
	_(read_dbgwvr_isb, 16, READ("dbgwvr0_el1") ISB) \
	_(read_dbgwcr_isb, 16, READ("dbgwcr0_el1") ISB) \
	_(read_mdscr_isb, 16, READ("mdscr_el1") ISB) \
	_(write_dbgbvr_isb, 16, WRITE("dbgbvr0_el1", "bvr") ISB) \
	_(write_dbgbcr_isb, 16, WRITE("dbgbcr0_el1", "bcr") ISB) \
	_(write_dbgwvr_isb, 16, WRITE("dbgwvr0_el1", "wvr") ISB) \
	_(write_dbgwcr_isb, 16, WRITE("dbgwcr0_el1", "wcr") ISB) \
	_(write_mdscr_isb, 16, WRITE("mdscr_el1", "mdscr") ISB) \
	_(batch, 2, SIXTEEN("") "	isb") \
	_(batch_isb, 2, SIXTEEN(ISB)) \
	_(trap, 16, "	mov x0, %[stub]\n	hvc #0")

/* x0 to x17 are the hypervisor's to change. */
#define LOOP(name, n, what) \
static noinline __aligned(64) void name(u64 turns, const struct values *v) \
{ \
	u64 got; \
\
	asm volatile("	.balign 64\n" \
		"1:	.rept " #n "\n" \
		what "\n" \
		"	.endr\n" \
		"	subs %[turns], %[turns], #1\n" \
		"	b.ne 1b\n" \
		: [turns] "+r" (turns), [got] "=&r" (got) \
		: [bvr] "r" (v->bvr), [bcr] "r" (v->bcr), [wvr] "r" (v->wvr), [wcr] "r" (v->wcr), [mdscr] "r" (v->mdscr), \
		  [stub] "i" (STUB_FUNCTION) \
		: "cc", "memory", "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", \
		  "x15", "x16", "x17"); \
}
#define BOTH(name, n, what) LOOP(name##_once, n, what) LOOP(name##_twice, 2 * n, what)
LOOPS(BOTH)

#define ROW(name, n, what) { #name, { name##_once, name##_twice } },
static const struct {
	const char *name;
	void (*bodies[2])(u64 turns, const struct values *v);
} loops[] = { LOOPS(ROW) };

static DEFINE_MUTEX(lock);

/* One trap, and whether it was answered as it is to be. */
static int try_trap(void)
{
	register u64 x0 asm("x0") = STUB_FUNCTION;

	if (is_kernel_in_hyp_mode())
		return -ENXIO;
	asm volatile("hvc #0" : "+r" (x0) : : "cc", "memory", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11",
		     "x12", "x13", "x14", "x15", "x16", "x17");
	return x0 == HVC_STUB_ERR ? 0 : -EIO;
}

static void burst(void (*body)(u64 turns, const struct values *v))
{
	struct values v;
	unsigned long flags;

	local_irq_save(flags);
	v.bvr = read_sysreg(dbgbvr0_el1);
	v.bcr = read_sysreg(dbgbcr0_el1);
	v.wvr = read_sysreg(dbgwvr0_el1);
	v.wcr = read_sysreg(dbgwcr0_el1);
	v.mdscr = read_sysreg(mdscr_el1);
	isb();
	body(TURNS, &v);
	isb();
	local_irq_restore(flags);
}

static int run(const char *text, const struct kernel_param *param)
{
	unsigned int twice, bursts, n;
	char name[24];
	int error = 0;

	if (sscanf(text, "%23s %u %u", name, &twice, &bursts) != 3 || twice > 1 || !bursts || bursts > MOST_BURSTS)
		return -EINVAL;
	for (n = 0; n < ARRAY_SIZE(loops) && strcmp(name, loops[n].name); n++)
		;
	if (n == ARRAY_SIZE(loops))
		return -EINVAL;
	mutex_lock(&lock);
	if (!strcmp(name, "trap"))
		error = try_trap();
	while (!error && bursts--) {
		burst(loops[n].bodies[twice]);
		cond_resched();
		if (signal_pending(current))
			error = -EINTR;
	}
	mutex_unlock(&lock);
	return error;
}

static const struct kernel_param_ops run_ops = { .set = run };

module_param_cb(run, &run_ops, NULL, 0200);
MODULE_PARM_DESC(run, "NAME TWICE BURSTS: run a loop of accesses, such as: write_dbgbvr 1 32");

static int __init dbgprice_init(void)
{
	return 0;
}

static void __exit dbgprice_exit(void)
{
}

module_init(dbgprice_init);
module_exit(dbgprice_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Loops of accesses to the debug registers, to count what they cost");
