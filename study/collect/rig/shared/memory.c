/* SPDX-License-Identifier: MIT
 *
 * Page tables, in the one format that both architectures have for the hypervisor and for the second stage: long descriptors
 * (ARMv7-A/R B3.6, Armv8-A D8.3), from the gigabyte down. ARMv7 has the first four of level 1.
 */
#include "rig.h"

#define BLOCK           1ull
#define TABLE           3ull
#define PAGE            3ull
#define GUEST_NORMAL    (3 << 6 | 0xf << 2)     /* read and write; write-back */
#define ACCESSED        (1ull << 10)
#define INNER           (3ull << 8)
#define READ_WRITE      (1ull << 6)     /* AP[1], which is one in the hypervisor's tables */
#define DEVICE_INDEX    (1ull << 2)     /* memory is attribute 0, devices are attribute 1 */
#define NEVER_RUN       (1ull << 54)

#define BLOCKS          2               /* of 2 MiB, in which the image lies */

uint64_t level1[512] __attribute__((aligned(4096))), guest_level1[512] __attribute__((aligned(4096)));
static uint64_t level2[512] __attribute__((aligned(4096)));
static uint64_t level3[BLOCKS][512] __attribute__((aligned(4096)));
static uint64_t guest_level2[512] __attribute__((aligned(4096)));
static uint64_t guest_level3[BLOCKS][512] __attribute__((aligned(4096)));

/* Map all memory to itself: our own image as memory, everything else as devices. The guest has the image and nothing else.
 * The image is mapped by pages: where a watchpoint lies in a larger block, an emulator forgets all translations whenever it
 * changes. */
void memory_map(void)
{
        uint64_t begin = (word)_start, end = (word)_end, gib = begin >> 30;
        for (uint64_t n = 0; n < 512; n++) {
                level1[n] = (n << 30) | BLOCK | ACCESSED | READ_WRITE | DEVICE_INDEX | NEVER_RUN;
                level2[n] = (gib << 30) | (n << 21) | BLOCK | ACCESSED | READ_WRITE | DEVICE_INDEX | NEVER_RUN;
        }
        level1[gib] = (word)level2 | TABLE;
        guest_level1[gib] = (word)guest_level2 | TABLE;
        for (uint64_t block = 0; block < BLOCKS; block++) {
                uint64_t first = (begin >> 21) + block;
                level2[first & 511] = (word)level3[block] | TABLE;
                guest_level2[first & 511] = (word)guest_level3[block] | TABLE;
                for (uint64_t n = 0; n < 512; n++) {
                        uint64_t at = (first << 21) + (n << 12);
                        int ours = at >= begin && at < end;
                        level3[block][n] = at | PAGE | ACCESSED | INNER | READ_WRITE | (ours ? 0 : DEVICE_INDEX | NEVER_RUN);
                        guest_level3[block][n] = ours ? at | PAGE | ACCESSED | INNER | GUEST_NORMAL : 0;
                }
        }
        machine.mmio = ((gib ^ 1) << 30) + 0x1000;
}
