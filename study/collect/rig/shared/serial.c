/* SPDX-License-Identifier: MIT
 *
 * The line to whoever asks: one command line in, one line of JSON out, with a CRC-32 of the result in it, since a serial
 * line may garble what it carries. The port is named as Linux names it: earlycon=pl011,0x9000000 or
 * earlycon=uart8250,mmio32,0x1c28000 (mmio: byte registers); without a name it is the PL011 of QEMU's virt machine. With
 * line=virtio there is none: see virtio.c.
 */
#include "rig.h"

#define LONGEST (1 << 17)
#define RESERVE 128             /* for what stands around a result */

static char line[LONGEST], answer[LONGEST + RESERVE];
static size_t answered, limit;
static uintptr_t port = 0x9000000;
static int is_8250, is_virtio;
static unsigned stride;                 /* of an 8250's registers, as a power of two: 0 for bytes, 2 for words */
static uint32_t crcs[256];              /* of each byte */

static volatile uint32_t *reg(unsigned offset)
{
        return (volatile uint32_t *)(port + offset);
}

static unsigned read_8250(unsigned number)
{
        return stride ? *reg(number << stride) : *(volatile uint8_t *)(port + number);
}

static void put(char c)
{
        if (is_virtio) {
                virtio_put(c);
        } else if (is_8250) {
                while (!(read_8250(5) & 0x20))  /* LSR: transmitter empty */
                        ;
                if (stride)
                        *reg(0) = c;
                else
                        *(volatile uint8_t *)port = c;
        } else {
                while (*reg(0x18) & 0x20)       /* FR: transmitter full */
                        ;
                *reg(0) = c;
        }
}

static char get(void)
{
        if (is_virtio)
                return virtio_get();
        if (is_8250) {
                while (!(read_8250(5) & 1))     /* LSR: data ready */
                        ;
                return read_8250(0);
        }
        while (*reg(0x18) & 0x10)               /* FR: receiver empty */
                ;
        return *reg(0);
}

static uintptr_t hexadecimal(const char *text)
{
        uintptr_t value = 0;
        for (text += 2;; text++) {
                if (*text >= '0' && *text <= '9')
                        value = value << 4 | (unsigned)(*text - '0');
                else if ((*text | 32) >= 'a' && (*text | 32) <= 'f')
                        value = value << 4 | (unsigned)((*text | 32) - 'a' + 10);
                else
                        return value;
        }
}

/* The value of a boot argument, whose name ends in an equals sign; empty if there is none. */
static const char *argument(const char *bootargs, const char *name)
{
        for (const char *at = bootargs; at && *at; at++) {
                size_t n = 0;
                while (name[n] && at[n] == name[n])
                        n++;
                if (!name[n] && (at == bootargs || at[-1] == ' '))
                        return at + n;
        }
        return "";
}

void serial_start(const char *bootargs)
{
        for (unsigned n = 0; n < 256; n++) {
                crcs[n] = n;
                for (int bit = 0; bit < 8; bit++)
                        crcs[n] = crcs[n] >> 1 ^ (crcs[n] & 1 ? 0xedb88320u : 0);
        }
        const char *named = argument(bootargs, "earlycon=");
        is_virtio = *argument(bootargs, "line=") == 'v' && virtio_start();
        is_8250 = *named == 'u';
        for (; *named && *named != ' ' && !(named[0] == '0' && named[1] == 'x'); named++)
                if (named[0] == '3' && named[1] == '2' && named[2] == ',')
                        stride = 2;             /* mmio32 */
        if (*named == '0' && hexadecimal(named))
                port = hexadecimal(named);
        if (!is_8250 && !is_virtio) {
                *reg(0x30) = 0;                 /* CR: off, while the line is set: */
                *reg(0x2c) = 0x70;              /* LCR_H: 8 bits, FIFOs; the boot loader set the speed */
                *reg(0x30) = 0x301;             /* CR: on, both ways */
        }
}

char *read_line(void)
{
        for (size_t n = 0;;) {
                char c = get();
                if (c == '\n' || c == '\r') {
                        line[n] = 0;
                        return line;
                }
                if (n < LONGEST - 1)
                        line[n++] = c;
        }
}

void announce(const char *text)
{
        for (; *text; text++)
                put(*text);
        put('\n');
}

void answer_begin(void)
{
        answered = 0;
        limit = LONGEST;
}

void say(const char *text)
{
        for (; *text && answered < limit; text++)
                answer[answered++] = *text;
}

void say_quoted(const char *text)
{
        say("\"");
        for (; text && *text; text++) {
                char one[2] = { *text >= ' ' && *text <= '~' && *text != '"' && *text != '\\' ? *text : '?', 0 };
                say(one);
        }
        say("\"");
}

static void say_in(uint64_t number, unsigned base)
{
        char digits[24];
        unsigned n = sizeof(digits);
        digits[--n] = 0;
        do {
                unsigned digit = base == 16 ? number & 15 : number % 10;
                digits[--n] = "0123456789abcdef"[digit];
                number = base == 16 ? number >> 4 : number / 10;
        } while (number);
        say(digits + n);
}

void say_number(uint64_t number)
{
        say_in(number, 10);
}

void say_hex(uint64_t number)
{
        say("\"");
        say_in(number, 16);
        say("\"");
}

uint32_t crc(const char *data, size_t size)
{
        uint32_t value = ~0u;
        for (size_t n = 0; n < size; n++)
                value = value >> 8 ^ crcs[(value ^ (uint8_t)data[n]) & 0xff];
        return ~value;
}

static void put_all(const char *text, size_t size)
{
        for (size_t n = 0; n < size; n++)
                put(text[n]);
}

/* Send what was said since answer_begin as the result, or an error in its place, and the CRC of the command that was heard. */
void answer_end(uint64_t id, uint32_t heard, const char *error)
{
        if (error) {
                answered = 0;
                say_quoted(error);
        }
        size_t size = answered;                 /* head and tail are put together behind the result */
        limit = LONGEST + RESERVE;
        say("{\"id\":");
        say_number(id);
        say(error ? ",\"error\":" : ",\"result\":");
        put_all(answer + size, answered - size);
        put_all(answer, size);
        answered = size;
        say(",\"crc\":");
        say_number(crc(answer, size));
        say(",\"heard\":");
        say_number(heard);
        say("}\n");
        put_all(answer + size, answered - size);
}
