/* SPDX-License-Identifier: MIT
 *
 * The guest: a few instructions at EL1 that leave for the host and come back.
 *
 * One flat image, position independent, entered at its first byte with the MMU off. Its parameters are the general
 * registers that the VMM sets before the first KVM_RUN:
 *
 *   x0  job: 0 = measure, 1 = oracle, 2 = be priced: what x4 says, as often in a turn as x5 says; a batch is so many turns;
 *       3 = play: the steps from x1 on, of which a batch is so many; x2 is code at EL0 and EL1, x3 data, x4 a store at EL0
 *   x1  bits to set in MDSCR_EL1 (MDE is bit 15, KDE bit 13)
 *   x2  how many breakpoints to enable, from 0 up
 *   x3  how many watchpoints to enable, from 0 up
 *   x4  exit: 0 = HVC, 1 = a store to the device page, 2 = a read of a trapped system register, 3 = WFI, 4 = a read of the
 *       interrupt controller's distributor
 *   x5  touch: write DBGBVR0_EL1 once every x5 round trips; 0 = never
 *       when priced: x4 = 0 is an exception from EL0 to EL1 and back, x4 = 1 a hypercall; 16 of it in a turn, or 32 if x5 is not 0
 *   x6  address of the device page (no memory behind it: each access is an exit to user space)
 *   x7  address of a data page, 64 KiB or more away from the code
 *   x8  address of the distributor, and
 *   x10 of the page of the redistributor that holds software generated interrupts (SGIs); both only for exits 3 and 4
 *
 * The device page:
 *   +0   load:  the end of a batch, and the length of the next one
 *   +8   store: a word for the VMM (what the oracle read, or an exception's ESR_EL1)
 *   +16  store: the exit that is measured when x4 = 1
 *
 * In use while measuring:
 *   x19 round trips left   x20 touch period        x21 round trips until the next touch
 *   x22 the touch's value  x23 device page         x24 data page
 *   x25 MDSCR_EL1 bits (a hypercall returns its results in x0-x3)
 *   x26 distributor
 *
 * Names and layouts: Arm Architecture Reference Manual, D19.3 (debug registers), D1.3 (exceptions); Arm IHI 0069 (GICv3).
 */

	.equ	NEXT_BATCH, 0
	.equ	REPORT, 8
	.equ	EXIT, 16

	.equ	PSCI_VERSION, 0x8400		// SMCCC function 0x8400_0000, upper half (Arm DEN 0022, 5.1.1)
	.equ	BCR_EL1, 0x1e3			// E = 1, PMC = 0b01 (EL1), BAS = 0b1111: an A64 instruction
	.equ	WCR_EL1, 0x1ffb			// E = 1, PAC = 0b01 (EL1), LSC = 0b11, BAS = all eight bytes
	.equ	SCTLR_I, 1 << 12		// SCTLR_EL1.I
	.equ	GICD_CTLR, 0			// bit 1: group 1 enabled
	.equ	GICD_TYPER, 4
	.equ	GICR_IGROUPR0, 0x80		// one bit for each SGI in these three
	.equ	GICR_ISENABLER0, 0x100
	.equ	GICR_ISPENDR0, 0x200
	.equ	PATTERN, 0x5a50			// a value that only this guest writes, aligned as DBGBVR wants it

	.text
	.global	_start
_start:
	b	setup

/* Point every breakpoint below x2 at x9 and every watchpoint below x3 at x10, and enable them. A register past the
 * number that the CPU has is undefined, hence one guarded write for each. */
	.macro	arm_breakpoint n
	cmp	x2, #\n
	b.ls	1f
	msr	dbgbvr\n\()_el1, x9
	msr	dbgbcr\n\()_el1, x11
1:
	.endm

	.macro	arm_watchpoint n
	cmp	x3, #\n
	b.ls	1f
	msr	dbgwvr\n\()_el1, x10
	msr	dbgwcr\n\()_el1, x12
1:
	.endm

arm_all:
	mov	x11, #BCR_EL1
	mov	x12, #WCR_EL1
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	arm_breakpoint \n
	.endr
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	arm_watchpoint \n
	.endr
	isb
	ret

/* MDSCR_EL1 |= x25, only if there is anything to set: an untouched guest never accesses a debug register. */
set_mdscr:
	cbz	x25, 1f
	mrs	x9, mdscr_el1
	orr	x9, x9, x25
	msr	mdscr_el1, x9
	isb
1:	ret

/* A WFI traps only where it would wait: no interrupt may be signalled to the CPU. It returns at once where KVM finds one
 * pending. Both hold while SGI 0 is active and SGI 1, of the same priority, is pending behind it. PSTATE.I stays set. */
leave_one_pending:
	mov	w9, #2
	str	w9, [x26, #GICD_CTLR]
	mov	w9, #3
	str	w9, [x10, #GICR_IGROUPR0]
	str	w9, [x10, #GICR_ISENABLER0]
	mov	x11, #0xff			// every priority may be signalled
	msr	icc_pmr_el1, x11
	mov	x11, #1
	msr	icc_igrpen1_el1, x11
	isb
	str	w9, [x10, #GICR_ISPENDR0]
	dsb	sy
1:	mrs	x9, icc_iar1_el1		// acknowledge SGI 0; 1023 until it has arrived
	cmp	x9, #0
	b.ne	1b
	dsb	sy
	ret

setup:
	adr	x9, vectors
	msr	vbar_el1, x9
	/* Instructions come from the cache, though the MMU is off. Else each round trip would be timed with fetches from memory. */
	mrs	x9, sctlr_el1
	orr	x9, x9, #SCTLR_I
	msr	sctlr_el1, x9
	isb
	msr	daifclr, #8			// PSTATE.D = 0: debug exceptions are taken at EL1
	mov	x23, x6
	mov	x24, x7
	mov	x20, x5
	mov	x22, #PATTERN
	mov	x25, x1
	mov	x26, x8
	cmp	x0, #3
	b.eq	play
	cmp	x0, #1
	b.eq	oracle
	b.hi	priced
	cmp	x4, #3
	b.ne	1f
	bl	leave_one_pending
1:

	/* Guest state. The addresses are never executed and never accessed, so that nothing fires while measuring. */
	adr	x9, never
	add	x10, x24, #0x800
	bl	arm_all
	bl	set_mdscr
	mov	x21, x20			// 0 counts down from 2^64: never

	/* One round trip: what is between the labels runs once for each, the same six instructions in every guest state.
	 * A touch adds three. */
	.macro	round_trips leave:vararg
10:	ldr	x19, [x23, #NEXT_BATCH]
11:	movz	w0, #PSCI_VERSION, lsl #16
	\leave
	subs	x21, x21, #1
	b.eq	13f
12:	subs	x19, x19, #1
	b.ne	11b
	b	10b
13:	msr	dbgbvr0_el1, x22
	mov	x21, x20
	b	12b
	.endm

	cmp	x4, #1
	b.eq	by_mmio
	cmp	x4, #2
	b.eq	by_sysreg
	cmp	x4, #3
	b.eq	by_wfi
	cmp	x4, #4
	b.eq	by_vgic
	round_trips hvc #0
by_mmio:
	round_trips str w0, [x23, #EXIT]

/* The emulator charges a trapped read of a register with all that follows it in its block of translated code, though it is not
 * executed. A block ends with a page, so this read is the last instruction of one, the third of its loop: then the count is exact. */
	.balign	4096
	.skip	4096 - 3 * 4
by_sysreg:
	round_trips mrs x0, id_aa64pfr0_el1
by_wfi:
	round_trips wfi
by_vgic:
	round_trips ldr w0, [x26, #GICD_TYPER]

never:
	b	never

/* Oracle. Reports, in this order: the pattern that it wrote to DBGBVR1_EL1 while nothing was enabled, the ESR of a
 * breakpoint, the ESR of a watchpoint, the pattern in DBGBVR1_EL1 again. World switches lie between every two steps. */
	.macro	world_switches
	mov	x19, #4
1:	movz	w0, #PSCI_VERSION, lsl #16
	hvc	#0
	subs	x19, x19, #1
	b.ne	1b
	.endm

oracle:
	msr	dbgbvr1_el1, x22
	world_switches
	mrs	x9, dbgbvr1_el1
	str	x9, [x23, #REPORT]

	adr	x9, target
	add	x10, x24, #0x800
	mov	x2, #1
	mov	x3, #1
	bl	arm_all
	bl	set_mdscr
	world_switches
target:	nop					// the breakpoint, if it was restored
	world_switches
	str	x9, [x10]			// the watchpoint, if it was restored
	world_switches
	mrs	x9, dbgbvr1_el1
	str	x9, [x23, #REPORT]
	ldr	x19, [x23, #NEXT_BATCH]		// done
	b	never

/* What is priced, and nothing else, is in the body of a loop, whose two lengths differ in 16 of it. The loops of exceptions run at EL0,
 * which the vector for them leaves again with its first instruction. */
	.macro	priced_loop times, what
	.balign	64
1:	ldr	x19, [x23, #NEXT_BATCH]
2:
	.rept	\times
	\what
	.endr
	subs	x19, x19, #1
	b.ne	2b
	b	1b
	.endm

	.macro	exception
	svc	#0
	.endm

	.macro	hypercall
	movz	w0, #PSCI_VERSION, lsl #16
	hvc	#0
	.endm

priced:
	cbnz	x4, 3f
	adr	x9, exceptions
	adr	x10, exceptions_twice
	cmp	x5, #0
	csel	x9, x9, x10, eq
	mov	x10, #0x3c0			// EL0, D, A, I and F masked
	msr	spsr_el1, x10
	msr	elr_el1, x9
	eret
3:	cbnz	x5, hypercalls_twice
	b	hypercalls
exceptions:
	priced_loop 16, exception
exceptions_twice:
	priced_loop 32, exception
hypercalls:
	priced_loop 16, hypercall
hypercalls_twice:
	priced_loop 32, hypercall

/* Play. A step is 32 bytes: what is done, with which register or word, with which value, and room for what came of it: a value that
 * was read, and the ESR_EL1 of an exception. After a batch both are reported of each of its steps. Steps are in memory before the
 * guest starts, and nothing else passes by memory but the word of a wait: the guest's caches are off, and the host's are not.
 *
 *   x19 steps of the batch left   x20 its first step, then what is reported   x27 the step   x28 the word of a wait
 *   x21 code at EL0 and EL1       x22 data       x24 a store at EL0
 */
	.equ	STEP, 32
	.equ	WAITS, 256
	.equ	EL1, 0x1c5			// EL1h; A, I and F masked, D not
	.equ	EL0, 0x1c0
	.equ	SPSR_SS, 1 << 21
	.equ	EC_SVC, 0x15

play:
	adr	x9, play_vectors
	msr	vbar_el1, x9
	isb
	mov	x27, x1
	mov	x21, x2
	mov	x22, x3
	mov	x24, x4
	mov	x28, x5
next_batch:
	mov	x20, x27
	ldr	x19, [x23, #NEXT_BATCH]
1:	cbz	x19, report
	ldp	w9, w10, [x27]
	ldr	x0, [x27, #8]
	adr	x11, steps
	add	x11, x11, x9, lsl #2
	br	x11
step_done:
	add	x27, x27, #STEP
	sub	x19, x19, #1
	b	1b
report:
	cmp	x20, x27
	b.eq	next_batch
	ldr	x9, [x20, #16]
	str	x9, [x23, #REPORT]
	ldr	x9, [x20, #24]
	str	x9, [x23, #REPORT]
	add	x20, x20, #STEP
	b	report

steps:
	b	step_read
	b	step_write
	b	step_hypercalls
	b	step_run
	b	step_store
	b	step_run_at_el0
	b	step_step_at_el0
	b	step_store_at_el0
	b	step_wait

step_read:
	adr	x9, reads
	add	x9, x9, x10, lsl #3
	blr	x9
	str	x0, [x27, #16]
	b	step_done
step_write:
	adr	x9, writes
	add	x9, x9, x10, lsl #3
	blr	x9
	isb
	b	step_done
step_hypercalls:
	mov	x9, x0
1:	movz	w0, #PSCI_VERSION, lsl #16
	hvc	#0
	subs	x9, x9, #1
	b.ne	1b
	b	step_done
step_run:
	br	x21				// an SVC is at its end: took_step
step_store:
	str	x0, [x22, x10, lsl #3]
	b	step_done
step_step_at_el0:
	mov	x9, #EL0
	orr	x9, x9, #SPSR_SS
	mov	x11, x21
	b	1f
step_run_at_el0:
	mov	x9, #EL0
	mov	x11, x21
	b	1f
step_store_at_el0:
	mov	x9, #EL0
	mov	x11, x24
	add	x10, x22, x10, lsl #3
1:	msr	spsr_el1, x9
	msr	elr_el1, x11
	eret

/* Say that this waits, a line of the cache behind the word; then wait until the host has put the value there, without leaving for it. */
step_wait:
	str	x0, [x28, #WAITS]
	add	x9, x28, #WAITS
	dc	civac, x9
1:	dc	civac, x28
	dsb	sy
	ldr	x9, [x28]
	cmp	x9, x0
	b.ne	1b
	b	step_done

	.macro	read_of kind, n
	mrs	x0, \kind\n\()_el1
	ret
	.endm
	.macro	write_of kind, n
	msr	\kind\n\()_el1, x0
	ret
	.endm
	.macro	sixteen do, kind
	\do	\kind, 0
	\do	\kind, 1
	\do	\kind, 2
	\do	\kind, 3
	\do	\kind, 4
	\do	\kind, 5
	\do	\kind, 6
	\do	\kind, 7
	\do	\kind, 8
	\do	\kind, 9
	\do	\kind, 10
	\do	\kind, 11
	\do	\kind, 12
	\do	\kind, 13
	\do	\kind, 14
	\do	\kind, 15
	.endm
reads:
	.irp	kind, dbgbvr, dbgbcr, dbgwvr, dbgwcr
	sixteen	read_of, \kind
	.endr
	read_of	mdscr
	read_of	oslsr
writes:
	.irp	kind, dbgbvr, dbgbcr, dbgwvr, dbgwcr
	sixteen	write_of, \kind
	.endr
	write_of mdscr
	write_of oslar

/* Note ESR_EL1, and leave the step; an SVC is only its end. */
took_step:
	mrs	x13, esr_el1
	lsr	x14, x13, #26
	cmp	x14, #EC_SVC
	b.eq	1f
	str	x13, [x27, #24]
1:	adr	x13, step_done
	msr	elr_el1, x13
	mov	x13, #EL1
	msr	spsr_el1, x13
	eret

/* A synchronous exception at EL1: report ESR_EL1 and go on behind the instruction that took it. */
took_exception:
	mrs	x13, esr_el1
	str	x13, [x23, #REPORT]
	mrs	x13, elr_el1
	add	x13, x13, #4
	msr	elr_el1, x13
	eret

	.balign	0x800
vectors:
	.rept	4
	b	never
	.balign	0x80
	.endr
	b	took_exception			// current EL with SP_ELx, synchronous
	.balign	0x80
	.rept	3
	b	never
	.balign	0x80
	.endr
	eret					// EL0, synchronous: only what is priced is there
	.balign	0x80
	.rept	7
	b	never
	.balign	0x80
	.endr

	.balign	0x800
play_vectors:
	.rept	4
	b	never
	.balign	0x80
	.endr
	b	took_step			// current EL with SP_ELx, synchronous
	.balign	0x80
	.rept	3
	b	never
	.balign	0x80
	.endr
	b	took_step			// EL0, synchronous
	.balign	0x80
	.rept	7
	b	never
	.balign	0x80
	.endr
