/* SPDX-License-Identifier: MIT
 *
 * The debug registers by number. The guest runs this too, and its accesses may trap. They go through the first register, as
 * a trap handler may know no banked one.
 */
#include "rig.h"

#define READ_ONE(name, n) case n: __asm__ volatile(DEBUG_READ(DEBUG_##name(n)) : "=r"(content)); break;
#define WRITE_ONE(name, n) case n: __asm__ volatile(DEBUG_WRITE(DEBUG_##name(n)) : : "r"(content)); break;

word debug_read(enum kind kind, unsigned n)
{
        register word content __asm__(FIRST_REGISTER) = 0;
        switch (kind) {
        case BREAK_VALUE: switch (n) { EACH_NUMBER(READ_ONE, bvr) } break;
        case BREAK_CONTROL: switch (n) { EACH_NUMBER(READ_ONE, bcr) } break;
        case WATCH_VALUE: switch (n) { EACH_NUMBER(READ_ONE, wvr) } break;
        case WATCH_CONTROL: switch (n) { EACH_NUMBER(READ_ONE, wcr) } break;
        case MONITOR_CONTROL: __asm__ volatile(DEBUG_READ(DEBUG_monitor) : "=r"(content)); break;
        case IDENTITY: __asm__ volatile(DEBUG_READ(DEBUG_identity) : "=r"(content)); break;
        }
        return content;
}

void debug_write(enum kind kind, unsigned n, word value)
{
        register word content __asm__(FIRST_REGISTER) = value;
        switch (kind) {
        case BREAK_VALUE: switch (n) { EACH_NUMBER(WRITE_ONE, bvr) } break;
        case BREAK_CONTROL: switch (n) { EACH_NUMBER(WRITE_ONE, bcr) } break;
        case WATCH_VALUE: switch (n) { EACH_NUMBER(WRITE_ONE, wvr) } break;
        case WATCH_CONTROL: switch (n) { EACH_NUMBER(WRITE_ONE, wcr) } break;
        case MONITOR_CONTROL: __asm__ volatile(DEBUG_WRITE(DEBUG_monitor) : : "r"(content)); break;
        case IDENTITY: break;           /* no one writes it */
        }
        ISB();
}
