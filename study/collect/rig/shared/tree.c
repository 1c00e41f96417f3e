/* SPDX-License-Identifier: MIT
 *
 * One property of one node of the flattened device tree (Devicetree Specification 0.4, chapter 5). Words are read one by
 * one at their natural alignment: the tree may lie in memory that is mapped as a device.
 */
#include "rig.h"

enum { BEGIN = 1, END = 2, PROPERTY = 3, NOTHING = 4 };

static uint32_t big(const uint32_t *at)
{
        return __builtin_bswap32(*(const volatile uint32_t *)at);
}

const char *tree_property(const void *tree, const char *node, const char *property)
{
        const uint32_t *header = tree;
        if (!tree || ((uintptr_t)tree & 3) || big(header) != 0xd00dfeed)
                return NULL;
        const uint32_t *at = (const uint32_t *)((uintptr_t)tree + big(header + 2));
        const char *strings = (const char *)tree + big(header + 3);
        int depth = 0, inside = 0;
        for (;;) {
                switch (big(at++)) {
                case BEGIN: {
                        const char *name = (const char *)at;
                        size_t length = 0;
                        while (name[length])
                                length++;
                        depth++;
                        if (depth == 1)
                                inside = !*node;
                        else if (depth == 2)
                                inside = same(name, node);
                        else
                                inside = 0;
                        at += (length + 4) / 4;
                        break;
                }
                case END:
                        depth--;
                        inside = depth == 1 && !*node;
                        break;
                case PROPERTY: {
                        uint32_t size = big(at);
                        if (inside && same(strings + big(at + 1), property))
                                return (const char *)(at + 2);
                        at += 2 + (size + 3) / 4;
                        break;
                }
                case NOTHING:
                        break;
                default:
                        return NULL;
                }
        }
}
