/* SPDX-License-Identifier: MIT
 *
 * The line as a port of a virtio device, which moves a line at once where an emulated serial port moves a byte. Boot
 * arguments ask for it by line=virtio; it is looked for where QEMU's virt machine has it. Section numbers are those of
 * Virtual I/O Device (VIRTIO) 1.1, registers those of 4.2.2.
 *
 * It is port 1: port 0 is a console, and QEMU drops what nobody takes from a console at once. What the device would say of
 * its ports (queue 2) is not asked for.
 */
#include "rig.h"

#define TRANSPORTS      ((uintptr_t)0xa000000)  /* 32, each 512 bytes and with an interrupt of its own: */
#define INTERRUPTS      48
#define DISTRIBUTOR     ((uintptr_t)0x8000000)  /* GICv2 (Arm IHI 0048B, 4.1) */
#define INTERFACE       ((uintptr_t)0x8010000)

#define MAGIC           0x000
#define VERSION         0x004
#define DEVICE          0x008
#define FEATURES        0x020
#define FEATURES_SELECT 0x024
#define QUEUE_SELECT    0x030
#define QUEUE_SIZE      0x038
#define QUEUE_READY     0x044
#define QUEUE_NOTIFY    0x050
#define INTERRUPT       0x060
#define INTERRUPT_DONE  0x064
#define STATUS          0x070
#define QUEUE_PLACES    0x080                   /* of descriptors, available and used ring: 64 bits, every 16 bytes */

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };   /* 2.1 */
enum { MULTIPORT = 1 << 1, VERSION_1 = 1 << 0 };        /* 5.3.3; 6: bit 32 */
enum { PORT = 1, CONTROL = 3, IN = 2 * (PORT + 1), OUT };               /* 5.3.2 */
enum { PORT_READY = 3, PORT_OPEN = 6 };                 /* 5.3.6.2 */
enum { DEVICE_WRITES = 2 };                             /* 2.6.5 */

#define SLOTS   8
#define ROOM    4096                    /* of a buffer: QEMU reads no more at once */

/* A virtqueue (2.6): the device writes used, we the others. All is naturally aligned. */
struct queue {
        struct { uint64_t at; uint32_t size; uint16_t flags, next; } slot[SLOTS];
        struct { uint16_t flags, index, slot[SLOTS], event; } available;
        struct { uint16_t flags, index; struct { uint32_t slot, size; } entry[SLOTS]; uint16_t event; } used;
        uint16_t number, seen;          /* seen: how much of used we are done with */
} __attribute__((aligned(16)));

static volatile struct queue in = { .number = IN }, out = { .number = OUT }, control = { .number = CONTROL };
static char heard[SLOTS][ROOM], said[ROOM];
static uint32_t heard_at, heard_size, said_size;
static uintptr_t device;

static volatile uint32_t *reg(uintptr_t offset)
{
        return (volatile uint32_t *)(device + offset);
}

static void set(uintptr_t address, uint32_t value)
{
        *(volatile uint32_t *)address = value;
}

static void order(void)
{
        __asm__ volatile("dsb sy" : : : "memory");
}

static int has_gic(void)
{
        return (*(volatile uint32_t *)(DISTRIBUTOR + 0xfe8) >> 4 & 15) == 2;    /* ICPIDR2: version 2 */
}

/* Let the device's interrupt wake us. It is never taken: host and guest mask it. */
static void interrupt_start(void)
{
        unsigned number = INTERRUPTS + (device - TRANSPORTS) / 512;
        set(DISTRIBUTOR, 1);                                            /* GICD_CTLR */
        set(DISTRIBUTOR + 0x100 + number / 32 * 4, 1u << number % 32);  /* GICD_ISENABLER */
        set(INTERFACE + 4, 0xff);                                       /* GICC_PMR: any priority */
        set(INTERFACE, 1);                                              /* GICC_CTLR */
}

/* Wait until the device has used a buffer. What it uses after we have looked interrupts, so that WFI does not wait. */
static void wait_for(const volatile struct queue *queue)
{
        for (;;) {
                *reg(INTERRUPT_DONE) = *reg(INTERRUPT);
                order();
                int used = queue->used.index != queue->seen;
                order();
                if (used)
                        return;
                __asm__ volatile("wfi" : : : "memory");
        }
}

static void offer(volatile struct queue *queue, unsigned slot)
{
        queue->available.slot[queue->available.index % SLOTS] = slot;
        order();
        queue->available.index++;
        order();
        *reg(QUEUE_NOTIFY) = queue->number;
}

static void send(volatile struct queue *queue, const void *data, uint32_t size)
{
        queue->slot[0].at = (uintptr_t)data;
        queue->slot[0].size = size;
        offer(queue, 0);
        wait_for(queue);
        queue->seen++;
}

static void queue_start(const volatile struct queue *queue)
{
        const volatile void *const places[] = { queue->slot, &queue->available, &queue->used };
        *reg(QUEUE_SELECT) = queue->number;
        *reg(QUEUE_SIZE) = SLOTS;
        for (unsigned n = 0; n < 3; n++) {
                *reg(QUEUE_PLACES + 16 * n) = (uintptr_t)places[n];
                *reg(QUEUE_PLACES + 16 * n + 4) = (uint64_t)(uintptr_t)places[n] >> 32;
        }
        *reg(QUEUE_READY) = 1;
}

/* Find the device (4.2.3), start it (3.1.1) and open the port; returns 0 if that cannot be. */
int virtio_start(void)
{
        static const struct { uint32_t port; uint16_t event, value; } opening[] = {
                { PORT, PORT_READY, 1 }, { PORT, PORT_OPEN, 1 },
        };
        if (!has_gic())
                return 0;
        for (device = TRANSPORTS; *reg(MAGIC) != 0x74726976 || *reg(VERSION) != 2 || *reg(DEVICE) != 3; device += 512)
                if (device == TRANSPORTS + 31 * 512)
                        return 0;
        *reg(STATUS) = 0;
        *reg(STATUS) = ACKNOWLEDGE | DRIVER;
        *reg(FEATURES_SELECT) = 0;
        *reg(FEATURES) = MULTIPORT;
        *reg(FEATURES_SELECT) = 1;
        *reg(FEATURES) = VERSION_1;
        *reg(STATUS) = ACKNOWLEDGE | DRIVER | FEATURES_OK;
        queue_start(&control);
        queue_start(&in);
        queue_start(&out);
        *reg(STATUS) = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
        interrupt_start();
        for (unsigned n = 0; n < 2; n++)
                send(&control, &opening[n], sizeof(opening[n]));
        /* After that: QEMU looks for input again when an open port is offered a buffer, but not when a port is opened. */
        for (unsigned n = 0; n < SLOTS; n++) {
                in.slot[n].at = (uintptr_t)heard[n];
                in.slot[n].size = ROOM;
                in.slot[n].flags = DEVICE_WRITES;
                offer(&in, n);
        }
        return 1;
}

/* Lines are sent whole, or as much of them as there is room for. */
void virtio_put(char c)
{
        said[said_size++] = c;
        if (c != '\n' && said_size < ROOM)
                return;
        send(&out, said, said_size);
        said_size = 0;
}

char virtio_get(void)
{
        while (heard_at == heard_size) {
                if (heard_size)         /* the device may have back what was read to its end */
                        offer(&in, in.used.entry[in.seen++ % SLOTS].slot);
                wait_for(&in);
                heard_at = 0;
                heard_size = in.used.entry[in.seen % SLOTS].size;
        }
        return heard[in.used.entry[in.seen % SLOTS].slot][heard_at++];
}
