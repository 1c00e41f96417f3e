"""A virtual machine monitor of one vCPU over /dev/kvm, as small as the study needs.

Numbers and layouts are those of the kernel's ``include/uapi/linux/kvm.h`` and ``arch/arm64/include/uapi/asm/kvm.h``,
which are stable. Standard library only: this runs on the board.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from . import BoardError

KVM_CREATE_VM = 0xAE01
KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE = 0xAE03, 165
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_CREATE_VCPU = 0xAE41
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_RUN = 0xAE80
KVM_GET_ONE_REG = 0x4010AEAB
KVM_SET_ONE_REG = 0x4010AEAC
KVM_ARM_VCPU_INIT = 0x4020AEAE
KVM_ARM_PREFERRED_TARGET = 0x8020AEAF
KVM_CREATE_DEVICE = 0xC00CAEE0
KVM_SET_DEVICE_ATTR = 0x4018AEE1

KVM_SET_GUEST_DEBUG = 0x4208AE9B  # struct kvm_guest_debug: control, and the registers of struct kvm_guest_debug_arch

KVM_EXIT_DEBUG, KVM_EXIT_MMIO = 4, 6
VCPU_FEATURE_PSCI_0_2 = 1 << 2
VCPU_FEATURE_PMU_V3 = 1 << 3
VGIC_GROUP_ADDRESS = 0
GROUP_CONTROL, ATTR_INIT = 4, 0
PMU_GROUP_CONTROL, PMU_ATTR_IRQ, PMU_ATTR_INIT, PMU_IRQ = 0, 0, 1, 23

CORE_REGISTER_X0 = 0x6030_0000_0010_0000
CORE_REGISTER_PC = 0x6030_0000_0010_0040
ID_AA64DFR0_EL1 = 0x6030_0000_0013_C028  # op0 3, op1 0, CRn 0, CRm 5, op2 0
DBGBVR0_EL1 = 0x6030_0000_0013_8004  # op0 2, op1 0, CRn 0, CRm 0, op2 4; CRm is the number

MEMORY_BASE, MEMORY_SIZE = 0x4000_0000, 0x20_0000
DATA_PAGE = MEMORY_BASE + 0x10_0000
DEVICE_PAGE = 0x1000_0000
DISTRIBUTOR, CPU_INTERFACE, REDISTRIBUTOR, SGI_PAGE = 0x0800_0000, 0x0801_0000, 0x080A_0000, 0x1_0000
# The interrupt controllers that KVM can give a guest, by version, the better first: the device's type, and addresses by attribute.
GICS = {
    3: (7, {2: DISTRIBUTOR, 3: REDISTRIBUTOR}),
    2: (5, {0: DISTRIBUTOR, 1: CPU_INTERFACE}),
}

WITHOUT = "measure guests without one, with --no-gic (of make: GIC=no)"

# struct kvm_run: immediate_exit at 1, exit_reason at 8, then the exit's own words from 32.
EXIT_REASON = struct.Struct("=I")
MMIO_EXIT = struct.Struct("=Q8sIB")


@dataclass(frozen=True)
class DeviceAccess:
    """One load or store of the guest on the device page: an exit to user space."""

    offset: int
    is_write: bool
    value: int


class Machine:
    """One fresh VM with one vCPU that starts at the first byte of `image`.

    Parameters
    ----------
    image : bytes
        The guest, loaded at the start of its memory.
    registers : dict of int to int
        General registers to set before the first entry: number to value.
    gic : bool
        Give the guest an in-kernel interrupt controller, as every real VMM does: a GICv3, or a GICv2 where the host has none.
    pmu : bool
        Give the guest a PMUv3.

    Attributes
    ----------
    gic : int
        The version of its interrupt controller; 0 if it has none.

    Raises
    ------
    BoardError
        If the host has no usable KVM.
    """

    def __init__(self, image: bytes, registers: dict[int, int], *, gic: bool = True, pmu: bool = False) -> None:
        self._files: list[int] = []
        self.gic = 0
        try:
            kvm = self._keep(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise BoardError(
                f"/dev/kvm: {error.strerror}: the board must run Linux with KVM, started at EL2, "
                "and you must be root or in the group kvm"
            ) from None
        try:
            self._create(kvm, image, registers, gic, pmu)
        except OSError as error:
            self.close()
            raise BoardError(f"KVM refused to make the guest: {error.strerror}") from None

    def _create(self, kvm: int, image: bytes, registers: dict[int, int], gic: bool, pmu: bool) -> None:
        widest = fcntl.ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE)
        vm = self._keep(fcntl.ioctl(kvm, KVM_CREATE_VM, min(40, widest)))  # bits of guest address; 0, on old kernels, is 40
        self._memory = mmap.mmap(-1, MEMORY_SIZE)
        self._memory[: len(image)] = image
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        fcntl.ioctl(vm, KVM_SET_USER_MEMORY_REGION, struct.pack("=IIQQQ", 0, 0, MEMORY_BASE, MEMORY_SIZE, address))

        self._vcpu = self._keep(fcntl.ioctl(vm, KVM_CREATE_VCPU, 0))
        target = bytearray(32)
        fcntl.ioctl(vm, KVM_ARM_PREFERRED_TARGET, target)
        features = VCPU_FEATURE_PSCI_0_2 | (VCPU_FEATURE_PMU_V3 if pmu else 0)
        struct.pack_into("=I", target, 4, features)
        fcntl.ioctl(self._vcpu, KVM_ARM_VCPU_INIT, bytes(target))
        if gic:
            self.gic = self._create_gic(vm)
        if pmu:
            if gic:
                set_attribute(self._vcpu, PMU_GROUP_CONTROL, PMU_ATTR_IRQ, ctypes.c_int(PMU_IRQ))
            set_attribute(self._vcpu, PMU_GROUP_CONTROL, PMU_ATTR_INIT)

        for number, value in registers.items():
            self.set_register(CORE_REGISTER_X0 + 2 * number, value)
        self.set_register(CORE_REGISTER_PC, MEMORY_BASE)
        self._run_page = mmap.mmap(self._vcpu, fcntl.ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0))

    def _create_gic(self, vm: int) -> int:
        for version, (kind, places) in GICS.items():
            request = bytearray(struct.pack("=III", kind, 0, 0))
            try:
                fcntl.ioctl(vm, KVM_CREATE_DEVICE, request)
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise
                continue
            gic = self._keep(struct.unpack_from("=I", request, 4)[0])
            for attribute, base in places.items():
                set_attribute(gic, VGIC_GROUP_ADDRESS, attribute, ctypes.c_uint64(base))
            set_attribute(gic, GROUP_CONTROL, ATTR_INIT)
            return version
        self.close()
        raise BoardError(f"this host gives its guests no interrupt controller: {WITHOUT}")

    def _keep(self, file: int) -> int:
        self._files.append(file)
        return file

    def set_register(self, register: int, value: int) -> None:
        """Set a 64-bit register of the vCPU by its KVM number."""
        word = ctypes.c_uint64(value)
        fcntl.ioctl(self._vcpu, KVM_SET_ONE_REG, struct.pack("=QQ", register, ctypes.addressof(word)))

    def register(self, register: int) -> int:
        """Return a 64-bit register of the vCPU by its KVM number."""
        word = ctypes.c_uint64()
        fcntl.ioctl(self._vcpu, KVM_GET_ONE_REG, struct.pack("=QQ", register, ctypes.addressof(word)))
        return word.value

    def put(self, address: int, data: bytes) -> None:
        """Put something in the guest's memory, where nothing of it has run yet: its caches are off, and ours are not."""
        self._memory[address - MEMORY_BASE : address - MEMORY_BASE + len(data)] = data

    def word(self, address: int) -> ctypes.c_uint64:
        """Return a word of the guest's memory, to be read and written in place."""
        return ctypes.c_uint64.from_buffer(self._memory, address - MEMORY_BASE)

    def debug(self, control: int, breakpoint: tuple[int, int] = (0, 0)) -> None:
        """Debug the guest, with one breakpoint at most: KVM_SET_GUEST_DEBUG, whose control is made of bits KVM_GUESTDBG_*.

        Parameters
        ----------
        control : int
            0 ends it.
        breakpoint : tuple of int
            Of the first one, what DBGBCR and DBGBVR hold.
        """
        words = bytearray(8 + 4 * 16 * 8)
        struct.pack_into("=I", words, 0, control)
        for n, value in enumerate(breakpoint):
            struct.pack_into("=Q", words, 8 + 16 * 8 * n, value)
        fcntl.ioctl(self._vcpu, KVM_SET_GUEST_DEBUG, bytes(words))

    def debugged(self) -> int | None:
        """Return the ESR_EL2 of the guest's last exit if a debugger's is what it was."""
        reason, syndrome = EXIT_REASON.unpack_from(self._run_page, 8)[0], EXIT_REASON.unpack_from(self._run_page, 32)[0]
        return int(syndrome) if reason == KVM_EXIT_DEBUG else None

    def enter(self, times: int = 1) -> None:
        """Run the vCPU until it leaves for user space, so many times. This is what is timed: nothing else may happen here.

        KVM_RUN takes no argument. One that is an integer would take Python thousands of instructions: it tries whether it is a
        buffer first, and then whether it is text.
        """
        ioctl, vcpu, run = fcntl.ioctl, self._vcpu, KVM_RUN
        entries: Iterator[None] = itertools.repeat(None, times)
        while True:
            try:
                for _ in entries:
                    ioctl(vcpu, run)
                return
            except InterruptedError:  # a signal whose handler raised nothing: that entry again
                entries = itertools.chain((None,), entries)

    def access(self) -> DeviceAccess:
        """Say what the guest accessed on the device page in its last exit.

        Raises
        ------
        BoardError
            If it left for any other reason.
        """
        (reason,) = EXIT_REASON.unpack_from(self._run_page, 8)
        if reason != KVM_EXIT_MMIO:
            raise BoardError(f"the guest left KVM with exit reason {reason}; only accesses to its device page are expected")
        address, data, length, is_write = MMIO_EXIT.unpack_from(self._run_page, 32)
        return DeviceAccess(address - DEVICE_PAGE, bool(is_write), int.from_bytes(data[:length], "little"))

    def answer(self, value: int) -> None:
        """Give the guest `value` as the result of its load; it continues at the next `enter`."""
        struct.pack_into("=Q", self._run_page, 40, value)

    def close(self) -> None:
        """End the VM."""
        if hasattr(self, "_run_page"):
            self._run_page.close()
        while self._files:
            os.close(self._files.pop())


def set_attribute(device: int, group: int, attribute: int, value: ctypes._SimpleCData[int] | None = None) -> None:
    """Set one attribute of a KVM device or vCPU; without a value it is a command."""
    pointer = ctypes.addressof(value) if value is not None else 0
    fcntl.ioctl(device, KVM_SET_DEVICE_ATTR, struct.pack("=IIQQ", 0, group, attribute, pointer))
