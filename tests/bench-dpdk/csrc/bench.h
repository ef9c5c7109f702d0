/* What the harness has in C: the floor, and the peer's look-up. Declared again in src/native.rs. */

#ifndef FLOWSWITCH_BENCH_H
#define FLOWSWITCH_BENCH_H

#include <stdint.h>

/* The time-stamp counter, read in order with what stands before it. */
uint64_t fsb_tsc(void);

/* Its ticks a second. */
uint64_t fsb_tsc_hz(void);

/* DPDK's number of a device; negative: no such device. */
int fsb_port(const char *name);

/* The floor: bursts of 32 from one device to the other, `packets` in all, on queue 0 of both. */
void fsb_floor(uint16_t from, uint16_t to, uint64_t packets);

/* A table of DPDK's for keys of 16 bytes; NULL when memory is short. */
void *fsb_hash_create(const char *name, uint32_t entries);
void fsb_hash_free(void *table);

/* Adds the keys of flows 0 to n - 1; 0, or DPDK's error. */
int fsb_hash_fill(void *table, uint32_t n, uint64_t word2);

/* Looks up `packets` keys of flows visited uniformly, 32 in a call; the number found. */
uint64_t fsb_hash_bulk(void *table, uint64_t packets, uint32_t mask, uint64_t word2);

#endif
