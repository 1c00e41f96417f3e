// SPDX-License-Identifier: GPL-2.0
/*
 * Choose, at run time, how KVM/arm64 switches the debug registers of a guest.
 *
 * For kernels 6.1 to 6.13, which keep a dirty bit in the vCPU. KVM decides in kvm_arm_setup_debug(), on every entry with
 * interrupts off, in an order that three of its tracepoints reveal:
 *
 *   kvm_arm_setup_debug                    first of all
 *       MDCR_EL2.TDA is set unless DEBUG_DIRTY is: that arms the trap
 *   kvm_arm_set_dreg32("MDCR_EL2", ...)    tells what was armed
 *       DEBUG_DIRTY is set if MDSCR_EL1.MDE or KDE is
 *   kvm_arm_set_dreg32("MDSCR_EL1", ...)   last of all: DEBUG_DIRTY now says whether the registers are switched
 *
 * A probe on the first makes the decision, so that the trap follows it; a probe on the last makes it again, where KVM
 * has added "MDE means dirty" to it. Beyond its own tracepoints no code of the kernel is changed, and unregistering the
 * probes restores it. KVM itself clears DEBUG_DIRTY on every exit, whichever strategy set it.
 *
 *   strategy   what the probes do
 *   stock      nothing: they are not registered
 *   lazy       count
 *   eager      set DEBUG_DIRTY on every entry: always switched, never trapped
 *   control-scan  DEBUG_DIRTY if a control register of the guest, in memory, or the host has an enable bit set
 *   none       never DEBUG_DIRTY: guest breakpoints do not work. The floor, and the oracle's negative control
 */
#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/tracepoint.h>
#include <linux/version.h>
#include <asm/debug-monitors.h>
#include <asm/kvm_arm.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0) || LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
#error "dbgswitch needs a kernel from 6.1 to 6.13: others keep no dirty bit for the debug registers; measure them as they are (strategy stock)"
#endif

enum strategy { STOCK, LAZY, EAGER, CONTROL_SCAN, NONE, STRATEGIES };

static const char *const names[STRATEGIES] = {
	[STOCK] = "stock", [LAZY] = "lazy", [EAGER] = "eager", [CONTROL_SCAN] = "control-scan", [NONE] = "none",
};

struct counts {
	u64 entries;		/* kvm_arm_setup_debug() ran to its end */
	u64 switches;		/* ... and decided to switch the registers */
	u64 traps_armed;	/* ... and set MDCR_EL2.TDA */
	u64 traps_taken;	/* the guest's accesses that trapped */
	u64 monitored;		/* census: the guest had monitor debug mode on */
	u64 enabled;		/* census: a control register of the guest had its enable bit set */
	u64 both;		/* census: both */
};

static DEFINE_MUTEX(lock);			/* serialises changes of strategy */
static enum strategy first = STOCK;		/* asked for at load time */
static enum strategy strategy = STOCK;		/* changed only while no probe is registered */
static bool census;				/* the same */

/* Of each CPU. The probes run with interrupts off and have it to themselves. */
struct state {
	struct kvm_vcpu *entering;	/* from the first probe to the last */
	struct counts counts;
};

static DEFINE_PER_CPU(struct state, states);
static int brps, wrps;				/* implemented breakpoints and watchpoints */

#define MONITOR (DBG_MDSCR_MDE | DBG_MDSCR_KDE)

/* What is set in any of n control registers, of which there are two at least. In pairs, for one instruction loads two; a register
 * beyond the last is unused. */
static u64 set_in_any(const __u64 *controls, int n)
{
	const __u64 *end = controls + n;
	u64 set = 0;

	do {
		set |= controls[0] | controls[1];
		controls += 2;
	} while (controls < end);
	return set;
}

/* The guest's control registers, from memory. */
static __always_inline bool guest_enabled(struct kvm_vcpu *vcpu)
{
	const struct kvm_guest_debug_arch *regs = vcpu->arch.debug_ptr;

	return (set_in_any(regs->dbg_bcr, brps) | set_in_any(regs->dbg_wcr, wrps)) & 1;
}

/* The control registers, as the reviewer of 2015 proposed: the guest's from memory; for the host's it is enough to know
 * that arm64 Linux sets MDE or KDE in its own MDSCR_EL1 exactly while something uses them, one register to read. */
static bool anything_enabled(struct kvm_vcpu *vcpu)
{
	return guest_enabled(vcpu) || (read_sysreg(mdscr_el1) & MONITOR);
}

/* Before KVM decides about the trap. A debugger in user space (KVM_SET_GUEST_DEBUG) keeps KVM's own decisions. */
static void on_setup(void *data, struct kvm_vcpu *vcpu, __u32 guest_debug)
{
	__this_cpu_write(states.entering, vcpu);
	if (guest_debug)
		return;
	if (strategy == EAGER || (strategy == CONTROL_SCAN && anything_enabled(vcpu)))
		vcpu_set_flag(vcpu, DEBUG_DIRTY);
	else if (strategy == CONTROL_SCAN || strategy == NONE)
		vcpu_clear_flag(vcpu, DEBUG_DIRTY);
}

/* After KVM decided about the trap (in vcpu->arch.mdcr_el2) and about the switch: MDSCR_EL1, the only name with a C there.
 * If the trap is armed although control-scan or none is in force, then they found nothing to switch, or the guest's OS lock
 * is set, under which no breakpoint fires: undo what MDE alone has caused. */
static void on_decided(void *data, const char *name, __u64 value)
{
	struct state *state = this_cpu_ptr(&states);
	struct kvm_vcpu *vcpu = state->entering;
	bool armed;

	if (name[3] != 'C' || !vcpu)
		return;
	state->entering = NULL;
	armed = vcpu->arch.mdcr_el2 & MDCR_EL2_TDA;
	if (armed && (strategy == CONTROL_SCAN || strategy == NONE) && !vcpu->guest_debug)
		vcpu_clear_flag(vcpu, DEBUG_DIRTY);
	state->counts.entries++;
	state->counts.traps_armed += armed;
	state->counts.switches += !!vcpu_get_flag(vcpu, DEBUG_DIRTY);
}

/* The same, and a census: what the guest has, whichever strategy is in force. `value` is its MDSCR_EL1. */
static void on_decided_with_census(void *data, const char *name, __u64 value)
{
	struct state *state = this_cpu_ptr(&states);
	struct kvm_vcpu *vcpu = state->entering;
	bool enabled;

	if (name[3] == 'C' && vcpu) {
		enabled = guest_enabled(vcpu);
		state->counts.monitored += !!(value & MONITOR);
		state->counts.enabled += enabled;
		state->counts.both += enabled && (value & MONITOR);
	}
	on_decided(data, name, value);
}

/* An access of the guest that trapped. */
static void on_trap(void *data, const char *function, int reg, bool is_write, u64 value)
{
	this_cpu_inc(states.counts.traps_taken);
}

/* The second has another function for a census. The last one is registered last and unregistered first: without it, the others do nothing. */
enum { DECIDED = 1 };

static struct {
	const char *name;
	void *function;
	struct tracepoint *tracepoint;
} probes[] = {
	{ "trap_reg", on_trap },
	[DECIDED] = { "kvm_arm_set_dreg32", on_decided },
	{ "kvm_arm_setup_debug", on_setup },
};
static bool found;				/* every tracepoint of the table */

static void find(struct tracepoint *tracepoint, void *unused)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (!strcmp(tracepoint->name, probes[i].name))
			probes[i].tracepoint = tracepoint;
}

/* Unregister the first n probes and forget what a CPU may have been in the middle of. */
static void unregister_probes(int n)
{
	int cpu;

	while (n--)
		tracepoint_probe_unregister(probes[n].tracepoint, probes[n].function, NULL);
	tracepoint_synchronize_unregister();
	for_each_possible_cpu(cpu)
		per_cpu(states.entering, cpu) = NULL;
}

static int register_probes(void)
{
	int i, error;

	probes[DECIDED].function = census ? on_decided_with_census : on_decided;
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		/* An entry that is under way now may miss the probes so far. It must not see the one that keeps its vcpu. */
		if (i == ARRAY_SIZE(probes) - 1)
			synchronize_rcu();
		error = tracepoint_probe_register(probes[i].tracepoint, probes[i].function, NULL);
		if (error) {
			unregister_probes(i);
			return error;
		}
	}
	return 0;
}

static int change_strategy(enum strategy next)
{
	int error = 0;

	if (strategy != STOCK)
		unregister_probes(ARRAY_SIZE(probes));
	strategy = next;
	if (next != STOCK)
		error = register_probes();
	if (error)
		strategy = STOCK;
	return error;
}

/* Parameter "strategy": one of the names. At load time it comes before the tracepoints are found. */
static int set_strategy(const char *text, const struct kernel_param *param)
{
	int next = __sysfs_match_string(names, STRATEGIES, text);
	int error = 0;

	if (next < 0)
		return -EINVAL;
	mutex_lock(&lock);
	if (found)
		error = change_strategy(next);
	else
		first = next;
	mutex_unlock(&lock);
	return error;
}

static int get_strategy(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%s\n", names[strategy]);
}

/* Of all CPUs. */
static struct counts sum_of_counts(void)
{
	struct counts sum = {};
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct counts *c = &per_cpu_ptr(&states, cpu)->counts;

		sum.entries += c->entries;
		sum.switches += c->switches;
		sum.traps_armed += c->traps_armed;
		sum.traps_taken += c->traps_taken;
		sum.monitored += c->monitored;
		sum.enabled += c->enabled;
		sum.both += c->both;
	}
	return sum;
}

/* Parameter "census": 1 or 0. It reads as entries with monitor debug mode on, with something enabled, and with both, counted while it
 * was 1 and a strategy other than stock in force. */
static int set_census(const char *text, const struct kernel_param *param)
{
	bool next;
	int error = kstrtobool(text, &next);

	if (error)
		return error;
	mutex_lock(&lock);
	if (found && strategy != STOCK) {
		unregister_probes(ARRAY_SIZE(probes));
		census = next;
		error = register_probes();
		if (error)
			strategy = STOCK;
	} else {
		census = next;
	}
	mutex_unlock(&lock);
	return error;
}

/* Parameter "counters", read only: entries, switches, traps armed, traps taken; since the module was loaded. */
static int get_counters(char *buffer, const struct kernel_param *param)
{
	struct counts sum = sum_of_counts();

	return sysfs_emit(buffer, "%llu %llu %llu %llu\n", sum.entries, sum.switches, sum.traps_armed, sum.traps_taken);
}

static int get_census(char *buffer, const struct kernel_param *param)
{
	struct counts sum = sum_of_counts();

	return sysfs_emit(buffer, "%llu %llu %llu\n", sum.monitored, sum.enabled, sum.both);
}

/* The kernel calls this for "counters=..." at load time, and would call NULL. */
static int refuse(const char *text, const struct kernel_param *param)
{
	return -EPERM;
}

static const struct kernel_param_ops strategy_ops = { .set = set_strategy, .get = get_strategy };
static const struct kernel_param_ops census_ops = { .set = set_census, .get = get_census };
static const struct kernel_param_ops counters_ops = { .set = refuse, .get = get_counters };

module_param_cb(strategy, &strategy_ops, NULL, 0644);
MODULE_PARM_DESC(strategy, "stock, lazy, eager, control-scan or none (none breaks guest breakpoints)");
module_param_cb(census, &census_ops, NULL, 0644);
MODULE_PARM_DESC(census, "1 to look at what guests have enabled, at every entry; reads as entries monitored, enabled, both");
module_param_cb(counters, &counters_ops, NULL, 0444);
MODULE_PARM_DESC(counters, "entries, switches, traps armed, traps taken");

static int __init dbgswitch_init(void)
{
	u64 dfr0 = read_sysreg(id_aa64dfr0_el1);
	int i, error;

	brps = ((dfr0 >> 12) & 0xf) + 1;	/* ID_AA64DFR0_EL1.BRPs, Arm ARM D19.2.59 */
	wrps = ((dfr0 >> 20) & 0xf) + 1;	/* ID_AA64DFR0_EL1.WRPs */
	for_each_kernel_tracepoint(find, NULL);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (!probes[i].tracepoint) {
			pr_err("dbgswitch: this kernel has no tracepoint %s: it is not one of 6.1 to 6.13 with KVM\n", probes[i].name);
			return -ENODEV;
		}
	}
	mutex_lock(&lock);
	error = change_strategy(first);
	found = !error;
	mutex_unlock(&lock);
	return error;
}

static void __exit dbgswitch_exit(void)
{
	mutex_lock(&lock);
	found = false;		/* the parameter outlives this function by a little: it changes nothing any more */
	change_strategy(STOCK);
	mutex_unlock(&lock);
}

module_init(dbgswitch_init);
module_exit(dbgswitch_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Choose how KVM/arm64 switches the debug registers of a guest");
