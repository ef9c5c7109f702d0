/* DPDK's own table, over the flows that ours has. Its key is 16 bytes long, the five-tuple of IPv4: it has a
 * comparison of its own for that length, and would be slower with our 24 bytes. */

#include <string.h>

#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_lcore.h>

#include "bench.h"

#define BURST 32

struct key {
	uint64_t words[2];
};

/* As `key` in src/rows/lookup.rs. */
static inline struct key key_of(uint32_t id, uint64_t word2)
{
	struct key key = { { 0x0a09006400000000 | 0xc6120000u | (id & 0xffff),
			     (uint64_t)((id >> 16 | 1024) & 0xffff) << 48 | word2 } };

	return key;
}

void *fsb_hash_create(const char *name, uint32_t entries)
{
	struct rte_hash_parameters parameters = {
		.name = name,
		.entries = entries,
		.key_len = sizeof(struct key),
		.hash_func = rte_hash_crc,
		.socket_id = (int)rte_socket_id(),
	};

	return rte_hash_create(&parameters);
}

void fsb_hash_free(void *table)
{
	rte_hash_free(table);
}

int fsb_hash_fill(void *table, uint32_t n, uint64_t word2)
{
	for (uint32_t id = 0; id < n; id++) {
		struct key key = key_of(id, word2);
		int code = rte_hash_add_key_data(table, &key, (void *)(uintptr_t)(id & 7));

		if (code < 0)
			return code;
	}
	return 0;
}

uint64_t fsb_hash_bulk(void *table, uint64_t packets, uint32_t mask, uint64_t word2)
{
	struct key keys[BURST];
	const void *pointers[BURST];
	void *data[BURST];
	uint64_t counter = 0;
	uint64_t found = 0;
	uint64_t sum = 0;

	for (int i = 0; i < BURST; i++)
		pointers[i] = &keys[i];
	while (counter < packets) {
		uint64_t hits;

		for (int i = 0; i < BURST; i++)
			keys[i] = key_of((uint32_t)(counter++ * 2654435761u >> 3) & mask, word2);
		rte_hash_lookup_bulk_data(table, pointers, BURST, &hits, data);
		found += (uint64_t)__builtin_popcountll(hits);
		for (int i = 0; i < BURST; i++)
			sum += (uintptr_t)data[i];
	}
	/* Used, so that nothing is left out. */
	__asm__ volatile("" : : "r"(sum));
	return found;
}
