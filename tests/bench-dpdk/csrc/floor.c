/* The floor: what a device's receive and transmit cost when nothing happens between them. */

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "bench.h"

#define BURST 32

uint64_t fsb_tsc(void)
{
	return rte_rdtsc_precise();
}

uint64_t fsb_tsc_hz(void)
{
	return rte_get_tsc_hz();
}

int fsb_port(const char *name)
{
	uint16_t port;
	int code = rte_eth_dev_get_port_by_name(name, &port);

	return code < 0 ? code : port;
}

void fsb_floor(uint16_t from, uint16_t to, uint64_t packets)
{
	struct rte_mbuf *burst[BURST];
	uint64_t done = 0;

	while (done < packets) {
		uint16_t n = rte_eth_rx_burst(from, 0, burst, BURST);
		uint16_t sent = rte_eth_tx_burst(to, 0, burst, n);

		if (unlikely(sent < n))
			rte_pktmbuf_free_bulk(burst + sent, n - sent);
		done += n;
	}
}
